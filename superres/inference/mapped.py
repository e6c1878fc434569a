"""Large arrays that live long, in memory of their own: in the heap they would leave holes between the net's layers."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Smaller ones cost more than they leave.
_LARGE = 8 << 20


def mapped_zeros(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of zeros, like `numpy.zeros`, whose memory goes back to the system as soon as it is not used."""
    count = math.prod(shape)
    if count * dtype.itemsize < _LARGE:
        return np.zeros(shape, dtype)
    found: NDArray[Any] = np.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype, count).reshape(shape)
    return found
