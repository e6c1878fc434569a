"""From files to a fit: of several recordings each is also fitted by itself, and the file written holds them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import TrainConfig, load_config
from superres.degrade.block import degrade_block
from superres.degrade.fitting import Outcome, fit_degradation
from superres.degrade.recordings import FitConfig
from superres.volumes.hyperstack import save_hyperstack

BLUR, PHOTONS = (1.0, 2.0), (400.0, 60.0)
SIDE = 96


def save(path: Path, image: NDArray[np.float64]) -> str:
    save_hyperstack(path, image[None, None, None].astype(np.float32), voxel_size=(1, 0.1, 0.1))
    return str(path)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two recordings of one field by two microscopes, beside the sharp image."""
    folder, random = tmp_path_factory.mktemp("two recordings"), np.random.default_rng(0)
    values = gaussian_filter(random.normal(size=(SIDE, SIDE)), 3)
    light = np.clip(values / values.std() + 0.5, 0, None)
    light /= light.max()
    recorded = []
    for blur, photons in zip(BLUR, PHOTONS, strict=True):
        counts = random.poisson(photons * gaussian_filter(light, blur)) + 100 + 2 * random.normal(size=light.shape)
        recorded.append(save(folder / f"photons_{photons:.0f}.tif", counts))
    sharp = [save(folder / f"sharp_{number}.tif", light * 1000) for number in range(len(recorded))]
    return fit_degradation(sharp, recorded, FitConfig(paired=True, grey_range=(0, 1000)))


def test_each_of_several_recordings_is_fitted_by_itself(outcome: Outcome) -> None:
    assert [Path(one.recorded).name for one in outcome.alone] == ["photons_400.tif", "photons_60.tif"]
    for one, blur, photons in zip(outcome.alone, BLUR, PHOTONS, strict=True):
        assert one.microscope.blur == pytest.approx(blur, rel=0.2)
        assert one.microscope.photons == pytest.approx(photons, rel=0.2)
        assert one.fitted.spectrum < one.default.spectrum


def test_ranges_of_the_file_hold_all_recordings(outcome: Outcome, tmp_path: Path) -> None:
    (tmp_path / "microscope.yaml").write_text(degrade_block(outcome), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text("{manifests: a.yaml, factor: [1, 1, 1], steps: 1, degrade: microscope.yaml}")
    blur, poisson, _ = load_config(TrainConfig, tmp_path / "recipe.yaml").degrade
    assert blur.blur is not None
    assert poisson.poisson is not None
    for limits, values in (
        (blur.blur.sigma, [one.microscope.blur for one in outcome.alone]),
        (poisson.poisson.photons, [one.microscope.photons for one in outcome.alone]),
    ):
        assert limits is not None
        assert limits[0] <= min(values) * 1.001
        assert limits[1] >= max(values) * 0.999


def test_the_file_says_how_sure_it_is_and_names_every_recording(outcome: Outcome) -> None:
    text = degrade_block(outcome)
    assert outcome.sureness is not None
    assert f"± {outcome.sureness.gain:.2g} per photon (gain)" in text
    assert all(Path(one.recorded).name in text for one in outcome.alone)
