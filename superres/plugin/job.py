"""Jobs as the viewer sees them: each is a process of its own that tells how far it is, can be stopped, and may crash.

Signals reach the thread of the viewer, wherever they come from, and nothing here waits.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import IO, Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from superres.plugin.worker import GRACE
from superres.progress import Progress

_LINES_KEPT = 400
_LINES_TOLD = 3
# Those that a thread still listens to: were the thread the last to know one, Qt's part of it would be deleted there.
_heard_of: set[Process] = set()


class Process(QObject):
    """A worker process: what it says arrives as signals, in the thread of the viewer.

    Attributes
    ----------
    said : Signal(object)
        One answer, a dict (`superres.plugin.worker`).
    gone : Signal(int)
        The process ended, with this exit code; nothing is said after it.
    """

    said = Signal(object)
    gone = Signal(int)
    _heard = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._heard.connect(self._pass_on, Qt.ConnectionType.QueuedConnection)
        self._process = subprocess.Popen(
            # -P: a file of the working folder must not stand in for a library.
            [sys.executable, "-P", "-m", "superres.plugin.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in the terminal of the viewer is not meant for it
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._thread = threading.Thread(target=self._listen, name="superres job", daemon=True)
        _heard_of.add(self)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def ask(self, content: Mapping[str, Any]) -> None:
        """Send one line; a process that is gone already is told of by `gone`."""
        with contextlib.suppress(OSError, ValueError):
            _of(self._process.stdin).write(json.dumps(content) + "\n")
            _of(self._process.stdin).flush()

    def close(self) -> None:
        """End it: what it is busy with is stopped."""
        with contextlib.suppress(OSError):
            _of(self._process.stdin).close()

    def kill(self) -> None:
        """End it at once; finished shards are safe."""
        self._process.kill()

    def _listen(self) -> None:
        """Pass lines on until the process is gone; runs in a thread."""
        pipe, lines = _of(self._process.stderr), self.last_lines
        errors = threading.Thread(target=_keep, args=(pipe, lines), name="superres job errors", daemon=True)
        errors.start()
        try:
            for line in _of(self._process.stdout):
                self._heard.emit(json.loads(line))
            code = self._process.wait()
            errors.join(GRACE)  # a grandchild may hold the pipe open
            self._close_pipes(with_errors=not errors.is_alive())
            self._heard.emit(code)
        except RuntimeError:  # the viewer is gone, and this object with it
            self._process.kill()

    def _close_pipes(self, *, with_errors: bool) -> None:
        """Give the pipes of a process back that is gone."""
        pipes = [self._process.stdin, self._process.stdout, *([self._process.stderr] if with_errors else [])]
        for pipe in pipes:
            with contextlib.suppress(OSError):
                _of(pipe).close()

    def _pass_on(self, heard: object) -> None:
        if isinstance(heard, dict):
            self.said.emit(heard)
        else:
            assert isinstance(heard, int)
            self._thread.join()  # this was the last that it did
            QTimer.singleShot(0, partial(_heard_of.discard, self))  # not while a signal of it is under way
            self.gone.emit(heard)


class Job(QObject):
    """One thing to be done by a process of its own.

    Parameters
    ----------
    request : mapping
        What to do, plain JSON with a ``kind`` of `superres.plugin.worker.TASKS`.

    Attributes
    ----------
    progressed : Signal(object)
        A `superres.progress.Progress`.
    told : Signal(object)
        What else it tells on the way, a dict.
    finished : Signal(object)
        The result, a dict.
    failed : Signal(str)
        Why, for a person; `report` has more for those who mend superres.
    cancelled : Signal()
        It was stopped.
    started : Signal()
        Its process was started.
    ended : Signal()
        After any of finished, failed and cancelled, when the process is gone.
    state : str
        ``new``, ``waiting``, ``running`` or ``ended``.
    """

    progressed = Signal(object)
    told = Signal(object)
    finished = Signal(object)
    failed = Signal(str)
    cancelled = Signal()
    started = Signal()
    ended = Signal()

    def __init__(self, request: Mapping[str, Any]) -> None:
        super().__init__()
        self.request = dict(request)
        self.state = "new"
        self.report = ""
        self._process: Process | None = None
        self._answer: dict[str, Any] | None = None
        self._stops = False

    @property
    def pid(self) -> int | None:
        """Number of its process; None before it starts."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; once."""
        if self.state == "ended":
            return
        assert self._process is None
        self.state = "running"
        try:
            self._process = Process()
        except OSError as error:
            self._end_with({"error": f"a process for the job cannot be started ({error}); close other programs"})
            return
        self._process.said.connect(self._hear)
        self._process.gone.connect(self._end)
        self._process.ask(self.request)
        self.started.emit()

    def cancel(self) -> None:
        """Stop it: it is asked to, and killed when it does not. `cancelled` follows, and then `ended`."""
        if self.state in ("ended",) or self._stops:
            return
        self._stops = True
        if self._process is None:
            self._end_with({"cancelled": True})
            return
        self._process.ask({"cancel": True})
        QTimer.singleShot(round(1000 * GRACE), self._process.kill)

    def _hear(self, content: dict[str, Any]) -> None:
        if "stage" in content or "told" in content:
            if self._stops:
                return
            if "told" in content:
                self.told.emit(content["told"])
            else:
                self.progressed.emit(Progress(**content))
            return
        self._answer = content
        assert self._process is not None
        self._process.close()  # nothing else is wanted of it

    def _end(self, code: int) -> None:
        assert self._process is not None
        answer = self._answer
        if answer is None:
            answer = {"cancelled": True} if self._stops else crash(code, list(self._process.last_lines))
        self._end_with(answer)

    def _end_with(self, answer: Mapping[str, Any]) -> None:
        self.state = "ended"
        self.report = answer.get("report") or ""
        if "result" in answer:
            self.finished.emit(answer["result"])
        elif "error" in answer:
            self.failed.emit(answer["error"])
        else:
            self.cancelled.emit()
        self.ended.emit()


