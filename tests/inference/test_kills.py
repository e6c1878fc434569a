"""SIGKILL at random moments, however the work is shared: the next run ends with the same bytes and repeats no shard.

A few kills by default; ``SUPERRES_TEST_KILLS=20`` with ``--long`` is the long form, with so many over each of the ways.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

from superres.config import UpscaleConfig
from superres.inference import cluster, upscale
from superres.inference.cluster import Cluster
from superres.progress import Progress
from superres.volumes import verify_store
from superres.volumes.hyperstack import save_hyperstack

KILLS = int(os.environ.get("SUPERRES_TEST_KILLS", "2"))
PARTS = 2
FilesOf = Callable[[Path, str], dict[str, bytes]]

pytestmark = pytest.mark.slow

# What a process does that will be killed: it tells of every tile. Run as text, because a process that is started afresh
# cannot import a test.
_JOB = """
from superres.inference import upscale
from superres.inference.parts import Part
tell = lambda event: pipe.send(event.stage)
if source.is_dir():
    from superres.inference import load_model
    from superres.inference.batch import Batch, Task
    from superres.volumes.collection import find_acquisitions
    tasks = [Task.of(one, out) for one in find_acquisitions([source])]
    Batch(config, out, upscale, lambda: load_model(config.model, config.device), side_by_side=True).run(tasks, tell)
elif scheduler:
    from superres.inference.cluster import open_cluster
    with open_cluster(scheduler) as workers:
        upscale(source, out, config, run=workers.run, progress=tell)
else:
    upscale(source, out, config, part=part and Part(*part), progress=tell)
