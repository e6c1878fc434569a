"""A moved volume is the volume, moved: whole shifts exactly, others as the whole image would be, in any block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import shift as move

from superres.datasets.moved import move_pair, shared_span
from superres.errors import InputError
from superres.volumes import Volume, open_volume

HIGH: NDArray[np.uint16] = np.random.default_rng(0).integers(0, 4000, (3, 64, 72), np.uint16)
ALL = slice(None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, Volume]:
    folder = tmp_path_factory.mktemp("pair")
    low = HIGH.reshape(3, 32, 2, 36, 2).mean(axis=(2, 4)).astype(np.uint16)
    for name, image, step in (("low", low, 2.0), ("high", HIGH, 1.0)):
        meta = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
        tifffile.imwrite(folder / f"{name}.tif", image, imagej=True, metadata=meta, resolution=(10 / step, 10 / step))
    return open_volume(folder / "low.tif"), open_volume(folder / "high.tif")


@settings(max_examples=30)
@given(y=st.integers(-20, 20), x=st.integers(-20, 20))
@example(y=0, x=0)
def test_whole_shift_moves_and_crops_exactly(pair: tuple[Volume, Volume], y: int, x: int) -> None:
    low, high = move_pair(*pair, factor=(1, 2, 2), shift=(0, y, x))
    assert high.shape[2:] == (3, 2 * low.shape[3], 2 * low.shape[4])
    assert high.dtype == np.uint16
    rows, columns = (-(-max(0, s) // 2) for s in (y, x))  # low voxels cut off
    moved = np.roll(HIGH, (y, x), (1, 2))[:, 2 * rows :, 2 * columns :]
    found = high.read(t=0, c=0, z=ALL, y=ALL, x=ALL)
    np.testing.assert_array_equal(found, moved[:, : found.shape[1], : found.shape[2]])
    np.testing.assert_array_equal(
        low.read(t=0, c=0, z=ALL, y=ALL, x=ALL),
        pair[0].read(t=0, c=0, z=ALL, y=slice(rows, rows + low.shape[3]), x=slice(columns, columns + low.shape[4])),
    )


@settings(max_examples=60)
@given(low=st.integers(1, 40), extra=st.integers(0, 7), factor=st.integers(1, 4), shift=st.floats(-9, 9))
def test_what_is_kept_exists_in_both(low: int, extra: int, factor: int, shift: float) -> None:
    high = low * factor + extra
    first, last = shared_span(low, high, factor, shift)
    if last > first:
        assert first >= 0
        assert last <= low
        assert first * factor - shift >= -1e-5
        assert last * factor - 1 - shift <= high - 1 + 1e-5


def test_any_block_is_that_of_the_whole(pair: tuple[Volume, Volume]) -> None:
    shift = (0.0, 1.4, -2.3)
    _, high = move_pair(*pair, factor=(1, 2, 2), shift=shift)
    whole = high.read(t=0, c=0, z=ALL, y=ALL, x=ALL)
    direct = np.stack([move(plane.astype(float), shift[1:], order=3, mode="mirror") for plane in HIGH])
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, direct[:, 4 : 4 + whole.shape[1], : whole.shape[2]], atol=0.01)
    block = high.read(t=0, c=0, z=slice(1, 2), y=slice(20, 25), x=slice(30, 41))
    np.testing.assert_allclose(block, whole[1:2, 20:25, 30:41], atol=0.01)


def test_translation_tells_where_the_window_lies(pair: tuple[Volume, Volume]) -> None:
    low, high = move_pair(*pair, factor=(1, 2, 2), shift=(0, 3, -1))
    assert low.translation == pytest.approx((0, 2 * 0.2, 0))
    assert high.translation == pytest.approx((0, 0.1, 0.1))  # in the coordinates of the unmoved high image


@pytest.mark.parametrize("shift", [(0, 64, 0), (0, 0, -80), (3, 0, 0)])
def test_nothing_left_is_refused(pair: tuple[Volume, Volume], shift: Any) -> None:
    with pytest.raises(InputError, match=r"nothing is left of 3x64x72 voxels .* correct 'shift' in the manifest"):
        move_pair(*pair, factor=(1, 2, 2), shift=shift)
