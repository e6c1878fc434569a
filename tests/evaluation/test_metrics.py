"""Laws of the metrics, and an independent SSIM."""

from __future__ import annotations

import itertools
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from superres.errors import InputError
from superres.evaluation.alignment import tolerant_psnr
from superres.evaluation.metrics import Scores, inner, line_fit, mean_scores, nrmse, psnr, si_psnr
from superres.evaluation.plane_scores import Frame, score_plane
from superres.evaluation.resolution import fourier_correlation
from superres.evaluation.similarity import ms_ssim, ssim
from superres.evaluation.spectral import band_errors

Plane = NDArray[np.float64]
planes = hnp.arrays(np.float64, (16, 16), elements=st.floats(0, 1000, width=32))


def score(truth: Plane, prediction: Plane, *, data_range: float, crop: tuple[int, int]) -> Scores:
    return score_plane(truth, prediction, Frame(data_range, crop, (1, 1))).scores


@pytest.fixture(scope="module")
def truth() -> Plane:
    return data.camera()[200:296, 200:296].astype(np.float64)


@pytest.fixture(scope="module")
def noisy(truth: Plane) -> Plane:
    return truth + np.random.default_rng(0).normal(0, 12, truth.shape)


@given(planes, st.floats(0.5, 50), st.floats(1, 1000))
def test_constant_error_has_closed_form_psnr(truth: Plane, error: float, data_range: float) -> None:
    assert psnr(truth, truth + error, data_range=data_range) == pytest.approx(20 * math.log10(data_range / error))


@given(planes, planes)
def test_psnr_is_symmetric_and_integers_are_not_wrapped(a: Plane, b: Plane) -> None:
    a, b = np.round(a), np.round(b)
    expected = psnr(a, b, data_range=1000)
    assert psnr(b, a, data_range=1000) == expected
    assert psnr(a.astype(np.uint16), b.astype(np.uint16), data_range=1000) == expected


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.1, 0.0), (10.0, 500.0), (0.05, -3.0), (-2.0, 7.0)])
def test_si_psnr_does_not_see_gain_and_offset(truth: Plane, noisy: Plane, gain: float, offset: float) -> None:
    expected = si_psnr(truth, noisy, data_range=255)
    assert si_psnr(truth, gain * noisy + offset, data_range=255) == pytest.approx(expected, abs=1e-9)


def test_si_psnr_is_never_below_psnr(truth: Plane, noisy: Plane) -> None:
    for prediction in (noisy, 0.9 * noisy + 30, noisy[::-1], np.zeros_like(truth)):
        assert si_psnr(truth, prediction, data_range=255) >= psnr(truth, prediction, data_range=255) - 1e-9


def test_si_psnr_of_a_constant_prediction_is_that_of_the_mean(truth: Plane) -> None:
    expected = 20 * math.log10(255 / truth.std())
    assert si_psnr(truth, np.full_like(truth, 3.0), data_range=255) == pytest.approx(expected)


def test_identical_planes_are_perfect(truth: Plane) -> None:
    scores = score(truth, truth, data_range=255, crop=(4, 4))
    assert scores.psnr == scores.si_psnr == math.inf
    assert scores.ssim == pytest.approx(1, abs=1e-12)
    assert scores.nrmse == 0
    assert (scores.slope, scores.r2, scores.intensity_ratio) == pytest.approx((1, 1, 1))
    assert (scores.resolution, scores.error_below) == (2, 0)
    assert (scores.psnr_shifted, scores.shift_y, scores.shift_x) == (math.inf, 0, 0)
    assert scores.intercept == pytest.approx(0, abs=1e-9)


def direct_ssim(x: Plane, y: Plane, data_range: float) -> float:
    """Wang et al. 2004, written down window by window."""
    distance = np.arange(-5, 6)
    taps = np.exp(-0.5 * (distance / 1.5) ** 2)
    weights = np.outer(taps, taps) / taps.sum() ** 2
    wx, wy = (np.lib.stride_tricks.sliding_window_view(image, (11, 11)) for image in (x, y))
    mx, my = ((window * weights).sum(axis=(-2, -1)) for window in (wx, wy))
    vx = (weights * (wx - mx[..., None, None]) ** 2).sum(axis=(-2, -1))
    vy = (weights * (wy - my[..., None, None]) ** 2).sum(axis=(-2, -1))
    cov = (weights * (wx - mx[..., None, None]) * (wy - my[..., None, None])).sum(axis=(-2, -1))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(values.mean())


@pytest.mark.parametrize("offset", [0.0, 5000.0])
@pytest.mark.parametrize("data_range", [255.0, 65535.0])
def test_ssim_equals_a_direct_implementation(truth: Plane, noisy: Plane, offset: float, data_range: float) -> None:
    a, b = truth + offset, noisy + offset
    assert ssim(a, b, data_range=data_range) == pytest.approx(direct_ssim(a, b, data_range), abs=1e-6)


def test_more_noise_is_worse_in_every_figure(truth: Plane) -> None:
    noise = np.random.default_rng(1).normal(0, 1, truth.shape)
    found = [score(truth, truth + sd * noise, data_range=255, crop=(0, 0)) for sd in (2, 5, 15, 40)]
    for better, worse in itertools.pairwise(found):
        assert better.psnr > worse.psnr
        assert better.si_psnr > worse.si_psnr
        assert better.ssim > worse.ssim
        assert better.nrmse < worse.nrmse
        assert better.r2 > worse.r2


