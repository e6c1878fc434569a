"""Workers of a Dask cluster write the same bytes as one process, and say by name what one of them lacks."""

from __future__ import annotations

import pickle
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from superres.config import ClusterConfig, UpscaleConfig, load_config
from superres.errors import Cancelled, ClusterError, ConfigError, InputError
from superres.inference import cluster as cluster_module
from superres.inference import upscale, worker
from superres.inference.cluster import Cluster, open_cluster
from superres.inference.cluster_start import started
from superres.inference.upscaling import Upscaling
from superres.progress import Progress
from superres.volumes import Unit, verify_store
from superres.volumes.hyperstack import save_hyperstack

HOST = platform.node()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Put back the threads of torch, which workers set."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 24, "shard": 1, "device": "cpu"} | changes)


# --- the same bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plane", "volume", pytest.param("frames", marks=pytest.mark.long)])
def test_workers_write_the_same_as_one_process(
    stack: Path,
    tmp_path: Path,
    thin_models: dict[str, Path],
    workers: Cluster,
    files_of: Callable[[Path, str], dict[str, bytes]],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = settings(thin_models[kind], tile=48 if kind == "volume" else 24)
    whole = upscale(stack, tmp_path / "whole.zarr", config)
    events: list[Progress] = []
    monkeypatch.chdir(tmp_path)  # where the workers do not stand
    shared = upscale(Path("stack.tif"), Path("shared.zarr"), config, run=workers.run, progress=events.append)
    assert files_of(tmp_path, "shared") == files_of(tmp_path, "whole")
    assert verify_store(tmp_path / "shared.zarr") == []
    assert (shared.clipped, shared.units, shared.units_done_before) == (whole.clipped, whole.units, 0)
    assert shared.spent is not None and whole.spent is not None
    assert shared.spent.voxels == whole.spent.voxels
    tiles = [event for event in events if event.stage == "upscale"]
    assert tiles[0].done == 0
    assert tiles[-1].done == tiles[-1].total == Upscaling.open(stack, tmp_path / "shared.zarr", config).all_tiles()
    assert not list((tmp_path / "shared.zarr.records").rglob("*.pickle"))
    again = upscale(stack, tmp_path / "shared.zarr", config, run=workers.run)
    assert again.units_done_before == again.units


def test_what_stops_the_driver_leaves_no_task(
    stack: Path, tmp_path: Path, thin_models: dict[str, Path], workers: Cluster
) -> None:
    def stop(event: Progress) -> None:
        if event.stage == "upscale" and event.done > 0:
            raise Cancelled("enough")

    config = settings(thin_models["plane"])
    with pytest.raises(Cancelled):
        upscale(stack, tmp_path / "out.zarr", config, run=workers.run, progress=stop)
    while any(workers.client.processing().values()):
        time.sleep(0.05)
    resumed = upscale(stack, tmp_path / "out.zarr", config, run=workers.run)
    assert resumed.units_done_before > 0
    assert verify_store(tmp_path / "out.zarr") == []


def test_the_upscaling_is_sent_once(stack: Path, tmp_path: Path, thin_models: dict[str, Path]) -> None:
    upscaling = Upscaling.open(stack, tmp_path / "out.zarr", settings(thin_models["plane"]))
    with worker.described(upscaling) as told:
        assert len(pickle.dumps(dict(told))) < 1000
        assert "superres" not in {type(value).__module__.partition(".")[0] for value in told.values()}


# --- the driver, with workers that are made up -----------------------------------------------------------------------


class _Client:
    """Does every task at once, as `answers` say: results, or exceptions that the scheduler would report."""

    status = "running"

    def __init__(self, answers: Sequence[Any] = ()) -> None:
        self.tasks: list[list[tuple[int, ...]]] = []
        self.most, self.cancelled = 0, 0
        self._answers, self._pending = list(answers), 0

    def nthreads(self) -> dict[str, int]:
        return {"a": 1, "b": 1}

    def submit(self, task: Any, told: Any, units: list[tuple[int, ...]], **options: Any) -> Any:
        assert options["pure"] is False
        self.tasks.append(units)
        self._pending += 1
        self.most = max(self.most, self._pending)
        answer = self._answers.pop(0) if self._answers else {"shards": len(units), "seconds": 0.1, "spent": {}}
        return _Future(self, answer)

    def done(self) -> None:
        self._pending -= 1

    def cancel(self, futures: list[Any], force: bool) -> None:
        self.cancelled += len(futures)


_LOST = "went with its worker, and is made again"


class _Future:
    def __init__(self, client: _Client, answer: Any) -> None:
        self._client, self._answer = client, answer
        self.status = "error" if isinstance(answer, BaseException) else "finished"

    def add_done_callback(self, callback: Any) -> None:
        callback(self)

    def result(self, timeout: float) -> Any:
        if self._answer == _LOST:
            self._answer = {"shards": 1, "seconds": 0.1, "spent": {}}
            raise TimeoutError
        self._client.done()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


class _Upscaling:
    """So many shards, of one tile each."""

    def __init__(self, count: int, together: int = 1) -> None:
        self.all = [Unit(0, 0, 0, 0, n) for n in range(count)]
        self.together = together

    def tiles(self, unit: Unit) -> int:
        return 1

    def all_tiles(self) -> int:
        return len(self.all)


def job(client: _Client, upscaling: Any, events: list[Progress]) -> Any:
    return cluster_module._Job(Cluster(client, "tcp://a:1"), {"version": "0"}, upscaling, upscaling.all, events.append)


@pytest.mark.parametrize("together", [1, 3])
def test_however_many_shards_few_tasks_are_with_the_scheduler(together: int) -> None:
    client, upscaling, events = _Client(), _Upscaling(5000, together), list[Progress]()
    job(client, upscaling, events).run()
    assert [Unit(*unit) for units in client.tasks for unit in units] == upscaling.all
    assert client.most == 8
    assert all(len(units) % together == 0 or units[-1][-1] == 4999 for units in client.tasks)
    assert len(client.tasks) < 500, "shards of a tenth of a second go many to a task"
    assert events[-1].done == events[-1].total == 5000
    assert client.cancelled == 0


def test_what_a_dead_worker_had_is_done_again_one_by_one() -> None:
    fine = [{"shards": 1, "seconds": 0.1, "spent": {}}] * 8
    client, upscaling, events = _Client([*fine, ValueError("killed")]), _Upscaling(60), list[Progress]()
    job(client, upscaling, events).run()
    assert {Unit(*unit) for units in client.tasks for unit in units} == set(upscaling.all)
    lost = client.tasks[8]
    assert len(lost) > 1
    assert [units for units in client.tasks[9:] if len(units) == 1 and units[0] in lost] == [[unit] for unit in lost]
    assert events[-1].done == 60


def test_an_answer_that_went_with_its_worker_is_waited_for() -> None:
    client, upscaling, events = _Client([_LOST] * 8), _Upscaling(8), list[Progress]()
    job(client, upscaling, events).run()
    assert client.tasks == [[tuple(unit)] for unit in upscaling.all], "none was sent twice"
    assert events[-1].done == 8


def test_a_shard_that_always_fails_ends_it() -> None:
    client, upscaling = _Client([ValueError("no luck")] * 100), _Upscaling(20)
    with pytest.raises(ClusterError, match=r"shard 0\.0\.0\.0\.\d+ failed 3 times, .*ValueError: no luck"):
        job(client, upscaling, []).run()
    assert client.cancelled > 0


def test_what_a_worker_says_ends_it_at_once() -> None:
    client = _Client([{"error": "InputError", "message": "worker on b: stack.tif: changed"}])
    with pytest.raises(InputError, match=r"worker on b: stack\.tif: changed"):
        job(client, _Upscaling(20), []).run()
    assert client.cancelled == 7


# --- what a worker lacks ---------------------------------------------------------------------------------------------


@pytest.fixture
def sent(stack: Path, tmp_path: Path, thin_models: dict[str, Path]) -> Iterator[tuple[Upscaling, dict[str, Any]]]:
    """An upscaling with a model of its own, as a worker is told of it."""
    model = tmp_path / "model.safetensors"
    model.write_bytes(thin_models["plane"].read_bytes())
    upscaling = Upscaling.open(stack, tmp_path / "out.zarr", settings(model))
    worker._opened.cache_clear()
    with worker.described(upscaling) as told:
        yield upscaling, dict(told)


def said_by_worker(upscaling: Upscaling, told: dict[str, Any]) -> str:
    answer = worker.do_shards(told, [tuple(upscaling.units()[0])])
    assert not upscaling.is_done(upscaling.units()[0])
    assert str(answer["message"]).startswith(f"worker on {HOST}: ")
    return f"{answer['error']}: {answer['message']}"


def test_a_worker_does_what_is_not_done(sent: tuple[Upscaling, dict[str, Any]]) -> None:
    upscaling, told = sent
    first, second = upscaling.units()[:2]
    assert worker.do_shards(told, [tuple(first)], 1)["shards"] == 1
    assert worker.do_shards(told, [tuple(first), tuple(second)], 2)["shards"] == 1
    assert torch.get_num_threads() == 2
    assert worker.do_shards(told | {"threads": 1}, [tuple(first)], 2)["spent"]["voxels"] == 0
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("threads", "in_one_job", "granted", "expected"), [(3, 0, "", 3), (0, 0, "", 2), (0, 2, "8", 4), (0, 4, "4", 2)]
)
def test_threads_of_the_net(
    threads: int, in_one_job: int, granted: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", granted)
    assert worker._threads({"threads": threads, "in_one_job": in_one_job}, nthreads=2) == expected


def test_another_version_is_told(sent: tuple[Upscaling, dict[str, Any]]) -> None:
    upscaling, told = sent
    said = said_by_worker(upscaling, told | {"version": "9.9"})
    assert "superres 0." in said
    assert "9.9 expected" in said


def test_no_superres_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = cloudpickle.dumps(cluster_module._portable_task())
    for name in ("superres", "superres.inference.worker"):
        monkeypatch.setitem(sys.modules, name, None)
    answer = pickle.loads(sent)({"version": "9.9"}, [])
    assert answer["error"] == "ClusterError"
    assert f"worker on {HOST}: superres cannot be imported" in answer["message"]
    assert "install superres 9.9" in answer["message"]


def test_an_output_that_is_not_mounted_is_told(sent: tuple[Upscaling, dict[str, Any]]) -> None:
    upscaling, told = sent
    said = said_by_worker(upscaling, told | {"path": "/nowhere/out.zarr.records/f00d/workers.0.pickle"})
    assert "/nowhere/out.zarr.records: the output is not there" in said
    assert "mount" in said


def test_an_input_that_is_not_mounted_is_told(sent: tuple[Upscaling, dict[str, Any]], stack: Path) -> None:
    upscaling, told = sent
    stack.rename(stack.with_name("elsewhere.tif"))
    said = said_by_worker(upscaling, told)
    assert str(stack) in said


def test_another_input_is_told(sent: tuple[Upscaling, dict[str, Any]], stack: Path) -> None:
    upscaling, told = sent
    save_hyperstack(stack, np.zeros((1, 2, 3, 40, 30), np.uint16))
    said = said_by_worker(upscaling, told)
    assert said.startswith("InputError")
    assert str(stack) in said


def test_a_missing_or_another_model_is_told(sent: tuple[Upscaling, dict[str, Any]], thin_models: Any) -> None:
    from superres.inference.loading import load_same

    upscaling, told = sent
    model = upscaling.predictor._path
    assert model is not None
    load_same.cache_clear()
    model.write_bytes(thin_models["frames"].read_bytes())
    assert "another model than where the upscaling was started" in said_by_worker(upscaling, told)
    model.unlink()
    assert str(model) in said_by_worker(upscaling, told)


# --- schedulers and cluster files ------------------------------------------------------------------------------------


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT_SECONDS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"{address}: no Dask scheduler answers"), open_cluster(address):
            pass
    with pytest.raises(ClusterError, match=r"nonsense://x: no Dask scheduler"), open_cluster("nonsense://x"):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: sun\nworkers: 2", "kind: Input should be"),
        ("kind: local", "workers: missing"),
        ("kind: local\nworkers: 0", "workers: Input should be greater"),
        ("kind: local\nworkers: 2\noption: {}", "option: unknown key; did you mean options"),
        ("kind: local\nworkers: 2\noptions: {n_workers: 3}", "options.n_workers: superres decides that"),
    ],
)
def test_a_wrong_cluster_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(ClusterConfig, tmp_path / "cluster.yaml")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("cuda", {}, "the package dask_cuda is missing .*; pip install 'dask-cuda'"),
        ("local", {"memory_limit": "lots"}, "LocalCluster could not be started .*: Could not interpret 'lots'"),
    ],
)
def test_a_cluster_that_cannot_start_is_told(kind: Any, options: dict[str, Any], message: str) -> None:
    config = ClusterConfig(kind=kind, workers=1, options=options)
    with pytest.raises(ClusterError, match=message), started(config):
        pass


def test_a_host_without_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    config = ClusterConfig(kind="slurm", workers=1, options={"cores": 1, "memory": "1GB"})
    with pytest.raises(ClusterError, match="there is no command sbatch on this host"), started(config):
        pass


def test_gpus_are_asked_for_where_workers_have_them() -> None:
    with_gpu = ClusterConfig(kind="slurm", workers=1, options={"worker_extra_args": ["--resources", "GPU=1"]})
    assert with_gpu.has_gpus
    assert not ClusterConfig(kind="slurm", workers=1).has_gpus
    assert ClusterConfig(kind="slurm", workers=1, options={"processes": 4}).processes == 4


def test_nothing_to_do_asks_nobody() -> None:
    client = _Client()
    job(client, _Upscaling(0), []).run()
    assert client.tasks == []
