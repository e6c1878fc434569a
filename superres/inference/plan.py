"""The tile plan: integer arithmetic that decides what is read, predicted and kept.

Every output voxel belongs to exactly one tile. Tile origins are multiples of the net's stride in the frame of the whole
image, every tile is read with a halo of at least the receptive radius, and only the core is kept. With a net that
is equivariant to shifts by its stride the result does not depend on the tiles, bit for bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from superres.nets.architecture import SMALLEST_BLOCK as SMALLEST_BLOCK
from superres.nets.architecture import SMALLEST_INPUT as SMALLEST_INPUT
from superres.volumes.edges import mirrored as mirrored

Triple = tuple[int, int, int]
Region = tuple[slice, slice, slice]

# Largest side of a core, where it is chosen by the memory that a tile takes.
_LARGEST_CORE = 1024
_LARGEST_OUTPUT = 4096
# The same for nets on the high-resolution grid.
DEFAULT_TILE = 384
# The same along Y and X for nets of three dimensions, whose halo is large; along Z half as much.
DEFAULT_DEEP_TILE = 80
_SMALLEST_CORE = 64
# Output voxels per shard that are aimed at: 16 million are 32 MB of uint16, and two to three times as much with maps.
_SHARD_VOXELS = 16 << 20
_LARGEST_CHUNK = 256


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
        ZYX low-resolution voxels of a tile's core; along Z 1, except for nets of three dimensions.
    halo : tuple of int
        ZYX low-resolution voxels that are read around the core.
    shard, chunk : tuple of int
        ZYX output voxels of one file of the store, a whole number of tiles, and of its inner chunks.
    stride : tuple of int
        Of the net, ZYX: where tiles may begin.
    """

    shape: Triple
    factor: Triple
    tile: Triple
    halo: Triple
    shard: Triple
    chunk: Triple
    stride: Triple = (1, 1, 1)

    @property
    def output_shape(self) -> Triple:
        """ZYX voxels of the upscaled volume."""
        z, y, x = (n * f for n, f in zip(self.shape, self.factor, strict=True))
        return z, y, x

    def low_shape(self, output: Sequence[int]) -> Triple:
        """Return the ZYX voxels of the input that an output of so many is made of."""
        z, y, x = (n // f for n, f in zip(output, self.factor, strict=True))
        return z, y, x

    def tiles(self, region: Region) -> Iterator[tuple[int, slice, slice]]:
        """List the cores of a net that goes plane by plane as (z, rows, columns); otherwise as `blocks`."""
        return ((planes.start, rows, columns) for planes, rows, columns in self.blocks(region))

    def blocks(self, region: Region) -> Iterator[Region]:
        """List the cores, ZYX in low-resolution voxels, whose output fills a region.

        Parameters
        ----------
        region : tuple of slice
            ZYX output voxels: a shard, clipped to the image. Cores begin and end on the stride, and so beyond it where
            it does not.
        """
        return itertools.product(
            *([slice(at, min(at + along.step, along.stop)) for at in along] for along in self._starts(region))
        )

    def seen(self, region: Region) -> Region:
        """Return the voxels of the input that the output of a region is made of, ZYX."""
        z, y, x = (slice(part.start // f, -(-part.stop // f)) for part, f in zip(region, self.factor, strict=True))
        return z, y, x

    def widened(self, region: Region) -> Region:
        """Return `seen`, widened to the stride of the net, inside the image."""
        z, y, x = (
            slice(part.start // step * step, min(-(-part.stop // step) * step, length))
            for part, step, length in zip(self.seen(region), self.stride, self.shape, strict=True)
        )
        return z, y, x

    def count(self, region: Region) -> int:
        """Return how many tiles a region has."""
        return math.prod(map(len, self._starts(region)))

    def _starts(self, region: Region) -> list[range]:
        """Return where tiles begin along each axis."""
        return [range(part.start, part.stop, step) for part, step in zip(self.widened(region), self.tile, strict=True)]


def overlap(one: Region, other: Region) -> Region | None:
    """Return what two regions share; None where that is nothing."""
    z, y, x = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (z, y, x) if all(part.start < part.stop for part in (z, y, x)) else None


def plan_tiles(
    shape: Triple,
    *,
    factor: Triple,
    radius: Triple,
    stride: Triple,
    tile: int | None = None,
    shard: int | None = None,
    voxels: int | None = None,
) -> TilePlan:
    """Plan the tiles of a volume.

    Parameters
    ----------
    shape : tuple of int
        ZYX voxels of the low-resolution volume.
    factor, radius, stride : tuple of int
        The net's upscaling, receptive radius and stride, along Z, Y, X.
    tile : int, optional
        Largest side of a tile's core in low-resolution voxels, along Z half of it; tiles are made even, and rounded up
        to the stride.
    shard : int, optional
        Tiles along Y and along X in one shard.
    voxels : int, optional
        For nets of two dimensions, where `tile` is not given: how many voxels the net is given at most. Of the tiles
        that keep within, those are taken that are predicted with the fewest voxels in all: halos are.
    """
    is_deep = radius[0] > 0
    largest = tile or (DEFAULT_DEEP_TILE if is_deep else DEFAULT_TILE)
    deep = _even_core(shape[0], max(1, largest // 2), stride[0]) if is_deep else 1
    halo = tuple(math.ceil(r / s) * s for r, s in zip(radius, stride, strict=True))
    if tile is None and voxels is not None and not is_deep:
        largest = min(_LARGEST_CORE, _LARGEST_OUTPUT // max(factor))
        cores = _cheapest_cores(shape[1:], largest, halo[1:], stride[1:], voxels)
    else:
        cores = [_even_core(n, largest, s) for n, s in zip(shape[1:], stride[1:], strict=True)]
    most = math.isqrt(_SHARD_VOXELS // (deep * math.prod(factor) * cores[0] * cores[1])) if is_deep else _SHARD_VOXELS
    counts = [
        min(shard or max(1, min(most, _default_count(core * f))), math.ceil(n / core))
        for n, core, f in zip(shape[1:], cores, factor[1:], strict=True)
    ]
    y, x = (core * f * count for core, f, count in zip(cores, factor[1:], counts, strict=True))
    z = factor[0] * (deep if is_deep else max(1, min(shape[0], 16, _SHARD_VOXELS // (y * x))))
    chunk = (largest_divisor(z), largest_divisor(y), largest_divisor(x))
    core = (deep, cores[0], cores[1])
    return TilePlan(shape, factor, core, (halo[0], halo[1], halo[2]), (z, y, x), chunk, stride)


def _cheapest_cores(
    lengths: Sequence[int], largest: int, halo: Sequence[int], stride: Sequence[int], voxels: int
) -> list[int]:
    """Return the sides of the cores, `largest` at most, that cover a plane with the fewest voxels given to the net."""
    sides = [
        sorted({math.ceil(n / count / step) * step for count in range(1, -(-n // _SMALLEST_CORE) + 1)})
        for n, step in zip(lengths, stride, strict=True)
    ]
    best, fewest = [side[0] for side in sides], math.inf
    for core in itertools.product(*([side for side in along if side <= largest] for along in sides)):
        given = math.prod(side + 2 * edge for side, edge in zip(core, halo, strict=True))
        total = given * math.prod(math.ceil(n / side) for n, side in zip(lengths, core, strict=True))
        if given <= voxels and total < fewest:
            best, fewest = list(core), total
    return best


def _even_core(length: int, largest: int, stride: int) -> int:
    """Return the core that covers `length` in the fewest tiles, as evenly as the stride allows."""
    largest = max(stride, largest // stride * stride)
    count = math.ceil(length / largest)
    return math.ceil(math.ceil(length / count) / stride) * stride


def fitted(plan: TilePlan, most: int, stride: Triple) -> TilePlan:
    """Return a plan with smaller tiles, and the same shards, that give the net at most so many voxels at once.

    For nets whose output does not depend on the tiles. Tiles of 64 voxels are not made smaller.
    """
    tile = list(plan.tile)
    while math.prod(side + 2 * edge for side, edge in zip(tile, plan.halo, strict=True)) > most:
        axis = tile.index(max(tile))
        if tile[axis] <= _SMALLEST_CORE:
            break
        tile[axis] = math.ceil(tile[axis] / 2 / stride[axis]) * stride[axis]
    return replace(plan, tile=(tile[0], tile[1], tile[2]))


def _default_count(output_side: int) -> int:
    """Return how many tiles along one side make a shard of about 2048 output voxels."""
    return max(1, 2048 // output_side)


def largest_divisor(side: int) -> int:
    """Return the largest chunk along an axis that divides a shard."""
    return next(n for n in range(min(side, _LARGEST_CHUNK), 0, -1) if side % n == 0)
