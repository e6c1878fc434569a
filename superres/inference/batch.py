"""Many inputs, one after the other: what is finished is skipped, what fails is remembered, and a file says it all.

That file is ``upscale.json`` in the output folder. The state of the work itself is in the records of the stores, so
that the file may be deleted, and a batch that was stopped goes on where it was whatever the file says.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from superres.config import UpscaleConfig
from superres.errors import Cancelled, InputError, OutputWriteError, SuperresError
from superres.inference.engine import UpscaleSummary
from superres.inference.estimate import Room, parts_of
from superres.inference.predictor import Predictor
from superres.inference.side_by_side import lanes_for, run_side_by_side
from superres.modelfile import read_model_header
from superres.progress import Progress, ProgressCallback
from superres.volumes import Volume
from superres.volumes.collection import Found
from superres.volumes.finished import note_finished, read_finished, settings_digest
from superres.volumes.whole_files import write_whole

REPORT = "upscale.json"
State = Literal["running", "done", "part", "skipped", "failed", "stopped", "waiting"]
# The report of a large batch is not written for every file.
_SECONDS_BETWEEN_REPORTS = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one input.

    Parameters
    ----------
    file : Path
        The input.
    state : str
        ``done``, ``part`` (what of it is to be done here is done), ``skipped`` (it was finished before), ``failed``,
        ``stopped`` (not finished, or not begun, when the batch was stopped), ``waiting`` (not complete when it ended),
        ``running``.
    output : Path
        The store.
    seconds : float
        Spent on it by this run.
    reason : str
        Why it failed, was skipped or waits.
    remarks : tuple of str
        What a person should know of the output.
    identity : str
        Of the input as it was taken (`superres.volumes.Volume.identity`).
    """

    file: Path
    state: State
    output: Path
    seconds: float = 0.0
    reason: str = ""
    remarks: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One input of a batch, and where it goes.

    Parameters
    ----------
    source, out : Path
        Input and store.
    name : str
        What it is called.
    volume : Volume or None
        The opened input; None where it cannot be opened.
    """

    source: Path
    out: Path
    name: str
    volume: Volume | None

    @classmethod
    def of(cls, found: Found, folder: Path) -> Task:
        """Say where an acquisition goes in the output folder."""
        return cls(Path(found.path), folder / f"{found.name}.ome.zarr", found.name, found.volume)

    @property
    def identity(self) -> str:
        """Of the input as it is now; empty where it cannot be told."""
        try:
            return "" if self.volume is None else self.volume.identity()
        except (OSError, SuperresError):
            return ""


class Batch:
    """Many inputs under the same settings.

    Parameters
    ----------
    config : UpscaleConfig
        Of all of them.
    folder : Path
        That they are written to.
    upscale : callable
        `superres.inference.upscale`.
    load : callable
        Loads the model; asked only when there is something to do.
    report : str
        Name of the report in `folder`; parts of one batch have each their own.
    side_by_side : bool
        Whether small inputs may be done some at a time: `upscale` is then called in several threads.

    Attributes
    ----------
    rows : dict
        Input to what became of it.
    summaries : dict
        Input to what was done, of those that were.
    seconds : float or None
        That `run` took: less than its inputs together where they were done side by side.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, or it cannot be read.
    """

    def __init__(
        self,
        config: UpscaleConfig,
        folder: Path,
        upscale: Callable[..., UpscaleSummary],
        load: Callable[[], Predictor],
        report: str = REPORT,
        *,
        side_by_side: bool = False,
    ) -> None:
        self._model = read_model_header(config.model).name
        # The output is the same on any device, and without maps; but those that are wanted must be there, too.
        settings = config.model_dump(mode="json", exclude={"overwrite", "device", "model"})
        self.settings = settings_digest(settings, config.model)
        self._config, self._folder, self._upscale = config, folder, upscale
        self.report_path = folder / report
        self._load = functools.cache(load)
        self._room = Room(config)
        self._earlier = _reported(self.report_path, self.settings)
        self._reported, self._reporting = float("-inf"), threading.Lock()
        self._side_by_side = side_by_side
        self.seconds: float | None = None
        self.rows: dict[Path, Row] = {}
        self.summaries: dict[Path, UpscaleSummary] = {}

    def run(self, tasks: Sequence[Task], progress: ProgressCallback) -> None:
        """Do all that is not finished.

        Raises
        ------
        OutputWriteError
            When the disk cannot hold all of it; nothing was begun then.
        KeyboardInterrupt, Cancelled
            When it is stopped; what is finished is kept, and the report says what is not.
        """
        started = time.monotonic()
        todo = [task for task in tasks if not self.skip(task)]
        opened = {task.out: task.volume for task in todo if task.volume is not None}
        if opened and self._config.check_disk:
            self._room.require(self._folder, opened, self._load())
        for task in todo:
            self.rows[task.source] = Row(task.source, "stopped", task.out, reason="not begun")
        bar = _Bar(progress, todo)
        for lanes, group in itertools.groupby(range(len(todo)), lambda number: self._lanes(todo[number])):
            numbers = list(group)
            if lanes > 1 and len(numbers) > 1:
                jobs = [functools.partial(self.do, todo[number]) for number in numbers]
                run_side_by_side(jobs, min(lanes, len(jobs)), self._load(), bar.side_by_side(numbers))
                continue
            for number in numbers:
                self.do(todo[number], bar.begin(number))
                bar.end(number)
        if todo:
            progress(Progress("batch", 100, 100, "%"))
        self.seconds = time.monotonic() - started
        self.report()

    def _lanes(self, task: Task) -> int:
        """Return how many inputs like this one are to be done at a time."""
        if not self._side_by_side or task.volume is None:
            return 1
        return lanes_for(task.volume, self._load(), self._config)

    def skip(self, task: Task) -> bool:
        """Whether a task is finished under these settings already, which is noted then."""
        finished = read_finished(task.out)
        if finished is None or finished.settings != self.settings or finished.identity != task.identity:
            return False
        self.rows[task.source] = Row(
            task.source, "skipped", task.out, reason="finished before", identity=finished.identity
        )
        return True

    def do(self, task: Task, progress: ProgressCallback, *, following: bool = False) -> Row:
        """Do one task; one that fails is remembered.

        Parameters
        ----------
        task : Task
            What to do.
        progress : callable
            Hears of it.
        following : bool
            Whether the inputs are still arriving: an output that these settings made from an earlier state of the same
            file is then made anew, and what cannot be written waits.
        """
        identity = task.identity
        overwrite = self._config.overwrite or (following and self._was_made_from_less(task, identity))
        # What is there and was made by nobody knows whom is never claimed, so that it is never replaced.
        ours = overwrite or not task.out.exists() or identity in self._identities(task)
        row = Row(task.source, "running", task.out, identity=identity if ours else "")
        self.rows[task.source] = row
        self.report(soon=not following)
        started = time.monotonic()
        try:
            row = self._done(row, task, identity, self._one(task, overwrite, progress))
        except (KeyboardInterrupt, Cancelled):
            row = replace(row, state="stopped", reason="run the same command again to go on")
            raise
        except SuperresError as error:
            waits = following and isinstance(error, OutputWriteError)
            row = replace(row, state="waiting" if waits else "failed", reason=str(error))
        except Exception as error:  # a night's batch must outlive one file; the traceback is shown, the exit code is 1
            traceback.print_exc()
            reason = f"{task.source}: {type(error).__name__}: {error} (a bug of superres; please report it)"
            row = replace(row, state="failed", reason=reason)
        finally:
            row = self.rows[task.source] = replace(row, seconds=time.monotonic() - started)
            self.report(soon=not following and row.state != "stopped")
        return row

    def _one(self, task: Task, overwrite: bool, progress: ProgressCallback) -> UpscaleSummary:
        predictor = self._load()
        if self._config.check_disk and task.volume is not None:
            self._room.require(task.out, {task.out: task.volume}, predictor)
        config = self._config.model_copy(update={"overwrite": overwrite})
        return self._upscale(task.source, task.out, config, progress=progress, predictor=predictor)

    def _done(self, row: Row, task: Task, identity: str, summary: UpscaleSummary) -> Row:
        self.summaries[task.source] = summary
        if not summary.finished:
            others = f"{summary.missing} of {summary.units} blocks are other parts' to do"
            return replace(row, state="part", remarks=(others if summary.missing else "another part finishes it",))
        changed = task.identity != identity
        if identity and not changed:
            note_finished(
                task.out, parts_of(task.out), source=task.source.name, identity=identity, settings=self.settings
            )
        trust = () if summary.trust is None else (summary.trust.sentence(),)
        remarks = (*summary.warnings, *trust, *(("the input was written to meanwhile",) if changed else ()))
        return replace(row, state="done", remarks=remarks, identity=identity)

    def _was_made_from_less(self, task: Task, identity: str) -> bool:
        """Whether what is there was made, or begun, by these settings from an earlier state of this very file."""
        finished = read_finished(task.out)
        if finished is not None:
            same = finished.settings == self.settings and finished.source == task.source.name
            return same and finished.identity != identity
        return bool(self._identities(task) - {identity})

    def _identities(self, task: Task) -> set[str]:
        """Return the states of an input from which this batch, or an earlier run of it, made or began the output."""
        before = self._earlier.get(str(task.source), {})
        known = self.rows.get(task.source)
        found = {str(before.get("identity", "")) if before.get("output") == str(task.out) else ""}
        return (found | ({known.identity} if known is not None else set())) - {""}

    def report(self, *, soon: bool = False) -> None:
        """Write the report; with `soon` only if the last one is some seconds old. One that cannot be is left out."""
        with self._reporting:
            if not soon or time.monotonic() - self._reported >= _SECONDS_BETWEEN_REPORTS:
                self._reported = time.monotonic()
                self._write_report()

    def _write_report(self) -> None:
        rows = list(self.rows.values())
        files = [_to_json(row) for row in rows]
        now = {row["file"] for row in files}
        content = {
            "model": self._model,
            "settings": self.settings,
            "counts": counted(rows),
            "files": files,
            "earlier": [row for file, row in self._earlier.items() if file not in now],
        }
        with contextlib.suppress(OSError):  # a full disk is told by what could not be written of the image
            write_whole(self.report_path, [json.dumps(content, indent=1).encode()])


def counted(rows: Sequence[Row]) -> dict[str, int]:
    """Count rows by state, those that there are."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.state] = found.get(row.state, 0) + 1
    return found


