"""Stages of a pipeline: whatever fails, wherever, all of them end, and the first error is told."""

from __future__ import annotations

import threading

import pytest

from superres.inference.stages import Control, Line, Stopped


def run(size: int, *, failing: str, halt: bool = False, takers: int = 1) -> tuple[Control, list[int]]:
    """Three stages that pass on 30 numbers; one of them fails at the 11th."""
    control, found, lock = Control(), [], threading.Lock()
    first: Line[int] = Line(control, size)
    second: Line[int] = Line(control, size, drains=True)

    def maybe(name: str, number: int) -> None:
        if name == failing and number == 10:
            raise RuntimeError(name)

    def make() -> None:
        try:
            for number in range(30):
                maybe("make", number)
                first.put(number)
        finally:
            first.close()

    def change() -> None:
        for number in first:
            maybe("change", number)
            second.put(number)

    def take() -> None:
        for number in second:
            maybe("take", number)
            with lock:
                found.append(number)

    threads = [control.run(make, halt=halt)]
    changers = [control.run(change, halt=halt) for _ in range(takers)]
    ends = [control.run(take, halt=True) for _ in range(takers)]
    for thread in [*threads, *changers]:
        control.wait_for(thread)
    second.close()
    for thread in ends:
        control.wait_for(thread)
    assert not any(thread.is_alive() for thread in [*threads, *changers, *ends])
    return control, found


@pytest.mark.parametrize("takers", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_everything_arrives_once(size: int, takers: int) -> None:
    control, found = run(size, failing="", takers=takers)
    assert control.error is None
    assert sorted(found) == list(range(30))
    if takers == 1:
        assert found == sorted(found)


@pytest.mark.parametrize("failing", ["make", "change", "take"])
@pytest.mark.parametrize("halt", [False, True])
@pytest.mark.parametrize("size", [1, 100])
def test_any_stage_may_fail(failing: str, halt: bool, size: int) -> None:
    control, found = run(size, failing=failing, halt=halt)
    assert isinstance(control.error, RuntimeError)
    assert str(control.error) == failing
    assert found == list(range(len(found))), "what is passed on stays in order"
    if failing == "make" and not halt:
        assert len(found) <= 10
    if failing == "change" and not halt:
        assert found == list(range(10)), "what was complete is still passed on"


def test_an_end_that_is_asked_for_is_no_error() -> None:
    control = Control()
    control.fail(Stopped(), halt=False)
    assert control.error is None
    with pytest.raises(Stopped):
        control.check()
    line: Line[int] = Line(control, 1)
    with pytest.raises(Stopped):
        line.put(1)
