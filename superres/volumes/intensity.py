"""Black and white of a volume: measured per channel from its local averages, never from the dtype or per tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from superres.config import IntensityRule
from superres.errors import InputError
from superres.volumes.volume import Volume

ArrayT = TypeVar("ArrayT")
# A sample of this many planes and voxels settles percentiles to well below the noise, within a second or two.
_PLANES = 32
_SLABS = 4
_VOXELS = 2**27
_WINDOW = 512

# Reads a window (y, x) of a few planes that lie together in the file, as (z, y, x).
_Slab = Callable[[slice, slice], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Intensity:
    """The grey levels that become 0 and 1 for the net, for one channel.

    Parameters
    ----------
    black, white : float
        Native grey levels; ``white > black``.
    """

    black: float
    white: float

    def normalise(self, values: ArrayT) -> ArrayT:
        """Map native grey levels to ``(v - black) / (white - black)``, float32; NumPy arrays or torch tensors."""
        result = self._wide(values) - self.black
        result /= self.white - self.black
        shares: ArrayT = self._float32(result)
        return shares

    def denormalise(self, values: ArrayT) -> ArrayT:
        """Map normalised values back to native grey levels, as float32."""
        result = self._wide(values) * (self.white - self.black)
        result += self.black
        levels: ArrayT = self._float32(result)
        return levels

    @staticmethod
    def _wide(values: Any) -> Any:
        """Use float32 where it holds the values exactly, float64 for wider ones."""
        if isinstance(values, np.ndarray):
            exact = values.dtype.itemsize <= 2 or values.dtype == np.float32
            return values.astype(np.float32 if exact else np.float64, copy=False)
        return values.float() if values.element_size() <= 2 or values.is_floating_point() else values.double()

    @staticmethod
    def _float32(values: Any) -> Any:
        return values.astype(np.float32, copy=False) if isinstance(values, np.ndarray | np.floating) else values.float()


def measure_intensity(
    volume: Volume,
    rule: IntensityRule,
    *,
    factor: tuple[int, int, int] = (1, 1, 1),
    channels: Sequence[int] | None = None,
) -> tuple[Intensity, ...]:
    """Measure black and white of every channel, or of those that are wanted.

    A large volume is sampled: up to 32 planes (or 4 layers of chunks), evenly spread over T and Z, and evenly spread
    windows of them. The sample depends on the shape and the chunks alone.

    Parameters
    ----------
    volume : Volume
        The image.
    rule : IntensityRule
        Percentiles, and how many low-resolution voxels are averaged along Y and X.
    factor : tuple of int
        Voxels of `volume` per low-resolution voxel, ZYX: ``(1, 1, 1)`` for a low image, the model's factor for a high
        one, so that both are averaged over the same area.
    channels : sequence of int, optional
        Which channels; default all.

    Returns
    -------
    tuple of Intensity
        One per channel, in their order.

    Raises
    ------
    InputError
        When a channel is constant, or holds no finite value.
    """
    name = str(volume.source)
    return tuple(
        _measure(_channel_slabs(volume, c), volume.shape[3:], rule, factor, f"{name}: channel {_label(volume, c)}")
        for c in (range(volume.shape[1]) if channels is None else channels)
    )


def _label(volume: Volume, channel: int) -> str:
    return f"{channel} ({volume.channel_names[channel]})" if volume.channel_names else str(channel)


def measure_intensity_of(
    image: NDArray[Any], rule: IntensityRule, *, factor: tuple[int, int, int] = (1, 1, 1)
) -> tuple[Intensity, ...]:
    """Measure black and white of an array in memory, (c, z, y, x), as `measure_intensity` does for a volume."""
    if image.ndim != 4:
        raise InputError(f"an image of {image.ndim} axes found, 4 expected (c, z, y, x); add axes of length 1")
    return tuple(
        _measure(
            (1, [partial(_window_of, channel, z) for z in range(len(channel))]),
            image.shape[2:],
            rule,
            factor,
            f"channel {c}",
        )
        for c, channel in enumerate(image)
    )


def _channel_slabs(volume: Volume, channel: int) -> tuple[int, list[_Slab]]:
    """Return the planes of a slab and a reader of each: reading one plane of a chunked file would decode them all."""
    nt, _, nz, _, _ = volume.shape
    block = volume.finest.block if volume.finest is not None else volume.levels[0].chunksize
    depth = min(int(block[2]), nz) if block else 1
    starts = [(t, z) for t in range(nt) for z in range(0, nz, depth)]
    return depth, [partial(_read_window, volume, channel, t, slice(z, min(z + depth, nz))) for t, z in starts]


def _read_window(volume: Volume, channel: int, t: int, z: slice, y: slice, x: slice) -> NDArray[Any]:
    return volume.read(t=t, c=channel, z=z, y=y, x=x)


def _window_of(channel: NDArray[Any], z: int, y: slice, x: slice) -> NDArray[Any]:
    window: NDArray[Any] = channel[z : z + 1, y, x]
    return window


def _measure(
    slabs: tuple[int, Sequence[_Slab]],
    size: tuple[int, int],
    rule: IntensityRule,
    factor: tuple[int, int, int],
    name: str,
) -> Intensity:
    """Measure one channel from readers of its slabs of planes, each of `size` (y, x)."""
    area = (_area(rule.average, factor[1], size[0]), _area(rule.average, factor[2], size[1]))
    averages = _sampled_averages(slabs, size, area)
    if averages.size > 0 and averages.min() < averages.max():
        black, white = (float(value) for value in np.percentile(averages, rule.percentiles))
        # Sparse objects on an even background can leave both percentiles on the background.
        return Intensity(black, white) if white > black else Intensity(float(averages.min()), float(averages.max()))
    # The sample may have missed whatever there is, or averaging levelled it: look at every voxel before refusing.
    lowest, highest = math.inf, -math.inf
    for finer in (area, (1, 1)):
        lowest, highest = _extremes(slabs[1], size, finer)
        if lowest < highest:
            return Intensity(lowest, highest)
    if lowest > highest:
        raise InputError(f"{name} holds no finite value (all NaN or infinite); leave it out or replace the file")
    raise InputError(
        f"{name} is constant, every voxel is {lowest:g}; structure is expected, check the file or leave it out"
    )


def _area(average: int, factor: int, size: int) -> int:
    """Return the voxels averaged along one axis: fewer in a small image, so that it gives two averages at least."""
    return min(size, factor * max(1, min(average, size // factor // 2)))


def _sampled_averages(
    slabs: tuple[int, Sequence[_Slab]], size: tuple[int, int], area: tuple[int, int]
) -> NDArray[np.float64]:
    """Average over areas of a sample; areas without a finite value are left out."""
    depth, readers = slabs
    chosen = [readers[i] for i in _spread(len(readers), max(_SLABS, _PLANES // depth))]
    voxels = _VOXELS // (len(chosen) * depth)
    whole = [(slice(0, size[0]), slice(0, size[1]))]
    windows = whole if math.prod(size) <= voxels else _windows(size, math.sqrt(voxels / math.prod(size)))
    return np.concatenate([_area_means(read(y, x), area) for read in chosen for y, x in windows])


def _extremes(readers: Sequence[_Slab], size: tuple[int, int], area: tuple[int, int]) -> tuple[float, float]:
    """Return the lowest and highest average of everything, window by window; (inf, -inf) where nothing is finite."""
    lowest, highest = math.inf, -math.inf
    for read in readers:
        for y, x in _windows(size, 1.0):
            means = _area_means(read(y, x), area)
            if means.size:
                lowest, highest = min(lowest, float(means.min())), max(highest, float(means.max()))
    return lowest, highest


def _windows(size: tuple[int, int], share: float) -> list[tuple[slice, slice]]:
    """Return windows of a plane, evenly spread over a share of either axis; share 1 covers it."""
    counts = [-(-length // _WINDOW) for length in size]
    starts = [
        [max(0, min(i * _WINDOW, length - _WINDOW)) for i in _spread(count, max(1, int(count * share)))]
        for length, count in zip(size, counts, strict=True)
    ]
    return [(slice(y, y + _WINDOW), slice(x, x + _WINDOW)) for y in starts[0] for x in starts[1]]


def _spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` indices, evenly, each in the middle of its share."""
    if count <= most:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]


