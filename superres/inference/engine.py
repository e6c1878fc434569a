"""The engine: one volume, shard by shard, by this process, a part of it, or others; resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from superres.config import UpscaleConfig
from superres.errors import ConfigError
from superres.inference.parts import Part, of_part
from superres.inference.pipeline import Spent, run_units
from superres.inference.predictor import Predictor
from superres.inference.trust_summary import TrustSummary
from superres.inference.unit import Tally
from superres.inference.upscaling import Upscaling
from superres.modelfile import FOR_DISPLAY
from superres.progress import ProgressCallback, silent
from superres.volumes import Unit, Volume
from superres.volumes.opening import is_url
from superres.volumes.output_lock import NO_LOCKS, OutputLock

RunUnits = Callable[[Upscaling, Sequence[Unit], ProgressCallback], Spent]
"""Does shards of an upscaling: `superres.inference.pipeline.run_units`, or `superres.inference.cluster.Cluster.run`."""


@dataclass(frozen=True, slots=True)
class UpscaleSummary:
    """What an upscaling did.

    Parameters
    ----------
    path : Path
        The store.
    shape : tuple of int
        TCZYX voxels of its finest level.
    voxel_size : tuple of float or None
        ZYX micrometre of the output; None where the input does not say.
    units, units_done_before : int
        Shards in all, and those that an earlier run had finished.
    seconds : float
        Time spent by this run.
    clipped : int
        Predicted voxels outside the range of the output's dtype, set to its nearest end; of all runs.
    warnings : tuple of str
        What a person should know.
    trust : TrustSummary or None
        How far to believe it; None where that was not wanted or cannot be told of this model.
    rate : float or None
        Output megapixels per second of this run, beginning and pyramid counted in; None where nothing was to do.
    spent : Spent or None
        Where the time of this run went.
    missing : int
        Shards that other parts of the job have still to do.
    finished : bool
        Whether pyramid and metadata are written. A part leaves them to the one that ends last; what is told of
        clipped voxels is then that of the shards which are done.
    """

    path: Path
    shape: tuple[int, int, int, int, int]
    voxel_size: tuple[float | None, float | None, float | None]
    units: int
    units_done_before: int
    seconds: float
    clipped: int
    warnings: tuple[str, ...]
    trust: TrustSummary | None = None
    rate: float | None = None
    spent: Spent | None = None
    missing: int = 0
    finished: bool = True


def upscale(
    source: Path,
    out: Path,
    config: UpscaleConfig,
    *,
    progress: ProgressCallback = silent,
    predictor: Predictor | None = None,
    part: Part | None = None,
    run: RunUnits | None = None,
) -> UpscaleSummary:
    """Upscale a volume into a multiscale OME-Zarr store, or go on with one that was stopped.

    Parameters
    ----------
    source : Path
        Anything that `superres.open_volume` reads.
    out : Path
        The store, e.g. ``sharp.ome.zarr``. One that was begun with the same input, model and settings is gone on with.
    config : UpscaleConfig
        Model and settings.
    progress : callable
        Receives an event per tile.
    predictor : Predictor, optional
        The loaded model of `config`, to load it once for many volumes.
    part : Part, optional
        Do only this part of the shards; others do theirs at any time, here or on other hosts. Whoever ends last
        finishes the store.
    run : callable, optional
        Who does the shards: `superres.inference.cluster.Cluster.run`; default this process.

    Raises
    ------
    InputError, ModelFileError
        When the input cannot be used; nothing is written then.
    OutputExistsError
        When `out` holds something else.
    OutputInUseError
        When another run, or the same part of it, writes `out` at the moment.
    OutputWriteError
        When writing fails; what is finished is kept.
    ClusterError
        When `run` raises it.
    """
    started = time.monotonic()
    if part is not None and config.overwrite:
        raise ConfigError(
            f"--part with overwrite=true: parts cannot agree who replaces {out}; remove it, or name another"
        )
    if run is not None:  # other hosts and processes stand in other folders
        source, out = source if is_url(str(source)) else source.absolute(), out.absolute()
    with OutputLock(out, None if part is None else (part.number, part.count)) as lock:
        upscaling = Upscaling.open(source, out, config, predictor)
        units = upscaling.units()
        own = units if part is None else part.of(units, together=upscaling.together)
        todo = [unit for unit in own if not upscaling.is_done(unit)]
        spent = (run or run_units)(upscaling, todo, of_part(progress, upscaling, own))
        missing = sum(not upscaling.is_done(unit) for unit in units) if part is not None else 0
        before = len(units) - len(todo) - missing
        with lock.alone("finish") as is_alone:
            if missing or not is_alone:
                return _unfinished(upscaling, missing, started=started, done_before=before)
            summary = finish(upscaling, progress, started=started, done_before=before, spent=spent)
    return summary if lock.works else replace(summary, warnings=(*summary.warnings, NO_LOCKS))


def finish(
    upscaling: Upscaling,
    progress: ProgressCallback,
    *,
    started: float,
    done_before: int,
    spent: Spent | None = None,
) -> UpscaleSummary:
    """Write pyramids and metadata of an output whose shards are all done, and sum it up.

    Parameters
    ----------
    started : float
        By `time.monotonic`.
    done_before : int
        Shards that were not done by this run.
    spent : Spent, optional
        Where the time went, from `superres.inference.pipeline.run_units`.

    Raises
    ------
    OutputWriteError
        When a shard is missing, or the disk is full.
    """
    store, first = upscaling.store, upscaling.channels[0]
    store.finish(progress)
    units = store.units()
    summary = None if upscaling.trust is None else upscaling.trust.finish(units, progress)
    tally, seconds = upscaling.tally(), time.monotonic() - started
    return UpscaleSummary(
        path=store.path,
        shape=store.layout.shape,
        voxel_size=store.layout.voxel_size,
        units=len(units),
        units_done_before=done_before,
        seconds=seconds,
        clipped=tally.clipped,
        warnings=_warnings(upscaling.volume, upscaling.predictor, tally, store.layout.dtype)
        + (first.without if first.guard is None else ())
        + upscaling.notes,
        trust=summary,
        rate=spent.voxels / 1e6 / seconds if spent is not None and spent.voxels else None,
        spent=spent,
    )


def _unfinished(upscaling: Upscaling, missing: int, *, started: float, done_before: int) -> UpscaleSummary:
    """Sum up a part after which others have still something to do."""
    store, tally = upscaling.store, upscaling.tally()
    return UpscaleSummary(
        path=store.path,
        shape=store.layout.shape,
        voxel_size=store.layout.voxel_size,
        units=len(store.units()),
        units_done_before=done_before,
        seconds=time.monotonic() - started,
        clipped=tally.clipped,
        warnings=_warnings(upscaling.volume, upscaling.predictor, tally, store.layout.dtype),
        missing=missing,
        finished=False,
    )


def _warnings(volume: Volume, predictor: Predictor, tally: Tally, dtype: str) -> tuple[str, ...]:
    found = []
    if predictor.header.display:
        found.append(f"this output is {FOR_DISPLAY}")
    if not predictor.exact_tiling:
        found.append(
            "the model attends to whole tiles, so that its output depends on them: tiles are blended where they "
            "overlap, and seams are possible; a larger --set tile=... makes fewer of them"
        )
    if tally.not_finite:
        found.append(f"{tally.not_finite} voxels of {volume.source} are NaN or infinite and stay so in the output")
    if tally.clipped:
        found.append(f"{tally.clipped} predicted voxels lay outside {dtype} and were set to its nearest end")
    header = predictor.header
    sides = zip("ZYX", header.unlike(volume.voxel_size), header.voxel_range, volume.voxel_size, strict=True)
    for axis, is_unlike, trained, here in sides:
        if is_unlike and trained:
            sizes = " to ".join(dict.fromkeys(f"{size:g}" for size in trained))
            found.append(
                f"the model was trained at a voxel size of {sizes} um along {axis}, {volume.source} has {here:g} um"
            )
    return tuple(found)
