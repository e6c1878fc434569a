"""One upscaling: an input, a model and a store, bound together, so that any process can do any shard of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from superres.config import UpscaleConfig
from superres.errors import InputError
from superres.inference.plan import TilePlan
from superres.inference.predictor import Predictor, load_model
from superres.inference.trust import TrustWriter
from superres.inference.unit import Channel, Tally, make_channels
from superres.modelfile import FOR_DISPLAY
from superres.volumes import (
    OutputStore,
    StoreLayout,
    Unit,
    Volume,
    measure_intensity,
    open_volume,
    upscaled_grid,
)


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
    plan : TilePlan
        How the volume is cut.
    channels : tuple of Channel
        Those of the output.
    store : OutputStore
        The output.
    trust : TrustWriter or None
        Its maps; None where they are not wanted, or cannot be made of this model.
    """

    volume: Volume
    predictor: Predictor
    plan: TilePlan
    channels: tuple[Channel, ...]
    store: OutputStore
    trust: TrustWriter | None

    @classmethod
    def open(cls, source: Path, out: Path, config: UpscaleConfig, predictor: Predictor | None = None) -> Self:
        """Measure the input and create the store, or open the one that was begun with the same input and settings.

        Parameters and errors as for `superres.upscale`.
        """
        volume = open_volume(source, axes=config.axes, voxel_size=config.voxel_size)
        predictor = predictor or load_model(config.model, config.device)
        indices = _channels(volume, config.channels)
        predictor.require_channels(len(indices), str(source))
        intensities = measure_intensity(volume, predictor.rule, channels=indices)
        plan = predictor.plan(volume.shape[2:], tile=config.tile, shard=config.shard)
        channels = make_channels(volume, indices, intensities, predictor, plan, config)
        layout = _layout(volume, predictor, plan, config, channels)
        store = OutputStore.open(out, layout, overwrite=config.overwrite)
        trust = None
        if config.trust and channels[0].guard is not None:
            trust = TrustWriter.open(out, layout, plan, channels, overwrite=config.overwrite)
        return cls(volume, predictor, plan, tuple(channels), store, trust)

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
        region = zip(self.store.region(unit), self.plan.factor, self.plan.tile, strict=True)
        return math.prod(-(-(part.stop - part.start) // (f * side)) for part, f, side in region)

    def all_tiles(self) -> int:
        """Return how many tiles all shards have."""
        sides = zip(self.plan.shape, self.plan.tile, strict=True)
        return self.volume.shape[0] * len(self.channels) * math.prod(-(-n // side) for n, side in sides)

    def do(self, unit: Unit, events: Iterator[None]) -> Tally:
        """Predict and write one shard and its maps; `events` is advanced after each tile.

        Raises
        ------
        InputError
            When the input turns out damaged.
        OutputWriteError
            When the disk is full or cannot be written to; shards already recorded stay valid.
        """
        tally, region = Tally(), self.store.region(unit)
        maps = None if self.trust is None else self.trust.maps(unit, region)
        found = None if maps is None else maps.add
        dtype = np.dtype(self.store.layout.dtype)
        block = self.channels[unit.c].predict(unit.t, region, dtype, tally, events, found)
        if self.trust is not None and maps is not None:
            self.trust.write(unit, maps)
        self.store.write(unit, block, counts=tally.to_json())
        return tally

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
    predictor: Predictor,
    plan: TilePlan,
    config: UpscaleConfig,
    channels: Sequence[Channel],
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
    decisive = [volume.identity(), provenance, dtype, plan.shard, plan.chunk, voxel_size, translation]
    names = tuple(volume.channel_names[channel] for channel in provenance["channels"]) if volume.channel_names else ()
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