def _to_json(row: Row) -> dict[str, Any]:
    return asdict(row) | {"file": str(row.file), "output": str(row.output), "seconds": round(row.seconds, 3)}


def _reported(path: Path, settings: str) -> dict[str, dict[str, Any]]:
    """Read what earlier runs under the same settings reported."""
    try:
        content = json.loads(path.read_text())
        rows = [*content["files"], *content["earlier"]] if content["settings"] == settings else []
        return {str(row["file"]): dict(row) for row in rows}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


class _Bar:
    """The bar of a batch: how much of all inputs is done, by their size."""

    def __init__(self, progress: ProgressCallback, tasks: Sequence[Task]) -> None:
        self._progress, self._names = progress, [task.name for task in tasks]
        self._works = [0 if task.volume is None else math.prod(task.volume.shape) for task in tasks]
        self._shares = [0.0] * len(tasks)
        self._done, self._total = 0.0, sum(self._works) or 1

    def begin(self, number: int) -> ProgressCallback:
        """Show that an input begins; return what moves the bar with its tiles and hands its events on."""
        self._tell(number)

        def hear(event: Progress) -> None:
            self._move(number, event)
            self._progress(event)

        return hear

    def end(self, number: int) -> None:
        """Count an input as done."""
        self._count(number, 1.0)

    def side_by_side(self, numbers: Sequence[int]) -> Callable[[int, Progress | None], None]:
        """Return what moves the bar with some inputs at once, whose own bars would jump to and fro."""

        def hear(position: int, event: Progress | None) -> None:
            number = numbers[position]
            if event is None:
                self.end(number)
                self._tell(number)
                return
            self._move(number, event)
            if event.note:
                self._progress(event)

        return hear

    def _move(self, number: int, event: Progress) -> None:
        if event.stage == "upscale" and event.total:
            self._count(number, event.done / event.total)
            self._tell(number)

    def _count(self, number: int, share: float) -> None:
        self._done += self._works[number] * (share - self._shares[number])
        self._shares[number] = share

    def _tell(self, number: int) -> None:
        note = f"{self._names[number]}, {number + 1} of {len(self._names)}"
        self._progress(Progress("batch", min(100.0, 100 * self._done / self._total), 100, "%", note))


def refuse_own_folder(folders: Sequence[Path], out: Path) -> None:
    """Refuse to write into a folder that is searched itself.

    Raises
    ------
    InputError
        Naming it.
    """
    for folder in folders:
        if folder.is_dir() and folder.resolve() == out.resolve():
            raise InputError(
                f"{out}: is also searched for inputs, so that outputs would be taken for inputs; give another --out, "
                f"for example --out {folder.resolve().name}_upscaled"
            )
