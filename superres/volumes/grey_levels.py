"""The grey levels of one channel: how often each occurs, what piles up at either end, how much is noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A voxel's worth of noise is told from structure by the median of |differences|, Gaussian noise: 0.6745 sigma.
_MEDIAN_OF_NORMAL = 0.6744897501960817
_SLICE = 2**22
# Levels next to an end that say what would be expected there, and how many times as many are a pile.
_NEIGHBOURS = 8
_PILE = 3.0
_PILE_AT_LIMIT = 1.5
_FEWEST_IN_PILE = 4
_FEWEST_LEVELS = 16


class Tally:
    """Counts of the values of one channel, block by block; the order of the blocks does not matter.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the blocks that are to come.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._counted = dtype.kind in "iu" and dtype.itemsize <= 2
        self._lowest = int(np.iinfo(dtype).min) if self._counted else 0
        levels = 2 ** (8 * dtype.itemsize) if self._counted else 0
        self._counts = np.zeros(levels, np.int64)
        self._values: list[NDArray[Any]] = []
        self.voxels = 0
        self.not_a_number = 0
        self.infinite = 0

    def add(self, block: NDArray[Any]) -> None:
        """Count the values of a block of any shape."""
        flat = block.ravel()
        self.voxels += flat.size
        if self._dtype.kind == "f":
            finite = np.isfinite(flat)
            missing = int(np.isnan(flat).sum())
            self.not_a_number += missing
            self.infinite += flat.size - int(finite.sum()) - missing
            flat = flat[finite]
        if not self._counted:
            self._values.append(flat)
            return
        for start in range(0, flat.size, _SLICE):
            shifted = flat[start : start + _SLICE].astype(np.intp) - self._lowest
            self._counts += np.bincount(shifted, minlength=self._counts.size)

    def levels(self) -> GreyLevels:
        """Return what was counted; NaN and infinity are left out."""
        if self._counted:
            found = np.flatnonzero(self._counts)
            return GreyLevels((found + self._lowest).astype(self._dtype), self._counts[found])
        everything = np.concatenate(self._values) if self._values else np.empty(0, self._dtype)
        values, counts = np.unique(everything, return_counts=True)
        return GreyLevels(values, counts.astype(np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class GreyLevels:
    """Distinct finite values in ascending order, and how many voxels have each.

    Parameters
    ----------
    values : ndarray, (n,)
        In the dtype of the image.
    counts : ndarray of int, (n,)
        Voxels.
    """

    values: NDArray[Any]
    counts: NDArray[np.int64]

    def percentiles(self, wanted: Sequence[float]) -> tuple[float, ...]:
        """Return percentiles with linear interpolation, as `numpy.percentile` does; nothing where there is no value."""
        if self.values.size == 0:
            return ()
        ends = np.cumsum(self.counts)
        result = []
        for share in wanted:
            rank = share / 100 * (int(ends[-1]) - 1)
            below, above = (
                float(self.values[int(np.searchsorted(ends, whole, side="right"))])
                for whole in (math.floor(rank), math.ceil(rank))
            )
            result.append(below + (above - below) * (rank - math.floor(rank)))
        return tuple(result)

    def share_at(self, value: float) -> float:
        """Return the share of voxels that have exactly this value."""
        total = int(self.counts.sum())
        return float(self.counts[self.values == value].sum()) / total if total else 0.0

    def piled_up_at_top(self) -> float | None:
        """Return the highest value if so many voxels have it that a camera or a conversion must have cut them off."""
        return float(self.values[-1]) if _piles_up(self.counts, self._top_is_limit()) else None

    def piled_up_at_bottom(self) -> float | None:
        """Return the lowest value if far more voxels have it than the levels above it."""
        return float(self.values[0]) if _piles_up(self.counts[::-1], False) else None

    def _top_is_limit(self) -> bool:
        """Whether the highest value is the largest that 8, 10, 12, 14 or 16 bits hold, or 1.0 of a scaled image."""
        limits = {2**bits - 1 for bits in (8, 10, 12, 14, 16)} if self.values.dtype.kind in "iu" else {1}
        return self.values.size > 0 and self.values[-1] in limits


def _piles_up(counts: NDArray[np.int64], at_limit: bool) -> bool:
    """Whether the last level holds far more voxels than any of those just before it."""
    if counts.size < _FEWEST_LEVELS:
        return False
    expected = int(counts[-1 - _NEIGHBOURS : -1].max())
    return bool(counts[-1] >= max(_FEWEST_IN_PILE, (_PILE_AT_LIMIT if at_limit else _PILE) * expected))


def estimate_noise(planes: Sequence[NDArray[Any]], cut_off: Sequence[float] = ()) -> float | None:
    """Estimate the standard deviation of noise that is independent from voxel to voxel.

    A 3 x 3 difference that any plane up to second order passes through (J. Immerkaer 1996, CVIU 64:300) leaves noise
    and fine detail; the median of its magnitude (D. Donoho & I. Johnstone 1994, Biometrika 81:425) is little moved by
    the detail. It is too low where neighbours share their noise (JPEG, resampled or averaged images), and the typical
    value where noise grows with the signal.

    Parameters
    ----------
    planes : sequence of ndarray, (y, x)
        Pieces of planes in native grey levels.
    cut_off : sequence of float
        Values at which the image is cut off; even areas of them carry no noise and are left out.

    Returns
    -------
    float or None
        In grey levels; None where nothing is left to measure.
    """
    found = [_details(plane, cut_off) for plane in planes if min(plane.shape) >= 3]
    details = np.concatenate(found) if found else np.empty(0)
    return float(np.median(np.abs(details))) / _MEDIAN_OF_NORMAL if details.size else None


def _details(plane: NDArray[Any], cut_off: Sequence[float]) -> NDArray[np.float64]:
    values = plane.astype(np.float64)
    by_rows = values[:-2] - 2 * values[1:-1] + values[2:]
    # The weights (1, -2, 1) x (1, -2, 1) have the sum of squares 36.
    details = (by_rows[:, :-2] - 2 * by_rows[:, 1:-1] + by_rows[:, 2:]) / 6
    kept = np.isfinite(details)
    for level in cut_off:
        even = values == level
        even = even[:-2] & even[1:-1] & even[2:]
        kept &= ~(even[:, :-2] & even[:, 1:-1] & even[:, 2:])
    return np.asarray(details[kept])
