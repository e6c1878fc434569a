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
# A sample of this many planes, each of at most this many voxels, settles percentiles to well below the noise.
_PLANES = 32
_PLANE_VOXELS = 2**22
_WINDOW = 512
_WINDOWS_PER_AXIS = 4

_Plane = Callable[[slice, slice], NDArray[Any]]


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
        result: ArrayT = self._float32((self._wide(values) - self.black) / (self.white - self.black))
        return result

    def denormalise(self, values: ArrayT) -> ArrayT:
        """Map normalised values back to native grey levels, as float32."""
        result: ArrayT = self._float32(self._wide(values) * (self.white - self.black) + self.black)
        return result

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
    volume: Volume, rule: IntensityRule, *, factor: tuple[int, int, int] = (1, 1, 1)
) -> tuple[Intensity, ...]:
    """Measure black and white of every channel.

    A large volume is sampled: up to 32 planes, evenly spread over T and Z, and in each of them evenly spread windows.
    The sample depends on the shape alone.

    Parameters
    ----------
    volume : Volume
        The image.
    rule : IntensityRule
        Percentiles, and how many low-resolution voxels are averaged along Y and X.
    factor : tuple of int
        Voxels of `volume` per low-resolution voxel, ZYX: ``(1, 1, 1)`` for a low image, the model's factor for a high
        one, so that both are averaged over the same area.

    Returns
    -------
    tuple of Intensity
        One per channel.

    Raises
    ------
    InputError
        When a channel is constant, or holds no finite value.
    """
    name = str(volume.source)
    return tuple(
        _measure(_channel_planes(volume, c), volume.shape[3:], rule, factor, f"{name}: channel {_label(volume, c)}")
        for c in range(volume.shape[1])
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
        _measure([partial(_window_of, plane) for plane in channel], image.shape[2:], rule, factor, f"channel {c}")
        for c, channel in enumerate(image)
    )


def _channel_planes(volume: Volume, channel: int) -> list[_Plane]:
    return [
        partial(_read_window, volume, channel, t, z) for t in range(volume.shape[0]) for z in range(volume.shape[2])
    ]


def _read_window(volume: Volume, channel: int, t: int, z: int, y: slice, x: slice) -> NDArray[Any]:
    block = volume.read(t=t, c=channel, z=slice(z, z + 1), y=y, x=x)
    return block.reshape(block.shape[1:])


def _window_of(plane: NDArray[Any], y: slice, x: slice) -> NDArray[Any]:
    window: NDArray[Any] = plane[y, x]
    return window


def _measure(
    planes: Sequence[_Plane], size: tuple[int, int], rule: IntensityRule, factor: tuple[int, int, int], name: str
) -> Intensity:
    """Measure one channel from functions that read windows of its planes, each of `size` (y, x)."""
    area = (min(rule.average * factor[1], size[0]), min(rule.average * factor[2], size[1]))
    averages = _averages(planes, size, area, sparse=True)
    if averages.size == 0 or averages.min() == averages.max():
        # The sample missed whatever there is: look at everything before refusing.
        averages = _averages(planes, size, area, sparse=False)
    if averages.size == 0:
        raise InputError(f"{name} holds no finite value (all NaN or infinite); leave it out or replace the file")
    lowest, highest = float(averages.min()), float(averages.max())
    if lowest == highest:
        raise InputError(
            f"{name} is constant, every voxel is {lowest:g}; structure is expected, check the file or leave it out"
        )
    black, white = (float(value) for value in np.percentile(averages, rule.percentiles))
    # Sparse objects on an even background can leave both percentiles on the background.
    return Intensity(black, white) if white > black else Intensity(lowest, highest)


def _averages(
    planes: Sequence[_Plane], size: tuple[int, int], area: tuple[int, int], *, sparse: bool
) -> NDArray[np.float64]:
    """Average over areas of the planes; areas without a finite value are left out."""
    chosen = [planes[i] for i in _spread(len(planes), _PLANES)] if sparse else planes
    windows = _windows(size, sparse=sparse)
    found = [_area_means(plane(y, x), area) for plane in chosen for y, x in windows]
    return np.concatenate([means.ravel()[np.isfinite(means.ravel())] for means in found])


def _windows(size: tuple[int, int], *, sparse: bool) -> list[tuple[slice, slice]]:
    """Return the whole plane where it is small; windows of it, evenly spread or covering it, where it is large."""
    if math.prod(size) <= _PLANE_VOXELS:
        return [(slice(0, size[0]), slice(0, size[1]))]
    starts = []
    for length in size:
        count = -(-length // _WINDOW)
        spread = _spread(count, _WINDOWS_PER_AXIS) if sparse else range(count)
        starts.append([max(0, min(i * _WINDOW, length - _WINDOW)) for i in spread])
    return [(slice(y, y + _WINDOW), slice(x, x + _WINDOW)) for y in starts[0] for x in starts[1]]


def _spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` indices, evenly, ends included."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _area_means(plane: NDArray[Any], area: tuple[int, int]) -> NDArray[np.float64]:
    """Average finite values over areas; the last ones overlap their neighbours so that all are whole."""
    area = (min(area[0], plane.shape[0]), min(area[1], plane.shape[1]))
    rows, columns = (_area_starts(n, a) for n, a in zip(plane.shape, area, strict=True))
    taken = plane[np.ix_((rows[:, None] + np.arange(area[0])).ravel(), (columns[:, None] + np.arange(area[1])).ravel())]
    blocks = taken.reshape(len(rows), area[0], len(columns), area[1])
    if blocks.dtype.kind != "f":
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))
    finite = np.isfinite(blocks)
    counts = finite.sum(axis=(1, 3))
    sums = blocks.sum(axis=(1, 3), dtype=np.float64, where=finite)
    return np.asarray(np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0))


def _area_starts(length: int, area: int) -> NDArray[np.intp]:
    starts = np.arange(0, length - area + 1, area)
    return starts if length % area == 0 else np.append(starts, length - area)
