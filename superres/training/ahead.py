"""Draw the patches of the next step in a thread while the current step runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from superres.datasets.patches import Batch


class Ahead:
    """Hands on what `draw` returns, drawn before it is asked for where that could be foreseen.

    Only one thread draws at a time, so that `draw` need not be safe for several. An error in a draw is raised where
    its patches are asked for.

    Parameters
    ----------
    draw : callable
        Number of the step and patches per step to patches; the same for the same arguments.
    """

    def __init__(self, draw: Callable[[int, int], Batch]) -> None:
        self._draw = draw
        self._threads: ThreadPoolExecutor | None = None
        self._foreseen: tuple[int, int] | None = None
        self._found: Future[Batch] | None = None

    def batch(self, step: int, count: int, *, foresee: bool) -> Batch:
        """Return the patches of a step; begin to draw those of the next one.

        Parameters
        ----------
        step, count : int
            As for `draw`.
        foresee : bool
            Whether the next step with as many patches is likely to be asked for.
        """
        found = self._found if self._foreseen == (step, count) else None
        if found is None:
            self.stop()
        batch = self._draw(step, count) if found is None else found.result()
        self._foreseen, self._found = None, None
        if foresee:
            self._threads = self._threads or ThreadPoolExecutor(1, thread_name_prefix="superres-patches")
            self._foreseen = (step + 1, count)
            self._found = self._threads.submit(self._draw, step + 1, count)
        return batch

    def stop(self) -> None:
        """Wait for the draw that is under way, forget it, and leave no thread behind."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        self._threads, self._foreseen, self._found = None, None, None
