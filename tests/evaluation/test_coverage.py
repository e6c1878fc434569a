"""Laws of calibrated intervals: calibration by acquisition holds where pooling voxels does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from superres.evaluation.coverage import (
    Voxels,
    calibrate_factor,
    coverage_band,
    factor_of_acquisition,
    measure_coverage,
    rank_of_calibration,
    ratios,
)

VOXELS = 2000


def laplace_acquisitions(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Absolute errors, (count, voxels): Laplace, with a lognormal(0, 0.35) scale for each acquisition."""
    scale = random.lognormal(0, 0.35, (count, 1))
    return np.abs(random.laplace(0, 1, (count, VOXELS))) * scale


@pytest.mark.parametrize("n", [9, 19, 40])
def test_calibration_by_acquisition_covers_what_it_claims(n: int) -> None:
    random = np.random.default_rng(n)
    covered = []
    for _ in range(250):
        # With half-widths of 1, ratios are the errors.
        factors = [factor_of_acquisition(one, 0.9) for one in laplace_acquisitions(random, n)]
        factor, calibrated = calibrate_factor(factors, 0.9)
        assert calibrated
        new = laplace_acquisitions(random, 8)
        covered += list((new <= factor).mean(axis=1) >= 0.9)
    assert np.mean(covered) == pytest.approx(0.90, abs=0.03)


def test_pooling_voxels_leaves_many_acquisitions_uncovered() -> None:
    """The mean miss is 10 % as wanted, and yet about 42 % of the acquisitions miss more."""
    random = np.random.default_rng(0)
    pooled = factor_of_acquisition(laplace_acquisitions(random, 2000), 0.9)
    misses = (laplace_acquisitions(random, 2000) > pooled).mean(axis=1)
    assert misses.mean() == pytest.approx(0.10, abs=0.01)
    assert (misses > 0.1).mean() == pytest.approx(0.42, abs=0.04)


@pytest.mark.parametrize(
    ("n", "rank"), [(0, None), (1, None), (8, None), (9, 9), (10, 10), (18, 18), (19, 18), (40, 37)]
)
def test_rank_and_the_least_number_of_acquisitions(n: int, rank: int | None) -> None:
    assert rank_of_calibration(n, 0.9) == rank


@given(st.integers(1, 300))
def test_rank_never_promises_less_than_the_level(n: int) -> None:
    rank = rank_of_calibration(n, 0.9)
    if rank is None:
        assert n < 9
    else:
        assert rank / (n + 1) >= 0.9 - 1e-12
        assert (rank - 1) / (n + 1) < 0.9


def test_below_nine_the_median_is_a_relative_uncertainty() -> None:
    assert calibrate_factor([5.0, 1.0, 2.0], 0.9) == (2.0, False)
    assert calibrate_factor([float(i) for i in range(8, 0, -1)], 0.9) == (4.5, False)
    assert calibrate_factor([float(i) for i in range(9, 0, -1)], 0.9) == (9.0, True)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0.05, 0.99))
def test_factor_of_an_acquisition_is_the_smallest_that_covers(values: list[float], level: float) -> None:
    found = np.asarray(values)
    factor = factor_of_acquisition(found, level)
    assert (found <= factor).mean() >= level - 1e-9
    assert (found < factor).mean() < level
    assert factor in values


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@settings(max_examples=30)
def test_ratio_is_the_factor_that_reaches_truth(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    truth, pred = random.normal(size=(2, 50))
    below, above = random.uniform(0.01, 1, (2, 50))
    inside = (truth >= pred - factor * below) & (truth <= pred + factor * above)
    found = ratios(truth, pred, below, above)
    clear = np.abs(found / factor - 1) > 1e-9
    np.testing.assert_array_equal((found <= factor)[clear], inside[clear])


def test_half_widths_of_zero() -> None:
    zero, one = np.zeros(2), np.array([0.0, 1.0])
    np.testing.assert_array_equal(ratios(one, zero, zero, zero), [0.0, np.inf])
    np.testing.assert_array_equal(ratios(zero, zero, zero, zero), [0.0, 0.0])


@pytest.mark.parametrize("place", range(4))
def test_nan_and_negative_half_widths_are_refused(place: int) -> None:
    arrays = [np.ones(3) for _ in range(4)]
    arrays[place][1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        ratios(*arrays)
    if place >= 2:
        arrays[place][1] = -0.1
        with pytest.raises(ValueError, match="negative"):
            ratios(*arrays)


def test_band_agrees_with_a_simulation() -> None:
    random = np.random.default_rng(1)
    band = coverage_band(10, 19, 0.9)
    assert band is not None
    counts = []
    for _ in range(4000):
        draws = random.random(29)
        counts.append(int((draws[19:] <= np.sort(draws[:19])[17]).sum()))
    assert np.mean((np.asarray(counts) >= band[0]) & (np.asarray(counts) <= band[1])) >= 0.95 - 0.01
    assert coverage_band(10, 8, 0.9) is None


def voxels_of(error: NDArray[np.float64], width: NDArray[np.float64], pred: NDArray[np.float64]) -> Voxels:
    half = width / 2
    found = ratios(pred + error, pred, half, half)
    single = [array.astype(np.float32) for array in (pred, error, half, half, np.arange(error.size) / error.size)]
    return Voxels(single[0], single[1], single[2], single[3], found, single[4])


def test_coverage_of_what_is_known() -> None:
    """Errors that grow with the half-width: rank correlation near 1; the darkest half is right, the bright half not."""
    width = np.linspace(0.1, 1, 1000)
    pred = np.linspace(0, 1, 1000)
    error = np.where(pred < 0.5, 0.4, 0.6) * width
    found = measure_coverage(voxels_of(error, width, pred), 1.0)
    assert found.voxels == 1000
    assert found.coverage == pytest.approx(0.5)
    assert found.by_decile == (1.0,) * 5 + (0.0,) * 5
    assert (found.edges, found.background) == (0.0, pytest.approx(5 / 9, abs=0.01))
    assert found.mean_width == pytest.approx(width.mean(), rel=1e-5)
    assert found.spearman == pytest.approx(1, abs=0.01)
    assert measure_coverage(voxels_of(error, width, pred), 1.3).coverage == 1.0


def test_constant_voxels_have_a_coverage_and_no_rank_correlation() -> None:
    same = np.ones(40)
    found = measure_coverage(voxels_of(0 * same, same, same), 1.0)
    assert found.coverage == 1.0
    assert math.isnan(found.spearman)
    assert math.isnan(found.edges) or found.edges == 1.0
