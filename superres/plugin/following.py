"""Tells the viewer of each shard when it is written, with a small picture of it: the result fills as it grows."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.inference.pipeline import Spent, run_units
from superres.inference.upscaling import Draft, Upscaling
from superres.plugin.worker import Tell
from superres.progress import ProgressCallback
from superres.volumes import Unit, open_volume
from superres.volumes.pyramid import mean_pooled

# The viewer holds the small pictures of all shards in memory.
_MOST_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Pictures:
    """Small pictures of shards, on their way to the viewer.

    Parameters
    ----------
    folder : Path
        Where they are written; the viewer takes them away.
    steps : tuple of int
        Voxels of the output along Z, Y and X that one of theirs stands for.
    tell : callable
        Tells the viewer.
    """

    folder: Path
    steps: tuple[int, int, int]
    tell: Tell

    def send(self, unit: Unit, block: NDArray[Any], start: Sequence[int]) -> None:
        """Send the picture of a shard that begins at `start`, ZYX voxels of the output."""
        path = self.folder / (".".join(map(str, unit)) + ".npy")
        try:
            np.save(path, mean_pooled(block, self.steps))
        except OSError:  # the disk of temporary files is full: the result itself is not affected
            return
        at = [first // step for first, step in zip(start, self.steps, strict=True)]
        self.tell({"shard": [unit.t, unit.c, *at], "picture": str(path)})


@dataclass(frozen=True, slots=True, eq=False)
class FollowedUpscaling(Upscaling):
    """An upscaling that shows each shard when it is written."""

    pictures: Pictures | None = None

    def write(self, draft: Draft) -> None:
        """Write a shard, and send its picture; errors as of `Upscaling.write`."""
        Upscaling.write(self, draft)
        if self.pictures is not None:
            region = self.store.region(draft.unit)
            self.pictures.send(draft.unit, draft.block, [part.start for part in region])


def followed(folder: Path, tell: Tell) -> Callable[[Upscaling, Sequence[Unit], ProgressCallback], Spent]:
    """Return what does the shards of an upscaling and tells the viewer of each.

    The first thing told is ``{"begun": {...}}``: the store's `path`, its `shape` (TCZYX) and `dtype`, `steps`, the
    `channels` of the input that it shows, and `start`, where it begins in the input along T, Z, Y and X. Then for every
    shard ``{"shard": [t, c, z, y, x], "picture": path}``, in voxels of the small picture.

    Parameters
    ----------
    folder : Path
        Where pictures are written.
    tell : callable
        Tells the viewer.
    """

    def run(upscaling: Upscaling, units: Sequence[Unit], progress: ProgressCallback) -> Spent:
        pictures = Pictures(folder, _steps(upscaling), tell)
        tell({"begun": _begun(upscaling, pictures.steps)})
        own = {item.name: getattr(upscaling, item.name) for item in fields(Upscaling)}
        todo = set(units)
        done = [unit for unit in upscaling.units() if unit not in todo]
        threading.Thread(target=_send_done, args=(upscaling, done, pictures), daemon=True).start()
        return run_units(FollowedUpscaling(**own, pictures=pictures), units, progress)

    return run


def _begun(upscaling: Upscaling, steps: tuple[int, int, int]) -> dict[str, Any]:
    layout, crop = upscaling.store.layout, upscaling.crop
    return {
        "path": str(upscaling.store.path),
        "shape": list(layout.shape),
        "dtype": layout.dtype,
        "steps": list(steps),
        "channels": [channel.index for channel in upscaling.channels],
        "start": [crop.times.start, *(part.start for part in crop.place)],
    }


def _steps(upscaling: Upscaling) -> tuple[int, int, int]:
    """Return the finest level of the pyramid that fits the memory that is meant for it, in voxels of the output."""
    layout = upscaling.store.layout
    levels = layout.level_factors()
    for factor in levels[1:]:
        if math.prod(layout.level_shape(factor)) * np.dtype(layout.dtype).itemsize <= _MOST_BYTES:
            return factor
    return levels[-1]


def _send_done(upscaling: Upscaling, units: Sequence[Unit], pictures: Pictures) -> None:
    """Send pictures of what an earlier run had written."""
    try:
        volume = open_volume(upscaling.store.path / "0", axes="TCZYX")
        for unit in units:
            z, y, x = upscaling.store.region(unit)
            pictures.send(unit, volume.read(t=unit.t, c=unit.c, z=z, y=y, x=x), [z.start, y.start, x.start])
    except (InputError, OSError):  # they come with the finished store
        return
