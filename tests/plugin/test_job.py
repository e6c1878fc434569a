from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot
from typer.testing import CliRunner

from superres.cli import app
from superres.config import UpscaleConfig
from superres.plugin.job import Job, Jobs
from superres.plugin.upscale_task import request
from superres.progress import Progress

MakePath = Callable[..., Path]
LONG = 240_000  # milliseconds until a test gives up; a busy machine takes its time


def files_of(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "device": "cpu"} | changes)


class Told:
    """What a job says, in its order."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.events: list[Progress] = []
        self.ends: list[tuple[str, Any]] = []
        job.progressed.connect(self.events.append)
        job.finished.connect(lambda result: self.ends.append(("finished", result)))
        job.failed.connect(lambda why: self.ends.append(("failed", why)))
        job.cancelled.connect(lambda: self.ends.append(("cancelled", None)))

    def end(self, qtbot: QtBot) -> tuple[str, Any]:
        qtbot.waitUntil(lambda: self.job.state == "ended", timeout=LONG)
        (end,) = self.ends
        return end

    def wait_for_tiles(self, qtbot: QtBot, count: int) -> None:
        def there() -> bool:
            return any(event.stage == "upscale" and event.done >= count for event in self.events) or bool(self.ends)

        qtbot.waitUntil(there, timeout=LONG)
        assert not self.ends, self.ends


@pytest.mark.long
def test_a_job_tells_how_far_it_is_and_writes_what_the_cli_writes(
    qtbot: QtBot, tmp_path: Path, make_model: MakePath, make_stack: MakePath
) -> None:
    model, stack = make_model(), make_stack(c=2)
    job = Job(request(stack, tmp_path / "job" / "out.ome.zarr", settings(model, tile=16, shard=2)))
    told = Told(job)
    job.start()
    how, result = told.end(qtbot)
    assert how == "finished", result
    assert result["path"] == str(tmp_path / "job" / "out.ome.zarr")
    upscaled = [event for event in told.events if event.stage == "upscale"]
    assert upscaled[-1].done == upscaled[-1].total == 2 * 5 * 4
    arguments = ["upscale", str(stack), "--model", str(model), "--out", str(tmp_path / "cli" / "out.ome.zarr")]
    arguments += ["--set", "tile=16", "--set", "shard=2", "--set", "device=cpu"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    for name in ("", ".trust"):
        here, there = (files_of(tmp_path / who / f"out{name}.ome.zarr") for who in ("job", "cli"))
        assert here and here == there


def test_cancel_ends_soon_and_another_start_goes_on(
    qtbot: QtBot, tmp_path: Path, make_model: MakePath, make_stack: MakePath
) -> None:
    asked = request(make_stack(y=160, x=160), tmp_path / "out.ome.zarr", settings(make_model(), tile=16, shard=2))
    first = Told(Job(asked))
    first.job.start()
    first.wait_for_tiles(qtbot, 17)
    first.job.cancel()
    first.job.cancel()  # once is enough
    assert first.end(qtbot) == ("cancelled", None)
    second = Told(Job(asked))
    second.job.start()
    how, result = second.end(qtbot)
    assert how == "finished", result
    assert 0 < result["units_done_before"] < result["units"]


def test_a_job_that_does_not_listen_is_killed(
    qtbot: QtBot, tmp_path: Path, make_model: MakePath, make_stack: MakePath
) -> None:
    told = Told(Job(request(make_stack(), tmp_path / "out.ome.zarr", settings(make_model()))))
    told.job.start()
    assert told.job.pid is not None
    os.kill(told.job.pid, signal.SIGSTOP)
    told.job.cancel()
    assert told.end(qtbot) == ("cancelled", None)


@pytest.mark.parametrize("how_killed", [signal.SIGKILL, signal.SIGABRT])
def test_a_crash_is_told_with_its_reason(
    qtbot: QtBot, tmp_path: Path, make_model: MakePath, make_stack: MakePath, how_killed: signal.Signals
) -> None:
    told = Told(Job(request(make_stack(), tmp_path / "out.ome.zarr", settings(make_model(), tile=16))))
    told.job.start()
    qtbot.waitUntil(lambda: bool(told.events), timeout=LONG)
    assert told.job.pid is not None
    os.kill(told.job.pid, how_killed)
    how, why = told.end(qtbot)
    assert how == "failed"
    assert how_killed.name in why
    if how_killed == signal.SIGKILL:
        assert "memory" in why
    else:
        assert why.endswith("Its last words: Fatal Python error: Aborted")
        assert "most recent call first" in told.job.report


def test_an_error_of_ours_arrives_as_its_sentence(qtbot: QtBot, tmp_path: Path, make_stack: MakePath) -> None:
    model = tmp_path / "no_model.safetensors"
    model.write_bytes(b"not a model")
    told = Told(Job(request(make_stack(), tmp_path / "out.ome.zarr", settings(model))))
    told.job.start()
    how, why = told.end(qtbot)
    assert how == "failed"
    assert why.startswith(f"{model}: not a readable .safetensors file")
    assert told.job.report == ""


def test_a_bug_is_told_with_its_traceback(qtbot: QtBot) -> None:
    told = Told(Job({"kind": "upscale"}))
    told.job.start()
    how, why = told.end(qtbot)
    assert how == "failed" and "KeyError: 'source'" in why
    assert "Traceback" in told.job.report


def test_jobs_wait_for_each_other_and_a_failed_one_holds_nothing_up(qtbot: QtBot, tmp_path: Path) -> None:
    jobs = Jobs()
    first, second, third = (Told(Job({"kind": kind})) for kind in ("unknown", "none", "nothing"))
    for told in (first, second, third):
        jobs.add(told.job)
    assert [told.job.state for told in (first, second, third)] == ["running", "waiting", "waiting"]
    assert [jobs.ahead_of(told.job) for told in (first, second, third)] == [0, 1, 2]
    second.job.cancel()
    assert second.end(qtbot) == ("cancelled", None)
    assert third.end(qtbot)[0] == first.end(qtbot)[0] == "failed"


PARENT = """
import sys
from qtpy.QtCore import QCoreApplication
from superres.plugin.job import Job
application = QCoreApplication([])
job = Job({"kind": "upscale", "source": sys.argv[1], "out": sys.argv[2], "config": {"model": sys.argv[3], "tile": 16}})
job.progressed.connect(lambda event: print(job.pid, flush=True) if event.stage == "upscale" else None)
job.start()
application.exec()
"""


def test_the_job_ends_when_the_viewer_dies(tmp_path: Path, make_model: MakePath, make_stack: MakePath) -> None:
    arguments = map(str, (make_stack(y=300, x=300), tmp_path / "out.ome.zarr", make_model()))
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + LONG / 1000
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
