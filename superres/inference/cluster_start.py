"""Dask clusters that are started for one job, by what a cluster file says, and closed after it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from superres.config import ClusterConfig
from superres.errors import ClusterError

# Package, class, and what to install for it.
_CLASSES = {
    "local": ("distributed", "LocalCluster", "superres[cluster]"),
    "cuda": ("dask_cuda", "LocalCUDACluster", "dask-cuda"),
    "slurm": ("dask_jobqueue", "SLURMCluster", "superres[cluster]"),
    "pbs": ("dask_jobqueue", "PBSCluster", "superres[cluster]"),
    "lsf": ("dask_jobqueue", "LSFCluster", "superres[cluster]"),
    "sge": ("dask_jobqueue", "SGECluster", "superres[cluster]"),
}
_CLOSE_SECONDS = 30
# The usual one may be another cluster's, of which Dask warns.
_ANY_PORT = ":0"


@contextmanager
def started(config: ClusterConfig) -> Iterator[Any]:
    """Start a cluster; at the end it is closed, whatever happened.

    Jobs of a batch system are started and ended as there is work, and replaced when they are killed: that needs
    `adapt`, under `scale` a killed job stays away. On one machine all workers start at once, and are started again.

    Raises
    ------
    ClusterError
        When a package or a command is missing, or the options are not those of that class.
    """
    cluster = _make(config)
    try:
        if config.is_job_system:
            # Far more waits than is shown to the scheduler, so that short tasks count; and none ends for a pause.
            cluster.adapt(minimum=1, maximum=config.workers, interval="1s", wait_count=60, target_duration="1s")
        yield cluster
    finally:
        with suppress(OSError, TimeoutError):
            cluster.close(timeout=_CLOSE_SECONDS)


def replace_lost(cluster: Any) -> None:
    """Start what is planned of workers and is no longer there; returns at once.

    Dask itself gives up a worker that is not back some seconds after it was killed, or that is killed while it starts:
    without this a run whose workers all went that way would wait for ever.

    Parameters
    ----------
    cluster : distributed.SpecCluster
        From `started`.
    """

    def replace() -> None:
        for name, worker in list(cluster.workers.items()):
            if worker.status.name in ("closed", "failed"):
                del cluster.workers[name]
        # As many as are planned: only those that are missing start.
        cluster.scale(len(cluster.plan))

    cluster.loop.add_callback(replace)  # in the thread in which the plan changes


def _make(config: ClusterConfig) -> Any:
    module, name, package = _CLASSES[config.kind]
    try:
        kind = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ClusterError(
            f"kind {config.kind}: the package {module} is missing ({error}); pip install '{package}'"
        ) from None
    if config.is_job_system:
        command = kind.job_cls.submit_command.split()[0]
        if shutil.which(command) is None:
            raise ClusterError(
                f"kind {config.kind}: there is no command {command} on this host; start superres where jobs can be "
                "submitted from"
            )
    try:
        return kind(**_options(config))
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ClusterError(
            f"kind {config.kind}: {module}.{name} could not be started with these options "
            f"({_reason(error)}); they are handed on as they are, see its documentation"
        ) from None


def _reason(error: BaseException) -> str:
    """Return what is wrong in the end: Dask says first that something failed to start."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _options(config: ClusterConfig) -> dict[str, Any]:
    """Add what is the same for all to the options of the file, which win."""
    if config.is_job_system:
        return {"scheduler_options": {"dashboard_address": _ANY_PORT}} | config.options
    return {"n_workers": config.workers, "threads_per_worker": 1, "dashboard_address": _ANY_PORT} | config.options
