"""Where voxels lie, what is read along a line, and how little of it."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from superres.plugin.grid import along, grid_on, index_at, value_of
from superres.plugin.profile_plot import ticks


@given(
    size=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    ends=st.lists(st.floats(-20, 80), min_size=4, max_size=4),
    gains=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
def test_along_a_line_a_slope_is_a_slope(size: tuple[int, int], ends: list[float], gains: tuple[float, float]) -> None:
    y, x = np.indices(size, float)
    start, stop = np.array(ends[:2]), np.array(ends[2:])
    shares, values = along(gains[0] * y + gains[1] * x, list(start), list(stop))
    points = start + shares[:, None] * (stop - start)
    inside = ((points >= 0) & (points <= np.array(size) - 1)).all(axis=1)
    np.testing.assert_allclose(values[inside], points[inside] @ np.array(gains), atol=1e-9)
    outside = ((points < -0.5) | (points > np.array(size) - 0.5)).any(axis=1)
    assert np.isnan(values[outside]).all()
    assert np.isfinite(values[~outside]).all()
    assert (shares[0], shares[-1]) == (0, 1)
    assert np.hypot(*(np.diff(points, axis=0).T)).max(initial=0) <= 1 + 1e-9


def test_only_chunks_under_the_line_are_read() -> None:
    read: list[tuple[int, ...]] = []

    def block(block_info: Any = None) -> NDArray[np.uint8]:
        location = block_info[None]["chunk-location"]
        read.append(tuple(location))
        return np.full((1, 100, 100), sum(location), np.uint8)

    stack = da.map_blocks(block, chunks=((1,) * 3, (100,) * 20, (100,) * 20), dtype=np.uint8, meta=np.empty((0, 0, 0)))
    read.clear()
    shares, values = along(stack, [1, 50, 50], [1, 1950, 1950])
    assert len(shares) == len(values) > 1900
    assert {where[0] for where in read} == {1}
    assert all(abs(y - x) <= 2 for _, y, x in read)  # a diagonal of 400 chunks
    assert len(set(read)) < 100
    assert np.isnan(along(stack, [3, 50, 50], [3, 60, 60])[1]).all()


def test_a_coarse_map_covers_the_fine_image_exactly() -> None:
    from napari.layers import Image

    fine = Image(np.zeros((2, 12, 20)), scale=(2, 0.1, 0.1), translate=(3, -0.15, 0.05), units=("um",) * 3)
    coarse = Image(np.zeros((2, 3, 5)), **grid_on(fine, (2, 3, 5)))
    np.testing.assert_allclose(coarse.scale, (2, 0.4, 0.4))
    for edge in (-0.5, 2.5):
        np.testing.assert_allclose(
            coarse.data_to_world((0, edge, edge)), fine.data_to_world((0, 4 * edge + 1.5, 4 * edge + 1.5))
        )
    assert coarse.units == fine.units


@pytest.mark.parametrize("multiscale", [False, True])
def test_the_voxel_at_a_place_of_the_world(multiscale: bool) -> None:
    from napari.layers import Image

    image = np.arange(8 * 10, dtype=np.uint16).reshape(8, 10)
    data = [da.from_array(image, (4, 4)), da.from_array(image[::2, ::2], (4, 4))] if multiscale else image
    layer = Image(data, multiscale=multiscale, scale=(0.5, 0.25), translate=(10, 20))
    assert index_at(layer, (7.0, 11.1, 21.1)) == (2, 4)
    assert index_at(layer, (9.7, 20)) is None
    array = layer.data[0] if multiscale else layer.data
    assert value_of(array, (2, 4)) == 24
    assert value_of(array, None) is None


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_within(low: float, width: float) -> None:
    high = low + width
    found = ticks(low, high)
    assert len(found) <= 6
    assert all(low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high) for value in found)