class Jobs(QObject):
    """Does jobs one after another: two at once would share memory and processor, and end later than one by one.

    Attributes
    ----------
    changed : Signal()
        A job was added, began or ended.
    """

    changed = Signal()
    _shared: Jobs | None = None

    def __init__(self) -> None:
        super().__init__()
        self._jobs: list[Job] = []

    @classmethod
    def shared(cls) -> Jobs:
        """Return the queue of this napari, made when it is first asked for."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def add(self, job: Job) -> None:
        """Start a job, or let it wait until those before it ended."""
        job.state = "waiting"
        self._jobs.append(job)
        job.ended.connect(self._go_on)
        self._go_on()

    def ahead_of(self, job: Job) -> int:
        """Return how many jobs must end before this one starts."""
        return self._jobs.index(job) if job in self._jobs and job.state == "waiting" else 0

    def _go_on(self) -> None:
        self._jobs = [job for job in self._jobs if job.state != "ended"]
        if self._jobs and self._jobs[0].state == "waiting":
            self._jobs[0].start()
        self.changed.emit()


def crash(code: int, lines: list[str]) -> dict[str, Any]:
    """Return the answer in place of a process that died without one: of what, and its last lines on stderr."""
    how = f"with exit code {code}"
    if code < 0:
        try:
            how = f"by signal {signal.Signals(-code).name}"
        except ValueError:
            how = f"by signal {-code}"
    if code == -9:
        how += ", as the system does when memory runs out; close other programs and start it again"
    fatal = [line for line in lines if line.startswith("Fatal Python error")]  # what follows is for those who mend it
    last = "; ".join(fatal or [line for line in lines[-_LINES_TOLD:] if line])
    said = f" Its last words: {last}" if last else ""
    return {
        "error": f"the job's process was ended {how}. The viewer is not affected.{said}",
        "report": "\n".join(lines),
    }


def _keep(pipe: IO[str], lines: deque[str]) -> None:
    for line in pipe:
        lines.append(line.rstrip())


def _of(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
