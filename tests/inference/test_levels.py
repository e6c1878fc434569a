"""Grey levels and half-widths made a few rows at a time are those that are made at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superres.inference import levels
from superres.inference.interval import half_widths
from superres.inference.levels import Ends, converts, grey_levels
from superres.volumes import Intensity
from superres.volumes.dtypes import CastTally, cast


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 40), st.integers(1, 30)),
    scale=st.sampled_from([0.3, 1.0, 30.0]),
    block=st.integers(1, 200),
    dtype=st.sampled_from(["uint8", "uint16"]),
    factor=st.sampled_from([0.5, 1.0, 2.75]),
)
def test_as_at_once(seed: int, size: tuple[int, int], scale: float, block: int, dtype: str, factor: float) -> None:
    random, kind = np.random.default_rng(seed), np.dtype(dtype)
    pred, own = (random.normal(0.5, scale, size).astype(np.float32) for _ in range(2))
    below, above = random.exponential(scale, (2, *size)).astype(np.float32)
    intensity = Intensity(float(random.uniform(0, 90)), float(random.uniform(100, np.iinfo(kind).max)))
    tally = CastTally()
    expected = cast(intensity.denormalise(pred), kind, tally)
    ends = (own - np.float32(factor) * below, own + np.float32(factor) * above)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "_BLOCK", block)
        found, widths, clipped = grey_levels(pred, intensity, Ends(np.stack([own, below, above]), factor), kind)
        alone, nothing, _ = grey_levels(pred, intensity, None, kind)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(alone, expected)
    np.testing.assert_array_equal(widths, half_widths(expected, *(intensity.denormalise(end) for end in ends)))
    assert clipped == tally.clipped
    assert nothing is None


def test_what_is_not_a_number_becomes_0_and_what_is_infinite_is_clipped() -> None:
    pred = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    found, _, clipped = grey_levels(pred, Intensity(0, 100), None, np.dtype(np.uint16))
    assert found.tolist() == [[0, 65535, 0, 50]]
    assert clipped == 2


@pytest.mark.parametrize(("dtype", "can"), [("uint8", True), ("uint16", True), ("int16", False), ("float32", False)])
def test_types(dtype: str, can: bool) -> None:
    assert converts(np.dtype(dtype)) == can
