"""Inputs done side by side: each as it would be alone, in their order, heard in one thread, stopped together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from superres.config import UpscaleConfig
from superres.errors import Cancelled
from superres.inference import Predictor, UpscaleSummary, load_model, upscale
from superres.inference.batch import Batch, Task
from superres.inference.side_by_side import lanes_for, run_side_by_side
from superres.nets import device
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import open_volume, verify_store
from superres.volumes.collection import find_acquisitions


@pytest.fixture(scope="module")
def predictor(thin_models: dict[str, Path]) -> Predictor:
    return load_model(thin_models["plane"], "cpu")


def say(number: int) -> Progress:
    return Progress("upscale", number, 10)


def nothing(number: int, event: Progress | None) -> None:
    """Hear nothing."""


# --- any jobs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 2, 3, 9])
def test_jobs_begin_in_their_order_and_no_more_than_so_many_at_a_time(predictor: Predictor, lanes: int) -> None:
    begun, running, most, lock = list[int](), 0, 0, threading.Lock()

    def job(number: int, tell: ProgressCallback) -> None:
        nonlocal running, most
        with lock:
            begun.append(number)
            running, most = running + 1, max(most, running + 1)
        time.sleep(0.01)
        with lock:
            running -= 1

    run_side_by_side([lambda tell, n=n: job(n, tell) for n in range(7)], lanes, predictor, nothing)  # type: ignore[misc]
    # Those that begin at the same moment may overtake each other.
    assert sorted(begun) == list(range(7))
    assert all(abs(place - number) < lanes for place, number in enumerate(begun))
    assert min(2, lanes) <= most <= lanes


def test_all_is_heard_in_the_thread_of_the_caller(predictor: Predictor) -> None:
    heard: dict[int, list[float | None]] = {0: [], 1: [], 2: []}
    threads = set()

    def hear(number: int, event: Progress | None) -> None:
        threads.add(threading.get_ident())
        heard[number].append(None if event is None else event.done)

    def job(tell: ProgressCallback) -> None:
        for step in range(4):
            tell(say(step))

    run_side_by_side([job] * 3, 2, predictor, hear)
    assert list(heard.values()) == [[0, 1, 2, 3, None]] * 3
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled, ZeroDivisionError])
@pytest.mark.parametrize("where", ["job", "hear"])
def test_an_error_stops_those_that_run_and_none_begins_after_it(
    predictor: Predictor, error: type[BaseException], where: str
) -> None:
    begun, stopped = list[int](), list[int]()

    def job(number: int, tell: ProgressCallback) -> None:
        begun.append(number)
        if number == 1 and where == "job":
            raise error
        try:
            while True:
                tell(say(number))
                time.sleep(0.001)
        except Cancelled:
            stopped.append(number)
            raise

    def hear(number: int, event: Progress | None) -> None:
        if number == 1 and where == "hear":
            raise error

    with pytest.raises(error):
        run_side_by_side([lambda tell, n=n: job(n, tell) for n in range(6)], 2, predictor, hear)  # type: ignore[misc]
    assert sorted(begun) == [0, 1]
    assert sorted(stopped) == ([0] if where == "job" else [0, 1])


def test_cores_are_shared_and_given_back(predictor: Predictor) -> None:
    before, seen = torch.get_num_threads(), list[int]()
    torch.set_num_threads(4)
    try:
        run_side_by_side([lambda tell: seen.append(torch.get_num_threads())] * 3, 2, predictor, nothing)
        with pytest.raises(ZeroDivisionError):
            run_side_by_side([lambda tell: 1 / 0], 8, predictor, nothing)
        assert (seen, torch.get_num_threads()) == ([2, 2, 2], 4)
    finally:
        torch.set_num_threads(before)


def test_the_heap_is_given_back_by_the_last_that_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Libc:
        def mallopt(self, option: int, value: int) -> None:
            calls.append("mallopt")

        def malloc_trim(self, rest: int) -> None:
            calls.append("trim")

    monkeypatch.setattr("ctypes.CDLL", lambda name: Libc())
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2"))
    cpu = torch.device("cpu")
    with device.heap_kept(cpu):
        with device.heap_kept(cpu):
            pass
        assert "trim" not in calls
        with device.heap_kept(torch.device("meta")):
            pass
    assert calls.count("trim") == 1
    assert calls[-1] == "trim"


# --- inputs of a batch -----------------------------------------------------------------------------------------------


def image(path: Path, shape: tuple[int, ...], seed: int = 0, dtype: str = "uint16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)
    metadata = {"axes": "ZYX"[-len(shape) :]}
    tifffile.imwrite(path, voxels, photometric="minisblack", metadata=metadata)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a run leaves but logs, its notes of time and place, and the locks."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "log" not in path.parts and path.name not in ("upscale.json", "finished.json"):
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_of_several_is_several_runs_of_one(tmp_path: Path, thin_models: dict[str, Path], threads: int) -> None:
    config = UpscaleConfig(model=thin_models["plane"], device="cpu")
    for number, (shape, dtype) in enumerate([((140, 150), "uint16"), ((30, 40), "uint8"), ((2, 140, 33), "float32")]):
        image(tmp_path / "in" / f"{number}.tif", shape, number, dtype)
    tasks = [Task.of(one, tmp_path / "batch") for one in find_acquisitions([tmp_path / "in"])]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        batch = Batch(config, tmp_path / "batch", upscale, lambda: load_model(config.model, "cpu"), side_by_side=True)
        batch.run(tasks, silent)
    finally:
        torch.set_num_threads(before)
    for task in tasks:
        upscale(task.source, tmp_path / "alone" / task.out.name, config)
        assert verify_store(task.out) == []
    assert [row.state for row in batch.rows.values()] == ["done"] * 3
    assert files_of(tmp_path / "batch") == files_of(tmp_path / "alone")


def test_the_bar_of_several_only_grows_and_ends_at_all(tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config = UpscaleConfig(model=thin_models["plane"], device="cpu", trust=False, guard=False)
    for number in range(4):
        image(tmp_path / "in" / f"{number}.tif", (20 + 5 * number, 20), number)
    tasks = [Task.of(one, tmp_path / "out") for one in find_acquisitions([tmp_path / "in"])]
    events: list[Progress] = []
    batch = Batch(config, tmp_path / "out", upscale, lambda: load_model(config.model, "cpu"), side_by_side=True)
    batch.run(tasks, events.append)
    assert {event.stage for event in events} == {"batch"}
    done = [event.done for event in events]
    assert done == sorted(done)
    assert done[-1] == 100


def test_a_batch_that_is_stopped_says_which_inputs_are_left(tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config = UpscaleConfig(model=thin_models["plane"], device="cpu", trust=False)
    for number in range(6):
        image(tmp_path / "in" / f"{number}.tif", (40, 40), number)
    tasks = [Task.of(one, tmp_path / "out") for one in find_acquisitions([tmp_path / "in"])]

    stopped = threading.Event()

    def upscaled(source: Path, *arguments: Any, **more: Any) -> UpscaleSummary:
        if source.name == "5.tif":
            stopped.wait(60)
        return upscale(source, *arguments, **more)

    def new() -> Batch:
        return Batch(config, tmp_path / "out", upscaled, lambda: load_model(config.model, "cpu"), side_by_side=True)

    def stop(event: Progress) -> None:
        if event.done >= 60:  # one has ended, for the fourth only then begins
            stopped.set()
            raise KeyboardInterrupt

    batch = new()
    with pytest.raises(KeyboardInterrupt):
        batch.run(tasks, stop)
    states = [row.state for row in batch.rows.values()]
    assert set(states) == {"done", "stopped"}
    done = [row.output for row in batch.rows.values() if row.state == "done"]
    assert all(verify_store(path) == [] for path in done)
    again = new()
    again.run(tasks, silent)
    assert [row.state for row in again.rows.values()].count("skipped") == len(done)
    assert {row.state for row in again.rows.values()} == {"done", "skipped"}
    assert all(verify_store(task.out) == [] for task in tasks)


def test_one_that_fails_does_not_keep_the_others(tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config = UpscaleConfig(model=thin_models["plane"], device="cpu", trust=False, guard=False)
    for number in range(3):
        image(tmp_path / "in" / f"{number}.tif", (30, 30), number)
    tifffile.imwrite(tmp_path / "in" / "1.tif", np.full((30, 30), 7, np.uint16), photometric="minisblack")
    tasks = [Task.of(one, tmp_path / "out") for one in find_acquisitions([tmp_path / "in"])]
    batch = Batch(config, tmp_path / "out", upscale, lambda: load_model(config.model, "cpu"), side_by_side=True)
    batch.run(tasks, silent)
    assert [row.state for row in batch.rows.values()] == ["done", "failed", "done"]
    assert "constant" in batch.rows[tasks[1].source].reason


def lanes(predictor: Predictor, path: Path, threads: int, **settings: Any) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        config = UpscaleConfig.model_validate({"model": Path("m"), "device": "cpu"} | settings)
        return lanes_for(open_volume(path, axes="YX"), predictor, config)
    finally:
        torch.set_num_threads(before)


def test_small_inputs_go_side_by_side_and_large_ones_alone(
    tmp_path: Path, make_predictor: Callable[..., Predictor]
) -> None:
    predictor = make_predictor("S", (1, 4, 4))
    small = image(tmp_path / "small.tif", (100, 100))
    large = tmp_path / "large.npy"
    np.lib.format.open_memmap(large, "w+", np.uint8, (4000, 4000))
    assert [lanes(predictor, small, threads) for threads in (1, 2, 64)] == [2, 3, 4]
    assert lanes(predictor, large, 64) == 1
    assert lanes(predictor, large, 2, tile=128) == 1
    # What cannot be upscaled is left to its turn, when it is said why.
    assert lanes(predictor, small, 2, channels=[5]) == 1
