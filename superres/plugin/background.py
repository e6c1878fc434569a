"""Reading outside the thread of the viewer, so that the viewer never waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

from qtpy.QtCore import QObject, Qt, Signal

from superres.errors import SuperresError

Task = Callable[[], object]


class Background(QObject):
    """Does one task at a time in a thread; of those that wait meanwhile only the newest.

    Attributes
    ----------
    found : Signal(object)
        What the task returned; arrives in the thread of the viewer.
    failed : Signal(str)
        Why there is nothing, for a person.
    """

    found = Signal(object)
    failed = Signal(str)
    _ended = Signal(object, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lock = threading.Lock()
        self._next: Task | None = None
        self._is_busy = False
        self._ended.connect(self._pass_on, Qt.ConnectionType.QueuedConnection)

    @property
    def is_busy(self) -> bool:
        """Whether a task is being done or waits."""
        return self._is_busy

    def ask(self, task: Task) -> None:
        """Do a task as soon as the one before it is done, and forget another that waits."""
        with self._lock:
            self._next = task
            if self._is_busy:
                return
            self._is_busy = True
        threading.Thread(target=self._work, name="superres reading", daemon=True).start()

    def forget(self) -> None:
        """Do not do what still waits."""
        with self._lock:
            self._next = None

    def _work(self) -> None:
        while True:
            with self._lock:
                task, self._next = self._next, None
                if task is None:
                    self._is_busy = False
                    return
            answer, reason = _tried(task)
            try:
                self._ended.emit(answer, reason)
            except RuntimeError:  # the viewer is gone, and this object with it
                return

    def _pass_on(self, answer: object, reason: str) -> None:
        if reason:
            self.failed.emit(reason)
        else:
            self.found.emit(answer)


def _tried(task: Task) -> tuple[object, str]:
    try:
        return task(), ""
    except SuperresError as error:
        return None, str(error)
    except Exception as error:  # layers of other readers raise what they like
        return None, f"reading failed ({type(error).__name__}: {error}); open the layer again"
