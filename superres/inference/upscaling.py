"""One upscaling: an input, a model and a store, bound together, so that any process can do any shard of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.errors import InputError
from superres.inference.cropping import Crop
from superres.inference.loading import load_model
from superres.inference.mapped import mapped_zeros
from superres.inference.plan import Region, TilePlan, overlap
from superres.inference.predictor import Predictor
from superres.inference.shortcuts import measured_shortcuts
from superres.inference.trust import Counts, Maps, TrustWriter
from superres.inference.unit import Channel, Forward, Planes, Shared, Tally, make_channels
from superres.inference.window import Source, Window, read_window, surroundings
from superres.modelfile import FOR_DISPLAY
from superres.nets.device import on_own_cores
from superres.nets.statistics import RADIUS
from superres.volumes import (
    OutputStore,
    StoreLayout,
    Unit,
    Volume,
    measure_intensity,
    open_volume,
    upscaled_grid,
)
from superres.volumes.edges import around


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """One shard while it is filled, tile by tile.

    Parameters
    ----------
    unit : Unit
        Which one.
    region : tuple of slice
        ZYX voxels of the output of the whole volume.
    block : ndarray
        (z, y, x), in the dtype of the output.
    maps : Maps or None
        How far to believe it.
    tally : Tally
        What could not be written as it was.
    """

    unit: Unit
    region: Region
    block: NDArray[Any]
    maps: Maps | None
    tally: Tally


@dataclass(frozen=True, slots=True, eq=False)
class Upscaling:
    """All that the shards of one output need; made by `Upscaling.open`.

    Other processes are sent it pickled: volume and store travel as paths, the model as a path that is loaded once in
    each process, and what was measured of the input (grey range, noise, trials of the guard) as figures, so that all
    processes write the same bytes.

    Parameters
    ----------
    volume : Volume
        The input.
    predictor : Predictor
        The model.
    crop : Crop
        The part of it that is upscaled.
    plan : TilePlan
        How the volume is cut.
    channels : tuple of Channel
        Those of the output.
    store : OutputStore
        The output.
    trust : TrustWriter or None
        Its maps; None where they are not wanted, or cannot be made of this model.
    identity : str
        Of the input when it was opened, by `superres.volumes.Volume.identity`.
    notes : tuple of str
        What the fast settings cost.
    """

    volume: Volume
    predictor: Predictor
    crop: Crop
    plan: TilePlan
    channels: tuple[Channel, ...]
    store: OutputStore
    trust: TrustWriter | None
    identity: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, source: Path, out: Path, config: UpscaleConfig, predictor: Predictor | None = None) -> Self:
        """Measure the input and create the store, or open the one that was begun with the same input and settings.

        Parameters and errors as for `superres.upscale`.
        """
        volume = open_volume(source, axes=config.axes, voxel_size=config.voxel_size)
        crop, identity = Crop.of(volume, config.crop), volume.identity()
        predictor = (predictor or load_model(config.model, config.device)).at(config.precision)
        indices = _channels(volume, config.channels)
        predictor.require_channels(len(indices), str(source))
        intensities = measure_intensity(volume, predictor.rule, channels=indices)
        plan = predictor.fitted(crop.plan(predictor, volume, config))
        channels = make_channels(volume, indices, intensities, predictor, plan, config)
        layout = _layout(volume, crop, identity, predictor, plan, config, channels)
        store = OutputStore.open(out, layout, overwrite=config.overwrite)
        trust = None
        if config.trust and channels[0].guard is not None:
            trust = TrustWriter.open(
                out, layout, plan, channels, translation=crop.translation(volume), overwrite=config.overwrite
            )
        notes = measured_shortcuts(channels[0], config)
        return cls(volume, predictor, crop, plan, tuple(channels), store, trust, identity, notes)

    def units(self) -> list[Unit]:
        """List every shard, in the order in which they are best done."""
        units = self.store.units()
        if self.channels[0].shared is not None:
            # Channels that are predicted at once, one after another.
            units.sort(key=lambda unit: (unit._replace(c=0), unit.c))
        return units

    @property
    def together(self) -> int:
        """So many shards behind each other are predicted at once, and should be done by one process."""
        return 1 if self.channels[0].shared is None else len(self.channels)

    def is_done(self, unit: Unit) -> bool:
        """Whether a shard is written, with all of its maps."""
        return self.store.is_done(unit) and (self.trust is None or self.trust.is_done(unit))

    def tiles(self, unit: Unit) -> int:
        """Return how many tiles a shard has."""
        return self.plan.count(self.region(unit))

    def region(self, unit: Unit) -> Region:
        """Return the voxels of a shard, ZYX, in the output of the whole volume."""
        return self.crop.within(self.store.region(unit), self.plan)

    def all_tiles(self) -> int:
        """Return how many tiles all shards have, however many shards there are."""
        times, channels, *shape = self.store.layout.shape
        total: int = times * channels
        for axis, (n, shard) in enumerate(zip(shape, self.plan.shard, strict=True)):
            count, corner = 0, [slice(0, 1)] * 3  # a row of shards along each axis stands for all
            for start in range(0, n, shard):
                corner[axis] = slice(start, min(start + shard, n))
                count += self.plan.count(self.crop.within((corner[0], corner[1], corner[2]), self.plan))
            total *= count
        return total

    def do(self, unit: Unit, events: Iterator[None]) -> Tally:
        """Read, predict and write one shard and its maps; `events` is advanced after each tile.

        `superres.inference.pipeline.run_units` does the same with many, side by side.

        Raises
        ------
        InputError
            When the input turns out damaged, or changed.
        OutputWriteError
            When the disk is full or cannot be written to; shards already recorded stay valid.
        """
        source, draft = self.read(unit), self.begin(unit)
        for place in self.places(unit):
            self.fill(draft, self.predict(unit, place, source))
            next(events)
        self.write(draft)
        return draft.tally

    def read(self, unit: Unit, last: Window | None = None) -> Window:
        """Read what a shard is predicted from; `last` is what was read before, which may hold the same."""
        channel = self.channels[unit.c]
        context = self.predictor.header.context
        frames, along = context.get("frames", 1), context.get("axis")
        guard = channel.guard
        place = surroundings(
            self.plan,
            self.region(unit),
            planes=frames // 2 if along == "z" else 0,
            reach=0 if guard is None else max(guard.reach + max(self.predictor.header.stride), RADIUS + 1),
            margin=0 if self.predictor.exact_tiling else max(self.plan.tile) // 4 + max(self.predictor.header.stride),
        )
        time = self._time(unit)
        times = around(time, frames, self.volume.shape[0]) if along == "t" else [time]
        return read_window(self.volume, place, channel.intensities, times, last)

    def begin(self, unit: Unit) -> Draft:
        """Return a shard to be filled."""
        region = self.region(unit)
        shape = [part.stop - part.start for part in region]
        block = mapped_zeros(shape, np.dtype(self.store.layout.dtype))
        maps = None if self.trust is None else self.trust.maps(unit, region)
        return Draft(unit, region, block, maps, Tally())

    def places(self, unit: Unit) -> list[Region]:
        """List the tiles of a shard, ZYX voxels of the low grid, in the order in which they are best done."""
        return list(self.channels[unit.c].places(self.region(unit)))

    def predict(self, unit: Unit, place: Region, source: Source) -> Forward:
        """Run the net for one tile of a shard."""
        return self.channels[unit.c].forward(self._time(unit), place, self.region(unit), source)

    def fill(self, draft: Draft, forward: Forward) -> None:
        """Examine a tile and fill it in; tiles of one shard one after another."""
        unit, channel = draft.unit, self.channels[draft.unit.c]
        wanted = self.plan.seen(draft.region)

        def completed(strip: Forward) -> tuple[Tally, list[Counts]]:
            tally, counted = Tally(), list[Counts]()
            kept = overlap(strip.place, wanted)
            if kept is None:  # tiles begin and end on the stride of the net, a crop anywhere
                return tally, counted

            def found(*evidence: Any) -> None:
                if draft.maps is not None:
                    counted.append(draft.maps.add(*evidence))

            where = tuple(
                slice(part.start * f - whole.start, part.stop * f - whole.start)
                for part, f, whole in zip(kept, self.plan.factor, draft.region, strict=True)
            )
            told = None if draft.maps is None else found
            draft.block[where] = channel.complete(self._time(unit), strip, kept, draft.block.dtype, tally, told)
            return tally, counted

        # In the order of the strips: sums depend on it in their last bits.
        for tally, counted in on_own_cores(completed, list(channel.strips(forward))):
            draft.tally.add(tally.to_json())
            for counts in counted:
                draft.maps.counts.add(counts)  # type: ignore[union-attr]  # counted by them

    def write(self, draft: Draft) -> None:
        """Write a shard that is filled, its maps first.

        Raises
        ------
        OutputWriteError
            When the disk is full or cannot be written to.
        """
        if self.trust is not None and draft.maps is not None:
            self.trust.write(draft.unit, draft.maps)
        self.store.write(draft.unit, draft.block, counts=draft.tally.to_json())

    def require_same_input(self) -> None:
        """Refuse to go on with an input that is not what it was when it was opened.

        Raises
        ------
        InputError
            When it was changed or removed.
        """
        source = self.volume.source
        try:
            same = self.volume.identity() == self.identity
        except OSError as error:
            raise InputError(
                f"{source}: vanished while it was upscaled ({error.strerror}); put it back and run the same command "
                "again, finished shards are kept"
            ) from None
        if not same:
            raise InputError(
                f"{source}: changed while it was upscaled; what is finished is of what it was before. Wait until it is "
                "completely written, and give another output, or --set overwrite=true to start anew"
            )

    def _time(self, unit: Unit) -> int:
        return int(self.crop.times.start) + unit.t

    def on_each_device(self) -> list[Upscaling]:
        """Return this upscaling once for every device that the setting leaves to it, each with a model of its own."""
        predictors = self.predictor.on_each_device()
        return [self] if len(predictors) == 1 else [self._with(predictor) for predictor in predictors]

    def _with(self, predictor: Predictor) -> Upscaling:
        shared = None if self.channels[0].shared is None else Shared()
        channels = tuple(
            replace(one, predictor=predictor, shared=shared, held=Planes(one.held.count)) for one in self.channels
        )
        return replace(self, predictor=predictor, channels=channels)

    def tally(self) -> Tally:
        """Add up what could not be written as it was, over all shards that are done, whoever did them."""
        total = Tally()
        for unit in self.store.units():
            total.add(self.store.counts(unit))
        return total


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
    crop: Crop,
    identity: str,
    predictor: Predictor,
    plan: TilePlan,
    config: UpscaleConfig,
    channels: Sequence[Channel],
) -> StoreLayout:
    """Say what the store is to be; the fingerprint covers everything that decides its bytes."""
    from superres import __version__

    dtype = str(volume.dtype) if config.dtype == "keep" else config.dtype
    voxel_size, translation = upscaled_grid(volume.voxel_size, crop.translation(volume), plan.factor)
    provenance: dict[str, Any] = {
        "note": "the voxels of this image are predicted by a neural network, not measured",
        "superres": __version__,
        "model": {"name": predictor.header.name, "identity": predictor.identity, "factor": list(plan.factor)},
        "input": {"name": volume.source.name, "shape": list(volume.shape), "dtype": str(volume.dtype)},
        "channels": [channel.index for channel in channels],
        "intensity": [
            {"channel": channel.index, "black": channel.intensity.black, "white": channel.intensity.white}
            for channel in channels
        ],
        **({"purpose": FOR_DISPLAY} if predictor.header.display else {}),
        "guard": _guard_record(config, channels),
        # Names, not places: a store should read the same wherever it was made.
        "config": config.model_dump(mode="json", exclude={"overwrite", "device", "trust"})
        | {"model": config.model.name},
    }
    decisive = [identity, provenance, dtype, plan.shard, plan.chunk, voxel_size, translation]
    names = tuple(volume.channel_names[channel] for channel in provenance["channels"]) if volume.channel_names else ()
    return StoreLayout(
        shape=(crop.times.stop - crop.times.start, len(channels), *crop.output_shape(plan)),
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


def _guard_record(config: UpscaleConfig, channels: Sequence[Channel]) -> dict[str, Any]:
    """Say whether the guard acted, by which means, and what it had to do without."""
    guard = channels[0].guard
    if not config.guard or guard is None:
        return {"on": False} | ({"why": list(channels[0].without)} if channels[0].without else {})
    means = {
        "comparison with the input": guard.compares,
        "training data": guard.domain is not None,
        "trial on the input made coarser": guard.trial is not None,
    }
    trials = [(one.index, one.guard.trial) for one in channels if one.guard is not None and one.guard.trial is not None]
    return {
        "on": True,
        "by": [name for name, given in means.items() if given],
        "trials": [{"channel": channel, **trial.to_json()} for channel, trial in trials],
        "without": list(dict.fromkeys(line for one in channels for line in one.without)),
    }
