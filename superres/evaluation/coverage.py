"""Arithmetic of calibrated intervals: factors on half-widths, and how often truth lies inside.

The unit is the acquisition, not the voxel: voxels of one acquisition err together, so pooling them promises to new
acquisitions what many of them do not get.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

DECILES = 10
_EDGE_SHARE = 0.1  # of the voxels, those of the steepest gradients of truth


def ratios(truth: NDArray[Any], pred: NDArray[Any], below: NDArray[Any], above: NDArray[Any]) -> NDArray[np.float64]:
    """Return by how much the half-width of each voxel would have to grow to reach truth.

    Parameters
    ----------
    truth, pred, below, above : ndarray
        One shape, one scale; half-widths are not negative.

    Returns
    -------
    ndarray
        float64, the same shape: ``(truth - pred) / above`` or ``(pred - truth) / below``; 0 where the prediction is
        right, infinite where it is wrong and the half-width is 0.

    Raises
    ------
    ValueError
        When a half-width is negative, or anything is NaN or infinite.
    """
    arrays = [np.asarray(array, np.float64) for array in (truth, pred, below, above)]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("truth, prediction and half-widths must be finite; leave out voxels that are NaN")
    if min(float(array.min(initial=0.0)) for array in arrays[2:]) < 0:
        raise ValueError("half-widths must not be negative")
    error = arrays[0] - arrays[1]
    width = np.where(error > 0, arrays[3], arrays[2])
    result = np.full(error.shape, np.inf)
    np.divide(np.abs(error), width, out=result, where=width > 0)
    result[error == 0] = 0.0
    return result


def factor_of_acquisition(found: NDArray[np.float64], level: float) -> float:
    """Return the smallest factor with which at least `level` of the voxels with these `ratios` lie inside."""
    rank = math.ceil(level * found.size - 1e-9)
    return float(np.partition(found.ravel(), rank - 1)[rank - 1])


def rank_of_calibration(n: int, level: float) -> int | None:
    """Return which of n sorted factors covers a new acquisition with probability `level`; None when n is too small.

    The ``ceil((n + 1) level)``-th smallest (split conformal prediction; Vovk et al. 2005; Angelopoulos & Bates 2021,
    arXiv 2107.07511): 9 acquisitions are the least for a level of 0.9.
    """
    rank = math.ceil((n + 1) * level - 1e-9)
    return rank if n >= 1 and rank <= n else None


def calibrate_factor(factors: Sequence[float], level: float) -> tuple[float, bool]:
    """Return the factor for new acquisitions, and whether it is calibrated.

    Parameters
    ----------
    factors : sequence of float
        From `factor_of_acquisition`, one per acquisition, at least one.
    level : float
        Share of new acquisitions that is to be covered.

    Returns
    -------
    tuple
        With too few acquisitions the factor of the median one and False: such half-widths compare voxels with each
        other, and promise nothing.
    """
    rank = rank_of_calibration(len(factors), level)
    if rank is None:
        return float(np.median(np.asarray(factors, np.float64))), False
    return sorted(factors)[rank - 1], True


def coverage_band(m: int, n: int, level: float, *, confidence: float = 0.95) -> tuple[int, int] | None:
    """Return how many of m new acquisitions are covered, from least to most, if the claim holds.

    The count is beta-binomial, with parameters k and n + 1 - k for the k-th of n calibration factors: a binomial whose
    probability is itself uncertain, because the factor comes from n acquisitions (Angelopoulos & Bates 2021, section
    3.2). None where n is too small to calibrate.
    """
    rank = rank_of_calibration(n, level)
    if rank is None:
        return None
    low, high = stats.betabinom(m, rank, n + 1 - rank).interval(confidence)
    return int(low), int(high)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How well the intervals of one acquisition hold.

    Parameters
    ----------
    voxels : int
        That were looked at.
    coverage : float
        Share of them inside.
    by_decile : tuple of float
        The same by the predicted intensity, darkest tenth first.
    edges, background : float
        The same in the tenth of the voxels where the gradient of truth is steepest, and in the others.
    mean_width : float
        Mean length of the intervals, as a share of the range between black and white.
    spearman : float
        Rank correlation of interval length and error; NaN where either is constant.
    """

    voxels: int
    coverage: float
    by_decile: tuple[float, ...]
    edges: float
    background: float
    mean_width: float
    spearman: float


@dataclass(frozen=True, slots=True)
class Voxels:
    """Voxels of one acquisition, each array 1-D and alike; half-widths as the net gives them.

    `pred`, `error` (truth minus prediction), `below` and `above` are shares of the range between black and white;
    `ratio` is that of `ratios`, `gradient` the steepness of truth.
    """

    pred: NDArray[np.float32]
    error: NDArray[np.float32]
    below: NDArray[np.float32]
    above: NDArray[np.float32]
    ratio: NDArray[np.float64]
    gradient: NDArray[np.float32]


def gradient_of(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Return the gradient magnitude of a plane (y, x) after a Gaussian of 1 voxel, float32."""
    magnitude: NDArray[np.float32] = ndimage.gaussian_gradient_magnitude(plane.astype(np.float32), 1.0)
    return magnitude


def measure_coverage(voxels: Voxels, factor: float) -> Coverage:
    """Say how well intervals hold when half-widths are multiplied by `factor`."""
    inside = voxels.ratio <= factor
    order = np.argsort(voxels.pred, kind="stable")
    edges = voxels.gradient > np.quantile(voxels.gradient, 1 - _EDGE_SHARE)
    width = voxels.below + voxels.above
    return Coverage(
        voxels=inside.size,
        coverage=float(inside.mean()),
        by_decile=tuple(float(part.mean()) for part in np.array_split(inside[order], DECILES)),
        edges=float(inside[edges].mean()) if edges.any() else math.nan,
        background=float(inside[~edges].mean()),
        mean_width=float(width.mean(dtype=np.float64)) * factor,
        spearman=_spearman(width, np.abs(voxels.error)),
    )


def _spearman(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if a.min() == a.max() or b.min() == b.max():
        return math.nan
    return float(stats.spearmanr(a, b).statistic)
