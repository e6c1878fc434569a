"""What is measured of images: noise that was put in, empty area, likeness of neighbours; the same on any grey scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import IntensityRule
from superres.datasets.fingerprint import ImageFacts, measure_image
from superres.volumes import open_volume

FACTOR = (1, 2, 2)


def scene(photons: float, read: float, *, seed: int = 0) -> NDArray[np.float64]:
    """Return smooth blobs on a dark background with noise, as shares of a range of about 0 to 1."""
    random = np.random.default_rng(seed)
    values = gaussian_filter(random.normal(size=(320, 320)), 12)
    light = np.clip(values / values.std() / 2.5, 0, 1)
    return np.asarray(random.poisson(light * photons) / photons + read * random.normal(size=light.shape))


def measured(folder: Path, image: NDArray[np.float64], axes: str = "YX") -> ImageFacts:
    path = folder / "image.ome.tif"
    tifffile.imwrite(path, image.astype(np.float32), metadata={"axes": axes})
    return measure_image(open_volume(path), FACTOR, IntensityRule())


@pytest.mark.parametrize(("photons", "read"), [(400.0, 0.01), (2000.0, 0.02), (60.0, 0.05)])
def test_noise_that_was_put_in_is_found(tmp_path: Path, photons: float, read: float) -> None:
    (channel,) = measured(tmp_path, scene(photons, read)).channels
    width = channel.white - channel.black
    level = channel.black + 0.3 * width
    assert channel.noise == pytest.approx(np.sqrt(level / photons + read**2) / width, rel=0.1)
    assert channel.photons == pytest.approx(photons * width, rel=0.25)


def test_the_grey_scale_does_not_matter(tmp_path: Path) -> None:
    image = scene(400, 0.02)
    one, two = (measured(tmp_path, values).channels[0] for values in (image, 3000 * image + 500))
    for name in ("noise", "photons", "read_noise", "empty", "median"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-3, abs=1e-4)
    assert 0.4 < one.empty < 0.7


def test_likeness_is_that_of_structure_and_not_of_noise(tmp_path: Path) -> None:
    frames = [gaussian_filter(np.random.default_rng(number).normal(size=(128, 128)), 2.5) for number in range(6)]
    base = frames[0] / frames[0].std()
    noise = np.random.default_rng(9).normal(size=(6, 128, 128))
    same = measured(tmp_path, np.stack([base] * 6) + 0.5 * noise, "ZYX")
    other = measured(tmp_path, np.stack([frame / frame.std() for frame in frames]) + 0.5 * noise, "TYX")
    assert same.planes_alike == pytest.approx(1, abs=0.1) and same.times_alike is None
    assert other.times_alike == pytest.approx(0, abs=0.15) and other.planes_alike is None


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("stack3d/mitotic_plate.tif", False),  # 3 µm between planes
        ("stack3d/arabidopsis_embryo.tif", True),
        ("stack3d/em_flyem_vol-a_z000-095.tif", True),
        ("timelapse/golgi_bfa_timelapse.tif", True),
        ("timelapse/mitocheck-movie/*.tif", True),
    ],
)
def test_real_series_are_told_apart(data_root: Path, name: str, alike: bool) -> None:
    facts = measure_image(open_volume(data_root / name), FACTOR, IntensityRule())
    value = facts.planes_alike if facts.planes_alike is not None else facts.times_alike
    assert value is not None
    assert value > 0.6 if alike else value < 0.3
