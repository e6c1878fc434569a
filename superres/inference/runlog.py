"""The log of a run: one line of JSON for its beginning, every shard and its end, beside the records of the store."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from superres.errors import Cancelled
from superres.volumes import Unit

if TYPE_CHECKING:
    from superres.inference.pipeline import Spent
    from superres.inference.upscaling import Upscaling


class RunLog:
    """The log of one process; `RunLog.of` opens it.

    Every line has its ``time`` (UTC), and an ``event``: ``begin`` with settings, versions, host and device; ``shard``
    with the seconds in which it was read, predicted, examined and written; ``end`` with ``state`` done, stopped or
    failed, and the reason.

    Parameters
    ----------
    path : Path
        ``<store>.records/<fingerprint>/log/<time>-<host>-<process>.jsonl``.
    about : mapping
        What stands in the first line of each job.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self._about = path, about

    @classmethod
    def of(cls, upscaling: Upscaling) -> RunLog:
        """Return the log of this process for an output: always the same one."""
        predictor = upscaling.predictor
        about = {
            "store": upscaling.store.path.name,
            "settings": upscaling.store.layout.provenance["config"],
            "tile": list(upscaling.plan.tile),
            "halo": list(upscaling.plan.halo),
            "shard": list(upscaling.plan.shard),
            "model": predictor.identity,
            "device": _device_name(predictor.device),
            "threads": torch.get_num_threads(),
        }
        return cls(_path(upscaling.store.records.folder, os.getpid()), about | _versions())

    @contextmanager
    def job(self, shards: int) -> Iterator[None]:
        """Write the first and the last line around the work on so many shards."""
        started = time.monotonic()
        self.write("begin", shards=shards, **self._about)
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, Cancelled | KeyboardInterrupt)
            reason = str(error) or type(error).__name__
            self.write("end", state="stopped" if stopped else "failed", reason=reason, seconds=_since(started))
            raise
        self.write("end", state="done", seconds=_since(started))

    def shard(self, unit: Unit, spent: Spent) -> None:
        """Write the line of a shard."""
        figures = {name: round(value, 4) for name, value in asdict(spent).items()}
        self.write("shard", unit=list(unit), **figures)

    def write(self, event: str, **content: Any) -> None:
        """Append a line. A log that cannot be written, on a full disk, stops no work."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | content)
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(line + "\n")


@lru_cache(maxsize=64)
def _path(folder: Path, process: int) -> Path:
    """Name the log of a process, once."""
    host = platform.node().split(".")[0] or "host"
    return folder / "log" / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{host}-{process}.jsonl"


def _versions() -> dict[str, Any]:
    from superres import __version__

    return {
        "host": platform.node(),
        "process": os.getpid(),
        "superres": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def _device_name(device: torch.device) -> str:
    return f"{device}: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)
