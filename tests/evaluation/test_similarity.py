"""SSIM, MS-SSIM and MicroSSIM against other implementations, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.metrics import structural_similarity

from superres.errors import InputError
from superres.evaluation.similarity import (
    FACTOR_REACH,
    FACTORS,
    MS_SSIM_SIDE,
    SCALE_WEIGHTS,
    at_factor,
    best_factor,
    black_level,
    mean_curve,
    micro_curve,
    micro_ssim,
    ms_ssim,
    ssim,
    window_moments,
)

Plane = NDArray[np.float64]


@pytest.fixture(scope="module")
def truth() -> Plane:
    return data.camera()[150:351, 180:372].astype(np.float64)  # odd and even side


@pytest.fixture(scope="module")
def noisy(truth: Plane) -> Plane:
    return gaussian_filter(truth, 1.0) + np.random.default_rng(0).normal(0, 12, truth.shape)


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-12), (5000.0, 1e-10)])
def test_ssim_equals_scikit_image(truth: Plane, noisy: Plane, offset: float, tolerance: float) -> None:
    a, b = truth + offset, noisy + offset
    expected = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255.0
    )
    assert ssim(a, b, data_range=255) == pytest.approx(float(expected), abs=tolerance)


def by_torch(x: Plane, y: Plane, data_range: float) -> float:
    """Wang et al. 2003 with convolutions of whole windows and average pooling."""
    taps = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=torch.float64) / 1.5) ** 2)
    kernel = (torch.outer(taps, taps) / taps.sum() ** 2)[None, None]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    a, b = (torch.from_numpy(image)[None, None] for image in (x, y))
    found = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        ma, mb, aa, bb, ab = (torch.nn.functional.conv2d(v, kernel) for v in (a, b, a * a, b * b, a * b))
        terms = (2 * (ab - ma * mb) + c2) / (aa - ma**2 + bb - mb**2 + c2)
        if scale == 4:
            terms = terms * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        found *= float(terms.mean().clamp(min=0)) ** weight
        a, b = (torch.nn.functional.avg_pool2d(v, 2) for v in (a, b))
    return found


def test_ms_ssim_equals_an_implementation_in_torch(truth: Plane, noisy: Plane) -> None:
    for prediction in (noisy, truth[::-1].copy(), 0.5 * truth + 20):
        assert ms_ssim(truth, prediction, data_range=255) == pytest.approx(by_torch(truth, prediction, 255), abs=1e-10)


def test_perfect_is_one(truth: Plane) -> None:
    assert ms_ssim(truth, truth, data_range=255) == pytest.approx(1, abs=1e-12)
    assert micro_ssim([truth], [truth], data_range=255)[0] == pytest.approx([1], abs=1e-6)


def test_opposite_contrast_counts_as_nothing(truth: Plane) -> None:
    assert ms_ssim(truth, 255 - truth, data_range=255) == 0


def test_planes_that_are_too_small_are_named() -> None:
    small = np.arange(10.0 * 40).reshape(10, 40)
    with pytest.raises(InputError, match=r"10 x 40 voxels found, at least 11"):
        ssim(small, small, data_range=1)
    side = MS_SSIM_SIDE - 1
    medium = np.random.default_rng(0).normal(size=(side, 200))
    with pytest.raises(InputError, match=r"175 x 200 voxels found, at least 176"):
        ms_ssim(medium, medium, data_range=1)
    large = np.random.default_rng(0).normal(size=(side + 1, 200))
    assert ms_ssim(large, large, data_range=1) == pytest.approx(1)


def test_missing_values_and_ranges_that_are_none_are_refused(truth: Plane) -> None:
    holed = truth.copy()
    holed[3, 4] = np.nan
    with pytest.raises(InputError, match="prediction holds 1 NaN"):
        ssim(truth, holed, data_range=255)
    for data_range in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="data range"):
            ssim(truth, truth, data_range=data_range)


def test_constant_planes_have_the_value_of_the_formula() -> None:
    flat = np.full((32, 32), 5.0)
    c1 = (0.01 * 10) ** 2
    assert ssim(flat, flat + 2, data_range=10) == pytest.approx((2 * 5 * 7 + c1) / (25 + 49 + c1))
    assert ssim(flat, flat, data_range=10) == pytest.approx(1)


@pytest.mark.parametrize(("gain", "offset"), [(0.1, 0.0), (10.0, 500.0), (0.05, -3.0), (20.0, 0.0)])
def test_micro_ssim_does_not_see_gain_and_offset(truth: Plane, noisy: Plane, gain: float, offset: float) -> None:
    (expected,), factor = micro_ssim([truth], [noisy], data_range=255)
    (found,), scaled = micro_ssim([truth], [gain * noisy + offset], data_range=255)
    assert found == pytest.approx(expected, abs=2e-5)
    assert scaled == pytest.approx(factor / gain, rel=1e-3)


def test_micro_ssim_equals_a_search_with_scikit_image(truth: Plane, noisy: Plane) -> None:
    """As the paper writes it: black subtracted, divided by truth's maximum, every factor tried."""
    pairs = [(truth, 0.4 * noisy + 30), (truth[::-1] / 2 + 10, 0.15 * noisy[::-1] + 40)]
    blacks = [np.percentile(np.concatenate([pair[i].ravel() for pair in pairs]), 3) for i in (0, 1)]
    top = max(float(g.max()) for g, _ in pairs) - blacks[0]
    normed = [((g - blacks[0]) / top, (x - blacks[1]) / top) for g, x in pairs]

    def values(factor: float) -> list[float]:
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255 / top}
        return [float(structural_similarity(g, factor * x, **settings)) for g, x in normed]

    tried = {factor: values(factor) for factor in np.geomspace(1, 6, 60)}
    best = max(tried, key=lambda factor: sum(tried[factor]))
    found, factor = micro_ssim([g for g, _ in pairs], [x for _, x in pairs], data_range=255)
    assert factor == pytest.approx(best, rel=0.03)
    assert found == pytest.approx(values(factor), abs=2e-5)
    assert sum(found) >= max(map(sum, tried.values())) - 4e-5


