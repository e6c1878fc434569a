"""Progress on the terminal and in logs, and what Ctrl-C leaves on the screen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from rich.console import Console

from superres.cli import progress as cli_progress
from superres.cli.application import job
from superres.cli.progress import ProgressDisplay
from superres.progress import Progress

SLEEPER = """
import signal, sys, time, types
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it
demo = types.ModuleType("superres.demo")
def run_demo(out, *, quick, progress):
    from superres.progress import Progress
    progress(Progress("demo", 0, 2, "parts"))
    print("asleep", flush=True)
    time.sleep(300)
demo.first_result = lambda out, *, progress: run_demo(out, quick=True, progress=progress)
demo.run_demo = run_demo
sys.modules["superres.demo"] = demo
from superres.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_says_how_to_resume() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asleep\n"  # not before: Python drops an interrupt that comes in a finaliser
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == [
        "demo 0/2 parts",
        "Stopped. What is finished is kept: run the same command again to resume.",
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_inside_a_finaliser_is_not_lost() -> None:
    class Pressed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        with pytest.raises(typer.Exit) as ended, job("Kept.") as progress:
            progress(Progress("upscale", 0, 2, "tiles"))
            Pressed()  # Python drops the exception
            progress(Progress("upscale", 1, 2, "tiles"))
            raise AssertionError("went on")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == 130


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """As a shell starts what runs in its background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with job("Kept.") as progress:
            signal.raise_signal(signal.SIGINT)
            progress(Progress("upscale", 1, 2, "tiles"))
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Stop the clock of the progress display; tests move it."""
    now = [100.0]
    monkeypatch.setattr(cli_progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    yield now


def lines_of(events: list[tuple[float, Progress]], clock: list[float]) -> list[str]:
    """Return the lines that a display without a terminal prints for events at given seconds."""
    console = Console(width=80, force_terminal=False, record=True, file=Path(os.devnull).open("w"))  # noqa: SIM115
    with ProgressDisplay(console) as display:
        for seconds, event in events:
            clock[0] = 100.0 + seconds
            display(event)
    console.file.close()
    return console.export_text().splitlines()


def test_lines_tell_rate_and_time_left(clock: list[float]) -> None:
    events = [(second, Progress("train", 10 * second, 1200, "steps")) for second in range(8)]
    assert lines_of(events, clock) == ["train 0/1200 steps", "train 50/1200 steps, 10/s, 1:55 left"]


def test_slow_items_tell_seconds_each(clock: list[float]) -> None:
    events = [(0, Progress("upscale", 0, 90, "shards")), (80, Progress("upscale", 2, 90, "shards"))]
    assert lines_of(events, clock)[-1] == "upscale 2/90 shards, 40 s each, 58:40 left"


def test_what_an_earlier_run_did_does_not_count_as_speed(clock: list[float]) -> None:
    events = [(0, Progress("upscale", 80, 100)), (10, Progress("upscale", 90, 100))]
    assert lines_of(events, clock)[-1] == "upscale 90/100, 1/s, 0:10 left"


def test_the_end_of_a_stage_is_always_told(clock: list[float]) -> None:
    events = [(0, Progress("pyramid", 0, 4)), (1, Progress("pyramid", 2, 4)), (2, Progress("pyramid", 4, 4))]
    assert lines_of(events, clock) == ["pyramid 0/4", "pyramid 4/4, 2/s, 0:02 taken"]


def test_a_stage_in_seconds_is_a_clock(clock: list[float]) -> None:
    events = [(0, Progress("train", 0, 600, "s")), (60, Progress("train", 60, 600, "s", "step 9", {"psnr": 28.413}))]
    assert lines_of(events, clock)[-1] == "train 1:00/10:00, 9:00 left, step 9, PSNR 28.41 dB"


def test_figures_of_an_earlier_event_stay(clock: list[float]) -> None:
    events = [
        (0, Progress("train", 0, 9, values={"loss": 1.0, "psnr": 28.0})),
        (9, Progress("train", 9, 9, values={"loss": 0.5})),
    ]
    assert lines_of(events, clock)[-1].endswith("loss 0.5, PSNR 28 dB")


def test_a_stage_that_starts_again_is_a_new_one(clock: list[float]) -> None:
    one = [Progress("upscale", 0, 2), Progress("upscale", 2, 2), Progress("pyramid", 1, 1)]
    lines = lines_of([(0.1 * number, event) for number, event in enumerate(one * 2)], clock)
    assert [line.split(",")[0] for line in lines] == ["upscale 0/2", "upscale 2/2", "pyramid 1/1"] * 2


def test_a_stage_without_anything_to_do_is_left_out(clock: list[float]) -> None:
    assert lines_of([(0, Progress("pyramid", 0, 0, "shards"))], clock) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("width", [80, 120])
def test_bars_fit_the_terminal(width: int) -> None:
    """Draw on a real pseudo-terminal and look at every line that was written."""
    import pty

    code = (
        "import time\nfrom rich.console import Console\nfrom superres.cli.progress import ProgressDisplay\n"
        "from superres.progress import Progress\n"
        "with ProgressDisplay(Console(stderr=True)) as show:\n"
        "    for i in range(4):\n"
        "        event = Progress('feature network', 1000 * i, 3000, 'acquisitions', 'a note ' * 5, {'psnr': 27.5})\n"
        "        show(event)\n"
        "        time.sleep(0.15)\n"
    )
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "LINES": "40", "TERM": "xterm-256color"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=child, stderr=child, env=environment)
    os.close(child)
    drawn = _read_all(parent)
    assert process.wait(timeout=30) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "\n")
    assert "3000/3000 acquisitions" in plain
    assert "taken" in plain
    assert "PSNR 27.5 dB" in plain
    assert max(len(line) for line in plain.splitlines()) <= width


def _read_all(descriptor: int) -> str:
    parts, deadline = [], time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux reports the closed far end so
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()
