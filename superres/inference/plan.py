"""The tile plan: integer arithmetic that decides what is read, predicted and kept.

Every output voxel belongs to exactly one tile. Tile origins are multiples of the net's stride in the frame of the whole
image, every tile is read with a halo of at least the receptive radius, and only the core is kept. With a net that
is equivariant to shifts by its stride the result does not depend on the tiles, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]

# Large tiles waste little on the halo, small ones fit the cache; the default lies between.
DEFAULT_TILE = 384
# Output voxels per shard that are aimed at: 32 million are 64 MB of uint16.
_SHARD_VOXELS = 32 << 20
_LARGEST_CHUNK = 256
SMALLEST_INPUT = 144
"""Smallest side of what a net is given.

torch gives convolutions over 20 480 values or fewer to another algorithm, which rounds differently; inputs of at least
this side are above that, so that small tiles and large ones agree in every bit.
"""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How a volume is cut for inference.

    Parameters
    ----------
    shape : tuple of int
        ZYX voxels of the low-resolution volume.
    factor : tuple of int
        Upscaling along Z, Y, X.
    tile : tuple of int
        ZYX low-resolution voxels of a tile's core; along Z always 1.
    halo : tuple of int
        ZYX low-resolution voxels that are read around the core.
    shard, chunk : tuple of int
        ZYX output voxels of one file of the store, a whole number of tiles, and of its inner chunks.
    """

    shape: Triple
    factor: Triple
    tile: Triple
    halo: Triple
    shard: Triple
    chunk: Triple

    @property
    def output_shape(self) -> Triple:
        """ZYX voxels of the upscaled volume."""
        z, y, x = (n * f for n, f in zip(self.shape, self.factor, strict=True))
        return z, y, x

    def tiles(self, region: tuple[slice, slice, slice]) -> Iterator[tuple[int, slice, slice]]:
        """List the cores, as (z, rows, columns) in low-resolution voxels, whose output fills a region.

        Parameters
        ----------
        region : tuple of slice
            ZYX output voxels, starting on a tile: a shard, clipped to the image.
        """
        z, y, x = (slice(r.start // f, -(-r.stop // f)) for r, f in zip(region, self.factor, strict=True))
        for plane in range(z.start, z.stop):
            for row in range(y.start, y.stop, self.tile[1]):
                for column in range(x.start, x.stop, self.tile[2]):
                    yield (
                        plane,
                        slice(row, min(row + self.tile[1], y.stop)),
                        slice(column, min(column + self.tile[2], x.stop)),
                    )


def plan_tiles(
    shape: Triple,
    *,
    factor: Triple,
    radius: Triple,
    stride: Triple,
    tile: int | None = None,
    shard: int | None = None,
) -> TilePlan:
    """Plan the tiles of a volume.

    Parameters
    ----------
    shape : tuple of int
        ZYX voxels of the low-resolution volume.
    factor, radius, stride : tuple of int
        The net's upscaling, receptive radius and stride, along Z, Y, X.
    tile : int, optional
        Largest side of a tile's core in low-resolution voxels; tiles are made even, and rounded up to the stride.
    shard : int, optional
        Tiles along Y and along X in one shard.
    """
    cores = [_even_core(n, tile or DEFAULT_TILE, s) for n, s in zip(shape[1:], stride[1:], strict=True)]
    halo = tuple(math.ceil(r / s) * s for r, s in zip(radius, stride, strict=True))
    counts = [
        min(shard or _default_count(core * f), math.ceil(n / core))
        for n, core, f in zip(shape[1:], cores, factor[1:], strict=True)
    ]
    y, x = (core * f * count for core, f, count in zip(cores, factor[1:], counts, strict=True))
    z = factor[0] * max(1, min(shape[0], 16, _SHARD_VOXELS // (y * x * factor[0])))
    chunk = (z, largest_divisor(y), largest_divisor(x))
    return TilePlan(shape, factor, (1, cores[0], cores[1]), (halo[0], halo[1], halo[2]), (z, y, x), chunk)


def mirrored(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Return the voxels that stand at positions start ... stop of an axis continued by reflection.

    The edge voxel is not repeated (NumPy's ``reflect``); a halo longer than the image is reflected again and again.
    """
    if length == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (length - 1)
    position = np.arange(start, stop) % period
    return np.minimum(position, period - position).astype(np.intp)


def _even_core(length: int, largest: int, stride: int) -> int:
    """Return the core that covers `length` in the fewest tiles, as evenly as the stride allows."""
    largest = max(stride, largest // stride * stride)
    count = math.ceil(length / largest)
    return math.ceil(math.ceil(length / count) / stride) * stride


def _default_count(output_side: int) -> int:
    """Return how many tiles along one side make a shard of about 2048 output voxels."""
    return max(1, 2048 // output_side)


def largest_divisor(side: int) -> int:
    """Return the largest chunk along an axis that divides a shard."""
    return next(n for n in range(min(side, _LARGEST_CHUNK), 0, -1) if side % n == 0)
