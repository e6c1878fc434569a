"""Ctrl-C that cannot get lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _Noting:
    """Notes Ctrl-C besides raising `KeyboardInterrupt`, as Python's own handler does."""

    def __init__(self) -> None:
        self.pressed = threading.Event()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed.set()
        raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Give an event that is set when Ctrl-C is pressed; inside of another one, that one's event.

    Python drops an exception that a signal raises inside a finaliser, and pydantic one that is raised while it builds
    a validator, so that work would go on to its end. Who looks at the event now and then, and clears it when it
    raises `KeyboardInterrupt`, misses none.

    Where the process was started to ignore Ctrl-C, as a shell starts what runs in its background, it still does.
    """
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, _Noting):
        yield before.pressed
        return
    noting = _Noting()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before is not signal.default_int_handler:
        yield noting.pressed
        return
    signal.signal(signal.SIGINT, noting)
    try:
        yield noting.pressed
    finally:
        signal.signal(signal.SIGINT, before)
