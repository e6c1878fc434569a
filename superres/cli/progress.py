"""Progress on the terminal: one bar per stage, or plain lines every few seconds where stderr is no terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from superres.progress import Progress

SECONDS_BETWEEN_LINES = 5.0


@dataclass(slots=True)
class _Stage:
    """One stage's latest event, and where and when the stage began (monotonic seconds)."""

    event: Progress
    first: float
    began: float
    changed: float
    values: dict[str, float] = field(default_factory=dict)

    def take(self, event: Progress, now: float) -> None:
        """Move on; figures that come with some events only, such as a validation's, stay until they are renewed."""
        self.event, self.changed = event, now
        self.values |= event.values

    @property
    def finished(self) -> bool:
        return self.event.done >= self.event.total

    @property
    def count(self) -> str:
        if self.event.unit == "%":
            return f"{100 * self.event.done / self.event.total:.0f} %"
        if self.event.unit == "s":
            return f"{_minutes(self.event.done)}/{_minutes(self.event.total)}"
        return f"{int(self.event.done)}/{int(self.event.total)} {self.event.unit}".rstrip()

    @property
    def rate(self) -> float:
        """Return what was done per second since the stage began, without what an earlier run had done."""
        return (self.event.done - self.first) / max(self.changed - self.began, 1e-9)

    @property
    def speed(self) -> str:
        if self.event.done <= self.first or self.event.unit in ("s", "%"):
            return ""
        if self.rate < 1:
            return f"{1 / self.rate:.3g} s each"
        return f"{self.rate:.3g}/s" if self.rate < 100 else f"{self.rate:.0f}/s"

    def clock(self, now: float) -> str:
        if self.finished:
            return f"{_minutes(self.changed - self.began)} taken"
        if self.event.done <= self.first:
            return ""
        return f"{_minutes((self.event.total - self.event.done) / self.rate - (now - self.changed))} left"

    @property
    def remark(self) -> str:
        values = [figure_text(name, value) for name, value in self.values.items()]
        return ", ".join([self.event.note, *values] if self.event.note else values)


class ProgressDisplay:
    """A progress callback that draws; use it as a context manager, so that the last state stays on the screen.

    Parameters
    ----------
    console : rich.console.Console
        Where to draw; stderr, so that stdout holds results alone.
    interrupted : Event, optional
        Set when the user pressed Ctrl-C, from `superres.cli.interrupts.interrupts`.
    """

    def __init__(self, console: Console, interrupted: Event | None = None) -> None:
        self._console = console
        self._interrupted = interrupted or Event()
        self._stages: dict[str, _Stage] = {}
        self._latest = ""
        self._last_line = float("-inf")
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._render, redirect_stdout=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._latest = ""
        self._live.stop()

    def check(self) -> None:
        """Raise `KeyboardInterrupt` where Ctrl-C was pressed since the last look, and may have been lost."""
        if self._interrupted.is_set():
            self._interrupted.clear()
            raise KeyboardInterrupt

    def __call__(self, event: Progress) -> None:
        """Show one event; a stage without anything to do is left out.

        Raises
        ------
        KeyboardInterrupt
            Where Ctrl-C was pressed since the last event, and may have been lost.
        """
        self.check()
        if event.total <= 0:
            return
        is_new = self._take(event)
        if self._console.is_terminal:
            self._live.start()
        elif is_new or self._stages[event.stage].finished or self._is_due():
            self._print_line(event.stage)

    def _take(self, event: Progress) -> bool:
        """Keep the event; say whether its stage is new or starts again, as it does for the next input of a batch."""
        now = time.monotonic()
        self._latest = event.stage
        stage = self._stages.get(event.stage)
        if stage is not None and event.done >= stage.event.done:
            stage.take(event, now)
            return False
        names = list(self._stages)
        for later in names[names.index(event.stage) + 1 :] if stage else ():
            del self._stages[later]
        self._stages[event.stage] = _Stage(event, first=event.done, began=now, changed=now, values=dict(event.values))
        return True

    def _is_due(self) -> bool:
        return time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES

    def _render(self) -> RenderableType:
        now = time.monotonic()
        stages = list(self._stages.items())
        rows = [(name, stage.count, stage.speed, stage.clock(now)) for name, stage in stages]
        texts = sum(max(len(text) for text in column) + 1 for column in zip(*rows, strict=True))
        width = min(max(self._console.width - texts - 1, 4), 30)
        bars = Table.grid(padding=(0, 1, 0, 0))
        for (name, count, speed, clock), (_, stage) in zip(rows, stages, strict=True):
            style = "green" if stage.finished else "cyan"
            bar = ProgressBar(stage.event.total, stage.event.done, width, complete_style=style, finished_style=style)
            bars.add_row(name, bar, count, speed, Text(clock, style=style))
        remark = self._stages[self._latest].remark if self._latest else ""
        return Group(bars, Padding(Text(remark, style="dim"), (0, 0, 0, 2))) if remark else bars

    def _print_line(self, name: str) -> None:
        self._last_line = time.monotonic()
        stage = self._stages[name]
        parts = [f"{name} {stage.count}", stage.speed, stage.clock(self._last_line), stage.remark]
        line = ", ".join(part for part in parts if part)
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def figure_text(name: str, value: float) -> str:
    """Write a figure as a person would: ``psnr_bicubic`` becomes ``PSNR bicubic 28.41 dB``."""
    spoken = name.replace("_", " ").replace("psnr", "PSNR").replace("ssim", "SSIM")
    return f"{spoken} {value:.4g}" + (" dB" if "PSNR" in spoken else "")


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
