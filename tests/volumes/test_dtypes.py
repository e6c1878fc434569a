"""The dtype policy against exact arithmetic: every changed voxel is counted, none wraps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from superres.errors import InputError
from superres.volumes.dtypes import CastTally, cast, target_dtype

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
FLOATS = ["float16", "float32", "float64"]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = np.dtype(draw(st.sampled_from(INTEGERS + FLOATS)))
    near = draw(st.sampled_from([0, 2**8, 2**16, 2**24, 2**31, 2**32, 2**63, 2**64]))
    exact = [Fraction(near) + Fraction(k, 2) for k in range(-5, 6)]
    if dtype.kind == "f":
        elements: st.SearchStrategy[Any] = st.floats(width=dtype.itemsize * 8, allow_nan=False)  # type: ignore[arg-type]
        fitting = [float(v) for v in exact]
    else:
        limits = np.iinfo(dtype)
        elements = st.integers(int(limits.min), int(limits.max))
        fitting = [int(v) for v in exact if limits.min <= int(v) <= limits.max]
    drawn = draw(hnp.arrays(dtype, st.integers(1, 6), elements=elements))
    with np.errstate(over="ignore"):
        return np.concatenate([drawn, np.array(fitting).astype(dtype)])


def round_half_even(value: Any) -> int:
    return round(Fraction(float(value)) if isinstance(value, np.floating) else Fraction(int(value)))


@settings(max_examples=150)
@given(values=arrays(), dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "int64", "uint64"]))
def test_integers_are_rounded_half_to_even_and_clipped(values: np.ndarray[Any, Any], dtype: str) -> None:
    tally = CastTally()
    result = cast(values, np.dtype(dtype), tally)
    limits = np.iinfo(dtype)
    clipped = rounded = 0
    for before, after in zip(values, result, strict=True):
        if np.isinf(before):
            expected, outside = (int(limits.max) if before > 0 else int(limits.min)), True
        else:
            whole = round_half_even(before)
            outside = not limits.min <= whole <= limits.max
            expected = min(max(whole, int(limits.min)), int(limits.max))
        assert int(after) == expected
        clipped += outside
        rounded += not outside and expected != before
    assert (tally.clipped, tally.rounded) == (clipped, rounded)
    assert result.dtype == dtype


@settings(max_examples=150)
@given(values=arrays(), dtype=st.sampled_from(["float32", "float64"]))
def test_floats_count_what_they_cannot_hold(values: np.ndarray[Any, Any], dtype: str) -> None:
    tally = CastTally()
    result = cast(values, np.dtype(dtype), tally)
    changed = 0
    for before, after in zip(values.tolist(), result.tolist(), strict=True):
        same = before == after if np.isinf(before) else np.isfinite(after) and Fraction(before) == Fraction(after)
        changed += not same
        assert np.isinf(after) == np.isinf(before), "a finite value never becomes infinite"
    assert tally.clipped + tally.rounded == changed


def test_above_two_to_the_24_is_counted() -> None:
    tally = CastTally()
    cast(np.array([2**24 - 1, 2**24, 2**24 + 1, 2**24 + 2], np.uint32), np.dtype("float32"), tally)
    assert tally == CastTally(rounded=1)
    assert tally.sentences("float32") == ("1 voxels were rounded to values of float32, half to even",)


def test_nan_is_refused_or_replaced_with_a_count() -> None:
    values = np.array([1.0, np.nan, 3.0], np.float32)
    tally = CastTally()
    with pytest.raises(InputError, match=r"stack\.tif: 1 voxels.*NaN.*--set nan=0"):
        cast(values, np.dtype("uint16"), tally, name="stack.tif")
    np.testing.assert_array_equal(cast(values, np.dtype("uint16"), tally, nan=0.0), [1, 0, 3])
    assert tally.not_a_number == 1
    np.testing.assert_array_equal(cast(values.astype(np.float64), np.dtype("float32"), tally), values)


def test_keep_keeps() -> None:
    assert target_dtype("keep", np.dtype(">u2")) == np.dtype("uint16")
    assert target_dtype("float32", np.dtype("uint8")) == np.dtype("float32")
    values = np.arange(3, dtype=np.uint16)
    assert cast(values, values.dtype, CastTally()) is values
