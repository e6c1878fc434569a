"""The cores that this process may use, and the one pool of threads on which all its reads decode."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")

# Shares of the work per core: small enough that the cores end together, large enough to outweigh what a share costs.
_SHARES = 4


@functools.cache
def core_count() -> int:
    """Return how many cores this process may use, which on a shared server are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(work: Callable[[Sequence[T]], None], items: Sequence[T]) -> None:
    """Call `work` with consecutive shares of `items`, on all cores at once; returns when all are done.

    However many threads call this, no more than one thread per core works. `work` must not call it again.

    Raises
    ------
    Exception
        The first one that `work` raised; shares that had not begun by then are left out.
    """
    shares = min(len(items), _SHARES * core_count())
    if shares < 2 or core_count() == 1:
        work(items)
        return
    bounds = [number * len(items) // shares for number in range(shares + 1)]
    pool = _pool(os.getpid())
    futures = [pool.submit(work, items[a:b]) for a, b in itertools.pairwise(bounds)]
    try:
        for future in futures:
            future.result()
    finally:
        _end(futures)


def _end(futures: Sequence[Future[None]]) -> None:
    """Leave no share running: what it writes to belongs to the caller."""
    for future in futures:
        future.cancel()
    wait(futures)


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Make the pool of a process; a process that was forked has none of its parent's threads."""
    return ThreadPoolExecutor(core_count(), thread_name_prefix=f"superres-{process}")
