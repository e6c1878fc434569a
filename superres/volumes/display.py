"""A volume for the eye: levels in tiles as a viewer likes them, coarse ones where the file has none, a contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from superres.volumes.axes import TczyxArray
from superres.volumes.overview import Overview, PooledArray
from superres.volumes.pyramid import display_window
from superres.volumes.volume import Volume

# Above this side a plane is not shown without coarser levels: graphics cards take 8192 or 16384 pixels.
LARGEST_PLANE = 4096
_SMALLEST = 512
_TILE = 1024
_TILE_BYTES = 16 * 2**20
_WIDEST = 8192
# A sample for the contrast: squares of this side, across the plane.
_SPOT = 256
_SPOTS = 3


@dataclass(frozen=True, slots=True)
class Display:
    """What a viewer shows of a volume.

    Parameters
    ----------
    levels : tuple of TczyxArray, PooledArray or Overview
        TCZYX, finest first; each is smaller than the one before.
    overview : Overview or None
        What the levels that the file lacks are made of.
    """

    levels: tuple[Any, ...]
    overview: Overview | None

    def channel(self, channel: int) -> list[da.Array]:
        """Return the levels of one channel, TZYX, lazily."""
        return [_lazy(level, channel) for level in self.levels]


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel of an array, TZYX."""

    inner: Any
    channel: int
    ndim = 4

    @property
    def shape(self) -> tuple[int, ...]:
        t, _, *zyx = self.inner.shape
        return (t, *zyx)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.inner.dtype)
        return dtype

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        t, *zyx = (slice(*item.indices(n)) for item, n in zip(region, self.shape, strict=True))
        return np.asarray(self.inner[(t, slice(self.channel, self.channel + 1), *zyx)])[:, 0]


def display_of(volume: Volume) -> Display:
    """Arrange a volume for a viewer; nothing is read.

    Where the planes of the coarsest level of the file are larger than `LARGEST_PLANE`, further ones are made by
    averaging: up to a quarter of the size when they are looked at, from an eighth on by a thread (see `Overview`).
    """
    levels: list[Any] = _distinct(_levels(volume))
    if max(levels[-1].shape[3:]) <= LARGEST_PLANE:
        return Display(tuple(levels), None)
    coarsest = levels[-1]
    overview = Overview(coarsest)
    factor = 2
    while factor < overview.factor:
        levels.append(PooledArray(coarsest, factor))
        factor *= 2
    levels.append(overview)
    factor = 2
    while max(levels[-1].shape[3:]) > _SMALLEST:
        levels.append(PooledArray(overview, factor))
        factor *= 2
    return Display(tuple(levels), overview)


def _levels(volume: Volume) -> list[TczyxArray]:
    if volume.finest is not None and len(volume.coarser) + 1 == len(volume.levels):
        return [volume.finest, *volume.coarser]
    return [TczyxArray(_Computed(level), "TCZYX") for level in volume.levels]


@dataclass(frozen=True, slots=True)
class _Computed:
    """A Dask array that is read like a file's."""

    lazy: da.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.lazy.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.lazy.dtype)
        return dtype

    @property
    def block(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.lazy.chunksize)

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        return np.asarray(self.lazy[region].compute(scheduler="synchronous"))


def _distinct(levels: Sequence[TczyxArray]) -> list[TczyxArray]:
    """Leave out levels that are not smaller than the one before, as a viewer takes sizes for the order."""
    kept: list[TczyxArray] = []
    for level in levels:
        if not kept or math.prod(level.shape) < math.prod(kept[-1].shape):
            kept.append(level)
    return kept


def _lazy(array: Any, channel: int) -> da.Array:
    one = _Channel(array, channel)
    block = tuple(getattr(array, "block", ()) or (1,) * 5)
    chunks = _tile((block[0], *block[2:]), one.shape, one.dtype.itemsize)
    meta = np.empty((0,) * 4, dtype=one.dtype)
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        one, chunks=chunks, name=False, asarray=False, fancy=False, meta=meta
    )
    return lazy


def _tile(block: Sequence[int], shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Choose tiles, TZYX, of whole blocks of the file, of about 1024 pixels, none wider than a texture takes."""
    tile = [min(b, n) for b, n in zip(block, shape, strict=True)]
    for axis in (3, 2):
        while tile[axis] * 2 <= _TILE and math.prod(tile) * itemsize * 2 <= _TILE_BYTES and tile[axis] < shape[axis]:
            tile[axis] *= 2
        tile[axis] = min(tile[axis], shape[axis], _WIDEST)
    return tuple(tile)


def sampled_contrast(volume: Volume, channel: int) -> tuple[float, float]:
    """Choose what is black and what is full colour from a few squares of the first time point's middle plane.

    Returns
    -------
    tuple of float
        The grey levels below and above which lies a thousandth of the sample, the first below the second.

    Raises
    ------
    InputError
        When the file turns out damaged.
    """
    coarsest = _levels(volume)[-1]
    _, _, nz, ny, nx = coarsest.shape
    planes = slice(nz // 2, nz // 2 + 1)
    spots = [
        coarsest[0, channel, planes, y, x].ravel() for y in _spots(ny) for x in _spots(nx)
    ]  # fmt: skip
    sample = np.concatenate(spots)
    _, _, start, end = display_window(sample)
    return start, end


def _spots(size: int) -> list[slice]:
    if size <= _SPOT * _SPOTS:
        return [slice(0, size)]
    return [slice(start, start + _SPOT) for start in np.linspace(0, size - _SPOT, _SPOTS).astype(int).tolist()]
