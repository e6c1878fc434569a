"""The loop of one process over shards of an upscaling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from superres.inference.upscaling import Upscaling
from superres.progress import Progress, ProgressCallback
from superres.volumes import Unit


def run_units(upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback) -> None:
    """Predict and write shards; pyramids and metadata are `superres.inference.engine.finish`.

    Parameters
    ----------
    upscaling : Upscaling
        What they belong to.
    units : sequence of Unit
        The shards, in the order of `Upscaling.units`; none that is done.
    progress : callable
        Receives an event before the first tile and one after each. Shards that are not among `units` count as done.

    Raises
    ------
    InputError
        When the input turns out damaged.
    OutputWriteError
        When writing fails; what is finished is kept.
    """
    events = _tile_events(upscaling, units, progress)
    next(events)
    for unit in units:
        upscaling.do(unit, events)


def _tile_events(upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback) -> Iterator[None]:
    """Report one event before the first tile and one after each; shards that others have done count as done."""
    total = upscaling.all_tiles()
    done = total - sum(upscaling.tiles(unit) for unit in units)
    progress(Progress("upscale", done, total, "tiles"))
    while True:
        yield
        done += 1
        progress(Progress("upscale", done, total, "tiles"))
