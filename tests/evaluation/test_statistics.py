"""Intervals and p values over acquisitions: closed forms, an independent test, and how often they are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from superres.evaluation.statistics import (
    DRAWS,
    EXACT_UP_TO,
    compare,
    holm,
    paired_interval,
    sign_flip_p,
    smallest_p,
    too_few,
)

differences = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=9)


def test_interval_is_that_of_a_paired_t_test() -> None:
    values = np.random.default_rng(0).normal(1, 2, 7)
    found = paired_interval(values.tolist())
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(values.mean())
    assert found.n == 7


def test_one_acquisition_has_no_interval() -> None:
    found = paired_interval([1.5])
    assert (found.mean, found.n) == (1.5, 1)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert paired_interval([]).n == 0


def _acquisitions(random: np.random.Generator, n: int, repeats: int) -> NDArray[np.float64]:
    """Make differences whose mean is 0: sd 1 dB between acquisitions, 1.5 dB between the 64 patches of one."""
    return random.normal(0, 1, (repeats, n, 1)) + random.normal(0, 1.5, (repeats, n, 64))


@pytest.mark.parametrize("n", [3, 5, 8, 12])
def test_patches_as_the_unit_cover_a_third_and_acquisitions_what_they_claim(n: int) -> None:
    patches = _acquisitions(np.random.default_rng(n), n, 2000)
    flat = patches.reshape(len(patches), -1)
    half = stats.t.ppf(0.975, flat.shape[1] - 1) * flat.std(axis=1, ddof=1) / math.sqrt(flat.shape[1])
    assert np.mean(np.abs(flat.mean(axis=1)) <= half) == pytest.approx(0.33, abs=0.04)
    found = [paired_interval(row) for row in patches.mean(axis=2).tolist()]
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("n", "expected"), [(3, 0.73), (5, 0.83), (8, 0.89), (12, 0.91), (20, 0.91)])
def test_why_intervals_are_not_bootstrapped(n: int, expected: float) -> None:
    random = np.random.default_rng(n)
    means = _acquisitions(random, n, 600).mean(axis=2)
    resampled = np.stack([row[random.integers(0, n, (600, n))].mean(axis=1) for row in means])
    low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("n", "expected"), [(2, 0.5), (5, 0.0625), (6, 0.03125), (8, 0.0078125)])
def test_smallest_p_value(n: int, expected: float) -> None:
    assert sign_flip_p([0.1 * (i + 1) for i in range(n)]) == expected == smallest_p(n)
    assert sign_flip_p([-0.3] * n) == expected


def test_sign_flip_equals_a_permutation_test_of_another_library() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, 9)
    other = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert sign_flip_p(values.tolist()) == pytest.approx(other.pvalue)


@given(differences)
def test_sign_flip_does_not_depend_on_sign_scale_or_order(values: list[float]) -> None:
    p = sign_flip_p(values)
    assert smallest_p(len(values)) <= p <= 1
    assert sign_flip_p([-v for v in values]) == pytest.approx(p)
    assert sign_flip_p(values[::-1]) == pytest.approx(p)
    assert sign_flip_p([v * 4 for v in values]) == pytest.approx(p)


def test_no_difference_has_p_one_and_what_cannot_be_tested_none() -> None:
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1
    for values in ([], [1.0], [1.0, math.nan], [1.0, math.inf, 2.0]):
        assert math.isnan(sign_flip_p(values))


def test_drawn_patterns_agree_with_all_of_them() -> None:
    values = np.random.default_rng(2).normal(0.4, 1, EXACT_UP_TO).tolist()
    exact, drawn = sign_flip_p(values), sign_flip_p([*values, 0.0])  # a difference of 0 changes nothing
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / DRAWS))
    assert drawn == sign_flip_p([*values, 0.0])
    assert sign_flip_p([1.0] * 40) == smallest_p(40) == 1 / (DRAWS + 1)


def test_p_values_are_not_smaller_than_chance_makes_them() -> None:
    random = np.random.default_rng(3)
    p = np.array([sign_flip_p(row) for row in random.normal(0, 1, (2000, 7)).tolist()])
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level * (1 - level) / len(p))


def test_holm_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1, 1]
    found = holm([0.01, math.nan, 0.03])
    assert found[::2] == pytest.approx([0.02, 0.03]) and math.isnan(found[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1, p * len(p_values))


def test_comparison_leaves_out_and_counts_what_has_no_value() -> None:
    (found, other) = compare([[1.0, 2.0, math.nan, 3.0], [-1.0, 1.0, 0.0, 0.5]])
    assert (found.interval.n, found.wins, found.p) == (3, 3, 0.25)
    assert found.interval.mean == pytest.approx(2)
    assert (other.interval.n, other.wins) == (4, 2)
    assert found.p_holm == 0.5
    assert not found.is_significant


def test_too_few_acquisitions_are_named_in_plain_words() -> None:
    assert too_few(5, 1) == (
        "5 acquisitions: the smallest possible p is 0.0625, so no difference can be called significant; it takes at "
        "least 6 acquisitions."
    )
    assert "0.03125, and 0.125 after Holm's correction for 4 baselines" in too_few(6, 4)
    assert "at least 8 acquisitions" in too_few(6, 4)
    assert too_few(8, 4) == ""
    assert "no interval" in too_few(1, 4)
    assert too_few(0, 4).startswith("No acquisition")
