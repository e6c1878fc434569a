"""The shift-tolerant score finds planted shifts and never punishes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter
from skimage import data

from superres.evaluation.alignment import best_shift, tolerant_psnr
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.resolution import windowed_spectrum

Plane = NDArray[np.float64]


@pytest.fixture(scope="module")
def truth() -> Plane:
    return gaussian_filter(data.camera()[150:351, 180:372].astype(np.float64), 1.0)


def moved(image: Plane, shift: tuple[float, float]) -> Plane:
    return np.fft.ifft2(fourier_shift(np.fft.fft2(image), shift)).real


@pytest.mark.parametrize("shift", [(0.25, 0.0), (-0.5, 0.37), (1.0, -1.0), (0.03, 0.0), (0.0, -0.8)])
def test_planted_shift_is_found_and_undone(truth: Plane, shift: tuple[float, float]) -> None:
    prediction = moved(truth, shift)
    plain = psnr(inner(truth, (16, 16)), inner(prediction, (16, 16)), data_range=255)
    tolerant, found = tolerant_psnr(truth, prediction, data_range=255, crop=(16, 16))
    assert found == pytest.approx((-shift[0], -shift[1]), abs=0.02)
    assert tolerant > plain + 6 and tolerant > 48


def test_more_than_a_voxel_is_not_made_good(truth: Plane) -> None:
    tolerant, found = tolerant_psnr(truth, moved(truth, (2.0, 0.0)), data_range=255, crop=(16, 16))
    assert found[0] == -1.0
    plain = psnr(inner(truth, (16, 16)), inner(moved(truth, (1.0, 0.0)), (16, 16)), data_range=255)
    assert tolerant == pytest.approx(plain, abs=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_never_below_the_plain_score(truth: Plane, seed: int) -> None:
    prediction = truth + np.random.default_rng(seed).normal(0, 60, truth.shape)
    plain = psnr(inner(truth, (4, 8)), inner(prediction, (4, 8)), data_range=255)
    assert tolerant_psnr(truth, prediction, data_range=255, crop=(4, 8))[0] >= plain


def test_identical_and_constant_predictions_stay_where_they_are(truth: Plane) -> None:
    assert tolerant_psnr(truth, truth, data_range=255) == (math.inf, (0.0, 0.0))
    value, shift = tolerant_psnr(truth, np.full_like(truth, 7.0), data_range=255)
    assert shift == (0.0, 0.0)
    assert value == psnr(truth, np.full_like(truth, 7.0), data_range=255)


@pytest.mark.parametrize("shape", [(64, 64), (63, 50), (48, 65)])
def test_the_correlation_searched_is_that_of_moved_images(shape: tuple[int, int]) -> None:
    """At whole voxels, sums over rolled planes tell the same best shift."""
    random = np.random.default_rng(0)
    g = gaussian_filter(random.normal(size=shape), 2, mode="wrap")
    x = np.roll(g, (-1, 1), (0, 1))
    sums = {(dy, dx): float(np.sum(g * np.roll(x, (dy, dx), (0, 1)))) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    best = max(sums, key=lambda shift: sums[shift])
    assert best == (1, -1)
    assert best_shift(windowed_spectrum(g), windowed_spectrum(x), shape) == pytest.approx(best, abs=0.1)
