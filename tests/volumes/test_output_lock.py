"""One output, one writer: whole runs and parts keep each other out, and a killed one keeps nobody out."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from superres.errors import OutputInUseError, OutputWriteError
from superres.volumes.output_lock import OutputLock

Part = tuple[int, int] | None


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.ome.zarr"


@pytest.mark.parametrize(
    ("first", "second"),
    [(None, None), (None, (1, 2)), ((1, 2), None), ((1, 2), (1, 2)), ((1, 2), (1, 3)), ((1, 2), (2, 12))],
)
def test_the_second_is_refused_and_told_who_writes(out: Path, first: Part, second: Part) -> None:
    with OutputLock(out, first), pytest.raises(OutputInUseError) as caught, OutputLock(out, second):
        pass
    told = str(caught.value)
    assert f"process {os.getpid()} on {os.uname().nodename}, since 20" in told
    assert ("part 1/2, process" in told) == (first == (1, 2))
    assert str(out) in told
    with OutputLock(out, second):
        pass


def test_parts_of_one_division_go_together(out: Path) -> None:
    with OutputLock(out, (1, 3)), OutputLock(out, (3, 3)) as third:
        with OutputLock(out, (2, 3)) as second:
            with third.alone("finish") as holds, second.alone("finish") as holds_too:
                assert (holds, holds_too) == (True, False)
            with second.alone("finish") as holds:
                assert holds
        with pytest.raises(OutputInUseError, match=r"part 1/3, .*; part 3/3"), OutputLock(out):
            pass


def test_nothing_is_left_behind(out: Path) -> None:
    with OutputLock(out):
        pass
    with OutputLock(out, (1, 2)), OutputLock(out, (2, 2)):
        assert len(list(out.parent.iterdir())) == 1
    assert list(out.parent.iterdir()) == []
    records = out.with_name(out.name + ".records") / "f00d"
    records.mkdir(parents=True)
    with OutputLock(out):
        pass
    assert list(records.parent.iterdir()) == [records]


@pytest.mark.parametrize("part", [None, (2, 5)])
def test_a_killed_process_holds_nothing(out: Path, part: Part) -> None:
    context = multiprocessing.get_context("forkserver")
    pipe, end = context.Pipe()
    code = (
        "from superres.volumes.output_lock import OutputLock\n"
        "with OutputLock(out, part):\n    pipe.send('held')\n    pipe.recv()"
    )
    process = context.Process(target=exec, args=(code, {"out": out, "part": part, "pipe": end}))
    process.start()
    assert pipe.recv() == "held"
    with pytest.raises(OutputInUseError, match=f"process {process.pid} on "), OutputLock(out):
        pass
    process.kill()
    process.join()
    with OutputLock(out, (1, 3)):
        pass
    assert list(out.parent.iterdir()) == []


def test_a_file_system_without_locks_is_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with OutputLock(out) as first, OutputLock(out) as second:
        assert not first.works
        assert not second.works


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputWriteError, match=r"out\.zarr\.records: cannot be written"):
        OutputLock(tmp_path / "file" / "out.zarr").__enter__()
