"""Pairs are registered to 0.05 high voxels under noise, and what does not belong together is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter

from superres.datasets import register_pair
from superres.datasets.alignment import align, bin_voxels, correlation, find_peak, overlap_of
from superres.datasets.registration import CERTAIN, Registration
from superres.volumes import open_volume

Image = NDArray[np.float64]

CAMERA: Image = skimage.data.camera()[:448, :432].astype(np.float64)
BRICK: Image = skimage.data.brick()[:448, :432].astype(np.float64)
CELL: Image = skimage.data.cell()[200:648, 60:492].astype(np.float64)
SHIFTS = np.random.default_rng(8).uniform(-4, 4, (8, 2))


def moved(image: Image, shift: NDArray[np.float64] | tuple[float, ...]) -> Image:
    """Shift a periodic image by the Fourier theorem: an implementation apart from the measured one."""
    return np.asarray(np.fft.ifftn(fourier_shift(np.fft.fftn(image), shift)).real)


def noisy(image: Image, share: float, seed: int) -> Image:
    return image + np.random.default_rng(seed).normal(0, share * image.std(), image.shape)


def recorded(image: Image, shift: NDArray[np.float64], factor: int, seed: int, noise: float = 0.2) -> Image:
    """Return what a microscope with a wider point-spread function, another gain and noise records of a moved image."""
    blurred = gaussian_filter(moved(image, shift), 0.4 * factor)[16:-16, 16:-16]
    return noisy(bin_voxels(blurred, (factor, factor)) * 0.3 + 70, noise, seed)


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize(
    ("image", "noise"), [(CAMERA, 0.2), (BRICK, 0.2), (CELL, 0.05)], ids=["camera", "brick", "cell"]
)
def test_shift_is_found_to_a_twentieth_of_a_voxel(image: Image, noise: float, factor: int) -> None:
    """`noise` is a share of the contrast, most of which is a smooth slope in the image of the cell."""
    errors = []
    for seed, shift in enumerate(SHIFTS[:3]):
        low, high = recorded(image, shift, factor, seed, noise), noisy(image[16:-16, 16:-16], 0.03, 99 + seed)
        peak = find_peak(low, bin_voxels(high, (factor, factor)))
        found = align(low, high, factor=(factor, factor), start=peak.shift)
        errors.append(np.abs(found.shift - shift).max())
        assert peak.height > CERTAIN
        assert found.gain == pytest.approx(0.3, rel=0.1)
        assert errors[-1] < 5 * max(found.error) + 0.03, "the error that is told goes with the one that is made"
    assert np.mean(errors) < 0.05


def test_unrelated_images_have_no_peak() -> None:
    images = {"camera": CAMERA, "brick": BRICK, "cell": CELL}
    light = 5 * np.hanning(448)[:, None] * np.hanning(432)
    for name in ("dim", "bright"):
        images[name] = light + np.random.default_rng(len(name)).normal(size=(448, 432))
    heights = [find_peak(a, b).height for i, a in images.items() for j, b in images.items() if i < j]
    assert max(heights) < 0.8 * CERTAIN


def test_few_bright_spots_in_other_places_have_no_peak() -> None:
    """Mostly empty fields: eight cells each, in places of their own, under noise."""
    random = np.random.default_rng(4)
    fields = []
    for _ in range(2):
        field = np.zeros((256, 256))
        field.flat[random.choice(field.size, 8, replace=False)] = 4000
        fields.append(gaussian_filter(field, 5) + random.normal(0, 1, field.shape))
    assert find_peak(*fields).height < 0.8 * CERTAIN
    again = fields[0] + random.normal(0, 2, (256, 256))
    assert find_peak(again, fields[0]).height > CERTAIN


def test_correlation_of_a_copy_is_one_and_of_another_field_small() -> None:
    assert correlation(CAMERA * 3 - 7, CAMERA) == pytest.approx(1)
    assert abs(correlation(CELL, BRICK)) < 0.35


def test_overlap_of_whole_shifts() -> None:
    first, second = overlap_of((10, 8), (3, -2))
    assert (first, second) == ((slice(3, 10), slice(0, 6)), (slice(0, 7), slice(2, 8)))


def register(folder: Path, low: Image, high: Image, factor: int = 2, axes: str = "YX") -> Registration:
    step = 0.1
    for name, image in (("low", low), ("high", high)):
        size = step * (factor if name == "low" else 1)
        tifffile.imwrite(
            folder / f"{name}.tif",
            image.astype(np.float32),
            imagej=True,
            metadata={"axes": axes, "unit": "um", "spacing": 0.5},
            resolution=(1 / size, 1 / size),
        )
    return register_pair(open_volume(folder / "low.tif"), open_volume(folder / "high.tif"), factor=(1, factor, factor))


def test_pair_of_files_is_accepted_with_its_shift_in_micrometre(tmp_path: Path) -> None:
    shift = np.array([3.3, -2.6])
    found = register(tmp_path, recorded(CAMERA, shift, 2, 1), CAMERA[16:-16, 16:-16])
    assert found.is_accepted, found.problem
    assert found.shift == pytest.approx((0, *shift), abs=0.05)
    assert found.shift_um == pytest.approx((0, 0.33, -0.26), abs=0.005)
    assert found.correlation > max(0.98, found.unregistered)
    assert found.stated == pytest.approx((0, *shift), abs=0.05)


def test_small_shift_is_stated_as_none(tmp_path: Path) -> None:
    found = register(tmp_path, recorded(CAMERA, np.array([0.01, -0.01]), 2, 1), CAMERA[16:-16, 16:-16])
    assert found.stated == (0.0, 0.0, 0.0)


def test_other_field_is_refused(tmp_path: Path) -> None:
    found = register(tmp_path, recorded(BRICK, SHIFTS[0], 2, 1), CAMERA[16:-16, 16:-16])
    assert not found.is_accepted
    assert "do not register" in found.problem
    assert "check that the two files belong together" in found.problem


def test_hot_pixels_of_one_camera_make_no_pair(tmp_path: Path) -> None:
    hot = np.zeros((416, 400))
    hot.flat[np.random.default_rng(2).choice(hot.size, 400, replace=False)] = 300
    found = register(tmp_path, noisy(CELL[:416, :400], 0.1, 1) + hot, BRICK[:416, :400] + hot, factor=1)
    assert not found.is_accepted, found


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_flat_and_missing_images_are_named(tmp_path: Path, value: float) -> None:
    found = register(tmp_path, np.full((208, 200), value), CAMERA[16:-16, 16:-16])
    expected = "low image is flat (7 everywhere)" if value == 7 else "low image holds 41600 NaN or infinite values"
    assert expected in found.problem
    assert found.planes == ()


def test_small_images_are_refused(tmp_path: Path) -> None:
    assert "too few to tell" in register(tmp_path, CAMERA[:24, :40], CAMERA[:48, :80]).problem


def test_drift_is_measured_per_plane_and_refused(tmp_path: Path) -> None:
    shifts = [np.array([0.0, 0.5 * i]) for i in range(4)]
    image = CAMERA[80:304, 120:344]
    low = np.stack([recorded(image, shift, 2, 1) for shift in shifts])
    found = register(tmp_path, low, np.stack([image[16:-16, 16:-16]] * 4), axes="TYX")
    assert [plane.shift[2] for plane in found.planes] == pytest.approx([0, 0.5, 1, 1.5], abs=0.05)
    assert found.drift == pytest.approx(0.75, abs=0.15)
    assert "one shift does not fit all planes" in found.problem


def test_stacks_are_registered_along_z(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    field = gaussian_filter(random.random((16, 96, 96)), (1.5, 2, 2), mode="wrap")
    shift = (1.3, -2.4, 0.7)
    low = noisy(bin_voxels(moved(field, shift), (1, 2, 2)), 0.1, 1)
    found = register(tmp_path, low, field, axes="ZYX")
    assert found.is_accepted, found.problem
    assert found.shift == pytest.approx(shift, abs=0.1)
