"""The local engine: one volume, one process, shard by shard, resumable at any moment."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from superres.config import UpscaleConfig
from superres.errors import InputError
from superres.inference.plan import TilePlan
from superres.inference.predictor import Predictor, load_model
from superres.inference.trust import TrustSummary, TrustWriter
from superres.inference.unit import Channel, Tally, make_channels
from superres.modelfile import FOR_DISPLAY
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import (
    OutputStore,
    StoreLayout,
    Unit,
    Volume,
    measure_intensity,
    open_volume,
    upscaled_grid,
)


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
        Predicted voxels of this run outside the range of the output's dtype, set to its nearest end.
    warnings : tuple of str
        What a person should know.
    trust : TrustSummary or None
        How far to believe it; None where that was not wanted or cannot be told of this model.
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


def upscale(
    source: Path,
    out: Path,
    config: UpscaleConfig,
    *,
    progress: ProgressCallback = silent,
    predictor: Predictor | None = None,
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

    Raises
    ------
    InputError, ModelFileError
        When the input cannot be used; nothing is written then.
    OutputExistsError
        When `out` holds something else.
    OutputWriteError
        When writing fails; what is finished is kept.
    """
    started = time.monotonic()
    volume = open_volume(source, axes=config.axes, voxel_size=config.voxel_size)
    predictor = predictor or load_model(config.model, config.device)
    channels = _channels(volume, config.channels)
    predictor.require_channels(len(channels), str(source))
    intensities = measure_intensity(volume, predictor.rule, channels=channels)
    plan = predictor.plan(volume.shape[2:], tile=config.tile, shard=config.shard)
    jobs = make_channels(volume, channels, intensities, predictor, plan, config)
    layout = _layout(volume, predictor, plan, config, jobs)
    store = OutputStore.open(out, layout, overwrite=config.overwrite)
    trust = None
    if config.trust and jobs[0].guard is not None:
        trust = TrustWriter.open(out, layout, plan, jobs, overwrite=config.overwrite)
    todo = [u for u in store.units() if not (store.is_done(u) and (trust is None or trust.is_done(u)))]
    if jobs[0].shared is not None:
        # Channels that are predicted at once, one after another.
        todo.sort(key=lambda unit: (unit._replace(c=0), unit.c))
    tally = Tally()
    events = _tile_events(plan, store, todo, progress)
    next(events)
    for unit in todo:
        region = store.region(unit)
        maps = None if trust is None else trust.maps(unit, region)
        found = None if maps is None else maps.add
        block = jobs[unit.c].predict(unit.t, region, np.dtype(layout.dtype), tally, events, found)
        if trust is not None and maps is not None:
            trust.write(unit, maps)
        store.write(unit, block)
    store.finish(progress)
    summary = None if trust is None else trust.finish(store.units(), progress)
    return UpscaleSummary(
        path=out,
        shape=store.layout.shape,
        voxel_size=store.layout.voxel_size,
        units=len(store.units()),
        units_done_before=len(store.units()) - len(todo),
        seconds=time.monotonic() - started,
        clipped=tally.clipped,
        warnings=_warnings(volume, predictor, tally, store.layout.dtype)
        + (jobs[0].without if jobs[0].guard is None else ()),
        trust=summary,
    )


def _channels(volume: Volume, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    count = volume.shape[1]
    if wanted is None:
        return tuple(range(count))
    if not wanted or not all(0 <= channel < count for channel in wanted):
        raise InputError(
            f"{volume.source}: channels {list(wanted)} asked for, it has 0 to {count - 1}; give e.g. --set channels=[0]"
        )
    return wanted


def _layout(
    volume: Volume,
    predictor: Predictor,
    plan: TilePlan,
    config: UpscaleConfig,
    jobs: Sequence[Channel],
) -> StoreLayout:
    """Say what the store is to be; the fingerprint covers everything that decides its bytes."""
    from superres import __version__

    dtype = str(volume.dtype) if config.dtype == "keep" else config.dtype
    voxel_size, translation = upscaled_grid(volume.voxel_size, volume.translation, plan.factor)
    provenance: dict[str, Any] = {
        "note": "the voxels of this image are predicted by a neural network, not measured",
        "superres": __version__,
        "model": {"name": predictor.header.name, "identity": predictor.identity, "factor": list(plan.factor)},
        "input": {"name": volume.source.name, "shape": list(volume.shape), "dtype": str(volume.dtype)},
        "channels": [job.index for job in jobs],
        "intensity": [
            {"channel": job.index, "black": job.intensity.black, "white": job.intensity.white} for job in jobs
        ],
        **({"purpose": FOR_DISPLAY} if predictor.header.display else {}),
        "guard": _guard_record(config, jobs),
        # Names, not places: a store should read the same wherever it was made.
        "config": config.model_dump(mode="json", exclude={"overwrite", "device", "trust"})
        | {"model": config.model.name},
    }
    decisive = [volume.identity(), provenance, dtype, plan.shard, plan.chunk, voxel_size, translation]
    names = tuple(volume.channel_names[channel] for channel in provenance["channels"]) if volume.channel_names else ()
    return StoreLayout(
        shape=(volume.shape[0], len(jobs), *plan.output_shape),
        dtype=dtype,
        shard=plan.shard,
        chunk=plan.chunk,
        voxel_size=voxel_size,
        translation=translation,
        channel_names=names,
        time_step=volume.time_step,
        fingerprint=hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32],
        provenance=provenance,
    )


def _guard_record(config: UpscaleConfig, jobs: Sequence[Channel]) -> dict[str, Any]:
    """Say whether the guard acted, by which means, and what it had to do without."""
    guard = jobs[0].guard
    if not config.guard or guard is None:
        return {"on": False} | ({"why": list(jobs[0].without)} if jobs[0].without else {})
    means = {
        "comparison with the input": guard.compares,
        "training data": guard.domain is not None,
        "trial on the input made coarser": guard.trial is not None,
    }
    trials = [(job.index, job.guard.trial) for job in jobs if job.guard is not None and job.guard.trial is not None]
    return {
        "on": True,
        "by": [name for name, given in means.items() if given],
        "trials": [{"channel": channel, **trial.to_json()} for channel, trial in trials],
        "without": list(dict.fromkeys(line for job in jobs for line in job.without)),
    }


def _tile_events(plan: TilePlan, store: OutputStore, todo: list[Unit], progress: ProgressCallback) -> Iterator[None]:
    """Report one event before the first tile and one after each; shards that were finished before count as done."""
    counts = {unit: sum(1 for _ in plan.blocks(store.region(unit))) for unit in store.units()}
    total = sum(counts.values())
    done = total - sum(counts[unit] for unit in todo)
    progress(Progress("upscale", done, total, "tiles"))
    while True:
        yield
        done += 1
        progress(Progress("upscale", done, total, "tiles"))


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
    for axis, trained, here in zip("ZYX", predictor.header.voxel_size, volume.voxel_size, strict=True):
        if trained and here and not 2 / 3 < here / trained < 3 / 2:
            found.append(
                f"the model was trained at a voxel size of {trained:g} um along {axis}, {volume.source} has {here:g} um"
            )
    return tuple(found)
