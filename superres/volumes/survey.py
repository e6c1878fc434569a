"""What the intensities of a volume are like, from a sparse sample: range, saturation, noise; and how big it is."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.volumes.grey_levels import GreyLevels, Tally, estimate_noise
from superres.volumes.volume import Volume

PERCENTILES = (0.0, 0.1, 1.0, 50.0, 99.0, 99.9, 100.0)
"""Those that a survey tells; 0 and 100 are the lowest and highest value seen."""

SAMPLE_BYTES = 64 * 2**20
"""Voxels that are read at most, unpacked."""

_PIECE_BYTES = 2**20
_MOST_CHANNELS = 32
_NOISE_WINDOWS = 16
_NOISE_SIDE = 512
# A folder of millions of chunks would take minutes to list.
_FILES_LISTED = 50_000

Region = tuple[slice, slice, slice, slice, slice]


@dataclass(frozen=True, slots=True)
class ChannelSurvey:
    """One channel; shares are of the voxels that were looked at.

    Parameters
    ----------
    channel : int
        Counted from 0.
    name : str
        Empty when unknown.
    voxels : int
        Looked at.
    percentiles : tuple of float
        At `PERCENTILES`, in grey levels; empty where no voxel is finite.
    values : int
        Different grey levels seen.
    at_lowest, at_highest : float
        Share at the lowest and highest value seen.
    at_type_lowest, at_type_highest : float or None
        Share at the lowest and highest value that the type of the voxels holds; None for floating point.
    saturated_at, saturated : float
        Highest value and its share, if it looks cut off there; else None and 0.
    clipped_at, clipped : float
        Lowest value and its share, if it looks cut off there; else None and 0.
    not_a_number, infinite : float
        Shares.
    noise : float or None
        Standard deviation in grey levels (see `estimate_noise`); None where it cannot be told.
    """

    channel: int
    name: str
    voxels: int
    percentiles: tuple[float, ...]
    values: int
    at_lowest: float
    at_highest: float
    at_type_lowest: float | None
    at_type_highest: float | None
    saturated_at: float | None
    saturated: float
    clipped_at: float | None
    clipped: float
    not_a_number: float
    infinite: float
    noise: float | None

    def percentile(self, share: float) -> float:
        """Return one of `PERCENTILES`."""
        return self.percentiles[PERCENTILES.index(share)]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a volume is like.

    Parameters
    ----------
    channels : tuple of ChannelSurvey
        The first ones where there are very many.
    exact : bool
        Whether every voxel was looked at.
    bytes_read : int
        Voxels looked at, unpacked.
    unpacked_bytes : int
        Of the finest level.
    disk_bytes : int or None
        Of all files; None where they cannot be listed, as on a remote store.
    disk_exact : bool
        False where there are so many files that only the first were counted.
    """

    channels: tuple[ChannelSurvey, ...]
    exact: bool
    bytes_read: int
    unpacked_bytes: int
    disk_bytes: int | None
    disk_exact: bool


