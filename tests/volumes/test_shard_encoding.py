"""Shards that are encoded here are read by tensorstore and by zarr-python, down to their checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.volumes.ngff import array_metadata
from superres.volumes.shards import StoredLevel

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64"]


@st.composite
def shards(draw: st.DrawFn) -> tuple[Any, ...]:
    chunk = tuple(draw(st.integers(1, 9)) for _ in range(3))
    shard = tuple(size * draw(st.integers(1, 3)) for size in chunk)
    shape = tuple(draw(st.integers(1, size)) for size in shard)
    values = draw(st.sampled_from(["random", "zero", "constant"]))
    return chunk, shard, shape, draw(st.sampled_from(DTYPES)), values, draw(st.sampled_from(["0.5", "0.4"]))


@settings(max_examples=60)
@given(drawn=shards())
def test_other_libraries_read_what_is_encoded(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    chunk, shard, shape, dtype, values, version = drawn
    if version == "0.4":
        shard, shape = chunk, tuple(min(a, b) for a, b in zip(chunk, shape, strict=True))
    folder = tmp_path_factory.mktemp("s") / "0"
    voxels = np.zeros(shape, dtype)
    if values == "random":
        voxels = np.random.default_rng(0).integers(0, 255, voxels.nbytes, dtype=np.uint8).view(dtype).reshape(shape)
    elif values == "constant":
        voxels += 7
    metadata = array_metadata((1, 1, *shape), dtype, shard=shard, chunk=chunk, version=version)
    level = StoredLevel(folder, metadata, shard=shard, chunk=chunk, zarr_format=2 if version == "0.4" else 3)
    record = level.write((0, 0, 0, 0, 0), voxels[::-1][::-1])
    assert level.shard_path((0, 0, 0, 0, 0)).stat().st_size == record.size
    np.testing.assert_array_equal(level.array[0, 0].read().result(), voxels)
    np.testing.assert_array_equal(zarr.open_array(folder, mode="r")[0, 0], voxels)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    size = (8, 16, 16)
    metadata = array_metadata((1, 1, *size), "uint16", shard=size, chunk=(4, 16, 16))
    level = StoredLevel(tmp_path / "0", metadata, shard=size, chunk=(4, 16, 16), zarr_format=3)
    level.write((0, 0, 0, 0, 0), np.random.default_rng(0).integers(0, 9999, size).astype(np.uint16))
    path = level.shard_path((0, 0, 0, 0, 0))
    whole = path.read_bytes()
    for place in (100, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"(?i)checksum|crc|blosc|DATA_LOSS"):
            ts.open({"driver": "zarr3", "kvstore": f"file://{tmp_path}/0/"}).result().read().result()