def _area_means(block: NDArray[Any], area: tuple[int, int]) -> NDArray[np.float64]:
    """Average finite values of (z, y, x) over areas, the last of which overlap their neighbours; return those found."""
    area = (min(area[0], block.shape[1]), min(area[1], block.shape[2]))
    rows, columns = (_area_starts(n, a) for n, a in zip(block.shape[1:], area, strict=True))
    rows, columns = ((first[:, None] + np.arange(n)).ravel() for first, n in zip((rows, columns), area, strict=True))
    taken = block[:, rows[:, None], columns]
    if taken.dtype.kind != "f":
        return _area_sums(taken, area) / math.prod(area)
    finite = np.isfinite(taken)
    counts = _area_sums(finite, area)
    return _area_sums(np.where(finite, taken, 0), area)[counts > 0] / counts[counts > 0]


def _area_sums(taken: NDArray[Any], area: tuple[int, int]) -> NDArray[np.float64]:
    depth, height, width = taken.shape
    by_rows = taken.reshape(depth, height // area[0], area[0], width).sum(axis=2, dtype=np.float64)
    by_columns = by_rows.reshape(depth, height // area[0], width // area[1], area[1]).sum(axis=3)
    return np.asarray(by_columns).ravel()


def _area_starts(length: int, area: int) -> NDArray[np.intp]:
    starts = np.arange(0, length - area + 1, area)
    return starts if length % area == 0 else np.append(starts, length - area)
