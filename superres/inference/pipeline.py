"""The loop of one process over shards of an upscaling: reading, predicting, examining and writing side by side.

Little waits between the stages, so that memory does not grow with the volume: windows of the input that are read ahead,
a tile or two that the net has made, and two shards, one being filled and one being written.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from superres.errors import DiskFullError
from superres.inference.runlog import RunLog
from superres.inference.stages import Control, Line
from superres.inference.unit import Forward
from superres.inference.upscaling import Draft, Upscaling
from superres.inference.window import Window
from superres.nets.device import Heap, heap_kept
from superres.progress import Progress, ProgressCallback
from superres.volumes import Unit

# Windows of the input that wait for the net.
_WINDOWS = 1
# Tiles of each device that the net makes, or has made and that are not examined yet.
_TILES = 2
# A look at the input's files that takes longer, in seconds, as on some networks, is taken in a twentieth of the time.
_LONG_LOOK, _LOOKS = 0.5, 20
# How long a full disk is waited for, and how often writing is tried again, in seconds.
_DISK_PATIENCE, _DISK_PAUSE = 300.0, 5.0


@dataclass(slots=True)
class Spent:
    """Where the time of a run went; the stages work side by side, so that their sum is more than the run took.

    Parameters
    ----------
    read : float
        Seconds in which the input was read.
    predict : float
        Seconds in which the net worked, on all devices together.
    examine : float
        Seconds for guard, maps and conversion to the output's dtype.
    write : float
        Seconds in which shards were compressed and written, the pyramid left out.
    voxels : int
        Of the output, written by this run.
    """

    read: float = 0.0
    predict: float = 0.0
    examine: float = 0.0
    write: float = 0.0
    voxels: int = 0


def run_units(upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback) -> Spent:
    """Predict and write shards; pyramids and metadata are `superres.inference.engine.finish`.

    The bytes are those that `Upscaling.do` writes one shard after another. Where an error or `progress` stops it,
    shards that are complete are still written.

    Parameters
    ----------
    upscaling : Upscaling
        What they belong to.
    units : sequence of Unit
        The shards, in the order of `Upscaling.units`; none that is done.
    progress : callable
        Receives an event before the first tile and one after each, from one thread at a time. Shards that are not
        among `units` count as done.

    Raises
    ------
    InputError
        When the input turns out damaged, or changes meanwhile.
    OutputWriteError
        When writing fails; what is finished is kept. A full disk is waited for some minutes.
    SuperresError
        When the device fails.
    """
    if not units:
        _TileEvents(upscaling, units, progress)
        return Spent()
    log = RunLog.of(upscaling)
    with log.job(len(units)), heap_kept(upscaling.predictor.device) as heap:
        return _Pipeline(upscaling, units, progress, log, heap).run()


class _TileEvents:
    """One event before the first tile and one after each; shards that others have done count as done."""

    def __init__(self, upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback) -> None:
        self._total = upscaling.all_tiles()
        self._done = self._total - sum(upscaling.tiles(unit) for unit in units)
        self._progress, self._lock = progress, threading.Lock()
        self.tell()

    def advance(self) -> None:
        with self._lock:
            self._done += 1
        self.tell()

    def tell(self, note: str = "") -> None:
        with self._lock:
            self._progress(Progress("upscale", self._done, self._total, "tiles", note))


@dataclass(slots=True)
class _Job:
    """A shard on its way, and the seconds that were spent on it."""

    draft: Draft
    spent: Spent
    left: int


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A shard whose input was read, and the seconds that took."""

    unit: Unit
    window: Window
    seconds: float


