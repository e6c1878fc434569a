"""Work on all cores: everything once, errors told, nothing left running behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superres.volumes import cores
from superres.volumes.cores import on_all_cores


@pytest.fixture(autouse=True)
def several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "core_count", lambda: 3)
    cores._pool.cache_clear()


@given(st.integers(0, 100))
def test_every_item_once_and_in_consecutive_shares(count: int) -> None:
    shares: list[Sequence[int]] = []
    on_all_cores(shares.append, range(count))
    assert Counter(item for share in shares for item in share) == Counter(range(count))
    assert all(list(share) == list(range(share[0], share[-1] + 1)) for share in shares if len(share))


def test_the_first_error_is_raised_and_nothing_runs_on() -> None:
    running = threading.Semaphore(0)
    begun: list[int] = []

    def work(share: Sequence[int]) -> None:
        begun.append(share[0])
        if share[0] == 0:
            raise ValueError("damaged")
        time.sleep(0.05)
        running.release()

    with pytest.raises(ValueError, match="damaged"):
        on_all_cores(work, range(12))
    ended = [running.acquire(blocking=False) for _ in range(len(begun) - 1)]
    assert all(ended)
    assert not running.acquire(timeout=0.2)


def test_many_callers_share_the_cores() -> None:
    most, now, lock = 0, 0, threading.Lock()

    def work(share: Sequence[int]) -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda _: on_all_cores(work, range(24)), range(8)))
    assert 1 < most <= 3
