"""What one shard is predicted from, read at once: tiles share their halos, and files their chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from superres.inference.plan import SMALLEST_BLOCK, SMALLEST_INPUT, Region, TilePlan
from superres.volumes import Volume

# More than this is not read ahead: with neighbouring time points or many channels tiles read for themselves.
_MOST_BYTES = 192 << 20


class Source(Protocol):
    """Where recorded voxels are read: a volume, or a part of it that was read ahead."""

    def read(self, *, t: int, c: int, z: slice, y: slice, x: slice) -> NDArray[Any]:
        """Return the voxels of a block, (z, y, x), in native grey levels and dtype."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A part of a volume in memory; what lies outside of it is read from the volume.

    Parameters
    ----------
    volume : Volume
        What it is a part of.
    place : tuple of slice
        ZYX voxels that it holds.
    blocks : mapping
        The voxels, (z, y, x), by time point and channel.
    """

    volume: Volume
    place: Region
    blocks: Mapping[tuple[int, int], NDArray[Any]]

    def read(self, *, t: int, c: int, z: slice, y: slice, x: slice) -> NDArray[Any]:
        """Return the voxels of a block, (z, y, x); not to be written to."""
        block = self.blocks.get((t, c))
        wanted = (z, y, x)
        if block is None or any(
            part.start < held.start or part.stop > held.stop for part, held in zip(wanted, self.place, strict=True)
        ):
            return self.volume.read(t=t, c=c, z=z, y=y, x=x)
        found: NDArray[Any] = block[
            tuple(
                slice(part.start - held.start, part.stop - held.start)
                for part, held in zip(wanted, self.place, strict=True)
            )
        ]
        return found


def read_window(
    volume: Volume, place: Region, channels: Iterable[int], times: Iterable[int], last: Window | None = None
) -> Window:
    """Read a part of a volume; of a large one nothing, so that it is read bit by bit.

    Parameters
    ----------
    volume : Volume
        The image.
    place : tuple of slice
        ZYX voxels, inside the image.
    channels, times : iterable of int
        Which of them.
    last : Window, optional
        The one before, which is returned where it holds the same.

    Raises
    ------
    InputError
        When the file turns out damaged.
    """
    wanted = [(t, c) for t in dict.fromkeys(times) for c in channels]
    if last is not None and last.place == place and set(wanted) <= set(last.blocks):
        return last
    voxels = len(wanted) * math.prod(part.stop - part.start for part in place)
    if voxels * volume.dtype.itemsize > _MOST_BYTES:
        return Window(volume, place, {})
    z, y, x = place
    return Window(volume, place, {(t, c): np.asarray(volume.read(t=t, c=c, z=z, y=y, x=x)) for t, c in wanted})


def surroundings(plan: TilePlan, region: Region, *, planes: int, reach: int, margin: int) -> Region:
    """Return the voxels that the tiles of a shard are predicted from, ZYX of the low grid, inside the image.

    Parameters
    ----------
    plan : TilePlan
        Of the volume.
    region : tuple of slice
        ZYX voxels of the output: the shard.
    planes : int
        Neighbouring planes that a net takes to either side.
    reach : int
        Voxels along Y and X that a guard looks at around a tile, besides the halo.
    margin : int
        Voxels by which tiles of inexact nets are wider.
    """
    deep = plan.halo[0] > 0 or plan.tile[0] > 1
    smallest = SMALLEST_BLOCK if deep else (1, SMALLEST_INPUT, SMALLEST_INPUT)
    place = []
    for axis, (part, halo, tile, least, length) in enumerate(
        zip(plan.widened(region), plan.halo, plan.tile, smallest, plan.shape, strict=True)
    ):
        wide = halo + (planes if axis == 0 else reach) + (margin if axis > 0 or deep else 0)
        # Small tiles are predicted with more around them, see the plan.
        wide += max(0, least - tile - 2 * halo) if axis > 0 or deep else 0
        place.append(slice(max(0, part.start - wide), min(length, part.stop + wide)))
    return place[0], place[1], place[2]
