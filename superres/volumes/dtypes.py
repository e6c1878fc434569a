"""From one type of voxels to another, by one explicit rule: round half to even, clip, and count both.

Nothing wraps around and nothing is cut off without being counted. Values keep their scale: no type is stretched to the
range of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError

DtypePolicy = Literal["keep", "uint8", "uint16", "float32"]

# Integers of so many bytes are exact in float32, which is several times as fast as float64.
_EXACT_BYTES = 2


@dataclass(slots=True)
class CastTally:
    """Voxels that could not be written as they were.

    Parameters
    ----------
    clipped : int
        Outside the range of the new type, set to its nearest end; among them infinite ones in an integer type.
    rounded : int
        Inside the range, but not one of the values that the new type has.
    not_a_number : int
        NaN that was replaced, where that was asked for.
    """

    clipped: int = 0
    rounded: int = 0
    not_a_number: int = 0

    def add(self, other: CastTally) -> None:
        """Count what another tally has counted."""
        self.clipped += other.clipped
        self.rounded += other.rounded
        self.not_a_number += other.not_a_number

    def sentences(self, dtype: str) -> tuple[str, ...]:
        """Say for a person what was changed; empty where nothing was."""
        told = (
            (self.clipped, f"lay outside {dtype} and were set to its nearest end"),
            (self.rounded, f"were rounded to values of {dtype}, half to even"),
            (self.not_a_number, "were NaN and were replaced"),
        )
        return tuple(f"{count} voxels {what}" for count, what in told if count)


def target_dtype(policy: DtypePolicy, source: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type that a policy leads to from the type of a source."""
    return source.newbyteorder("=") if policy == "keep" else np.dtype(policy)


def cast(
    values: NDArray[Any], dtype: np.dtype[Any], tally: CastTally, *, nan: float | None = None, name: str = "the image"
) -> NDArray[Any]:
    """Convert grey levels to another type, counting in `tally` every one that changes.

    Parameters
    ----------
    values : ndarray
        Integers or floating-point numbers.
    dtype : numpy.dtype
        An integer type, float32 or float64.
    tally : CastTally
        Added to.
    nan : float, optional
        What NaN becomes in an integer type.
    name : str
        What the values are of, for the message.

    Returns
    -------
    ndarray
        In `dtype`, of the shape of `values`; `values` itself where the type is the same.

    Raises
    ------
    InputError
        When an integer type is wanted of NaN and `nan` is not given: no grey level means "unknown".
    """
    if values.dtype == dtype:
        return values
    if dtype.kind == "f":
        return _to_float(values, dtype, tally)
    if values.dtype.kind == "f":
        return _float_to_integer(values, dtype, tally, nan, name)
    limits, held = np.iinfo(dtype), np.iinfo(values.dtype)
    lowest, highest = max(int(limits.min), int(held.min)), min(int(limits.max), int(held.max))
    clipped = values.clip(lowest, highest)
    tally.clipped += int(np.count_nonzero(clipped != values))
    return clipped.astype(dtype)


def _float_to_integer(
    values: NDArray[Any], dtype: np.dtype[Any], tally: CastTally, nan: float | None, name: str
) -> NDArray[Any]:
    limits = np.iinfo(dtype)
    values = _without_nan(values, dtype, tally, nan, name)
    # float16 cannot hold the ends of any type but the smallest, float32 those of larger ones.
    exact = values.dtype == np.float32 and dtype.itemsize <= _EXACT_BYTES
    wide = values if exact else values.astype(np.promote_types(values.dtype, np.float64), copy=False)
    rounded = np.rint(wide)
    low, high = float(limits.min), float(limits.max)
    changed = rounded != wide
    if rounded.size and rounded.min() >= low and rounded.max() <= high and high <= limits.max:
        tally.rounded += int(np.count_nonzero(changed))
        inside: NDArray[Any] = rounded.astype(dtype)
        return inside
    below, above = rounded < low, rounded >= high if high > limits.max else rounded > high
    outside = below | above
    tally.clipped += int(np.count_nonzero(outside))
    tally.rounded += int(np.count_nonzero(changed & ~outside))
    result = np.where(outside, 0.0, rounded).astype(dtype)
    result[below], result[above] = limits.min, limits.max
    return result


def _without_nan(
    values: NDArray[Any], dtype: np.dtype[Any], tally: CastTally, nan: float | None, name: str
) -> NDArray[Any]:
    # The smallest value is NaN where any is.
    if values.size == 0 or not np.isnan(values.min()):
        return values
    unknown = np.isnan(values)
    count = int(np.count_nonzero(unknown))
    if nan is None:
        raise InputError(
            f"{name}: {count} voxels of a block are NaN, which {dtype} cannot hold; keep a floating-point type "
            "with dtype=float32, or say what NaN becomes, e.g. --set nan=0"
        )
    tally.not_a_number += count
    return np.where(unknown, np.asarray(nan, values.dtype), values)


def _to_float(values: NDArray[Any], dtype: np.dtype[Any], tally: CastTally) -> NDArray[Any]:
    # NumPy calls the way from 64-bit integers to float64 safe, too.
    if values.dtype.itemsize < dtype.itemsize and np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype)
    if values.dtype.kind == "f":
        limit = np.asarray(np.finfo(dtype).max, values.dtype)
        with np.errstate(over="ignore", under="ignore"):
            result = values.astype(dtype)
        # Just above the largest number is still rounded to it.
        outside = np.isfinite(values) & np.isinf(result)
        tally.clipped += int(np.count_nonzero(outside))
        result[outside] = np.copysign(limit, values[outside]).astype(dtype)
        tally.rounded += int(np.count_nonzero((result != values) & ~np.isnan(values) & ~outside))
        return result
    result = values.astype(dtype)
    # Compared as integers: in floating point both sides would be rounded alike.
    beyond = result.astype(np.float64) >= float(np.iinfo(values.dtype).max) + 1
    back = np.where(beyond, 0, result).astype(values.dtype)
    tally.rounded += int(np.count_nonzero(beyond | (back != values)))
    return result
