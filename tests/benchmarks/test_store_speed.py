"""What the store and conversion cost beside bare libraries, as ratios in one run; `make bench` shows the figures."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from superres.volumes import OutputStore, StoreLayout, Unit, open_volume, verify_store
from superres.volumes.convert import convert
from superres.volumes.hyperstack import save_hyperstack
from superres.volumes.ngff import array_metadata

SHAPE = (1, 1, 64, 1024, 1024)
SHARD, CHUNK = (32, 512, 1024), (32, 128, 128)
LAYOUT = StoreLayout(shape=SHAPE, dtype="uint16", shard=SHARD, chunk=CHUNK, fingerprint="be4c")
THREADS = 2


def noisy_stack(shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    """Return what a camera gives: shot noise over smooth structure, compressible about twice."""
    random = np.random.default_rng(0)
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    mean = 200 + 150 * np.sin(y / 40) * np.cos(x / 60)
    tile = (mean + np.sqrt(mean) * random.standard_normal((4, *shape[-2:]), np.float32)).astype(np.uint16)
    planes = int(np.prod(shape[:-2]))
    return np.concatenate([tile] * -(-planes // 4))[:planes].reshape(shape)


Seconds = tuple[float, float]


def in_threads(write: Callable[[Unit], None], units: list[Unit]) -> Seconds:
    """Return seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, units))
    return time.perf_counter() - clock, time.process_time() - processor


def by_store(path: Path, voxels: np.ndarray[Any, Any]) -> Seconds:
    store = OutputStore.open(path, LAYOUT)
    return in_threads(lambda u: store.write(u, voxels[(u.t, u.c, *store.region(u))]), store.units())


def by_tensorstore(path: Path, voxels: np.ndarray[Any, Any]) -> Seconds:
    units = OutputStore.open(path, LAYOUT)
    specification = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path / "bare")},
        "metadata": array_metadata(SHAPE, "uint16", shard=SHARD, chunk=CHUNK),
        "context": {"data_copy_concurrency": {"limit": THREADS}},
    }
    array: Any = ts.open(specification, create=True).result()

    def write(unit: Unit) -> None:
        region = (unit.t, unit.c, *units.region(unit))
        array[region].write(voxels[region]).result()

    return in_threads(write, units.units())


def by_zarr(path: Path, voxels: np.ndarray[Any, Any]) -> Seconds:
    units = OutputStore.open(path, LAYOUT)
    array = zarr.create_array(
        path / "bare",
        shape=SHAPE,
        dtype="uint16",
        chunks=(1, 1, *CHUNK),
        shards=(1, 1, *SHARD),
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=2), Crc32cCodec()],
    )

    def write(unit: Unit) -> None:
        region = (unit.t, unit.c, *units.region(unit))
        array[region] = voxels[region]

    return in_threads(write, units.units())


def test_store_writes_beside_bare_libraries(tmp_path: Path, figures: Any) -> None:
    """Write the same shards by three ways in turn; target: 80 % of the best bare library, records included."""
    voxels = noisy_stack()
    seconds: dict[str, list[Seconds]] = {"store": [], "tensorstore": [], "zarr": []}
    for number in range(4):
        for name, write in (("store", by_store), ("tensorstore", by_tensorstore), ("zarr", by_zarr)):
            folder = tmp_path / f"{name}{number}"
            seconds[name].append(write(folder, voxels))
            shutil.rmtree(folder)
            shutil.rmtree(folder.with_name(folder.name + ".records"), ignore_errors=True)
    # The first round pays for what is loaded on first use.
    bare = [min(pair) for pair in zip(seconds["tensorstore"][1:], seconds["zarr"][1:], strict=True)]
    pairs = list(zip(bare, seconds["store"][1:], strict=True))
    by_clock, by_processor = (statistics.median(b[i] / s[i] for b, s in pairs) for i in (0, 1))
    for name, found in seconds.items():
        figures.add(f"writing a store by {name}", voxels.nbytes / 1e9 / min(found[1:])[0], "GB/s")
    figures.add("writing a store over the best bare library", by_clock, least=0.8)
    figures.add("the same by processor time", by_processor, least=0.8)
    assert max(by_clock, by_processor) > 0.8, "something is done twice"


def test_convert_beside_its_parts(tmp_path: Path, figures: Any) -> None:
    """Convert a stack to Zarr, over writing the same voxels from memory; target: 80 %, the pyramid not counted."""
    voxels = noisy_stack()
    save_hyperstack(tmp_path / "in.tif", voxels)
    by_tensorstore(tmp_path / "warm", voxels)
    bare, _ = by_tensorstore(tmp_path / "bare", voxels)
    marks: dict[str, float] = {}

    def mark(event: Any) -> None:
        marks.setdefault(f"{event.stage} begins", time.perf_counter())

    started = time.perf_counter()
    convert(open_volume(tmp_path / "in.tif"), tmp_path / "out.zarr", progress=mark)
    whole = time.perf_counter() - started
    blocks = marks["pyramid begins"] - started
    started = time.perf_counter()
    assert verify_store(tmp_path / "out.zarr") == []
    verified = time.perf_counter() - started
    figures.add("converting to a store over bare writing, without pyramid", bare / blocks, least=0.8)
    figures.add("the same with pyramid", bare / whole)
    figures.add("verifying a store", voxels.nbytes / 1e9 / verified, "GB/s")
    assert bare / blocks > 0.4


_MEASURE = """
import json, pathlib, sys
from superres.volumes import open_volume
from superres.volumes.convert import convert
source, out = sys.argv[1:3]
convert(open_volume(source), pathlib.Path(out))
# Not what getrusage tells: that begins with the memory of the process that started this one.
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps(int(status.partition("VmHWM:")[2].split()[0]) / 2**20))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.ome.zarr", "out.ome.tif", "out.tif"])
def test_peak_memory_as_the_volume_grows(tmp_path: Path, figures: Any, name: str) -> None:
    """Four times the time points, each larger than what is held at once; target: within 10 %."""
    peaks = []
    for times in (4, 16):
        source = tmp_path / f"{times}.tif"
        save_hyperstack(source, noisy_stack((times, 1, 32, 1024, 1024)))
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(source), str(tmp_path / f"{times}{name}")],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(json.loads(done.stdout))
    figures.add(f"converting to {name}: peak memory", peaks[1] * 2**30 / 1e9, "GB")
    figures.add(f"converting to {name}: peak memory, 4 times the volume over once", peaks[1] / peaks[0], most=1.1)
    assert peaks[1] < 1.1 * peaks[0]
