"""Shards done by the workers of a Dask cluster: one that runs already, or one that is started for it.

Workers are sent paths and the numbers of shards, never voxels. A task is a few neighbouring shards, of some seconds
together; no more tasks are with the scheduler than keep its workers busy, however many shards there are. A worker that
is lost costs what it was doing.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import superres.errors
from superres.config import ClusterConfig
from superres.errors import ClusterError, SuperresError
from superres.inference.cluster_start import replace_lost, started
from superres.inference.pipeline import Spent
from superres.inference.upscaling import Upscaling
from superres.inference.worker import described
from superres.progress import Progress, ProgressCallback
from superres.volumes import Unit
from superres.volumes.cores import core_count

_CONNECT_SECONDS = 10
# For an answer of a few numbers that is ready; a worker that died since takes it along.
_RESULT_SECONDS = 5
_GPU = {"GPU": 1}
# Tasks with the scheduler per worker: one that is done, one that waits, and some that ask for more workers.
_PER_WORKER = 4
_FEWEST = 8
_SECONDS_PER_TASK = 3.0
_MOST_PER_TASK = 64
# A shard that failed, or whose worker died, so many times will do so again.
_ATTEMPTS = 3
_SECONDS_BETWEEN_LOOKS = 5.0
# Some network file systems show what another host wrote only after this time.
_SETTLE_SECONDS = 90.0


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """A connection to workers; made by `open_cluster`.

    Parameters
    ----------
    client : distributed.Client
        The connection.
    name : str
        Address or kind, for messages.
    workers : int
        How many there may be; 0 where that is not known.
    threads, in_one_job : int
        As for `superres.inference.worker.described`.
    resources : mapping
        What a worker must have.
    replace_lost : callable or None
        Starts workers again that were lost; None where the cluster is somebody else's.
    """

    client: Any
    name: str
    workers: int = 0
    threads: int = 0
    in_one_job: int = 0
    resources: Mapping[str, float] | None = None
    replace_lost: Callable[[], None] | None = None

    def run(self, upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback) -> Spent:
        """Have the workers predict and write shards; otherwise as `superres.inference.pipeline.run_units`.

        Parameters
        ----------
        upscaling : Upscaling
            Opened with absolute paths.

        Raises
        ------
        ClusterError
            When the scheduler goes away, a worker lacks something, or shards fail again and again.
        InputError, ModelFileError, OutputWriteError
            What a worker met with; the message names its host.
        """
        with described(upscaling, self.threads, self.in_one_job) as told:
            spent = _Job(self, told, upscaling, units, progress).run()
        _settle(upscaling, units)
        return spent


@contextmanager
def open_cluster(scheduler: str | None = None, config: ClusterConfig | None = None) -> Iterator[Cluster]:
    """Connect to a running scheduler, or start the cluster of a cluster file; what was started is closed at the end.

    Parameters
    ----------
    scheduler : str, optional
        Its address, e.g. ``"tcp://login1:8786"``.
    config : ClusterConfig, optional
        What to start instead.

    Raises
    ------
    ClusterError
        When it cannot be reached or started, or a package is missing.
    """
    if config is not None:
        with started(config) as cluster, _connected(cluster, config.kind) as client:
            yield Cluster(
                client,
                config.kind,
                config.workers,
                threads=max(1, core_count() // config.workers) if config.kind == "local" else 0,
                in_one_job=config.processes if config.is_job_system else 0,
                resources=_GPU if config.has_gpus else None,
                replace_lost=partial(replace_lost, cluster),
            )
    elif scheduler is not None:
        with _connected(scheduler, scheduler) as client:
            yield Cluster(client, scheduler, resources=_resources(client))
    else:
        raise ValueError("neither a scheduler nor a cluster to start")


@contextmanager
def _connected(target: Any, name: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise ClusterError(f"{name}: the package distributed is missing; pip install 'superres[cluster]'") from None
    try:
        client = Client(target, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"{name}: no Dask scheduler answers there ({' '.join(str(error).split())[:200]}); start one with "
            "'dask scheduler' and give the address that it prints, e.g. --scheduler tcp://host:8786"
        ) from None
    try:
        yield client
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=_CONNECT_SECONDS)


def _resources(client: Any) -> Mapping[str, float] | None:
    """Ask for a GPU where a running cluster says that its workers have one."""
    workers = client.scheduler_info().get("workers", {}).values()
    return _GPU if any(worker.get("resources", {}).get("GPU") for worker in workers) else None


class _Job:
    """The shards of one upscaling, handed out and waited for."""

    def __init__(
        self,
        cluster: Cluster,
        told: Mapping[str, Any],
        upscaling: Upscaling,
        units: Sequence[Unit],
        progress: ProgressCallback,
    ) -> None:
        self._cluster, self._told, self._progress = cluster, told, progress
        self._task = _portable_task()
        self._together = upscaling.together
        self._todo = deque(units)
        self._running: dict[Any, list[Unit]] = {}
        self._finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._failures: Counter[Unit] = Counter()
        self._seconds: float | None = None
        self._spent = Spent()
        self._tiles = {unit: upscaling.tiles(unit) for unit in units}
        self._total = upscaling.all_tiles()
        self._done = self._total - sum(self._tiles.values())
        self._workers, self._looked = 0, float("-inf")

    def run(self) -> Spent:
        """Do all of them; whatever ends it, no task is left behind."""
        self._report()
        try:
            while self._todo or self._running:
                self._look_around()
                self._submit()
                with suppress(queue.Empty):
                    self._take(self._finished.get(timeout=_SECONDS_BETWEEN_LOOKS))
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self._cluster.client.cancel(list(self._running), force=True)
        return self._spent

    def _report(self) -> None:
        note = "" if self._workers or self._looked < 0 else f"no worker at {self._cluster.name} yet"
        self._progress(Progress("upscale", self._done, self._total, "tiles", note=note))

    def _look_around(self) -> None:
        """Count the workers now and then: there may be more or fewer, and the scheduler may be gone."""
        if time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        before = self._workers
        try:
            self._workers = len(self._cluster.client.nthreads())
        except Exception as error:  # whatever the connection raises
            raise self._gone(error) from error
        self._looked = time.monotonic()
        if self._cluster.replace_lost is not None:
            self._cluster.replace_lost()
        if self._workers != before or not self._workers:
            self._report()

    def _submit(self) -> None:
        most = max(_FEWEST, _PER_WORKER * max(self._workers, self._cluster.workers))
        while self._todo and len(self._running) < most:
            units = self._next_units()
            future = self._cluster.client.submit(
                self._task,
                dict(self._told),
                [tuple(unit) for unit in units],
                pure=False,
                resources=self._cluster.resources,
            )
            self._await(future, units)

    def _await(self, future: Any, units: list[Unit]) -> None:
        self._running[future] = units
        future.add_done_callback(self._finished.put)

    def _next_units(self) -> list[Unit]:
        """Take as many as last some seconds; alone what failed, and as many as are predicted at once at the least."""
        if self._failures[self._todo[0]]:
            return [self._todo.popleft()]
        wanted = 1 if self._seconds is None else min(_MOST_PER_TASK, int(_SECONDS_PER_TASK / max(self._seconds, 1e-3)))
        # At the end all workers should have something.
        wanted = min(wanted, len(self._todo) // max(1, self._workers))
        count = max(1, wanted // self._together) * self._together
        units: list[Unit] = []
        while self._todo and len(units) < count and not self._failures[self._todo[0]]:
            units.append(self._todo.popleft())
        return units

    def _take(self, future: Any) -> None:
        units = self._running.pop(future)
        try:
            result = future.result(timeout=_RESULT_SECONDS)
        except (Exception, CancelledError) as error:  # of any kind: the worker's own, and what Dask says of its end
            if isinstance(error, TimeoutError) and future.status != "error":
                # Gone with its worker: the scheduler has it made again, by one that there may not be yet.
                self._await(future, units)
                return
            if self._cluster.client.status != "running":
                raise self._gone(error) from None
            self._do_again(units, error)
            return
        if "error" in result:
            raise _error_of(result)
        if result["shards"]:
            each = result["seconds"] / result["shards"]
            self._seconds = each if self._seconds is None else (self._seconds + each) / 2
        for name, value in result["spent"].items():
            setattr(self._spent, name, getattr(self._spent, name) + value)
        self._done += sum(self._tiles[unit] for unit in units)
        self._report()

    def _do_again(self, units: list[Unit], error: BaseException) -> None:
        """Put shards back whose worker died or failed, one by one, some times."""
        for unit in reversed(units):
            self._failures[unit] += 1
            if self._failures[unit] >= _ATTEMPTS:
                raise ClusterError(
                    f"{self._cluster.name}: shard {'.'.join(map(str, unit))} failed {_ATTEMPTS} times, the last time "
                    f"with: {type(error).__name__}: {error}. Finished shards are kept; look into the workers' logs, "
                    "give workers more memory if they were killed, and run the same command again"
                )
            self._todo.appendleft(unit)

    def _gone(self, reason: object) -> ClusterError:
        return ClusterError(
            f"{self._cluster.name}: the scheduler is gone ({reason}); finished shards are kept: start it and run the "
            "same command again"
        )


def _portable_task() -> Callable[..., dict[str, Any]]:
    """Return what workers run; made here, so that it travels whole and a worker without superres can say so."""

    def shards(told: dict[str, Any], units: list[tuple[int, ...]]) -> dict[str, Any]:
        import platform

        try:
            from superres.inference.worker import do_shards
        except ImportError as error:
            wanted = told["version"]
            text = (
                f"worker on {platform.node()}: superres cannot be imported ({error}); install superres {wanted} there"
            )
            return {"error": "ClusterError", "message": text}
        from distributed import get_worker

        return do_shards(told, units, get_worker().state.nthreads)

    return shards


def _error_of(result: Mapping[str, Any]) -> SuperresError:
    kind = getattr(superres.errors, result["error"], ClusterError)
    error: SuperresError = kind(result["message"])
    return error


def _settle(upscaling: Upscaling, units: Sequence[Unit]) -> None:
    """Wait until this host sees what the workers wrote."""
    ends = time.monotonic() + _SETTLE_SECONDS
    missing = [unit for unit in units if not upscaling.is_done(unit)]
    while missing and time.monotonic() < ends:
        time.sleep(1.0)
        missing = [unit for unit in missing if not upscaling.is_done(unit)]
