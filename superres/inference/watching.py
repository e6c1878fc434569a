"""Follow folders during an acquisition: every image is upscaled when it is complete.

What was done is known from the notes and records of the stores, so that a watch that was stopped, or killed, goes on
where it was. An image that is written to after it was taken is taken again when it is complete again, and its output is
made anew; that of another input, model or settings is refused as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from superres.config import UpscaleConfig
from superres.errors import InputError
from superres.inference.batch import Batch, Row, Task
from superres.progress import Progress, ProgressCallback
from superres.volumes.arriving import Arrivals
from superres.volumes.collection import Found


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, so that tests need not wait."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Watch:
    """The watch of some folders.

    Parameters
    ----------
    batch : Batch
        Does the images.
    folders : sequence of Path
        Where they arrive.
    out : Path
        Where outputs go.
    config : UpscaleConfig
        Of all.
    progress : callable
        Hears how far it is.
    tell : callable
        Is told in a sentence of every image that was done, and of what a person should know.
    clock : Clock
        Real time by default.
    """

    batch: Batch
    folders: Sequence[Path]
    out: Path
    config: UpscaleConfig
    progress: ProgressCallback
    tell: Callable[[str], None]
    clock: Clock = Clock()
    _told: dict[Path, str] = field(default_factory=dict)
    _shown: tuple[object, ...] = ()

    def run(self) -> None:
        """Watch until nothing has come for as long as the settings say, or for ever.

        Raises
        ------
        MissingFileError
            When a folder is not there at the start.
        KeyboardInterrupt, Cancelled
            When it is stopped; what is finished is kept.
        """
        settings = self.config.watch
        arrivals = Arrivals(
            self.folders,
            settings,
            leave_out=[self.out],
            axes=self.config.axes,
            voxel_size=self.config.voxel_size,
            clock=self.clock.now,
        )
        self.tell(f"Watching {', '.join(map(str, self.folders))}; Ctrl-C ends it, and the same command goes on.")
        try:
            worked = self.clock.now()
            while settings.idle is None or self.clock.now() - max(worked, arrivals.last_news) < settings.idle:
                for one in self._look(arrivals):
                    self._take(one, arrivals)
                    worked = self.clock.now()
                self._tell_of_waiting(arrivals)
                self.clock.sleep(settings.interval)
        finally:
            self._note_waiting(arrivals)
            self.batch.report()

    def _look(self, arrivals: Arrivals) -> tuple[Found, ...]:
        """Look at the folders; one that is gone, as a share may be for a while, is said and looked for again."""
        try:
            found = arrivals.look()
            self._told.pop(self.out, None)
            return found
        except InputError as error:
            self._say(self.out, f"{error}; looking again until it can be read")
            return ()

    def _take(self, one: Found, arrivals: Arrivals) -> None:
        task = Task.of(one, self.out)
        twin = next((r.file for r in self.batch.rows.values() if r.output == task.out and r.file != task.source), None)
        if one.volume is None or twin is not None:
            reason = one.error or f"{task.source}: would be written to the same store as {twin}; rename one of them"
            self.batch.rows[task.source] = Row(task.source, "failed", task.out, reason=reason)
        elif not self.batch.skip(task):
            again = task.source in self.batch.rows and self.batch.rows[task.source].state in ("done", "skipped")
            if again:
                self.tell(f"{task.source}: was written to after it was taken; its output is made anew")
            if self.batch.do(task, self.progress, following=True).state == "waiting":
                arrivals.put_back(one)
        self._say(task.source, _sentence(self.batch.rows[task.source]))
        self.batch.report()

    def _note_waiting(self, arrivals: Arrivals) -> None:
        """Note at the end what was not complete; what waits for room on the disk is noted already."""
        for one in arrivals.waiting():
            known = self.batch.rows.get(one.path)
            if known is None or known.state in ("done", "skipped"):
                out = self.out / f"{one.name}.ome.zarr"
                self.batch.rows[one.path] = Row(
                    one.path, "waiting", out, reason=f"{one.path}: not complete: {one.reason}"
                )

    def _tell_of_waiting(self, arrivals: Arrivals) -> None:
        """Name what is overdue, once for every reason, and show how many are done."""
        waiting = arrivals.waiting()
        for one in waiting:
            failed = self.batch.rows.get(one.path)
            if one.seconds >= self.config.watch.overdue and (failed is None or failed.state != "waiting"):
                self._say(one.path, f"{one.path}: not complete after {one.seconds:.0f} s: {one.reason}", one.reason)
        done = sum(row.state in ("done", "skipped", "failed") for row in self.batch.rows.values())
        note = f"{waiting[0].path.name} {waiting[0].reason}" if waiting else "waiting for new images"
        shown = (done, len(waiting), note)
        if shown != self._shown:
            self._shown = shown
            self.progress(Progress("watch", done, done + len(waiting), "images", note))

    def _say(self, path: Path, text: str, kind: str = "") -> None:
        if self._told.get(path) != (kind or text):
            self._told[path] = kind or text
            self.tell(text)


def _sentence(row: Row) -> str:
    """Say what became of an image."""
    if row.state == "done":
        return f"{row.file}: done in {row.seconds:.3g} s, {row.output}"
    if row.state == "skipped":
        return f"{row.file}: finished before, {row.output}"
    what = "waits, and is tried again" if row.state == "waiting" else "failed"
    return f"{row.file}: {what}: {row.reason.removeprefix(f'{row.file}: ')}"
