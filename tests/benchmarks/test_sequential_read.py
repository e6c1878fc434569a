"""Reading a stack of 2 GB through `open_volume`, over the plain read rate and over the codec's own; `make bench`.

The two ways take turns, so that other work on the machine hits both alike; medians of the ratios are printed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec

from superres.volumes import Volume, open_volume
from superres.volumes.cores import core_count

PLANES, SIDE = 256, 2048  # 2.15 GB of uint16
SLAB = 16
ROUNDS = 3
WHOLE = slice(0, SIDE)


@pytest.fixture(scope="module")
def slab() -> NDArray[np.uint16]:
    """Return 16 planes of photon noise on a smooth image, which compress about two times, as recordings do."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    mean = 200 + 150 * np.sin(x / 40) * np.cos(y / 30)
    return np.stack([random.poisson(mean).astype(np.uint16) for _ in range(SLAB)])


def decode_slabs(decode: Callable[[bytes], object], blocks: Sequence[bytes]) -> Callable[[], None]:
    """Decode from memory on all cores, what a slab needs held together: its memory costs as much as the decoding."""
    per_slab = len(blocks) * SLAB // PLANES

    def work() -> None:
        with ThreadPoolExecutor(core_count()) as pool:
            for first in range(0, len(blocks), per_slab):
                list(pool.map(decode, blocks[first : first + per_slab]))

    return work


def planes_of(slab: NDArray[np.uint16]) -> Iterator[NDArray[np.uint16]]:
    for number in range(PLANES):
        yield slab[number % SLAB]


def read_slabs(volume: Volume) -> None:
    for z in range(0, PLANES, SLAB):
        volume.read(t=0, c=0, z=slice(z, z + SLAB), y=WHOLE, x=WHOLE)


def report(figures: Any, name: str, against: str, ours: Callable[[], object], plain: Callable[[], object]) -> None:
    """Tell the rate of `ours` over that of `plain`, by the clock and by processor time."""
    found: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        seconds = []
        for way in (plain, ours):
            clock, processor = time.perf_counter(), time.process_time()
            way()
            seconds.append((time.perf_counter() - clock, time.process_time() - processor))
        found.append((seconds[0][0] / seconds[1][0], seconds[0][1] / seconds[1][1], seconds[1][0]))
    clock, processor, took = (statistics.median(column) for column in zip(*found, strict=True))
    size = PLANES * SIDE * SIDE * 2e-9
    figures.add(f"reading {name}", size / took, "GB/s")
    figures.add(f"reading {name} over {against}", clock, least=0.8)
    figures.add("the same by processor time", processor, least=0.8)
    assert max(clock, processor) > 0.6, "something is done twice"


def write_contiguous(path: Path, slab: NDArray[np.uint16]) -> list[int]:
    shape = (PLANES, SIDE, SIDE)
    tifffile.imwrite(
        path, planes_of(slab), shape=shape, dtype="u2", photometric="minisblack", metadata={"axes": "ZYX"}, ome=True
    )
    with tifffile.TiffFile(path) as file:
        start = file.series[0].dataoffset
    assert start is not None
    return [start + z * SIDE * SIDE * 2 for z in range(PLANES)]