class _Pipeline:
    """One run over some shards; see `run_units`."""

    def __init__(
        self, upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback, log: RunLog, heap: Heap
    ) -> None:
        self._upscaling, self._units, self._log, self._heap = upscaling, units, log, heap
        self._lanes = upscaling.on_each_device()
        self._control = Control()
        self._windows: Line[list[_Read]] = Line(self._control, _WINDOWS)
        self._drafts: Line[_Job] = Line(self._control, 0, drains=True)
        # A shard takes room from its first tile until it is written: one for each device, and one that is written.
        self._room = threading.Semaphore(len(self._lanes) + 1)
        self._events = _TileEvents(upscaling, units, progress)
        self._spent, self._lock = Spent(), threading.Lock()
        self._next_look = 0.0

    def run(self) -> Spent:
        try:
            return self._run()
        except BaseException as error:
            # Where Ctrl-C came between two steps of the ending, no thread may be left that waits for what never comes.
            self._control.fail(error, halt=True)
            raise

    def _run(self) -> Spent:
        control, threads = self._control, []
        try:
            threads = [control.run(self._read, halt=False), *(control.run(self._write, halt=True) for _ in self._lanes)]
            self._run_lanes()
        except BaseException as error:
            control.fail(error, halt=False)
        self._drafts.close()
        for thread in threads:
            control.wait_for(thread)
        if control.error is not None:
            raise control.error
        self._upscaling.require_same_input()
        return self._spent

    def _run_lanes(self) -> None:
        if len(self._lanes) == 1:
            # In this thread: Ctrl-C lands here, between two operations of the net.
            self._predict(self._lanes[0])
            return
        for thread in [self._control.run(partial(self._predict, lane), halt=False) for lane in self._lanes]:
            self._control.wait_for(thread)

    def _read(self) -> None:
        """Read ahead; shards that one run of the net predicts together stay together."""
        together = self._upscaling.channels[0].shared is not None
        window = None
        try:
            for _, units in itertools.groupby(self._units, lambda unit: unit._replace(c=0) if together else unit):
                read = []
                for unit in units:
                    self._control.check()
                    with _clock() as seconds:
                        window = self._upscaling.read(unit, window)
                        self._look()
                    read.append(_Read(unit, window, seconds[0]))
                self._windows.put(read)
        finally:
            self._windows.close()

    def _predict(self, lane: Upscaling) -> None:
        """Run the net on one device, shard by shard; what it makes is examined in another thread.

        On the CPU by the same one: side by side the cores would only wait for each other, and hold two tiles.
        """
        if lane.predictor.device.type == "cpu":
            self._predict_all(lane, partial(self._fill, lane))
            return
        tiles: Line[tuple[_Job, Forward]] = Line(self._control, 0)
        room = threading.Semaphore(_TILES)
        examiner = self._control.run(partial(self._examine, lane, tiles, room), halt=True)

        def pass_on(job: _Job, forward: Forward) -> None:
            tiles.put((job, forward))

        try:
            self._predict_all(lane, pass_on, room)
        finally:
            tiles.close()
            self._control.wait_for(examiner)

    def _predict_all(
        self, lane: Upscaling, pass_on: Callable[[_Job, Forward], None], room: threading.Semaphore | None = None
    ) -> None:
        for group in self._windows:
            for read in group:
                self._control.acquire(self._room)
                places = lane.places(read.unit)
                job = _Job(lane.begin(read.unit), Spent(read=read.seconds), len(places))
                for place in places:
                    if room is not None:
                        self._control.acquire(room)
                    self._control.check()
                    with _clock() as seconds:
                        forward = lane.predict(read.unit, place, read.window)
                    job.spent.predict += seconds[0]
                    pass_on(job, forward)
                    del forward  # large, and not to be held while the next one is made
                    self._events.advance()

    def _examine(self, lane: Upscaling, tiles: Line[tuple[_Job, Forward]], room: threading.Semaphore) -> None:
        for job, forward in tiles:
            self._fill(lane, job, forward)
            del job, forward
            room.release()

    def _fill(self, lane: Upscaling, job: _Job, forward: Forward) -> None:
        with _clock() as seconds:
            lane.fill(job.draft, forward)
        job.spent.examine += seconds[0]
        job.left -= 1
        if job.left == 0:
            self._drafts.put(job)

    def _write(self) -> None:
        for job in self._drafts:
            with _clock() as seconds:
                # What was read before the input changed must not be mixed with what is read after.
                self._look()
                self._write_patiently(job.draft)
            job.spent.write, job.spent.voxels = seconds[0], job.draft.block.size
            self._note(job)
            del job
            self._heap.settle()
            self._room.release()

    def _look(self) -> None:
        """Refuse an input that changed; where looking takes long, not each time."""
        started = time.monotonic()
        if started < self._next_look:
            return
        self._upscaling.require_same_input()
        taken = time.monotonic() - started
        if taken > _LONG_LOOK:
            self._next_look = started + _LOOKS * taken

    def _write_patiently(self, draft: Draft) -> None:
        """Write a shard; where the disk is full, say so and try again for some minutes."""
        deadline = time.monotonic() + _DISK_PATIENCE
        while True:
            try:
                self._upscaling.write(draft)
            except DiskFullError:
                if time.monotonic() > deadline or self._control.ending.is_set():
                    raise
                self._events.tell("the disk is full; waiting for space")
                if self._control.ending.wait(_DISK_PAUSE):
                    raise
            else:
                return

    def _note(self, job: _Job) -> None:
        self._log.shard(job.draft.unit, job.spent)
        with self._lock:
            for name in ("read", "predict", "examine", "write", "voxels"):
                setattr(self._spent, name, getattr(self._spent, name) + getattr(job.spent, name))


@contextmanager
def _clock() -> Iterator[list[float]]:
    """Measure a block: the seconds stand in the list when it ends."""
    started, taken = time.perf_counter(), [0.0]
    try:
        yield taken
    finally:
        taken[0] = time.perf_counter() - started
