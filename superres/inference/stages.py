"""What the stages of a pipeline share: queues that hold little, and one way to stop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

# Threads that wait look up so often, in seconds; Ctrl-C and errors are noticed then.
_PATIENCE = 0.05


class Stopped(Exception):
    """Raised inside a stage that is to end because another one failed; never leaves the pipeline."""


class Control:
    """How a pipeline ends; the first error is the one that is told.

    Parameters
    ----------
    ending : Event
        Nothing new is begun; what is complete is still passed on.
    halted : Event
        Everything ends at once.
    """

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.halted = threading.Event()
        self.error: BaseException | None = None
        self._lock = threading.Lock()

    def fail(self, error: BaseException, *, halt: bool) -> None:
        """Note an error and end; with `halt` what is complete is thrown away, too."""
        with self._lock:
            if self.error is None and not isinstance(error, Stopped):
                self.error = error
        if halt:
            self.halted.set()
        self.ending.set()

    def check(self) -> None:
        """Raise `Stopped` where nothing new is to be begun."""
        if self.ending.is_set():
            raise Stopped

    def acquire(self, room: threading.Semaphore) -> None:
        """Wait for room."""
        while not room.acquire(timeout=_PATIENCE):
            self.check()
        self.check()

    def run(self, work: Callable[[], None], *, halt: bool) -> threading.Thread:
        """Start a stage in a thread of its own; what it raises ends the pipeline."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.fail(error, halt=halt)

        thread = threading.Thread(target=guarded, name=f"superres-{getattr(work, '__name__', 'stage')}")
        thread.start()
        return thread

    def wait_for(self, thread: threading.Thread) -> None:
        """Wait for a stage; a second Ctrl-C meanwhile halts everything."""
        while True:
            try:
                while thread.is_alive():
                    thread.join(_PATIENCE)
                return
            except KeyboardInterrupt as error:
                self.fail(error, halt=True)


class Line(Generic[T]):
    """A queue from one stage to the next that holds `size` items at most.

    Parameters
    ----------
    control : Control
        Of the pipeline.
    size : int
        Items that wait; 0 for any number.
    drains : bool
        Whether items are still passed on when the pipeline ends, unless it halts.
    """

    def __init__(self, control: Control, size: int, *, drains: bool = False) -> None:
        self._control = control
        self._items: queue.Queue[T | None] = queue.Queue(size)
        self._closed = threading.Event()
        self._closing = control.halted if drains else control.ending

    def put(self, item: T) -> None:
        """Pass an item on, waiting for room."""
        while True:
            if self._closing.is_set():
                raise Stopped
            try:
                self._items.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def close(self) -> None:
        """Say that nothing more comes; the takers still get what waits. Never waits itself."""
        self._closed.set()
        with suppress(queue.Full):
            self._items.put_nowait(None)  # wakes a taker

    def __iter__(self) -> Iterator[T]:
        """Take items, several takers if need be, until the line is closed or the pipeline halts."""
        while not self._control.halted.is_set():
            is_closed = self._closed.is_set()
            try:
                taken = [self._items.get(block=not is_closed, timeout=_PATIENCE)]
            except queue.Empty:
                if is_closed:
                    return
                continue
            if taken[0] is not None:
                # Not held while the next one is waited for: items are large.
                yield taken.pop()  # type: ignore[misc]  # not None
