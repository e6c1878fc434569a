"""What differences between two methods mean when only some acquisitions were scored.

The unit is the acquisition. Planes or patches of one acquisition share specimen, staining, focus and noise; counted as
independent they give "95 %" intervals that hold in a third of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

SIGNIFICANT = 0.05
"""A difference is called significant when its p value, after Holm's correction, is not above this."""

EXACT_UP_TO = 16
"""Acquisitions up to which every pattern of signs is counted; with more, patterns are drawn at random."""

DRAWS = 100_000
"""Patterns of signs that are drawn."""

_SEED = 0
_BATCH = 10_000
# Sums that are equal in exact arithmetic differ by rounding.
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of paired differences over `n` acquisitions, and its 95 % interval; NaN bounds for fewer than two."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The model against one baseline in one figure, paired by acquisition; positive differences favour the model.

    Parameters
    ----------
    interval : Interval
        Of the differences. Its `n` counts the acquisitions in which both have a value.
    wins : int
        Acquisitions in which the model is better.
    p : float
        Two-sided sign-flip test; NaN for fewer than two acquisitions, and in figures that are not tested.
    p_holm : float
        `p` after Holm's correction over all baselines.
    """

    interval: Interval
    wins: int
    p: float
    p_holm: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference, of either sign, can be told from chance."""
        return self.p_holm <= SIGNIFICANT


def compare(differences: Sequence[Sequence[float]], *, is_tested: bool = True) -> list[Comparison]:
    """Compare the model with several baselines in one figure.

    Parameters
    ----------
    differences : sequence of sequence of float
        For every baseline, the model's advantage in each acquisition; NaN where there is none.
    is_tested : bool
        Whether p values are wanted. One figure is tested: each further one would call for another correction, and
        figures of one comparison rise and fall together.
    """
    present = [[d for d in row if not math.isnan(d)] for row in differences]
    p_values = [sign_flip_p(row) if is_tested else math.nan for row in present]
    return [
        Comparison(paired_interval(row), sum(d > 0 for d in row), p, adjusted)
        for row, p, adjusted in zip(present, p_values, holm(p_values), strict=True)
    ]


def paired_interval(differences: Sequence[float]) -> Interval:
    """Return the mean and its 95 % t interval; the unit is the acquisition, never the patch."""
    n = len(differences)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = math.fsum(differences) / n
    if n == 1 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, n)
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p value of a sign-flip permutation test of paired differences.

    If neither method were better, each difference could as well have had the other sign. p is the share of sign
    patterns whose mean is at least as far from 0 as the one found: of all of them up to `EXACT_UP_TO` differences, else
    of `DRAWS` random ones from a fixed seed and the one found (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39).

    Returns
    -------
    float
        NaN for fewer than two differences, or when one is NaN or infinite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    bar = abs(float(values.sum())) - _TIE * float(np.abs(values).sum())
    if len(values) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= bar))
    random, extreme = np.random.default_rng(_SEED), 0
    for _ in range(DRAWS // _BATCH):
        signs = 2.0 * random.integers(0, 2, (_BATCH, len(values))) - 1
        extreme += int(np.count_nonzero(np.abs(signs @ values) >= bar))
    return (extreme + 1) / (DRAWS + 1)


def smallest_p(n: int) -> float:
    """Return the smallest p value that `sign_flip_p` can give for `n` differences; NaN for fewer than two."""
    if n < 2:
        return math.nan
    return 2.0 ** (1 - n) if n <= EXACT_UP_TO else 1 / (DRAWS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm 1979, Scand J Stat 6:65); those that are NaN stay so and do not count."""
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[place] = largest
    return adjusted


def too_few(n: int, baselines: int) -> str:
    """Say in plain words what `n` acquisitions cannot show against some baselines; empty when they are enough."""
    if n == 0:
        return "No acquisition could be compared."
    if n == 1:
        return "1 acquisition: no interval and no test; another one may come out differently."
    least = smallest_p(n)
    corrected = min(1.0, least * baselines)
    if corrected <= SIGNIFICANT:
        return ""
    found = f"{n} acquisitions: the smallest possible p is {least:.4g}"
    if least <= SIGNIFICANT:
        found += f", and {corrected:.4g} after Holm's correction for {baselines} baselines"
    return f"{found}, so no difference can be called significant; it takes at least {_enough(baselines)} acquisitions."


def _enough(baselines: int) -> int:
    return next(n for n in range(2, 64) if smallest_p(n) * baselines <= SIGNIFICANT)
