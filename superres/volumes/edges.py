"""Voxels, planes and time points beyond the end of an axis: those before it, in reverse."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mirrored(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Return the voxels that stand at positions start ... stop of an axis continued by reflection.

    The edge voxel is not repeated (NumPy's ``reflect``); a halo longer than the image is reflected again and again.
    """
    if length == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (length - 1)
    position = np.arange(start, stop) % period
    return np.minimum(position, period - position).astype(np.intp)


def around(position: int, frames: int, length: int) -> list[int]:
    """Return the planes or time points around one, an odd number of `frames`, mirrored at the ends.

    Mirrored and not repeated: a recording that stands twice among the frames has the same noise twice, which a net
    that learnt to average independent noise would take for structure.
    """
    reach = frames // 2
    return [int(index) for index in mirrored(position - reach, position + reach + 1, length)]
