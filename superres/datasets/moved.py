"""Volumes moved by a stated shift and cut to what they share, without anything being written.

A shift is in voxels of `high`, and says by how much `high` is moved to lie on `low`. Its whole part moves the window
that is read; what is left, at most half a voxel, is resampled by cubic splines, which damp the finest detail a little
(nothing at half the Nyquist frequency, a tenth at four fifths of it, for half a voxel). `low` is measured data and is
only ever cropped, by whole voxels, so that the grids stay whole multiples of each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as move

from superres.errors import InputError
from superres.volumes import Volume
from superres.volumes.axes import Region
from superres.volumes.volume import view_of

Triple = tuple[int, int, int]
Shift = tuple[float, float, float]

# Voxels around a block that decide its spline coefficients: what lies further away counts less than 1e-6.
_REACH = 12
# Voxels at the border that a cubic spline would have to invent.
_MARGIN = 2
# Voxels. Smaller ones are not worth resampling.
_SMALL = 1e-6


@dataclass(frozen=True, slots=True)
class MovedArray:
    """A window of a volume, read at positions that may lie between its voxels.

    Parameters
    ----------
    volume : Volume
        Where it is read from.
    origin : tuple of int
        ZYX of the first voxel.
    size : tuple of int
        ZYX voxels.
    rest : tuple of float
        ZYX, at most half a voxel: voxel ``i`` shows what lies at ``origin + i - rest``.
    """

    volume: Volume
    origin: Triple
    size: Triple
    rest: Shift

    @property
    def shape(self) -> tuple[int, ...]:
        """TCZYX."""
        return (*self.volume.shape[:2], *self.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the volume; float32 where voxels are resampled."""
        return self.volume.dtype if not any(self.rest) else np.dtype(np.float32)

    def __getitem__(self, region: Region, /) -> NDArray[Any]:
        """Read the region; slices have start, stop and step 1 within the shape."""
        times, channels, *window = region
        blocks = [
            np.stack([self._read(t, c, window) for c in range(channels.start, channels.stop)])
            for t in range(times.start, times.stop)
        ]
        return np.stack(blocks)

    def _read(self, t: int, c: int, window: list[slice]) -> NDArray[Any]:
        """Read (z, y, x), with as much around it as the splines need."""
        wanted, inside = [], []
        for part, origin, rest, size in zip(window, self.origin, self.rest, self.volume.shape[2:], strict=True):
            start, stop = part.start + origin, part.stop + origin
            reach = _REACH if rest else 0
            first = max(0, start - reach)
            wanted.append(slice(first, min(size, stop + reach)))
            inside.append(slice(start - first, stop - first))
        z, y, x = wanted
        block = self.volume.read(t=t, c=c, z=z, y=y, x=x)
        if any(self.rest):
            block = move(block.astype(np.float64), self.rest, order=3, mode="mirror").astype(np.float32)
        return block[tuple(inside)]


def move_pair(low: Volume, high: Volume, *, factor: Triple, shift: Shift) -> tuple[Volume, Volume]:
    """Move `high` by a shift and cut both volumes to the whole low voxels that they share.

    Parameters
    ----------
    low, high : Volume
        A real pair with as many time points and channels; `high` need not be a whole multiple of `low`.
    factor : tuple of int
        Upscaling along Z, Y, X.
    shift : tuple of float
        ZYX in voxels of `high`, by which it is moved to lie on `low`.

    Returns
    -------
    tuple of Volume
        `low` and `high`, lazy, one level each; `high` is `factor` times as large.

    Raises
    ------
    InputError
        When they have other numbers of time points or channels, or nothing is left.
    """
    if low.shape[:2] != high.shape[:2]:
        raise InputError(
            f"{high.source}: {high.shape[0]} time points and {high.shape[1]} channels, but {low.source} has "
            f"{low.shape[0]} and {low.shape[1]}; expected as many in both: split or crop the files"
        )
    spans = [shared_span(*axis) for axis in zip(low.shape[2:], high.shape[2:], factor, shift, strict=True)]
    if any(stop <= start for start, stop in spans):
        sizes = ["x".join(map(str, volume.shape[2:])) for volume in (low, high)]
        raise InputError(
            f"{high.source}: nothing is left of {sizes[1]} voxels (ZYX) moved by {_text(shift)} on {low.source} of "
            f"{sizes[0]} at factor {list(factor)}; correct 'shift' in the manifest: high voxels, Z, Y, X"
        )
    rests = tuple(_rest(s) for s in shift)
    first = tuple(start for start, _ in spans)
    size = tuple(stop - start for start, stop in spans)
    origin = tuple(a * f - round(s - r) for a, f, s, r in zip(first, factor, shift, rests, strict=True))
    fine = tuple(n * f for n, f in zip(size, factor, strict=True))
    return (
        _view(low, MovedArray(low, _triple(first), _triple(size), (0.0, 0.0, 0.0))),
        _view(high, MovedArray(high, _triple(origin), _triple(fine), (rests[0], rests[1], rests[2]))),
    )


def _text(shift: Shift) -> str:
    return "[" + ", ".join(f"{s:g}" for s in shift) + "]"


def _triple(values: tuple[int, ...]) -> Triple:
    return values[0], values[1], values[2]


def _rest(shift: float) -> float:
    """Return what a whole shift leaves."""
    rest = shift - math.floor(shift + 0.5)
    return 0.0 if abs(rest) < _SMALL else rest


def shared_span(low: int, high: int, factor: int, shift: float) -> tuple[int, int]:
    """Return the low voxels along one axis, first and past the last, whose high ones exist under the shift.

    Where voxels are resampled, the spline's margin belongs to what must exist; an image of one plane has none.
    """
    rest = _rest(shift)
    margin = _MARGIN if rest else 0
    whole = round(shift - rest)
    first, last = max(0, whole + margin), min(high, high + whole - margin)
    return -(-first // factor), min(low, last // factor)


def _view(volume: Volume, array: MovedArray) -> Volume:
    place = tuple(
        at + (0.0 if step is None else step * (origin - rest))
        for at, step, origin, rest in zip(volume.translation, volume.voxel_size, array.origin, array.rest, strict=True)
    )
    return view_of(volume, array, translation=place)
