"""Zarr through `open_volume` over plain reads of as many bytes, and tiles over slabs; `make bench` shows them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from superres.volumes import Volume, open_volume

SHAPE = (64, 1024, 1024)  # 128 MiB of uint16
SLAB, TILE = 16, (16, 256, 256)
ROUNDS = 5
PLAIN: dict[str, dict[str, Any]] = {
    "chunks 16x256x256": {"chunks": (16, 256, 256)},
    "chunks 16x256x256, version 2": {"chunks": (16, 256, 256), "zarr_format": 2},
    "planes": {"chunks": (1, 1024, 1024)},
    "sharded 64x512x512": {"chunks": (16, 128, 128), "shards": (64, 512, 512)},
}
BLOSC = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint16]:
    """Return photon noise on a smooth image, which compresses as recordings do."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    mean = 200 + 150 * np.sin(x / 40) * np.cos(y / 30)
    return np.stack([random.poisson(mean) for _ in range(SHAPE[0])]).astype(np.uint16)


def write(path: Path, data: NDArray[Any], **layout: Any) -> Volume:
    array = zarr.create_array(path, shape=data.shape, dtype=data.dtype, **layout)
    for z in range(0, SHAPE[0], 64):
        array[z : z + 64] = data[z : z + 64]
    return open_volume(path, axes="ZYX")


def read_slabs(volume: Volume) -> None:
    for z in range(0, SHAPE[0], SLAB):
        volume.read(t=0, c=0, z=slice(z, z + SLAB), y=slice(0, SHAPE[1]), x=slice(0, SHAPE[2]))


def ratio(ours: Callable[[], object], baseline: Callable[[], object]) -> tuple[float, float, float]:
    """Return seconds of the baseline over ours, by the clock and of the processor, and the GB/s of ours."""
    seconds: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        clock_base, cpu_base = timed(baseline)
        clock, cpu = timed(ours)
        seconds.append((clock_base / clock, cpu_base / cpu, np.prod(SHAPE) * 2e-9 / clock))
    by_clock, by_processor, rate = (statistics.median(column) for column in zip(*seconds, strict=True))
    return by_clock, by_processor, rate


def timed(work: Callable[[], object]) -> tuple[float, float]:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def report(figures: Any, name: str, against: str, found: Sequence[float], least: float | None = None) -> None:
    figures.add(f"reading {name}", found[2], "GB/s")
    figures.add(f"reading {name} over {against}", found[0], least=least)
    figures.add("the same by processor time", found[1], least=least)


@pytest.mark.parametrize("name", PLAIN)
def test_uncompressed_over_plain_reads(tmp_path: Path, figures: Any, stack: NDArray[np.uint16], name: str) -> None:
    """Slabs of the volume over `numpy.fromfile` of as many bytes; target 0.8."""
    stack.tofile(tmp_path / "plain.bin")
    volume = write(tmp_path / "a.zarr", stack, compressors=None, **PLAIN[name])

    def plain() -> None:
        with (tmp_path / "plain.bin").open("rb") as file:
            for _ in range(0, SHAPE[0], SLAB):
                np.fromfile(file, np.uint16, SLAB * SHAPE[1] * SHAPE[2])

    found = ratio(lambda: read_slabs(volume), plain)
    report(figures, f"{name}, uncompressed", "numpy.fromfile", found, least=0.8)
    assert max(found[:2]) > 0.4, "something is copied more than once"


def test_random_tiles_over_all_of_the_volume(tmp_path: Path, figures: Any, stack: NDArray[np.uint16]) -> None:
    """Processor time per voxel of chunk-aligned tiles in random order over that of reading slabs."""
    volume = write(tmp_path / "a.zarr", stack, compressors=BLOSC, chunks=(16, 128, 128), shards=(64, 512, 512))
    corners = [tuple(range(0, n, t)) for n, t in zip(SHAPE, TILE, strict=True)]
    order = [(z, y, x) for z in corners[0] for y in corners[1] for x in corners[2]]
    np.random.default_rng(0).shuffle(order)

    def tiles() -> None:
        for z, y, x in order:
            volume.read(t=0, c=0, z=slice(z, z + TILE[0]), y=slice(y, y + TILE[1]), x=slice(x, x + TILE[2]))

    found = ratio(tiles, lambda: read_slabs(volume))
    report(figures, "random tiles, sharded blosc", "slabs", found)
    assert max(found[:2]) > 0.4, "a tile reads more than its chunks"
