"""Many small files, many tiles, several workers: what is not the net's work."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import write_recording

from superres.config import UpscaleConfig
from superres.inference import load_model, upscale
from superres.progress import Progress

CLI = [sys.executable, "-m", "superres", "upscale"]


def test_overhead_of_small_files(tmp_path: Path, figures: Any, model_of: Callable[[str], Path], quick: bool) -> None:
    """200 files of 512 x 512 by one command, less the net's time for each; target 0.3 s a file."""
    count = 2 if quick else 200
    first = write_recording(tmp_path / "in" / "0.tif", 1, 512)
    for number in range(1, count):
        shutil.copy(first, first.with_name(f"{number}.tif"))
    model = model_of("narrow")
    seconds = command_seconds([tmp_path / "in", "--model", model, "--out", tmp_path / "out", "--set", "device=cpu"])
    net = net_seconds(model, 512)
    figures.add(f"{count} files of 512 x 512: seconds a file beyond the net's", seconds / count - net, "s", most=0.3)
    figures.add("of them the net's, of next to no channels", net, "s")
    assert len(list((tmp_path / "out").glob("*.ome.zarr"))) >= count


def net_seconds(model: Path, side: int) -> float:
    """Return the seconds of the net for a plane with its halo."""
    predictor = load_model(model, "cpu")
    halo = predictor.plan((1, side, side)).halo[1]
    low = np.zeros((1, side + 2 * halo, side + 2 * halo), np.float32)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        predictor.predict_interval(low)
        times.append(time.perf_counter() - started)
    return min(times)


def command_seconds(*commands: list[Any], threads: int | None = None, apart: bool = False) -> float:
    """Run commands at once, each with so many threads; return the seconds until the last has ended.

    With `apart` each has one core to itself, and a single one has one core, too.
    """
    cores = sorted(os.sched_getaffinity(0))
    started = time.perf_counter()
    running = []
    for number, arguments in enumerate(commands):
        with only_on({cores[number % len(cores)]} if apart else set(cores)):
            running.append(subprocess.Popen(**command(arguments, threads)))
    said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), said
    return time.perf_counter() - started


@contextmanager
def only_on(cores: set[int]) -> Iterator[None]:
    """Let what is started have these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def command(arguments: list[Any], threads: int | None) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | ({} if threads is None else dict.fromkeys(names, str(threads)))
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return {"args": [*CLI, *map(str, arguments)], "env": environment, "text": True, **pipes}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are shared out as Linux does")
def test_two_parts_and_two_workers_over_one(
    tmp_path: Path, figures: Any, model_of: Callable[[str], Path], quick: bool
) -> None:
    """The same volume by one process, by two parts at once and by two workers; start-up is counted in."""
    planes, side = (2, 256) if quick else (16, 512)
    source = write_recording(tmp_path / "in.tif", planes, side)
    model = model_of("S")
    plan = load_model(model, "cpu").plan((planes, side, side))
    shards = np.prod([-(-n // shard) for n, shard in zip(plan.output_shape, plan.shard, strict=True)])
    assert quick or shards % 2 == 0, "a shard is never parted, and the parts should have halves"
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("kind: local\nworkers: 2\noptions: {memory_limit: 0}\n")

    def upscale_to(out: str, *options: Any) -> list[Any]:
        return [source, "--model", model, "--out", tmp_path / out, "--set", "device=cpu", *options]

    def parts(out: str) -> list[list[Any]]:
        return [upscale_to(out, "--part", f"{number}/2") for number in (1, 2)]

    one = command_seconds(upscale_to("one.zarr"), threads=1, apart=True)
    two = command_seconds(*parts("two.zarr"), threads=1, apart=True)
    figures.add("one process of one thread on one core", one, "s")
    figures.add("2 parts at once over it, one thread on a core each", one / two, "times as fast", least=1.7)
    workers = command_seconds(upscale_to("workers.zarr", "--cluster", cluster), threads=1)
    figures.add("2 Dask workers of one thread over it", one / workers, "times as fast")
    threads = command_seconds(upscale_to("threads.zarr"), threads=2)
    figures.add("2 parts at once over one process of 2 threads on the same cores", threads / two, "times as fast")
    for name in ("one", "two", "workers", "threads"):
        assert (tmp_path / f"{name}.zarr" / "zarr.json").is_file()
    end = command_seconds(upscale_to("two.zarr"), threads=1)
    figures.add("the command that finishes parts, with nothing left to do", end, "s")


def test_start_of_a_hundred_thousand_tiles(
    tmp_path: Path, figures: Any, model_of: Callable[[str], Path], quick: bool
) -> None:
    """From the call to the first tile, the model loaded; target 5 s. All strips of the file share their voxels."""
    planes, side = (10, 2048) if quick else (100, 10_880)
    source = write_shared(tmp_path / "large.tif", planes, side)
    predictor = load_model(model_of("narrow"), "cpu")
    # Smaller tiles than by default, so that the file need not be so large.
    config = UpscaleConfig(model=Path("narrow"), device="cpu", axes="ZYX", tile=344)
    plan = predictor.plan((planes, side, side), tile=config.tile)
    tiles = planes * int(np.prod([-(-n // core) for n, core in zip(plan.shape[1:], plan.tile[1:], strict=True)]))
    started = time.perf_counter()
    with pytest.raises(Begun):
        upscale(source, tmp_path / "out.ome.zarr", config, progress=begin, predictor=predictor)
    figures.add(f"start of {tiles} tiles, up to the first", time.perf_counter() - started, "s", most=5)
    assert quick or tiles >= 100_000


class Begun(Exception):
    """Raised by the progress callback: all that comes before the tiles is done."""


def begin(event: Progress) -> None:
    if event.stage == "upscale":
        raise Begun


def write_shared(path: Path, planes: int, side: int) -> Path:
    """Write a BigTIFF all of whose strips, in all planes, are one and the same."""
    rows = 64
    strip = np.random.default_rng(0).poisson(300, (rows, side)).astype("<u2")
    strips = side // rows
    offset, size = 16, strip.nbytes
    tables = offset + size
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, tables + 16 * strips) + strip.tobytes())
        file.write(struct.pack(f"<{strips}Q", *[offset] * strips) + struct.pack(f"<{strips}Q", *[size] * strips))
        tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)]
        tags += [(273, 16, strips, tables), (277, 3, 1, 1), (278, 4, 1, rows), (279, 16, strips, tables + 8 * strips)]
        for number in range(planes):
            file.write(struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *tag) for tag in tags))
            file.write(struct.pack("<Q", 0 if number == planes - 1 else file.tell() + 8))
    return path
