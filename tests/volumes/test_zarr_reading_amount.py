"""Only what is asked for is read, opened or unpacked, however large the store; nothing is unpickled."""

from __future__ import annotations

import gzip
import json
import pickle
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec

from superres.errors import InputError
from superres.volumes import open_volume

RNG = np.random.default_rng(0)
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"compressors": None},
    "plain, version 2": {"compressors": None, "zarr_format": 2},
    "plain, big endian": {"compressors": None, "serializer": BytesCodec(endian="big")},
    "blosc": {"compressors": BloscCodec(cname="zstd", clevel=1)},
    "zstd, version 2": {"compressors": numcodecs.Zstd(), "zarr_format": 2},
    "sharded": {"shards": (4, 16, 16), "compressors": [ZstdCodec(), Crc32cCodec()]},
    "sharded, plain": {"shards": (4, 16, 16), "compressors": None},
    "delta, version 2": {"compressors": None, "filters": [numcodecs.Delta("u2")], "zarr_format": 2},
}


def write(path: Path, data: np.ndarray[Any, Any], layout: str, chunks: tuple[int, ...] = (2, 8, 8)) -> None:
    zarr.create_array(path, data=data, chunks=chunks, **LAYOUTS[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_region_is_that_of_the_array(tmp_path: Path, layout: str) -> None:
    data = RNG.integers(0, 60000, (5, 19, 21)).astype(np.uint16)
    write(tmp_path / "a.zarr", data, layout)
    volume = open_volume(tmp_path / "a.zarr", axes="ZYX")
    bounds = [st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in data.shape]

    @given(*bounds)
    def check(z: list[int], y: list[int], x: list[int]) -> None:
        region = (slice(*z), slice(*y), slice(*x))
        block = volume.read(t=0, c=0, z=region[0], y=region[1], x=region[2])
        assert block.dtype == np.uint16
        np.testing.assert_array_equal(block, data[region])

    check()


@pytest.mark.parametrize("layout", ["plain", "plain, version 2", "blosc", "sharded", "zstd, version 2"])
def test_a_tile_needs_its_own_chunks_only(tmp_path: Path, layout: str) -> None:
    """All other chunks are made unreadable, so that touching one of them is an error."""
    data = RNG.integers(0, 60000, (8, 64, 64)).astype(np.uint16)
    write(tmp_path / "a.zarr", data, layout)
    volume = open_volume(tmp_path / "a.zarr", axes="ZYX")
    files = {path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file()} - set(metadata_in(tmp_path))
    assert len(files) > 20
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(b"not a chunk")
    for z, y, x in [(0, 0, 0), (5, 17, 40), (7, 63, 63)]:
        size = (4, 16, 16) if layout == "sharded" else (2, 8, 8)
        position = [str(i // n) for i, n in zip((z, y, x), size, strict=True)]
        wanted = next(path for path in files if path.parts[-len(position) :] == tuple(position)
                      or path.name == ".".join(position))  # fmt: skip
        wanted.write_bytes(before[wanted])
        block = volume.read(t=0, c=0, z=slice(z, z + 1), y=slice(y, y + 1), x=slice(x, x + 1))
        assert block.item() == data[z, y, x]
    with pytest.raises(InputError, match="a chunk cannot be read"):
        volume.read(t=0, c=0, z=slice(0, 8), y=slice(0, 64), x=slice(0, 64))


def metadata_in(folder: Path) -> list[Path]:
    return [path for name in ("zarr.json", ".zarray", ".zattrs") for path in folder.rglob(name)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_absent_chunks_hold_the_fill_value(tmp_path: Path, layout: str) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(5, 19, 21), dtype="uint16", fill_value=7, chunks=(2, 8, 8), **LAYOUTS[layout]
    )
    array[2:4, 8:16, 8:16] = 3
    expected = np.full((5, 19, 21), 7)
    expected[2:4, 8:16, 8:16] = 3
    volume = open_volume(tmp_path / "a.zarr", axes="ZYX")
    np.testing.assert_array_equal(volume.levels[0][0, 0].compute(), expected)


_OPEN = """
import json, resource, sys, time
import superres.volumes.omezarr
from superres.volumes import open_volume
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
volume = open_volume(sys.argv[1])
opened = time.process_time() - started
volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 9), x=slice(0, 9))
volume.identity()
total = time.process_time() - started
print(json.dumps([opened, total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_million_chunks_open_at_once(tmp_path: Path, zarr_format: Any) -> None:
    """Two thousand of them are there, in one folder for version 2."""
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("0", shape=(100, 1600, 1600), dtype="uint8", chunks=(1, 16, 16), compressors=None)
    folder = tmp_path / "a.zarr" / "0"
    for number in range(2_000):
        z, y, x = np.unravel_index(number * 500, (100, 100, 100))
        path = folder / (f"c/{z}/{y}/{x}" if zarr_format == 3 else f"{z}.{y}.{x}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(256))
    multiscale = {"axes": [{"name": a, "type": "space"} for a in "zyx"], "datasets": [{"path": "0"}]}
    content = {"version": "0.5", "multiscales": [multiscale]}
    group.attrs.update({"ome": content} if zarr_format == 3 else content)
    done = subprocess.run([sys.executable, "-c", _OPEN, str(tmp_path / "a.zarr")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened, total, megabytes = json.loads(done.stdout)
    assert opened < 1
    assert total < 3
    assert megabytes < 200


def test_identity_of_a_large_store_notices_a_new_chunk(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(200, 200), dtype="uint8", chunks=(2, 2), compressors=None)
    array[0, 0] = 1
    before = open_volume(tmp_path / "a.zarr").identity()
    time.sleep(0.02)
    array[3, 3] = 1
    assert open_volume(tmp_path / "a.zarr").identity() != before


def test_identity_survives_a_copy(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((20, 20), dtype=np.uint8), chunks=(8, 8))
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert open_volume(tmp_path / "a.zarr").identity() == open_volume(tmp_path / "b.zarr").identity()


# --- hostile stores --------------------------------------------------------------------------------------------------


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("unpickled").touch, ())


@pytest.mark.parametrize("dtype", ["|O", "<u2"])
def test_pickles_are_never_loaded(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    content = {"zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": dtype, "compressor": None, "order": "C"}
    content |= {"fill_value": None, "filters": [{"id": "pickle", "protocol": 5}]}
    (folder / ".zarray").write_text(json.dumps(content))
    (folder / "0.0").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(InputError, match="Python objects, which are never unpickled"):
        open_volume(folder)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("dtype", ["<c8", "|b1", "<U4", "|S3", [["a", "<u2"], ["b", "<f4"]], "<M8[s]"])
def test_what_is_no_number_is_refused(tmp_path: Path, dtype: Any) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    content = {"zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": dtype, "compressor": None, "order": "C"}
    (folder / ".zarray").write_text(json.dumps(content | {"fill_value": None, "filters": None}))
    with pytest.raises(InputError, match=r"a\.zarr"):
        open_volume(folder)


def test_few_bytes_that_claim_a_huge_chunk(tmp_path: Path) -> None:
    side = 2**18
    zarr.create_array(tmp_path / "a.zarr", shape=(side, side), dtype="u2", chunks=(side, side), compressors=GzipCodec())
    (tmp_path / "a.zarr" / "c" / "0").mkdir(parents=True)
    (tmp_path / "a.zarr" / "c" / "0" / "0").write_bytes(gzip.compress(bytes(1000)))
    volume = open_volume(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="which they cannot hold"):
        volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 1), x=slice(0, 1))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2**22  # KiB


@pytest.mark.parametrize("length", [0, 100, 127, 129])
def test_plain_chunk_of_another_length(tmp_path: Path, length: int) -> None:
    write(tmp_path / "a.zarr", np.ones((1, 8, 8), dtype=np.uint16), "plain", (1, 8, 8))
    (tmp_path / "a.zarr" / "c" / "0" / "0" / "0").write_bytes(bytes(length))
    volume = open_volume(tmp_path / "a.zarr", axes="ZYX")
    with pytest.raises(InputError, match=rf"a chunk cannot be read .*{length} bytes, a chunk has 128"):
        volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 1), x=slice(0, 1))
