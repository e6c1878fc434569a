"""The local engine: one volume, one process, shard by shard, resumable at any moment."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.errors import InputError
from superres.inference.plan import TilePlan
from superres.inference.predictor import Predictor, load_model
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import (
    Intensity,
    OutputStore,
    StoreLayout,
    Unit,
    Volume,
    measure_intensity,
    open_volume,
    upscaled_grid,
)
from superres.volumes.dtypes import CastTally, cast


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
    """

    path: Path
    shape: tuple[int, int, int, int, int]
    voxel_size: tuple[float | None, float | None, float | None]
    units: int
    units_done_before: int
    seconds: float
    clipped: int
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    """Voxels that could not be written as they were."""

    clipped: int = 0
    not_finite: int = 0


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
    intensities = measure_intensity(volume, predictor.rule)
    plan = predictor.plan(volume.shape[2:], tile=config.tile, shard=config.shard)
    store = OutputStore.open(
        out, _layout(volume, predictor, plan, config, intensities, channels), overwrite=config.overwrite
    )
    todo = [unit for unit in store.units() if not store.is_done(unit)]
    tally = _Tally()
    events = _tile_events(plan, store, todo, progress)
    next(events)
    for unit in todo:
        channel = channels[unit.c]
        block = _predict_unit(volume, predictor, plan, store, unit, channel, intensities[channel], tally, events)
        store.write(unit, block)
    store.finish(progress)
    return UpscaleSummary(
        path=out,
        shape=store.layout.shape,
        voxel_size=store.layout.voxel_size,
        units=len(store.units()),
        units_done_before=len(store.units()) - len(todo),
        seconds=time.monotonic() - started,
        clipped=tally.clipped,
        warnings=_warnings(volume, predictor, tally, store.layout.dtype),
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
    intensities: tuple[Intensity, ...],
    channels: tuple[int, ...],
) -> StoreLayout:
    """Say what the store is to be; the fingerprint covers everything that decides its bytes."""
    from superres import __version__

    dtype = str(volume.dtype) if config.dtype == "keep" else config.dtype
    voxel_size, translation = upscaled_grid(volume.voxel_size, volume.translation, plan.factor)
    provenance: dict[str, Any] = {
        "note": "the voxels of this image are predicted by a neural network, not measured",
        "superres": __version__,
        "model": {"name": predictor.header.name, "sha256": predictor.sha256, "factor": list(plan.factor)},
        "input": {"name": volume.source.name, "shape": list(volume.shape), "dtype": str(volume.dtype)},
        "channels": list(channels),
        "intensity": [
            {"channel": channel, "black": intensities[channel].black, "white": intensities[channel].white}
            for channel in channels
        ],
        # Names, not places: a store should read the same wherever it was made.
        "config": config.model_dump(mode="json", exclude={"overwrite", "device"}) | {"model": config.model.name},
    }
    decisive = [volume.identity(), provenance, dtype, plan.shard, plan.chunk, voxel_size, translation]
    names = tuple(volume.channel_names[channel] for channel in channels) if volume.channel_names else ()
    return StoreLayout(
        shape=(volume.shape[0], len(channels), *plan.output_shape),
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


def _predict_unit(
    volume: Volume,
    predictor: Predictor,
    plan: TilePlan,
    store: OutputStore,
    unit: Unit,
    channel: int,
    intensity: Intensity,
    tally: _Tally,
    events: Iterator[None],
) -> NDArray[Any]:
    """Predict all voxels of one shard, on the grey scale and in the dtype of the output."""
    region = store.region(unit)
    block = np.empty([part.stop - part.start for part in region], dtype=store.layout.dtype)
    fy, fx = plan.factor[1:]
    for z, rows, columns in plan.tiles(region):
        unusable: list[NDArray[np.bool_]] = []

        def read(y: slice, x: slice, z: int = z) -> NDArray[np.float32]:
            plane = volume.read(t=unit.t, c=channel, z=slice(z, z + 1), y=y, x=x)
            normalised = np.asarray(intensity.normalise(plane), np.float32)
            return np.nan_to_num(normalised, nan=0.0, posinf=1.0, neginf=0.0)

        core = np.asarray(intensity.denormalise(predictor.predict_tile(read, plan, rows, columns)[0]))
        if volume.dtype.kind == "f":
            values = volume.read(t=unit.t, c=channel, z=slice(z, z + 1), y=rows, x=columns)[0]
            unusable.append(~np.isfinite(values))
        if unusable and unusable[0].any():
            tally.not_finite += int(unusable[0].sum())
            core = np.where(unusable[0].repeat(fy, 0).repeat(fx, 1), _hole(values, fy, fx), core)
        where = tuple(
            slice(part.start * f - whole.start, part.stop * f - whole.start)
            for part, f, whole in zip((rows, columns), (fy, fx), region[1:], strict=True)
        )
        block[z * plan.factor[0] - region[0].start, *where] = _cast(core, block.dtype, tally)
        next(events)
    return block


def _hole(values: NDArray[Any], fy: int, fx: int) -> NDArray[np.float32]:
    return values.astype(np.float32).repeat(fy, 0).repeat(fx, 1)


def _cast(values: NDArray[Any], dtype: np.dtype[Any], tally: _Tally) -> NDArray[Any]:
    """Round to an integer dtype; what lies outside its range is set to its end and counted."""
    counted = CastTally()
    # NaN stands where the input has it, which is counted there.
    result = cast(values, dtype, counted, nan=0.0)
    tally.clipped += counted.clipped
    return result


def _tile_events(plan: TilePlan, store: OutputStore, todo: list[Unit], progress: ProgressCallback) -> Iterator[None]:
    """Report one event before the first tile and one after each; shards that were finished before count as done."""
    counts = {unit: sum(1 for _ in plan.tiles(store.region(unit))) for unit in store.units()}
    total = sum(counts.values())
    done = total - sum(counts[unit] for unit in todo)
    progress(Progress("upscale", done, total, "tiles"))
    while True:
        yield
        done += 1
        progress(Progress("upscale", done, total, "tiles"))


def _warnings(volume: Volume, predictor: Predictor, tally: _Tally, dtype: str) -> tuple[str, ...]:
    found = []
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
