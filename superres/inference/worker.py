"""What a worker of a cluster does: shards of an upscaling that it opens by paths, once.

A worker is told where a file lies that describes the upscaling, and which shards to do. The file lies beside the
output, so that a worker that does not see the output cannot begin.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from superres import __version__
from superres.errors import ClusterError, InputError, SuperresError
from superres.inference.pipeline import run_units
from superres.inference.upscaling import Upscaling
from superres.progress import silent
from superres.volumes import Unit
from superres.volumes.cores import core_count
from superres.volumes.whole_files import write_whole

# Whatever threads a worker has, they share one tile at a time and the cores: so memory does not grow with them.
_ONE_AT_A_TIME = threading.Lock()
# In which SLURM, PBS, Grid Engine and LSF tell a job how many cores are its own.
_CORES_OF_JOB = ("SLURM_CPUS_PER_TASK", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC")


@contextmanager
def described(upscaling: Upscaling, threads: int = 0, in_one_job: int = 0) -> Iterator[Mapping[str, Any]]:
    """Write the file that workers open; give what they are told of it, in types that need no superres to be read.

    Parameters
    ----------
    upscaling : Upscaling
        With absolute paths.
    threads : int
        Of torch, in each worker; 0 for as many as the worker has itself.
    in_one_job : int
        How many workers share the cores of one job of a batch system; 0 where they are no jobs.

    Raises
    ------
    OutputWriteError
        When it cannot be written.
    """
    content = pickle.dumps(upscaling)
    digest = hashlib.sha256(content).hexdigest()
    path = upscaling.store.records.folder / f"workers.{digest[:16]}.pickle"
    write_whole(path, [content])
    try:
        cores = {"threads": threads, "in_one_job": in_one_job}
        yield {"path": str(path), "digest": digest, "version": __version__, **cores}
    finally:
        with suppress(OSError):
            path.unlink()


def do_shards(told: Mapping[str, Any], units: Sequence[Sequence[int]], nthreads: int = 1) -> dict[str, Any]:
    """Predict and write shards that are not done yet.

    Parameters
    ----------
    told : mapping
        From `described`.
    units : sequence
        The shards, as plain numbers.
    nthreads : int
        Threads of this worker.

    Returns
    -------
    dict
        How many ``shards`` were done, the ``seconds`` in all, and where they were ``spent``
        (`superres.inference.pipeline.Spent`); or ``error``, the name of a class of `superres.errors`, and its
        ``message``, which names this host.
    """
    try:
        with _ONE_AT_A_TIME:
            torch.set_num_threads(_threads(told, nthreads))
            upscaling = _opened(told["path"], told["digest"], told["version"])
            todo = [unit for unit in (Unit(*numbers) for numbers in units) if not upscaling.is_done(unit)]
            started = time.monotonic()
            spent = run_units(upscaling, todo, silent)
            return {"shards": len(todo), "seconds": time.monotonic() - started, "spent": asdict(spent)}
    except SuperresError as error:
        return {"error": type(error).__name__, "message": f"worker on {platform.node()}: {error}"}


def _threads(told: Mapping[str, Any], nthreads: int) -> int:
    """Choose the threads of torch, so that the workers of one host do not fight for its cores."""
    if told["threads"] or not told["in_one_job"]:
        return int(told["threads"] or nthreads)
    granted = next((int(os.environ[name]) for name in _CORES_OF_JOB if os.environ.get(name, "").isdigit()), None)
    return max(nthreads, (granted or core_count()) // int(told["in_one_job"]))


@lru_cache(maxsize=2)
def _opened(path: str, digest: str, version: str) -> Upscaling:
    """Open an upscaling, and check that this host sees the same output, input and model."""
    if version != __version__:
        raise ClusterError(f"superres {__version__} found, {version} expected; install the same version on all hosts")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ClusterError(
            f"{Path(path).parent.parent}: the output is not there ({error.strerror}); workers write it themselves, so "
            "mount its file system at the same place on all hosts"
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ClusterError(f"{path}: differs from what was written; is it another file system on this host?")
    try:
        upscaling: Upscaling = pickle.loads(content)
        found = upscaling.volume.identity()
    except OSError as error:
        if isinstance(error, SuperresError):
            raise
        raise ClusterError(
            f"{error.filename}: is not there ({error.strerror}); workers read the input and the model themselves, so "
            "mount their file system at the same place on all hosts"
        ) from None
    if found != upscaling.identity:
        raise InputError(
            f"{upscaling.volume.source}: is not the input that the upscaling was started with (other size or time of "
            "change); give all hosts the same file, and leave it as it is meanwhile"
        )
    return upscaling
