"""Volumes for the eye: tiles that fit, an overview where the file has none, a contrast from a sample."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.axes import TczyxArray
from superres.volumes.display import LARGEST_PLANE, display_of, sampled_contrast
from superres.volumes.overview import Overview, PooledArray
from superres.volumes.pyramid import mean_pooled

WAIT = 120.0


class Counted:
    """An array in memory that counts what is read of it."""

    def __init__(self, values: np.ndarray[Any, Any], block: tuple[int, ...] = ()) -> None:
        self.values = values
        self.shape = values.shape
        self.dtype = values.dtype
        self.block = block
        self.read = 0

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        block = self.values[region]
        self.read += block.size
        return block


def wide(y: int, x: int, planes: int = 1) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.integers(0, 60_000, (1, 1, planes, y, x), dtype=np.uint16)


@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 4, 8]), st.integers(0, 39), st.integers(0, 39)
)  # fmt: skip
@settings(max_examples=40)
def test_pooled_array_is_the_mean_of_its_cells_in_any_region(y: int, x: int, factor: int, top: int, left: int) -> None:
    values = wide(y, x, 2)
    pooled = PooledArray(TczyxArray(Counted(values), "TCZYX"), factor)
    whole = np.stack([mean_pooled(plane[None], (1, factor, factor))[0] for plane in values[0, 0]])
    assert pooled.shape == (1, 1, *whole.shape)
    top, left = min(top, pooled.shape[3] - 1), min(left, pooled.shape[4] - 1)
    region = (slice(0, 1), slice(0, 1), slice(0, 2), slice(top, pooled.shape[3]), slice(left, pooled.shape[4]))
    np.testing.assert_array_equal(pooled[region][0, 0], whole[:, top:, left:])


def test_overview_fills_while_one_looks_and_tells_of_it() -> None:
    source = Counted(wide(500, 700))
    overview = Overview(TczyxArray(source, "TCZYX"))
    told = threading.Event()
    overview.changed = told.set
    assert source.read == 0
    everything = tuple(slice(0, n) for n in overview.shape)
    overview[everything]
    assert overview.wait(WAIT)
    assert told.wait(WAIT)
    np.testing.assert_array_equal(overview[everything][0, 0], mean_pooled(source.values[0, 0], (1, 8, 8)))
    assert source.read == source.values.size, "every voxel is read once"


def test_overview_is_made_of_the_planes_that_are_looked_at_only() -> None:
    source = Counted(wide(64, 64, planes=5))
    overview = Overview(TczyxArray(source, "TCZYX"))
    second = (slice(0, 1), slice(0, 1), slice(1, 2), slice(0, 8), slice(0, 8))
    overview[second]
    assert overview.wait(WAIT)
    assert source.read == 64 * 64
    np.testing.assert_array_equal(overview[second][0, 0], mean_pooled(source.values[0, 0, 1:2], (1, 8, 8)))


def test_overview_goes_along_when_a_layer_is_duplicated_or_sent_elsewhere(large: Path) -> None:
    overview = display_of(open_volume(large)).overview
    assert overview is not None
    assert copy.deepcopy({"of": overview})["of"] is overview
    assert pickle.loads(pickle.dumps(overview)).shape == overview.shape


def test_overview_says_why_a_part_cannot_be_read() -> None:
    class Damaged(Counted):
        def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
            raise InputError("block 3 is damaged")

    overview = Overview(TczyxArray(Damaged(wide(64, 64)), "TCZYX"))
    overview[tuple(slice(0, n) for n in overview.shape)]
    assert overview.wait(WAIT)
    assert overview.error() == "block 3 is damaged"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a plane larger than is shown whole, in compressed tiles and without a pyramid."""
    path = tmp_path_factory.mktemp("large") / "large.tif"
    plane = np.add.outer(np.arange(4200), np.arange(4500)).astype(np.uint16)
    tifffile.imwrite(path, plane, tile=(256, 256), compression="zlib", metadata=None)
    return path


def test_plane_without_a_pyramid_gets_levels_down_to_a_screen(large: Path) -> None:
    display = display_of(open_volume(large))
    levels = display.channel(0)
    assert [level.shape[2:] for level in levels] == [
        (4200, 4500), (2100, 2250), (1050, 1125), (525, 563), (263, 282)
    ]  # fmt: skip
    assert all(max(level.chunksize[2:]) <= 1024 for level in levels)
    # A tile of a level that is averaged at once, and one that a thread makes.
    plane = np.add.outer(np.arange(4200), np.arange(4500)).astype(np.uint16)[None]
    np.testing.assert_array_equal(levels[1][0, :, :8, :8].compute(), mean_pooled(plane[:, :16, :16], (1, 2, 2)))
    assert display.overview is not None
    levels[4].compute()
    assert display.overview.wait(WAIT)
    eighth = mean_pooled(plane, (1, 8, 8))
    np.testing.assert_array_equal(levels[3][0].compute(), eighth)
    np.testing.assert_array_equal(levels[4][0].compute(), mean_pooled(eighth, (1, 2, 2)))


def test_planes_that_fit_are_shown_as_they_are(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((LARGEST_PLANE, 16), np.uint8), metadata=None)
    display = display_of(open_volume(tmp_path / "small.tif"))
    assert display.overview is None
    assert len(display.levels) == 1


def test_strips_as_wide_as_the_plane_are_cut_to_what_a_texture_takes(tmp_path: Path) -> None:
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, np.zeros((20, 20_000), np.uint8), rowsperstrip=4, compression="zlib", metadata=None)
    (finest, *_) = display_of(open_volume(path)).channel(0)
    assert max(finest.chunksize) <= 8192


def test_contrast_comes_from_a_small_sample_and_tells_black_from_white(large: Path) -> None:
    volume = open_volume(large)
    assert volume.finest is not None
    source = Counted(np.asarray(volume.finest[:, :, :, :, :]))
    view = type(volume)(
        levels=volume.levels, voxel_size=volume.voxel_size, translation=volume.translation, channel_names=(),
        time_step=None, axes="TCZYX", format="", source=large, finest=TczyxArray(source, "TCZYX"),
    )  # fmt: skip
    low, high = sampled_contrast(view, 0)
    assert source.read <= 9 * 256 * 256
    assert 0 <= low < 500 < 8000 < high <= 8698


def test_contrast_of_an_even_image_is_no_empty_range(tmp_path: Path) -> None:
    for name, value in (("even", 7.0), ("nan", np.nan)):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((20, 30), value, np.float32), metadata=None)
        low, high = sampled_contrast(open_volume(tmp_path / f"{name}.tif"), 0)
        assert low < high