def survey(volume: Volume, *, limit: int = SAMPLE_BYTES) -> Survey:
    """Look at a volume: all of it where it is small, else at pieces spread over T, Z, Y and X that hold whole chunks.

    The sample depends on shape, type and chunks alone.

    Parameters
    ----------
    volume : Volume
        The image.
    limit : int
        Bytes of voxels, unpacked, that are read at most.

    Raises
    ------
    InputError
        When the file turns out damaged.
    """
    unpacked = math.prod(volume.shape) * volume.dtype.itemsize
    channels = range(min(volume.shape[1], _most_channels(volume, limit)))
    regions = sample_regions(volume, limit=limit, channels=len(channels))
    tallies = [Tally(volume.dtype) for _ in channels]
    windows: list[list[NDArray[Any]]] = [[] for _ in channels]
    per_region = -(-_NOISE_WINDOWS // len(regions))
    bytes_read = 0
    for region in regions:
        block = read_region(volume, region)
        bytes_read += block.nbytes
        for offset in range(block.shape[1]):
            channel = region[1].start + offset
            tallies[channel].add(block[:, offset])
            windows[channel] += _noise_windows(block[:, offset], per_region)
    disk, disk_exact = size_on_disk(volume)
    return Survey(
        channels=tuple(_channel(volume, c, tallies[c], _spread(windows[c], _NOISE_WINDOWS)) for c in channels),
        exact=bytes_read == unpacked,
        bytes_read=bytes_read,
        unpacked_bytes=unpacked,
        disk_bytes=disk,
        disk_exact=disk_exact,
    )


def read_region(volume: Volume, region: Region) -> NDArray[Any]:
    """Read a TCZYX region of the finest level."""
    if volume.finest is not None:
        return volume.finest[region]
    return np.asarray(volume.levels[0][region].compute(scheduler="synchronous"))


def _channel(volume: Volume, channel: int, tally: Tally, windows: Sequence[NDArray[Any]]) -> ChannelSurvey:
    levels = tally.levels()
    percentiles = levels.percentiles(PERCENTILES)
    top, bottom = levels.piled_up_at_top(), levels.piled_up_at_bottom()
    lowest, highest = (percentiles[0], percentiles[-1]) if percentiles else (math.nan, math.nan)
    limits = np.iinfo(volume.dtype) if volume.dtype.kind in "iu" else None
    cut_off = [] if levels.values.size < 2 else [level for level in (top, bottom) if level is not None]
    return ChannelSurvey(
        channel=channel,
        name=volume.channel_names[channel] if volume.channel_names else "",
        voxels=tally.voxels,
        percentiles=percentiles,
        values=int(levels.values.size),
        at_lowest=levels.share_at(lowest),
        at_highest=levels.share_at(highest),
        at_type_lowest=levels.share_at(float(limits.min)) if limits else None,
        at_type_highest=levels.share_at(float(limits.max)) if limits else None,
        saturated_at=top,
        saturated=_share(levels, top, tally),
        clipped_at=bottom,
        clipped=_share(levels, bottom, tally),
        not_a_number=tally.not_a_number / tally.voxels,
        infinite=tally.infinite / tally.voxels,
        noise=estimate_noise(windows, cut_off),
    )


def _share(levels: GreyLevels, value: float | None, tally: Tally) -> float:
    finite = tally.voxels - tally.not_a_number - tally.infinite
    return 0.0 if value is None else levels.share_at(value) * finite / tally.voxels


# --- the sample ------------------------------------------------------------------------------------------------------


def sample_regions(volume: Volume, *, limit: int = SAMPLE_BYTES, channels: int | None = None) -> list[Region]:
    """Choose the TCZYX regions of a sample: whole chunks, in the order of the file, none twice.

    Parameters
    ----------
    volume : Volume
        The image; nothing of it is read.
    limit : int
        Bytes that the regions hold together at most, unpacked.
    channels : int, optional
        How many of the first channels; default all.
    """
    shape = list(volume.shape)
    shape[1] = shape[1] if channels is None else channels
    piece = _piece(volume, limit)
    counts = [-(-size // step) for size, step in zip(shape, piece, strict=True)]
    if math.prod(shape) * volume.dtype.itemsize <= limit:
        places = set(itertools.product(*map(range, counts)))
    else:
        voxels = math.prod(min(step, size) for step, size in zip(piece, shape, strict=True))
        most = max(1, limit // (voxels * volume.dtype.itemsize * counts[1]))
        spread = _spread_places([counts[0], *counts[2:]], most)
        places = {(t, c, z, y, x) for t, z, y, x in spread for c in range(counts[1])}
    return [_region(place, piece, shape) for place in sorted(places)]


def _most_channels(volume: Volume, limit: int) -> int:
    """Return how many channels the sample has room for, a whole number of pieces."""
    piece = _piece(volume, limit)
    pieces = max(1, limit // (math.prod(piece) * volume.dtype.itemsize))
    return min(pieces, max(1, _MOST_CHANNELS // piece[1])) * piece[1]


def _piece(volume: Volume, limit: int) -> list[int]:
    """Return the TCZYX voxels that are read at a time: whole chunks, about 1 MiB, never more than the limit."""
    block = tuple(volume.finest.block) if volume.finest is not None else tuple(volume.levels[0].chunksize)
    free = not block
    piece = [min(int(b), n) for b, n in zip(block or (1, 1, 1, 1, 512), volume.shape, strict=True)]
    size = math.prod(piece) * volume.dtype.itemsize
    for axis in (3, 4, 2, 0) if free else (4, 3, 2, 0):
        grown = max(1, min(-(-volume.shape[axis] // piece[axis]), _PIECE_BYTES // size))
        piece[axis] = min(piece[axis] * grown, volume.shape[axis])
        size = math.prod(piece) * volume.dtype.itemsize
    # A single chunk may be larger than all that may be read: then part of it, though the file decodes it whole.
    for axis in (0, 1, 2, 3, 4):
        size = math.prod(piece) * volume.dtype.itemsize
        piece[axis] = max(1, min(piece[axis], int(piece[axis] * limit / size)))
    return piece


def _spread_places(counts: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Choose at most `most` places of a grid, evenly along every axis at once.

    A lattice rule: every axis is walked through in even steps, each in another order, so that planes of different
    depth and time are looked at in different corners. What falls on one place is made up for by the R sequence.
    """
    if math.prod(counts) <= most:
        return list(itertools.product(*map(range, counts)))
    ratio = 1.0
    for _ in range(40):
        ratio = (1 + ratio) ** (1 / (len(counts) + 1))
    steps = [ratio ** -(axis + 1) for axis in range(len(counts))]
    strides = [1, *(_coprime(round(most * step), most) for step in steps[1:])]
    shares = [[(number * stride % most + 0.5) / most for stride in strides] for number in range(most)]
    shares += [[(0.5 + number * step) % 1.0 for step in steps] for number in range(4 * most)]
    chosen: dict[tuple[int, ...], None] = {}
    for share in shares:
        chosen[tuple(int(part * count) for part, count in zip(share, counts, strict=True))] = None
        if len(chosen) == most:
            break
    return list(chosen)


def _coprime(near: int, to: int) -> int:
    return next(n for n in itertools.count(max(1, near)) if math.gcd(n, to) == 1)


def _region(place: Sequence[int], piece: Sequence[int], shape: Sequence[int]) -> Region:
    t, c, z, y, x = (
        slice(i * step, min((i + 1) * step, size)) for i, step, size in zip(place, piece, shape, strict=True)
    )
    return t, c, z, y, x


def _noise_windows(block: NDArray[Any], most: int) -> list[NDArray[Any]]:
    """Cut windows for the noise out of planes of a block (t, z, y, x), from the middle of each."""
    planes = _spread(block.reshape(-1, *block.shape[2:]), most)
    y, x = (max(0, (size - _NOISE_SIDE) // 2) for size in block.shape[2:])
    return [plane[y : y + _NOISE_SIDE, x : x + _NOISE_SIDE].copy() for plane in planes]


def _spread(items: Sequence[Any] | NDArray[Any], most: int) -> list[Any]:
    """Choose at most `most` items, evenly, each from the middle of its share."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]


# --- bytes -----------------------------------------------------------------------------------------------------------


def size_on_disk(volume: Volume) -> tuple[int | None, bool]:
    """Add up the sizes of a volume's files.

    Returns
    -------
    bytes : int or None
        None where the source is not on a disk.
    exact : bool
        False where only the first of very many files were counted.
    """
    sizes: list[int] = []
    try:
        for path in itertools.islice(_files(volume), _FILES_LISTED + 1):
            sizes.append(path.stat().st_size)
    except OSError:
        return (sum(sizes), False) if sizes else (None, False)
    return sum(sizes[:_FILES_LISTED]), len(sizes) <= _FILES_LISTED


def _files(volume: Volume) -> Iterator[Path]:
    if volume.files:
        yield from volume.files
    elif volume.source.is_dir():
        for folder, _, names in os.walk(volume.source):
            for name in names:
                yield Path(folder, name)
    else:
        yield volume.source
