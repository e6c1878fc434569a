"""A known microscope is found again from what it recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.degrade.chain import degrade
from superres.degrade.fields import Fields
from superres.degrade.fit import Fit, fit_microscope
from superres.degrade.microscope import Microscope, default_steps, record, with_noise, without_noise
from superres.degrade.noise import noise_of_image
from superres.degrade.smoothing import noise_passed, smoothing_of


def blobs(seed: int, side: int, count: int = 2) -> NDArray[np.float32]:
    """A smooth scene, Gaussian 4 voxels, with empty places; shares of its range."""
    random = np.random.default_rng([seed, 1])
    field = gaussian_filter(random.normal(size=(count, side, side)), (0, 4, 4))
    field = np.clip(field / field.std() + 0.5, 0, None)
    shares: NDArray[np.float32] = (field / field.max()).astype(np.float32)
    return shares


def cells(seed: int, side: int, count: int = 2) -> NDArray[np.float32]:
    """Discs with texture on an empty ground."""
    random = np.random.default_rng([seed, 2])
    y, x = np.mgrid[:side, :side]
    images = np.zeros((count, side, side))
    for image in images:
        for _ in range(12):
            cy, cx, radius = random.random() * side, random.random() * side, side * (0.06 + 0.08 * random.random())
            image[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 0.3 + 0.7 * random.random()
    images *= 1 + 0.5 * gaussian_filter(random.normal(size=images.shape), (0, 1.5, 1.5)) * 3
    shares: NDArray[np.float32] = np.clip(gaussian_filter(images, (0, 0.7, 0.7)), 0, None).astype(np.float32)
    return shares


def texture(seed: int, side: int, count: int = 2) -> NDArray[np.float32]:
    """Grains of one voxel over a smooth scene: even behind a blur they look like noise."""
    grains = np.random.default_rng([seed, 3]).random((count, side, side))
    shares: NDArray[np.float32] = (blobs(seed, side, count) * (0.4 + 0.6 * grains)).astype(np.float32)
    return shares


def recorded(
    sharp: NDArray[np.float32],
    microscope: Microscope,
    factor: tuple[int, int, int],
    *,
    gain: float = 1.0,
    read: float = 2.0,
    offset: float = 100.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Grey levels of a detector, independent of the chain's own: photons counted by NumPy."""
    light = without_noise(torch.from_numpy(sharp[:, None]), microscope, factor, 7)[:, 0].double().numpy()
    random = np.random.default_rng(seed)
    counts = random.poisson(np.clip(light, 0, None) * microscope.photons)
    return gain * counts + offset + read * random.normal(size=counts.shape)


def fitted(
    sharp: NDArray[np.float32],
    low: NDArray[np.float64],
    factor: tuple[int, int, int],
    *,
    paired: bool = True,
    again: NDArray[np.float64] | None = None,
) -> Fit:
    return fit_microscope(Fields(sharp, low, again, np.zeros(len(low), np.intp), paired, factor))


CASES = [
    pytest.param(blobs, (1, 1, 1), 1.5, (200, 1.0, 2.0, 100.0), True, 1, id="smooth"),
    pytest.param(blobs, (1, 2, 2), 2.5, (50, 1.0, 2.0, 100.0), True, 2, id="smooth, few photons"),
    pytest.param(cells, (1, 1, 1), 1.5, (200, 4.0, 8.0, 500.0), True, 3, id="cells, high gain"),
    pytest.param(blobs, (1, 4, 4), 4.0, (1000, 0.46, 1.6, 100.0), True, 4, id="smooth, many photons"),
    pytest.param(blobs, (1, 1, 1), 1.5, (200, 1.0, 2.0, 100.0), False, 5, id="other fields"),
]


# Low voxels of a window, by factor; fields that are not pairs need larger ones to be alike.
SIDES = {1: 160, 2: 128, 4: 112}


@pytest.mark.parametrize(("scene", "factor", "blur", "detector", "paired", "seed"), CASES)
def test_a_known_microscope_is_found_again(
    scene: object, factor: tuple[int, int, int], blur: float, detector: tuple[float, ...], paired: bool, seed: int
) -> None:
    photons, gain, read, offset = detector
    side, count = (SIDES[factor[1]] if paired else 192) * factor[1], 2 if paired else 3
    sharp = scene(seed, side, count)  # type: ignore[operator]
    other = sharp if paired else scene(seed + 50, side, count)  # type: ignore[operator]
    microscope = Microscope(blur, "binning" if factor[1] > 1 else None, photons, 0.0)
    low = recorded(other, microscope, factor, gain=gain, read=read, offset=offset, seed=seed)
    found = fitted(sharp, low, factor, paired=paired)
    assert found.grey_levels_per_photon.mean() == pytest.approx(gain, rel=0.05)
    assert found.offset.mean() == pytest.approx(offset, abs=2 * max(1.0, gain))
    assert found.microscope.blur == pytest.approx(blur, rel=0.05)
    assert found.microscope.sampling == microscope.sampling
    assert found.microscope.jitter == found.microscope.smoothing == found.microscope.haze == 0


