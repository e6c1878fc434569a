"""The process that does a job for the plugin: ``python -m superres.plugin.worker``.

It reads requests as lines of JSON from stdin and does one after another. For each it writes lines of JSON to stdout:
the fields of `superres.progress.Progress` as it goes on, ``{"told": {...}}`` for what else the viewer should know on
the way, and at the end ``{"result": {...}}``, ``{"cancelled": true}``, or ``{"error": "...", "report": "..."}``, where
the report is the traceback of what is a bug of ours and otherwise null. Arrays travel as files.
Whatever else is printed goes to stderr. ``{"cancel": true}`` stops all that was asked before it; the end of stdin, when
the viewer closed or died, stops everything and ends the process.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from superres.errors import Cancelled, InputError, SuperresError
from superres.progress import Progress, ProgressCallback

Request = Mapping[str, Any]
"""What is asked: ``kind`` says what for, all else depends on it. Plain JSON."""

Tell = Callable[[dict[str, Any]], None]
"""Tells the viewer something on the way, as plain JSON."""

Task = Callable[[Request, ProgressCallback, Tell], dict[str, Any]]
"""Does what is asked and returns the result as plain JSON; the ``run`` of the modules in `TASKS`."""

TASKS = {
    "evaluate": "superres.plugin.evaluate_task",
    "preview": "superres.plugin.preview_task",
    "recipe": "superres.plugin.recipe_task",
    "train": "superres.plugin.train_task",
    "upscale": "superres.plugin.upscale_task",
}
"""Kind of a request to the module that does it; imported when it is asked for."""

GRACE = 1.5
"""Seconds that a job has to end by itself when it is to stop."""

_EVENTS_APART = 0.05


class Worker:
    """Does requests one after another.

    Parameters
    ----------
    inputs, outputs : file
        Lines of JSON.
    """

    def __init__(self, inputs: IO[str], outputs: IO[str]) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._asked: queue.SimpleQueue[tuple[int, Request] | None] = queue.SimpleQueue()
        self._read = 0
        self._stopped = 0  # all requests up to this one are to stop
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        """Do what is asked until stdin ends."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (asked := self._asked.get()) is not None:
            number, request = asked
            self._last = {}
            self._say(self._answer(number, request))

    def _listen(self) -> None:
        for line in self._inputs:
            content = json.loads(line)
            if "cancel" in content:
                self._stopped = self._read
            else:
                self._read += 1
                self._asked.put((self._read, content))
        self._stopped = self._read
        self._asked.put(None)
        # The viewer is gone. What is busy with one tile, or reads a model, need not be waited for.
        time.sleep(GRACE)
        os._exit(1)

    def _answer(self, number: int, request: Request) -> dict[str, Any]:
        def progress(event: Progress) -> None:
            if number <= self._stopped:
                raise Cancelled("stopped")
            self._tell(event)

        def tell(content: dict[str, Any]) -> None:
            self._say({"told": content})

        try:
            if number <= self._stopped:
                return {"cancelled": True}
            return {"result": _task(request)(request, progress, tell)}
        except Cancelled:
            return {"cancelled": True}
        except SuperresError as error:
            return {"error": str(error), "report": None}
        except Exception as error:  # whatever it is must be told
            found = f"{type(error).__name__}: {error}"
            return {"error": f"superres met an error of its own ({found})", "report": traceback.format_exc()}

    def _tell(self, event: Progress) -> None:
        """Pass an event on; of many with nothing but a position only so many as a person can see."""
        now = time.monotonic()
        is_due = now - self._last.get(event.stage, float("-inf")) >= _EVENTS_APART
        if is_due or event.values or event.done >= event.total:
            self._last[event.stage] = now
            self._say(dataclasses.asdict(event) | {"values": dict(event.values)})

    def _say(self, content: Mapping[str, Any]) -> None:
        with self._lock:
            self._outputs.write(json.dumps(content) + "\n")
            self._outputs.flush()


def _task(request: Request) -> Task:
    kind = str(request.get("kind", ""))
    if kind not in TASKS:
        raise InputError(f"a job of kind {kind!r} was asked for; known are {', '.join(TASKS)}")
    task: Task = importlib.import_module(TASKS[kind]).run
    return task


def main() -> None:
    """Keep stdout for the answers alone, and work."""
    faulthandler.enable()
    # Libraries print, some from C: their stdout is stderr from here on.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    inputs = os.fdopen(os.dup(0), encoding="utf-8")
    try:
        Worker(inputs, answers).run()
    except BrokenPipeError:  # the viewer died while it was told something
        os._exit(1)
    sys.stderr.flush()
    os._exit(0)  # at once: a thread still waits for stdin, and what is done is on the disk


if __name__ == "__main__":
    main()
