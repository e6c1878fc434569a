"""Arrays of a result that is still being written: fine voxels from the store, coarse ones as the worker sends them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Larger requests, when one zooms out before there is a pyramid, are answered by the coarse voxels.
_MOST_VOXELS = 1 << 24


class Coarse:
    """The coarse voxels of all channels of a result, black until they are sent.

    Parameters
    ----------
    shape : sequence of int
        TCZYX of the result.
    steps : sequence of int
        Voxels of the result along Z, Y, X per coarse voxel.
    dtype : str
        Of the result.
    """

    def __init__(self, shape: tuple[int, ...], steps: tuple[int, ...], dtype: str) -> None:
        space = [-(-n // step) for n, step in zip(shape[2:], steps, strict=True)]
        self.steps = tuple(steps)
        self.voxels: NDArray[Any] = np.zeros((*shape[:2], *space), dtype)

    def take(self, at: tuple[int, ...], picture: NDArray[Any]) -> None:
        """Take the picture (z, y, x) of a shard, at T, C and its first coarse voxel along Z, Y and X."""
        t, c, *first = at
        target = self.voxels[t, c]
        ends = [min(start + n, size) for start, n, size in zip(first, picture.shape, target.shape, strict=True)]
        place = tuple(slice(start, end) for start, end in zip(first, ends, strict=True))
        target[place] = picture[tuple(slice(0, end - start) for start, end in zip(first, ends, strict=True))]


class FineChannel:
    """One channel of a store that is being written, with the axes of a layer; for napari, which slices it.

    Parameters
    ----------
    store : Path
        The store.
    channel : int
        Of the store, counted from 0.
    axes : str
        Of the layer, some of TZYX.
    coarse : Coarse
        What is shown instead where too much is asked for at once.
    """

    def __init__(self, store: Path, channel: int, axes: str, coarse: Coarse) -> None:
        from superres.volumes import open_volume

        self._volume = open_volume(store / "0", axes="TCZYX")
        self._channel, self._axes, self._coarse = channel, axes, coarse
        sizes = dict(zip("TCZYX", self._volume.shape, strict=True))
        self.shape = tuple(sizes[letter] for letter in axes)
        self.dtype = self._volume.dtype
        self.ndim = len(axes)
        self.size = int(np.prod(self.shape))

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read by slices and integers along the layer's axes."""
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, *[slice(None)] * (self.ndim - len(index)))
        by_letter = dict(zip(self._axes, index, strict=True))
        wanted = [_span(by_letter.get(letter, 0), n) for letter, n in zip("TZYX", self._sizes(), strict=True)]
        block = self._read(*wanted)
        kept = tuple(
            0 if not isinstance(by_letter.get(letter, 0), slice) else slice(None, None, by_letter[letter].step)
            for letter in "TZYX"
        )
        found: NDArray[Any] = block[kept]
        return found

    def _sizes(self) -> tuple[int, int, int, int]:
        t, _, z, y, x = self._volume.shape
        return t, z, y, x

    def _read(self, t: slice, z: slice, y: slice, x: slice) -> NDArray[Any]:
        spans = (t, z, y, x)
        if np.prod([float(span.stop - span.start) for span in spans]) > _MOST_VOXELS:
            return self._from_coarse(t, (z, y, x))
        return np.stack([self._volume.read(t=time, c=self._channel, z=z, y=y, x=x) for time in range(t.start, t.stop)])

    def _from_coarse(self, t: slice, place: tuple[slice, slice, slice]) -> NDArray[Any]:
        block = self._coarse.voxels[t, self._channel]
        for axis, (part, step) in enumerate(zip(place, self._coarse.steps, strict=True), start=1):
            index = np.minimum(np.arange(part.start, part.stop) // step, block.shape[axis] - 1)
            block = block.take(index, axis=axis)
        return block


def coarse_channel(coarse: Coarse, channel: int, axes: str) -> NDArray[Any]:
    """Return a view of one channel of coarse voxels with the axes of a layer; it fills as they are sent."""
    shown: NDArray[Any] = of_layer(coarse.voxels[:, channel], axes)
    return shown


def of_layer(levels: Any, axes: str) -> Any:
    """Return an array TZYX with the axes of a layer: those that the layer lacks are of length 1."""
    return levels[tuple(slice(None) if letter in axes else 0 for letter in "TZYX")]


def picture_of(told: Mapping[str, Any]) -> NDArray[Any] | None:
    """Take the picture that a worker wrote; None where it is gone."""
    path = Path(told["picture"])
    try:
        picture: NDArray[Any] = np.load(path)
        path.unlink(missing_ok=True)
    except (OSError, ValueError):
        return None
    return picture


def _span(item: Any, length: int) -> slice:
    if isinstance(item, slice):
        start, stop, _ = item.indices(length)
        return slice(start, max(start, stop))
    index = int(item) + (length if int(item) < 0 else 0)
    return slice(index, index + 1)
