"""Small things side by side, each by one thread, and memory that is given back now and then."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from superres.nets import device
from superres.nets.device import Heap, on_own_cores


@pytest.fixture
def two_threads() -> Any:
    """Let torch use two threads here, however many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_results_are_in_order_and_each_is_made_by_one_thread() -> None:
    found = on_own_cores(lambda item: (item, torch.get_num_threads()), list(range(20)))
    assert found == [(item, 1) for item in range(20)]
    assert torch.get_num_threads() == 2
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


@pytest.mark.usefixtures("two_threads")
def test_what_fails_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        on_own_cores(lambda item: 1 // item, [1, 0, 1])


def test_one_thing_is_done_here() -> None:
    assert on_own_cores(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]
    assert on_own_cores(str, []) == []


def test_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []

    class Libc:
        def malloc_trim(self, left: int) -> None:
            trimmed.append(left)

    clock = iter([0.0, 4.0, 10.0, 10.1, 15.0, 20.2, 20.3])
    monkeypatch.setattr(device.time, "monotonic", lambda: next(clock))
    heap = Heap(Libc())  # type: ignore[arg-type]
    counts = []
    for _ in range(4):
        heap.settle()
        counts.append(len(trimmed))
    assert counts == [0, 1, 1, 2]
    assert next(clock, None) is None


def test_other_systems_keep_their_memory() -> None:
    Heap(None).settle()