def test_nrmse_variants_are_what_they_are_called(truth: Plane) -> None:
    prediction = truth + 5
    assert nrmse(truth, prediction, variant="euclidean") == pytest.approx(5 / np.sqrt(np.mean(truth**2)))
    assert nrmse(truth, prediction, variant="mean") == pytest.approx(5 / truth.mean())
    assert nrmse(truth, prediction, variant="range", data_range=200) == pytest.approx(5 / 200)
    with pytest.raises(ValueError, match="data_range"):
        nrmse(truth, prediction, variant="range")


def test_line_fit_finds_gain_and_offset(truth: Plane) -> None:
    assert line_fit(truth, 0.9 * truth + 30) == pytest.approx((0.9, 30, 1))


def test_only_the_inner_part_counts(truth: Plane) -> None:
    spoilt = truth.copy()
    spoilt[:8] = spoilt[:, -4:] = 0
    assert score(truth, spoilt, data_range=255, crop=(8, 4)).psnr == math.inf
    assert inner(truth, (8, 4)).shape == (truth.shape[0] - 16, truth.shape[1] - 8)
    assert inner(truth, (0, 0)).shape == truth.shape


def test_mean_of_scores_is_taken_figure_by_figure(truth: Plane, noisy: Plane) -> None:
    a = score(truth, noisy, data_range=255, crop=(0, 0))
    b = score(truth, truth + 1, data_range=255, crop=(0, 0))
    mean = mean_scores([a, b])
    assert mean.psnr == pytest.approx((a.psnr + b.psnr) / 2)
    assert mean.ssim == pytest.approx((a.ssim + b.ssim) / 2)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((24, 48), r"truth is 4 x 2 times as large, so a factor of \[4, 2\] is missing"),
        ((192, 96), r"the prediction is 2 x 1 times as large, so its factor is too large by that much"),
        ((95, 96), r"prediction of shape 95 x 96 found for truth of shape 96 x 96: no whole factor"),
        ((96, 96, 1), "no whole factor"),
    ],
)
def test_another_grid_is_named_with_the_factor_that_would_fit(truth: Plane, shape: tuple[int, ...], words: str) -> None:
    for metric in (psnr, si_psnr, ssim):
        with pytest.raises(InputError, match=words):
            metric(truth, np.zeros(shape), data_range=255)


def test_missing_values_are_refused_by_name(truth: Plane) -> None:
    holed = truth.copy()
    holed[5, 5:8] = np.nan, np.inf, -np.inf
    for metric in (psnr, si_psnr, ssim):
        with pytest.raises(InputError, match=r"truth holds 3 NaN or infinite values of 9216"):
            metric(holed, truth, data_range=255)
    with pytest.raises(InputError, match="prediction holds 3"):
        line_fit(truth, holed)
    with pytest.raises(InputError, match="empty"):
        psnr(truth[:0], truth[:0], data_range=255)


def test_a_constant_truth_has_no_scale_invariant_score(truth: Plane) -> None:
    flat = np.full_like(truth, 7.0)
    with pytest.raises(InputError, match=r"truth is constant \(7\)"):
        si_psnr(flat, truth, data_range=255)
    with pytest.raises(InputError, match="data range 0 found"):
        psnr(flat, truth, data_range=0.0)
    slope, intercept, r2 = line_fit(flat, truth)
    assert math.isnan(slope) and math.isnan(intercept) and math.isnan(r2)


def test_a_constant_prediction_resolves_and_explains_nothing(truth: Plane) -> None:
    scores = score(truth, np.full_like(truth, 70.0), data_range=255, crop=(0, 0))
    assert math.isnan(scores.r2) and scores.slope == 0
    assert scores.resolution > len(truth) / 5
    assert scores.error_below == pytest.approx(1)
    assert scores.psnr_shifted == scores.psnr


def test_small_planes_lack_the_figures_that_need_large_ones(truth: Plane) -> None:
    noisy = truth + np.random.default_rng(0).normal(0, 9, truth.shape)
    assert math.isnan(score(truth, noisy, data_range=255, crop=(0, 0)).ms_ssim)
    tiny = score(truth[:15, :40], noisy[:15, :40], data_range=255, crop=(0, 0))
    assert math.isnan(tiny.resolution) and math.isfinite(tiny.ssim)


def test_every_figure_is_that_of_its_own_function() -> None:
    g = data.camera()[100:300, 100:320].astype(np.float64)
    x = g + np.random.default_rng(0).normal(0, 9, g.shape)
    found = score_plane(g, x, Frame(255, (8, 12), (2, 4)), black=(1.0, 2.0))
    a, b = inner(g, (8, 12)), inner(x, (8, 12))
    assert found.scores.psnr == psnr(a, b, data_range=255)
    assert found.scores.si_psnr == si_psnr(a, b, data_range=255)
    assert found.scores.ssim == ssim(a, b, data_range=255)
    assert found.scores.ms_ssim == ms_ssim(a, b, data_range=255)
    assert (found.scores.error_below, found.scores.error_above) == band_errors(a, b, factor=(2, 4))
    assert found.scores.psnr_shifted == tolerant_psnr(g, x, data_range=255, crop=(8, 12))[0]
    assert math.isnan(found.scores.micro_ssim)
    assert found.correlation is not None
    np.testing.assert_array_equal(found.correlation.correlation, fourier_correlation(a, b).correlation)