def test_one_factor_shows_that_gains_differ_within_a_set(truth: Plane, noisy: Plane) -> None:
    same = micro_ssim([truth, truth], [noisy, noisy], data_range=255)[0]
    other = micro_ssim([truth, truth], [noisy, 0.3 * noisy], data_range=255)[0]
    assert np.mean(other) < np.mean(same) - 0.05


def test_factor_is_bounded_by_equal_power() -> None:
    """Lines on an empty background, predicted in the wrong place: to predict nothing would score best."""
    random = np.random.default_rng(0)
    lines = [np.zeros((96, 96)) for _ in range(2)]
    for image in lines:
        image[random.integers(5, 90, 4)] = 100
    curve = micro_curve(window_moments(*lines), black=(0, 0), data_range=100)
    assert FACTORS[int(np.argmax(curve.values))] < 0.1
    assert best_factor([curve]) == pytest.approx(curve.scale / FACTOR_REACH, rel=1e-3)


def test_curves_are_averaged_and_those_with_nan_do_not_choose(truth: Plane, noisy: Plane) -> None:
    black = black_level([truth]), black_level([noisy])
    curve = micro_curve(window_moments(truth, noisy), black=black, data_range=255)
    nothing = micro_curve(window_moments(truth, noisy), black=(0.0, np.nan), data_range=255)
    assert best_factor([curve, nothing]) == best_factor([curve])
    assert np.isnan(best_factor([nothing])) and np.isnan(at_factor(nothing, 1.0)) and np.isnan(at_factor(curve, np.nan))
    np.testing.assert_allclose(mean_curve([curve, curve]).values, curve.values)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for factor in (0.3, 0.9, 1.7):
        expected = structural_similarity(truth - black[0], factor * (noisy - black[1]), **settings)
        assert at_factor(curve, factor) == pytest.approx(float(expected), abs=2e-5)