def test_texture_of_pairs_is_not_taken_for_noise() -> None:
    sharp = texture(6, 160)
    low = recorded(sharp, Microscope(1.2, None, 200, 0.0), (1, 1, 1), seed=6)
    found = fitted(sharp, low, (1, 1, 1))
    assert found.grey_levels_per_photon.mean() == pytest.approx(1, rel=0.05)
    assert found.offset.mean() == pytest.approx(100, abs=2)
    assert found.microscope.blur == pytest.approx(1.2, rel=0.1)


def test_repeats_are_used_and_the_same_fit_comes_out_twice() -> None:
    sharp = blobs(1, 96)
    microscope = Microscope(1.2, None, 100, 0.0)
    first, second = (recorded(sharp, microscope, (1, 1, 1), gain=2, seed=seed) for seed in (1, 2))
    found = fitted(sharp, first, (1, 1, 1), again=second)
    assert found.from_repeats
    assert found.grey_levels_per_photon.mean() == pytest.approx(2, rel=0.05)
    assert fitted(sharp, first, (1, 1, 1), again=second).microscope == found.microscope


def test_line_jitter_is_found() -> None:
    sharp = cells(2, 160)
    low = recorded(sharp, Microscope(0.8, None, 500, 0.0, jitter=0.8), (1, 1, 1))
    found = fitted(sharp, low, (1, 1, 1)).microscope
    assert found.jitter == pytest.approx(0.8, rel=0.25)


def test_haze_is_found() -> None:
    sharp = cells(3, 128)
    low = recorded(sharp, Microscope(1.0, None, 2000, 0.0, haze=0.6, haze_sigma=6.0), (1, 1, 1))
    found = fitted(sharp, low, (1, 1, 1)).microscope
    assert found.haze == pytest.approx(0.6, abs=0.1)
    assert found.haze_sigma == pytest.approx(6.0, rel=0.2)


def test_smoothing_after_the_noise_is_found() -> None:
    sharp = blobs(4, 128)
    low = recorded(sharp, Microscope(1.5, None, 200, 0.0), (1, 1, 1))
    found = fitted(sharp, gaussian_filter(low, (0, 0.6, 0.6)), (1, 1, 1))
    assert found.microscope.smoothing == pytest.approx(0.6, abs=0.12)
    assert found.grey_levels_per_photon.mean() == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("sigma", [0.4, 0.7, 1.2])
def test_what_smoothing_does_to_noise(sigma: float) -> None:
    noise = gaussian_filter(np.random.default_rng(5).normal(size=(512, 512)), sigma, truncate=8)
    seen = noise_of_image(noise + np.linspace(0, 20, 512))
    assert np.mean(seen.variance) == pytest.approx(noise_passed(sigma), rel=0.05)
    assert smoothing_of(float(np.mean(seen.correlation))) == pytest.approx(sigma, rel=0.1)


def test_the_scale_of_the_recording_goes_through() -> None:
    sharp = blobs(6, 80)
    low = recorded(sharp, Microscope(1.5, None, 200, 0.0), (1, 1, 1))
    plain, scaled = fitted(sharp, low, (1, 1, 1)), fitted(sharp, 3 * low + 50, (1, 1, 1))
    assert scaled.microscope.photons == pytest.approx(plain.microscope.photons, rel=1e-3)
    assert scaled.microscope.blur == pytest.approx(plain.microscope.blur, rel=1e-3)
    assert scaled.offset[0] == pytest.approx(3 * plain.offset[0] + 50, abs=0.1)
    np.testing.assert_allclose(scaled.shares(3 * low + 50), plain.shares(low), atol=1e-4)


def test_noise_for_the_search_has_the_moments_of_the_chain() -> None:
    microscope = Microscope(1.0, "binning", 80, 0.03, gain=1.2, offset=0.1)
    high = torch.from_numpy(blobs(7, 128)[:, None])
    light = without_noise(high, microscope, (1, 2, 2), 0)
    normal = torch.randn(light.shape, generator=torch.Generator().manual_seed(1))
    smooth, chain = with_noise(light, microscope, normal), record(high, microscope.steps(), (1, 2, 2), 2)
    assert smooth.mean() == pytest.approx(chain.mean(), rel=0.01)
    assert smooth.var() == pytest.approx(chain.var(), rel=0.03)
    assert replace(microscope).on_own_scale().read == pytest.approx(0.025)


@pytest.mark.parametrize("factor", [(1, 1, 1), (1, 2, 2), (1, 4, 4)])
def test_there_is_a_default_for_every_factor(factor: tuple[int, int, int]) -> None:
    high = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    low = degrade(high, default_steps(factor), factor=factor, generator=torch.Generator().manual_seed(0))
    assert low.shape[-1] == 32 // factor[2]
