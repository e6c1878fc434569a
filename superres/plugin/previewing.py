"""Previews as the viewer sees them: one process keeps model and image, the newest request replaces those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from superres.plugin.job import Process, crash
from superres.plugin.worker import GRACE
from superres.progress import Progress

# The process holds a model and a plane; after this it gives the memory back.
_IDLE = 180_000  # milliseconds


class Previews(QObject):
    """Asks for parts of a result, one at a time.

    Attributes
    ----------
    shown : Signal(object)
        A result of `superres.plugin.preview_task.run`, of the newest request.
    failed : Signal(str)
        Why the newest request cannot be answered.
    progressed : Signal(object)
        A `superres.progress.Progress`.
    idle : Signal()
        Nothing is being done any more.
    """

    shown = Signal(object)
    failed = Signal(str)
    progressed = Signal(object)
    idle = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._process: Process | None = None
        self._open = 0  # requests without an answer
        self._stops = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_IDLE)
        self._timer.timeout.connect(self.close)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._open > 0

    @property
    def pid(self) -> int | None:
        """Number of the process; None where there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, request: Mapping[str, Any]) -> None:
        """Ask for a preview; what is being done for an older request is stopped."""
        self._timer.stop()
        if self._process is None:
            try:
                self._process = Process()
            except OSError as error:
                self.failed.emit(f"a process for the preview cannot be started ({error}); close other programs")
                return
            self._process.said.connect(self._hear)
            self._process.gone.connect(self._lose)
        if self._open:
            self._process.ask({"cancel": True})
        self._open += 1
        self._stops = False
        self._process.ask(request)

    def stop(self) -> None:
        """Stop what is being done; a process that does not listen is ended."""
        if self._process is None or not self._open:
            return
        self._stops = True
        self._process.ask({"cancel": True})
        QTimer.singleShot(round(1000 * GRACE), self._end_if_busy)

    def close(self) -> None:
        """End the process; memory returns. The next request starts another one."""
        if self._process is None:
            return
        process, self._process, self._open = self._process, None, 0
        process.said.disconnect(self._hear)
        process.gone.disconnect(self._lose)
        process.close()

    def _end_if_busy(self) -> None:
        if self._process is not None and self._open and self._stops:
            self._process.kill()

    def _hear(self, content: dict[str, Any]) -> None:
        if "told" in content:
            return
        if "stage" in content:
            if self._open == 1 and not self._stops:
                self.progressed.emit(Progress(**content))
            return
        self._open -= 1
        if self._open or self._stops or "cancelled" in content:
            pass  # a newer request follows, or nobody waits
        elif "result" in content:
            self.shown.emit(content["result"])
        else:
            self.failed.emit(content["error"])
        self._rest()

    def _lose(self, code: int) -> None:
        process, was_busy = self._process, self._open > 0 and not self._stops
        self._process, self._open = None, 0
        if was_busy and process is not None:
            self.failed.emit(crash(code, list(process.last_lines))["error"])
        self._rest()

    def _rest(self) -> None:
        if not self._open:
            self._stops = False
            if self._process is not None:
                self._timer.start()
            self.idle.emit()
