"""Chunks behind Blosc, decoded without the general way: every region, missing chunks, damaged ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.zarr_arrays import ZarrArray


def write(path: Path, data: np.ndarray[Any, Any], zarr_format: Any, chunks: tuple[int, ...]) -> ZarrArray:
    codec: Any = numcodecs.Blosc("lz4", 3, numcodecs.Blosc.BITSHUFFLE) if zarr_format == 2 else BloscCodec(cname="zstd")
    zarr.create_array(
        path, data=data, chunks=chunks, compressors=codec, zarr_format=zarr_format, fill_value=7, config={"order": "C"}
    )
    return ZarrArray.open(path)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_region(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=3)))
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    zarr_format = data.draw(st.sampled_from([2, 3]))
    dtype = data.draw(st.sampled_from(["u1", "<u2", ">i4", "<f4"] if zarr_format == 2 else ["u1", "<u2", "<f4"]))
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    with tempfile.TemporaryDirectory() as folder:
        array = write(Path(folder) / "a.zarr", values, zarr_format, chunks)
        assert array._plain is not None and array._plain.decode is not None
        region = tuple(slice(a, b) for a, b in bounds)
        found = array[region]
        np.testing.assert_array_equal(found, values[region])
        assert found.dtype == values.dtype.newbyteorder("=")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_missing_chunk_holds_the_fill_value(tmp_path: Path, zarr_format: int) -> None:
    values = np.arange(1, 65, dtype=np.uint16).reshape(8, 8)
    array = write(tmp_path / "a.zarr", values, zarr_format, (4, 4))
    array.file((1, 1)).unlink()
    values[4:, 4:] = 7
    np.testing.assert_array_equal(array[slice(0, 8), slice(0, 8)], values)


@pytest.mark.parametrize("cut", [0, 8, 40, -1])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_truncated_chunk_is_refused(tmp_path: Path, zarr_format: int, cut: int) -> None:
    """The codec itself would read on behind the end of what there is."""
    values = np.random.default_rng(0).integers(0, 60000, (1, 64, 64)).astype(np.uint16)
    chunk = write(tmp_path / "a.zarr", values, zarr_format, (1, 64, 64)).file((0, 0, 0))
    chunk.write_bytes(chunk.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"a\.zarr: a chunk cannot be read \(.*(compressed bytes found|holds 0 bytes)"):
        open_volume(tmp_path / "a.zarr", axes="ZYX").read(t=0, c=0, z=slice(0, 1), y=slice(0, 64), x=slice(0, 64))


def test_a_chunk_of_another_size_is_refused(tmp_path: Path) -> None:
    values = np.zeros((4, 64, 64), np.uint16) + 5
    array = write(tmp_path / "a.zarr", values, 3, (2, 64, 64))
    other = write(tmp_path / "b.zarr", values, 3, (1, 64, 64))
    array.file((0, 0, 0)).write_bytes(other.file((0, 0, 0)).read_bytes())
    with pytest.raises(InputError, match="holds 8192 bytes, a chunk has 16384"):
        array[slice(0, 2), slice(0, 64), slice(0, 64)]