pipe.send("end")
"""


class Job:
    """A process of its own that upscales, wholly, in part, or by the workers of a scheduler."""

    def __init__(self, source: Path, out: Path, config: UpscaleConfig, **how: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["superres.inference.engine"])
        self.pipe: Connection
        self.pipe, pipe = context.Pipe()
        names = {"source": source, "out": out, "config": config, "part": None, "scheduler": None, "pipe": pipe} | how
        self.process: BaseProcess = context.Process(target=exec, args=(_JOB, names))
        self.process.start()
        pipe.close()

    def told(self) -> str:
        """Wait for the next thing that it tells; empty once it is gone."""
        try:
            return str(self.pipe.recv())
        except EOFError:
            return ""

    def kill_after(self, events: int, seconds: float) -> bool:
        """Kill it so long after so many events; whether it was alive."""
        for _ in range(events):
            if self.told() in ("end", ""):
                break
        time.sleep(seconds)
        alive = self.process.exitcode is None
        self.process.kill()
        self.process.join(60)
        self.pipe.close()
        return alive

    def ends(self) -> bool:
        """Wait until it has ended; whether it did all that it should."""
        last = list(iter(self.told, ""))[-1:]
        self.process.join(60)
        return last == ["end"] and self.process.exitcode == 0


class Output:
    """A store that is written and killed, and what it must come to."""

    def __init__(self, folder: Path, model: Path, files_of: FilesOf) -> None:
        self._files_of = files_of
        self.source, self.out = folder / "in.tif", folder / "out.zarr"
        image = np.random.default_rng(0).integers(300, 40_000, (1, 1, 4, 60, 60))
        save_hyperstack(self.source, image.astype(np.uint16))
        self.config = UpscaleConfig.model_validate({"model": model, "tile": 20, "shard": 1, "device": "cpu"})
        upscale(self.source, folder / "whole.zarr", self.config)
        self.expected = files_of(folder, "whole")
        self.shards = sum(name.startswith(".zarr/0/c/") for name in self.expected)
        self._finished: dict[Path, tuple[int, int]] = {}

    def remove(self) -> None:
        """Begin anew."""
        self._finished = {}
        for path in self.out.parent.glob("out.*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def note_finished(self) -> int:
        """Note which shards are finished, and that those noted before are still the same files."""
        before = self._finished
        records = {path.stem for path in self.out.with_name("out.zarr.records").glob("*/0/*.json")}
        found = {}
        for name in records:
            shard = self.out / "0" / "c" / name.replace(".", "/")
            found[shard] = (shard.stat().st_ino, shard.stat().st_mtime_ns)
        assert {shard: found.get(shard) for shard in before} == before, "a finished shard was written again"
        self._finished = found
        return len(found)

    def check(self) -> None:
        """Compare with the output of an undisturbed run."""
        self.note_finished()
        assert self._files_of(self.out.parent, "out") == self.expected
        for kind in ("out.zarr", "out.trust.zarr"):
            assert verify_store(self.out.with_name(kind)) == []
            left = [path.name for path in self.out.with_name(f"{kind}.records").iterdir()]
            assert len(left) == 1, "no lock is left"


@pytest.fixture
def output(tmp_path: Path, thin_models: dict[str, Path], files_of: FilesOf) -> Output:
    return Output(tmp_path, thin_models["plane"], files_of)


def kill_again_and_again(output: Output, start: Callable[[], list[Job]], seed: int) -> None:
    """Start, kill and start again; go on to the end when nothing is left to kill, and begin anew for further kills."""
    moments, kills = random.Random(seed), 0
    while kills < KILLS:
        kills += sum(job.kill_after(moments.randrange(8), moments.uniform(0, 0.1)) for job in start())
        if output.note_finished() == output.shards:
            _go_on(output, start)
            output.remove()
    _go_on(output, start)


def _go_on(output: Output, start: Callable[[], list[Job]]) -> None:
    jobs = start()
    assert all(job.ends() for job in jobs)
    output.check()


def test_killed_alone(output: Output) -> None:
    kill_again_and_again(output, lambda: [Job(output.source, output.out, output.config)], seed=0)


def test_killed_batch_of_small_images(tmp_path: Path, thin_models: dict[str, Path], files_of: FilesOf) -> None:
    """Some are on their way at a time, and each makes its pyramid while it is in memory."""
    folder, names = tmp_path / "in", "abcde"
    folder.mkdir()
    config = UpscaleConfig.model_validate({"model": thin_models["plane"], "device": "cpu"})
    for number, name in enumerate(names):
        image = np.random.default_rng(number).integers(300, 40_000, (1, 1, 1, 140, 140))
        save_hyperstack(folder / f"{name}.tif", image.astype(np.uint16))
        upscale(folder / f"{name}.tif", tmp_path / "whole" / f"{name}.zarr", config)
    out, moments, kills = tmp_path / "out", random.Random(4), 0
    before: dict[Path, tuple[int, int]] = {}
    while kills < KILLS:
        kills += Job(folder, out, config).kill_after(moments.randrange(6), moments.uniform(0, 0.2))
        finished = _finished_shards(out)
        assert {shard: finished.get(shard) for shard in before} == before, "a finished shard was written again"
        before = finished
        if all((out / f"{name}.ome.zarr" / "zarr.json").exists() for name in names):
            shutil.rmtree(out)
            before = {}
    assert Job(folder, out, config).ends()
    for name in names:
        assert verify_store(out / f"{name}.ome.zarr") == []
        (out / f"{name}.ome.zarr").rename(out / f"{name}.zarr")
        (out / f"{name}.trust.ome.zarr").rename(out / f"{name}.trust.zarr")
        assert files_of(out, name) == files_of(tmp_path / "whole", name)


def _finished_shards(out: Path) -> dict[Path, tuple[int, int]]:
    """Return the shards of all levels that have a record, and what tells a file; maps go before, and may go again."""
    found = {}
    for record in out.glob("*.zarr.records/*/*/*.json"):
        if not record.parent.name.isdigit() or ".trust." in record.parents[2].name:
            continue
        store = out / record.parents[2].name.removesuffix(".records")
        shard = store / record.parent.name / "c" / record.stem.replace(".", "/")
        found[shard] = (shard.stat().st_ino, shard.stat().st_mtime_ns)
    return found


def test_killed_parts(output: Output) -> None:
    parts = [(number, PARTS) for number in range(1, PARTS + 1)]
    kill_again_and_again(
        output, lambda: [Job(output.source, output.out, output.config, part=part) for part in parts], seed=1
    )


@pytest.mark.long
def test_killed_driver_of_workers(output: Output, workers: Cluster) -> None:
    address = workers.client.scheduler.address
    kill_again_and_again(output, lambda: [Job(output.source, output.out, output.config, scheduler=address)], seed=2)


@pytest.mark.long
def test_killed_workers_one_by_one(output: Output, workers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker is killed while the driver goes on; it needs no restart."""
    monkeypatch.setattr(cluster, "_SECONDS_BETWEEN_LOOKS", 0.5)
    moments, killed = random.Random(3), 0
    due: list[int] = []

    def kill(event: Progress) -> None:
        nonlocal killed
        if event.stage == "upscale" and due and event.done >= due[0] and killed < KILLS:
            due.pop(0)
            time.sleep(moments.uniform(0, 0.1))
            # Every other one Dask gives up at once, as it does on a machine that is slow to start it again.
            with dask.config.set({"distributed.deploy.lost-worker-timeout": f"{15 * (killed % 2)}s"}):
                killed += _kill_one(workers, killed)

    while killed < KILLS:
        output.remove()
        due = sorted(moments.sample(range(1, 30), min(KILLS, 20)))
        upscale(output.source, output.out, output.config, run=workers.run, progress=kill)
        output.check()


def _kill_one(workers: Cluster, number: int) -> int:
    """Kill one worker process, another one each time; return how many were killed once Dask has noticed."""
    processes = workers.client.run(os.getpid, nanny=False, on_error="ignore")
    if not processes:
        return 0
    address = sorted(processes)[number % len(processes)]
    os.kill(processes[address], signal.SIGKILL)
    while address in workers.client.cluster.scheduler_info["workers"]:
        time.sleep(0.02)
    return 1
