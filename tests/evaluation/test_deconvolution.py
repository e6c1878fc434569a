"""Laws of Wiener and Richardson-Lucy, and the ladder of the reference scene."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data

from superres.evaluation.deconvolution import richardson_lucy, wiener
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.psf import gaussian_psf
from superres.evaluation.upsampling import upsample

FACTOR = (1, 2, 2)
ONE = (1, 1, 1)
TRUTH = data.brick()[:128, :128].astype(np.float64)[None]
Image = NDArray[Any]


def recorded(*, sigma: float, noise: float, black: float = 0.0) -> Image:
    sharp = gaussian_filter(TRUTH + black, (0, sigma, sigma))
    low = sharp.reshape(1, 64, 2, 64, 2).mean(axis=(2, 4))
    return low + np.random.default_rng(0).normal(0, noise, low.shape)


def decibel(prediction: Image, black: float = 0.0) -> float:
    return psnr(inner(TRUTH + black, (16, 16)), inner(prediction, (16, 16)), data_range=255)


def dots(shape: tuple[int, int, int], seed: int = 0) -> Image:
    """Draw bright points away from the borders, on a background that is not dark."""
    random = np.random.default_rng(seed)
    image = np.full(shape, 5.0)
    middle = tuple(slice(n // 3, max(n // 3 + 1, n - n // 3)) for n in shape)
    image[middle] += random.uniform(0, 50, image[middle].shape)
    return image


@given(st.sampled_from([1, 8]), st.floats(0.4, 1.5), st.integers(0, 9), st.sampled_from([1, 12]))
@settings(max_examples=4)
def test_richardson_lucy_keeps_total_intensity(iterations: int, sigma: float, seed: int, depth: int) -> None:
    low = dots((depth, 36, 40), seed)
    sharp = richardson_lucy(low, ONE, sigmas=(0.8 * (depth > 1), sigma, sigma), iterations=iterations, black=0.0)
    assert sharp.sum() == pytest.approx(low.sum(), rel=5e-3)
    assert sharp.min() >= 0


@pytest.mark.parametrize("black", [0.0, 100.0, 300.0])
@pytest.mark.parametrize("iterations", [1, 40])
def test_without_blur_richardson_lucy_is_bicubic(black: float, iterations: int) -> None:
    low = recorded(sigma=0, noise=9)
    found = richardson_lucy(low, FACTOR, sigmas=(0, 0, 0), iterations=iterations, black=black)
    np.testing.assert_array_equal(found, upsample(low, FACTOR, how="bicubic"))


def test_iterations_lead_to_the_object_where_there_is_no_noise() -> None:
    object_ = dots((1, 48, 48))
    low = gaussian_filter(object_, (0, 1.2, 1.2), mode="reflect", truncate=4)
    errors = [
        float(np.abs(richardson_lucy(low, ONE, sigmas=(0, 1.2, 1.2), iterations=n, black=0.0) - object_).mean())
        for n in (1, 10, 100)
    ]
    assert errors[0] > errors[1] > errors[2]
    flat = np.full((1, 20, 20), 3.0)
    np.testing.assert_allclose(richardson_lucy(flat, ONE, sigmas=(0, 1, 1), iterations=9, black=0.0), flat, rtol=1e-5)


def by_formula(image: Image, sigmas: tuple[float, float, float], iterations: int) -> Image:
    """Richardson-Lucy by separable filters in float64: an implementation of its own."""
    estimate = np.full_like(image, image.max() / 2)
    for _ in range(iterations):
        ratio = image / gaussian_filter(estimate, sigmas, mode="reflect", truncate=6)
        estimate = estimate * gaussian_filter(ratio, sigmas, mode="reflect", truncate=6)
    return estimate


@pytest.mark.parametrize("sigmas", [(0.0, 1.3, 0.8), (1.1, 1.3, 0.8)])
def test_another_implementation_agrees(sigmas: tuple[float, float, float]) -> None:
    image = dots((14, 40, 36)) + np.random.default_rng(1).uniform(0, 3, (14, 40, 36))
    found = richardson_lucy(image, ONE, sigmas=sigmas, iterations=8, black=0.0)
    expected = by_formula(image, sigmas, 8)
    assert np.abs(found - expected).max() < 2e-3 * expected.max()


@pytest.mark.parametrize("axial", [0.0, 1.5])
def test_three_dimensions_on_one_plane_are_two(axial: float) -> None:
    """A single plane is continued along Z, where blur changes nothing; stacks of equal planes say the same."""
    low = recorded(sigma=1, noise=2)
    flat = richardson_lucy(low, FACTOR, sigmas=(0, 1, 1), iterations=5, black=0.0)
    deep = richardson_lucy(low, FACTOR, sigmas=(axial, 1, 1), iterations=5, black=0.0)
    np.testing.assert_array_equal(deep, flat)
    stack = np.repeat(low, 3, axis=0)
    np.testing.assert_allclose(
        richardson_lucy(stack, FACTOR, sigmas=(axial, 1, 1), iterations=5, black=0.0)[1], flat[0], rtol=2e-3
    )
    np.testing.assert_allclose(
        wiener(stack, FACTOR, sigmas=(axial, 1, 1), balance=0.0 if axial == 0 else 1e-3)[1],
        wiener(low, FACTOR, sigmas=(0, 1, 1), balance=0.0 if axial == 0 else 1e-3)[0],
        atol=1e-6 if axial else 2.0,
    )


def test_planes_are_independent_unless_the_blur_crosses_them() -> None:
    low = np.random.default_rng(0).uniform(10, 200, (3, 24, 24))
    changed = low.copy()
    changed[2] += 50
    for axial, same in ((0.0, True), (1.0, False)):
        for restore in (
            lambda image, axial=axial: richardson_lucy(image, FACTOR, sigmas=(axial, 1, 1), iterations=2, black=0.0),
            lambda image, axial=axial: wiener(image, FACTOR, sigmas=(axial, 1, 1), balance=0.1),
        ):
            assert np.allclose(restore(low)[1], restore(changed)[1], atol=1e-3) == same


def test_a_stack_is_sharpened_along_z() -> None:
    object_ = np.zeros((24, 32, 32))
    object_[8, 10, 10] = object_[15, 20, 12] = object_[12, 14, 22] = 1000
    low = gaussian_filter(object_ + 1, (2.0, 1.0, 1.0))
    flat, deep = (richardson_lucy(low, ONE, sigmas=(axial, 1, 1), iterations=20, black=0.0) for axial in (0.0, 2.0))
    assert deep.max() > 1.5 * flat.max() > 1.5 * low.max()
    assert psnr(object_, deep, data_range=1000) > psnr(object_, flat, data_range=1000)


@pytest.mark.parametrize("black", [0.0, 100.0, -50.0])
def test_deconvolution_follows_the_black_level(black: float) -> None:
    low = recorded(sigma=1.5, noise=0.0)
    plain = richardson_lucy(low, FACTOR, sigmas=(0, 1.4, 1.4), iterations=4, black=0.0)
    raised = richardson_lucy(low + black, FACTOR, sigmas=(0, 1.4, 1.4), iterations=4, black=black)
    np.testing.assert_allclose(raised - black, plain, atol=0.01)


def test_deconvolution_survives_darkness() -> None:
    low = np.full((1, 32, 32), 7.0)
    np.testing.assert_array_equal(richardson_lucy(low, FACTOR, sigmas=(0, 1, 1), iterations=4, black=7.0), 7.0)
    low[0, 16, 16] = 500.0
    assert np.isfinite(richardson_lucy(low, FACTOR, sigmas=(0, 1, 1), iterations=32, black=7.0)).all()


@pytest.mark.parametrize("depth", [1, 3])
def test_wiener_without_blur_and_noise_is_bicubic(depth: int) -> None:
    low = np.repeat(recorded(sigma=0, noise=5), depth, axis=0)
    bicubic = upsample(low, FACTOR, how="bicubic")
    np.testing.assert_array_equal(wiener(low, FACTOR, sigmas=(0, 0, 0), balance=0), bicubic)
    np.testing.assert_allclose(wiener(low, FACTOR, sigmas=(0, 0, 0), balance=1e-12), bicubic, atol=1e-6)


def test_wiener_is_linear_and_keeps_the_mean() -> None:
    low = recorded(sigma=1, noise=5)
    found = wiener(low, FACTOR, sigmas=(0, 1, 1), balance=0.05)
    np.testing.assert_allclose(wiener(40 * low - 900, FACTOR, sigmas=(0, 1, 1), balance=0.05), 40 * found - 900)
    assert found.mean() == pytest.approx(low.mean(), rel=1e-3)


def test_wiener_filter_is_the_formula() -> None:
    """A sine comes out scaled by H / (H^2 + balance L^2)."""
    x = np.arange(512)
    frequency, balance, sigma = 1 / 16, 0.2, 1.5
    low = np.broadcast_to(100 + 10 * np.sin(2 * math.pi * frequency * (x + 0.5)), (1, 128, 512)).copy()
    taps = gaussian_psf((0, sigma, sigma))[0].sum(axis=0)
    blur = float((taps * np.cos(2 * math.pi * frequency * (np.arange(taps.size) - taps.size // 2))).sum())
    # skimage's Laplacian in two dimensions is 4 minus the four neighbours
    laplacian = 4 - 2 - 2 * math.cos(2 * math.pi * frequency)
    expected = 10 * blur / (blur**2 + balance * laplacian**2)
    found = wiener(low, ONE, sigmas=(0, sigma, sigma), balance=balance)[0, 64, 128:384]
    assert np.ptp(found) / 2 == pytest.approx(expected * math.cos(math.pi / 16), rel=0.01)


def test_the_ladder_of_a_blurred_noisy_scene() -> None:
    """Nearest < bicubic < Wiener < Richardson-Lucy, as on the reference scene."""
    random = np.random.default_rng(3)
    high = np.zeros((1, 192, 192))
    for _ in range(8):  # as dense as there
        angle = random.uniform(0, 2 * math.pi) + np.cumsum(random.normal(0, 0.08, 200))
        path = random.uniform(0, 192, 2)[:, None] + np.cumsum([np.sin(angle), np.cos(angle)], axis=1)
        y, x = np.rint(path).astype(int) % 192
        np.add.at(high[0], (y, x), 1)
    high = gaussian_filter(high, (0, 1, 1))
    high = 100 + 2000 * high / np.percentile(high, 99.9)
    seen = gaussian_filter(high, (0, 3, 3)).reshape(1, 48, 4, 48, 4).mean(axis=(2, 4))
    low = random.poisson(seen - 100) + random.normal(0, 2, seen.shape) + 100

    def score(found: Image) -> float:
        return psnr(inner(high, (32, 32)), inner(found, (32, 32)), data_range=float(np.ptp(high)))

    factor, sigmas = (1, 4, 4), (0, 3.2, 3.2)
    nearest, bicubic = (score(upsample(low, factor, how=how)) for how in ("nearest", "bicubic"))
    linear = max(score(wiener(low, factor, sigmas=sigmas, balance=balance)) for balance in (0.01, 0.1, 1))
    few, many = (score(richardson_lucy(low, factor, sigmas=sigmas, iterations=n, black=100)) for n in (10, 30))
    assert nearest < bicubic < linear < few < many
    assert many > bicubic + 2
