"""From shares of the grey range to the grey levels of an output, and to half-widths around them.

What `superres.volumes.dtypes.cast` and `superres.inference.interval.half_widths` give for integers of 8 and 16 bits, a
few rows at a time: all that is done with them is done while they are in the cache, on as many cores as the net has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.volumes import Intensity

# Values of a block; some ten blocks are in use at the same time.
_BLOCK = 1 << 18
_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


class Ends(NamedTuple):
    """Where intervals end.

    Parameters
    ----------
    net : ndarray
        float32, (3, y, x), normalised: what the net itself predicts, and its half-widths below and above.
    factor : float
        What half-widths are multiplied by.
    """

    net: NDArray[np.float32]
    factor: float


def converts(dtype: np.dtype[Any]) -> bool:
    """Whether outputs of this type can be made here."""
    return dtype in _TYPES


def grey_levels(
    pred: NDArray[np.float32], intensity: Intensity, ends: Ends | None, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any] | None, int]:
    """Convert one plane.

    Parameters
    ----------
    pred : ndarray
        float32, (y, x), normalised, finite.
    intensity : Intensity
        Its black and white.
    ends : Ends or None
        Where the intervals end, of the same voxels; None where they are not wanted.
    dtype : numpy.dtype
        One that `converts`.

    Returns
    -------
    tuple
        The grey levels, (y, x); the half-widths below and above, (2, y, x), where `ends` are given; and how many levels
        were outside the range of the type and are set to its end.
    """
    height, width = pred.shape
    levels = np.empty(pred.shape, dtype)
    widths = None if ends is None else np.empty((2, *pred.shape), dtype)
    step, clipped = max(1, _BLOCK // width), 0
    for start in range(0, height, step):
        rows = slice(start, start + step)
        level, outside = _level(torch.from_numpy(pred[rows]), intensity, int(np.iinfo(dtype).max))
        torch.from_numpy(levels[rows]).copy_(level)
        clipped += outside
        if ends is not None and widths is not None:
            for number, distance in enumerate(_distances(level, ends, rows, intensity)):
                reached = distance.clamp_(0, int(np.iinfo(dtype).max))
                torch.from_numpy(widths[number, rows]).copy_(reached)
    return levels, widths, clipped


def _level(pred: Tensor, intensity: Intensity, highest: int) -> tuple[Tensor, int]:
    """Round half to even and clip; return the levels, still float32, and how many were clipped."""
    level = intensity.denormalise(pred).round_()
    least, most = level.aminmax()
    if float(least) >= 0 and float(most) <= highest:
        return level, 0
    level.nan_to_num_(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    clipped = int(torch.count_nonzero((level < 0) | (level > highest)))
    return level.clamp_(0, highest), clipped


def _distances(level: Tensor, ends: Ends, rows: slice, intensity: Intensity) -> Iterator[Tensor]:
    """Give how far below and above the levels the interval ends, rounded up."""
    pred, below, above = (torch.from_numpy(part[rows]) for part in ends.net)
    lowest = intensity.denormalise(pred - below * ends.factor).floor_()
    yield torch.sub(level, lowest, out=lowest)
    highest = intensity.denormalise(pred + above * ends.factor).ceil_()
    yield highest.sub_(level)
