"""Small inputs of a batch done side by side: while one is read or written, the net works on another.

A small image alone leaves cores idle, for its stages wait for each other and for the disk. Several at a time, with
fewer threads of torch for each, keep them busy; each of them is done as it would be alone.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from superres.config import UpscaleConfig
from superres.errors import Cancelled, InputError, ModelFileError
from superres.inference.estimate import outlook
from superres.inference.predictor import Predictor
from superres.nets.device import heap_kept
from superres.progress import Progress, ProgressCallback
from superres.volumes import Volume

# More inputs at a time than this gain nothing: what is left between their steps is Python, one thread at a time.
_MOST = 4

Job = Callable[[ProgressCallback], object]


def lanes_for(volume: Volume, predictor: Predictor, config: UpscaleConfig) -> int:
    """Return how many inputs like this one are best done at a time; 1 where it fills the machine by itself.

    One more than there are cores, since some always wait for the disk; so many that their tiles together take no more
    memory than a tile of a large image.
    """
    try:
        ahead = outlook(volume, predictor, config)
    except (InputError, ModelFileError):
        return 1  # it fails when its turn comes
    if any(n > side for n, side in zip(ahead.image.shape[2:], ahead.image.shard, strict=True)):
        return 1  # of several shards, which are read, predicted and written side by side
    plan = ahead.plan
    given = math.prod(side + 2 * edge for side, edge in zip(plan.tile, plan.halo, strict=True))
    return max(1, min(torch.get_num_threads() + 1, _MOST, predictor.tile_voxels // given))


def run_side_by_side(
    jobs: Sequence[Job], lanes: int, predictor: Predictor, hear: Callable[[int, Progress | None], None]
) -> None:
    """Do jobs in their order, some at a time.

    Parameters
    ----------
    jobs : sequence of callable
        Each does one input, and tells the callback that it is given how far it is.
    lanes : int
        How many at a time.
    predictor : Predictor
        The model that they share.
    hear : callable
        Is told, always in the thread of the caller, what each job says, by its number; None when it has ended. What it
        raises, `superres.errors.Cancelled` for example, stops all.

    Raises
    ------
    BaseException
        The first error of a job or of `hear`, or Ctrl-C. Jobs that run then are stopped by `Cancelled` at the next
        event that they tell, and waited for; those that have not begun never begin.
    """
    told: queue.SimpleQueue[tuple[int, Progress | None]] = queue.SimpleQueue()
    stopping, errors = threading.Event(), list[BaseException]()

    def tell(number: int, event: Progress) -> None:
        if stopping.is_set():
            raise Cancelled("stopped, as another input of the batch was")
        told.put((number, event))

    def run(number: int) -> None:
        try:
            if not stopping.is_set():
                jobs[number](lambda event: tell(number, event))
        except BaseException as error:
            errors.append(error)
            stopping.set()
        finally:
            told.put((number, None))

    with _shared_cores(lanes), heap_kept(predictor.device), ThreadPoolExecutor(lanes, "superres-input") as pool:
        try:
            for number in range(len(jobs)):
                pool.submit(run, number)
            left = len(jobs)
            while left:
                number, event = told.get()
                left -= event is None
                hear(number, event)
        finally:
            stopping.set()
    if errors:
        raise errors[0]


@contextmanager
def _shared_cores(lanes: int) -> Iterator[None]:
    """Give each of several inputs its share of the threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // lanes))
    try:
        yield
    finally:
        torch.set_num_threads(before)