def write_in_turn(path: Path, slab: NDArray[np.uint16]) -> list[int]:
    """Write headers and voxels in turn, in short strips, as most programs do."""
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for plane in planes_of(slab):
            writer.write(plane, metadata=None, contiguous=False, rowsperstrip=2, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        return [page.dataoffsets[0] for page in file.pages]  # type: ignore[union-attr]


@pytest.mark.parametrize("write", [write_contiguous, write_in_turn], ids=["contiguous", "pages in turn"])
def test_uncompressed_tiff(
    tmp_path: Path, figures: Any, slab: NDArray[np.uint16], write: Callable[..., list[int]]
) -> None:
    """Target: 80 % of `numpy.fromfile`."""
    path = tmp_path / "a.tif"
    offsets = write(path, slab)

    def fromfile() -> None:
        with path.open("rb") as file:
            for z in range(0, PLANES, SLAB):
                out = np.empty((SLAB, SIDE, SIDE), np.uint16)
                for plane, offset in zip(out, offsets[z : z + SLAB], strict=True):
                    file.seek(offset)
                    file.readinto(plane)  # type: ignore[arg-type]

    volume = open_volume(path, axes="ZYX")
    report(figures, f"{write.__name__}, TIFF", "plain reading", lambda: read_slabs(volume), fromfile)


@pytest.mark.parametrize("chunk", [(16, 256, 256), (1, SIDE, SIDE)], ids=["blocks", "planes"])
def test_uncompressed_zarr(tmp_path: Path, figures: Any, slab: NDArray[np.uint16], chunk: tuple[int, int, int]) -> None:
    """Target: 80 % of `numpy.fromfile` of as many bytes."""
    write_zarr(tmp_path / "a.zarr", slab, chunks=chunk, compressors=None)
    np.concatenate([slab] * (PLANES // SLAB)).tofile(tmp_path / "plain.bin")

    def fromfile() -> None:
        with (tmp_path / "plain.bin").open("rb") as file:
            for _ in range(0, PLANES, SLAB):
                np.fromfile(file, np.uint16, SLAB * SIDE * SIDE)

    volume = open_volume(tmp_path / "a.zarr", axes="ZYX")
    report(figures, f"uncompressed Zarr, chunks of {chunk}", "plain reading", lambda: read_slabs(volume), fromfile)


def write_zarr(path: Path, slab: NDArray[np.uint16], **layout: Any) -> None:
    array = zarr.create_array(path, shape=(PLANES, SIDE, SIDE), dtype="uint16", **layout)
    for z in range(0, PLANES, SLAB):
        array[z : z + SLAB] = slab


ZARR: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "blosc zstd-1": (
        BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
        lambda chunk: imagecodecs.blosc_decode(chunk, numthreads=1),
    ),
    "zstd-1": (ZstdCodec(level=1), imagecodecs.zstd_decode),
}


@pytest.mark.parametrize("name", ZARR)
def test_compressed_zarr(tmp_path: Path, figures: Any, slab: NDArray[np.uint16], name: str) -> None:
    """Target: 80 % of decoding the same chunks from memory on all cores."""
    codec, decode = ZARR[name]
    path = tmp_path / "a.zarr"
    write_zarr(path, slab, chunks=(16, 256, 256), compressors=codec)
    chunks = [file.read_bytes() for file in (path / "c").rglob("*") if file.is_file()]
    volume = open_volume(path, axes="ZYX")
    report(figures, f"{name} Zarr", "the codec alone", lambda: read_slabs(volume), decode_slabs(decode, chunks))


TIFF: dict[str, tuple[str, dict[str, Any], Callable[..., Any]]] = {
    "zlib strips": ("zlib", {"rowsperstrip": 64}, imagecodecs.zlib_decode),
    "zstd tiles": ("zstd", {"tile": (512, 512)}, imagecodecs.zstd_decode),
    "zstd tiles with predictor": ("zstd", {"tile": (512, 512), "predictor": True}, imagecodecs.zstd_decode),
    "LZW strips with predictor": ("lzw", {"rowsperstrip": 64, "predictor": True}, imagecodecs.lzw_decode),
}


@pytest.mark.parametrize("name", TIFF)
def test_compressed_tiff(tmp_path: Path, figures: Any, slab: NDArray[np.uint16], name: str) -> None:
    """Target: 80 % of decoding the same blocks from memory on all cores."""
    compression, options, decode = TIFF[name]
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        planes_of(slab) if "tile" not in options else np.concatenate([slab] * (PLANES // SLAB)),
        shape=(PLANES, SIDE, SIDE),
        dtype="u2",
        photometric="minisblack",
        metadata={"axes": "ZYX"},
        compression=compression,
        maxworkers=core_count(),
        **options,
    )
    blocks = []
    with tifffile.TiffFile(path) as file:
        shape = file.pages.first.chunks
        for page in file.pages:
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):  # type: ignore[union-attr]
                file.filehandle.seek(offset)
                blocks.append(file.filehandle.read(count))

    def alone(block: bytes) -> NDArray[np.uint16]:
        voxels = np.frombuffer(decode(block, out=2 * shape[0] * shape[1]), np.uint16).reshape(shape)
        return imagecodecs.delta_decode(voxels, axis=-1) if "predictor" in options else voxels

    volume = open_volume(path)
    report(figures, f"{name}, TIFF", "the codec alone", lambda: read_slabs(volume), decode_slabs(alone, blocks))
