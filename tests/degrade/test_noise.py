from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.degrade.noise import (
    NoiseModel,
    dark_level,
    noise_of_dark,
    noise_of_image,
    noise_of_pair,
    noise_of_repeats,
)  # fmt: skip
from superres.errors import InputError

SETTINGS = [(200, 1.0, 2.0, 100.0), (50, 1.0, 2.0, 100.0), (200, 4.0, 8.0, 500.0), (1000, 0.46, 1.6, 100.0)]


def scene(peak: float, side: int = 512) -> NDArray[np.float64]:
    """Photons of a smooth scene: Gaussian 4 voxels, empty places and bright ones."""
    field = gaussian_filter(np.random.default_rng(0).normal(size=(side, side)), 4)
    field = np.clip(field / field.std() + 0.5, 0, None)
    return peak * field / field.max()


def record(photons: NDArray[np.float64], gain: float, read: float, offset: float, seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    return gain * random.poisson(photons) + offset + read * random.normal(size=photons.shape)


@pytest.mark.parametrize(("peak", "gain", "read", "offset"), SETTINGS)
def test_repeats_tell_gain_and_constant(peak: float, gain: float, read: float, offset: float) -> None:
    photons = scene(peak)
    found = noise_of_repeats(record(photons, gain, read, offset, 1), record(photons, gain, read, offset, 2))
    assert found.gain == pytest.approx(gain, rel=0.05)
    assert found.offset(read) == pytest.approx(offset, abs=2 * max(gain, 1))
    assert not found.warnings


@pytest.mark.parametrize(("peak", "gain", "read", "offset"), SETTINGS)
def test_one_image_tells_gain_and_constant(peak: float, gain: float, read: float, offset: float) -> None:
    found = noise_of_image(record(scene(peak, 1024), gain, read, offset, 3))
    assert found.gain == pytest.approx(gain, rel=0.05)
    assert found.constant == pytest.approx(read**2 - gain * offset, abs=0.05 * gain * offset)


def test_few_photons_and_no_offset() -> None:
    field = gaussian_filter(np.random.default_rng(0).normal(size=(1024, 1024)), 4)
    photons = 20 * (field - field.min()) / np.ptp(field)
    first, second = (record(photons, 1.0, 1.0, 0.0, seed) for seed in (7, 8))
    one, two = noise_of_image(first), noise_of_repeats(first, second)
    assert (one.gain, two.gain) == pytest.approx((1.0, 1.0), rel=0.05)
    assert one.constant == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("peak", "gain", "read", "offset"), SETTINGS)
def test_a_known_scene_tells_gain_and_constant_behind_texture(
    peak: float, gain: float, read: float, offset: float
) -> None:
    """Texture as fine as voxels, which a single image cannot tell from noise."""
    photons = scene(peak) * (1 + 0.6 * np.random.default_rng(7).random((512, 512)))
    recorded = record(photons, gain, read, offset, 3)
    found = noise_of_pair(gain * photons + offset, recorded)
    assert found.gain == pytest.approx(gain, rel=0.05)
    assert found.constant == pytest.approx(read**2 - gain * offset, abs=0.05 * gain * offset)
    assert noise_of_image(recorded).gain > 1.05 * gain
    assert not found.warnings


def test_gain_and_offset_of_the_scale_go_through() -> None:
    image = record(scene(200), 1.0, 2.0, 100.0, 4)
    plain, scaled = noise_of_image(image), noise_of_image(3 * image + 50)
    assert scaled.gain == pytest.approx(3 * plain.gain, rel=1e-6)
    assert scaled.variance_at(3 * 150 + 50) == pytest.approx(9 * plain.variance_at(150), rel=1e-6)


def test_filtered_noise_is_recognised() -> None:
    image = record(scene(200), 1.0, 2.0, 100.0, 5)
    assert not noise_of_image(image).warnings
    assert "correlated" in " ".join(noise_of_image(gaussian_filter(image, 0.7)).warnings)


def test_read_noise_and_offset_of_a_dark_frame() -> None:
    frame = 100 + 2.5 * np.random.default_rng(6).normal(size=(256, 256))
    frame.flat[::5000] = 4000  # hot pixels
    offset, read = noise_of_dark(frame)
    assert offset == pytest.approx(100, abs=0.1)
    assert read == pytest.approx(2.5, rel=0.02)


def test_dark_level_of_an_image_with_empty_areas() -> None:
    assert dark_level(record(scene(200), 1.0, 2.0, 100.0, 7)) == pytest.approx(100, abs=2)


def test_the_line_is_never_negative() -> None:
    empty = np.zeros(0)
    model = NoiseModel(1.0, -100.0, empty, empty, (0.0, 0.0))
    assert model.variance_at(50) == 0
    assert model.read_noise(104) == 2
    assert model.offset(2) == 104


@pytest.mark.parametrize("image", [np.zeros((8, 64)), np.ones((64, 64)), np.full((64, 64), np.nan)])
def test_what_has_no_noise_is_refused(image: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match=r"too small|constant"):
        noise_of_image(image)


def test_repeats_must_be_of_one_field() -> None:
    with pytest.raises(InputError, match="one field"):
        noise_of_repeats(np.zeros((32, 32)), np.zeros((32, 33)))
