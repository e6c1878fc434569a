"""Uncompressed voxels of TIFF files: read straight from where they lie, without tifffile.

Long runs of bytes are read into the result; short ones (the rows of a tile) are copied out of a memory map, because a
system call for each would cost more than the copy. Nothing stays open or mapped after a read.
"""

from __future__ import annotations

import io
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import Region
from superres.volumes.unchanged import Stamp

_SHORT_RUN = 2**15


@dataclass(frozen=True, slots=True, eq=False)
class RawTiff:
    """Pieces of voxels, each lying in one run of bytes: a whole stack, or one piece per plane, in one or many files.

    Parameters
    ----------
    files : tuple of Stamp
        The files as they were when they were opened.
    owner : ndarray of int
        For each piece the number of its file.
    offsets : ndarray of int
        For each piece the bytes before its first voxel.
    shape : tuple of int
        Axes in file order; the last `piece_ndim` of them are those of a piece.
    piece_ndim : int
        Axes of a piece.
    dtype : numpy.dtype
        With the file's byte order.
    """

    files: tuple[Stamp, ...]
    owner: NDArray[np.int64]
    offsets: NDArray[np.int64]
    shape: tuple[int, ...]
    piece_ndim: int
    dtype: np.dtype[Any]

    def __getitem__(self, region: Region) -> NDArray[Any]:
        result = np.empty([item.stop - item.start for item in region], self.dtype)
        if result.size == 0:
            return result
        lead = len(self.shape) - self.piece_ndim
        pieces = result.reshape(-1, *result.shape[lead:])
        for number, handle, numbers in self._by_file(self._numbers(region[:lead])):
            for position in numbers:
                offset = int(self.offsets[number[position]])
                _read_piece(handle, offset, self.shape[lead:], region[lead:], pieces[position])
        # Turned round where they are: a copy would double the memory.
        return result if self.dtype.isnative else result.byteswap(inplace=True).view(self.dtype.newbyteorder("="))

    def _numbers(self, leading: Region) -> NDArray[np.int64]:
        """Return which pieces a region touches, in the order of the result."""
        grid = np.arange(len(self.offsets)).reshape(self.shape[: len(leading)])
        return np.asarray(grid[leading], np.int64).reshape(-1)

    def _by_file(self, numbers: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], io.FileIO, list[int]]]:
        """Open every file that holds some of the pieces once; yields the positions of its pieces in the result."""
        owners = self.owner[numbers]
        for owner in dict.fromkeys(owners.tolist()):
            stamp = self.files[owner]
            stamp.check()
            try:
                with io.FileIO(stamp.path) as handle:
                    yield numbers, handle, np.flatnonzero(owners == owner).tolist()
            except OSError as error:
                raise InputError(f"{stamp.path}: cannot be read ({error.strerror}); check that it is there") from None


def _read_piece(handle: io.FileIO, offset: int, shape: tuple[int, ...], region: Region, out: NDArray[Any]) -> None:
    """Fill `out` (contiguous) with a region of the piece that starts at byte `offset`."""
    split = len(shape)
    while split and (region[split - 1].start, region[split - 1].stop) == (0, shape[split - 1]):
        split -= 1
    split = max(0, split - 1)  # the last axis that is cut still makes one run with all behind it
    strides = [math.prod(shape[axis + 1 :]) * out.itemsize for axis in range(len(shape))]
    run = math.prod(out.shape[split:]) * out.itemsize
    if run < _SHORT_RUN and split:
        _copy_mapped(handle, offset, shape, region, out)
        return
    first = offset + sum(item.start * stride for item, stride in zip(region, strides, strict=True))
    for index in np.ndindex(out.shape[:split]):
        start = first + sum(i * stride for i, stride in zip(index, strides, strict=False))
        _read_run(handle, start, out[index].reshape(-1).view(np.uint8))


def _read_run(handle: io.FileIO, start: int, out: NDArray[np.uint8]) -> None:
    handle.seek(start)
    view = memoryview(out)  # type: ignore[arg-type]  # NumPy arrays are buffers; the stubs of 3.11 do not say so
    while view.nbytes:
        count = handle.readinto(view)
        if not count:
            raise _too_short(handle, start + out.nbytes)
        view = view[count:]


def _copy_mapped(handle: io.FileIO, offset: int, shape: tuple[int, ...], region: Region, out: NDArray[Any]) -> None:
    stride = math.prod(shape[1:]) * out.itemsize
    first, last = offset + region[0].start * stride, offset + region[0].stop * stride
    aligned = first // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    try:
        mapped = mmap.mmap(handle.fileno(), last - aligned, offset=aligned, access=mmap.ACCESS_READ)
    except (ValueError, OSError):
        raise _too_short(handle, last) from None
    with mapped:
        rows = np.ndarray((region[0].stop - region[0].start, *shape[1:]), out.dtype, mapped, offset=first - aligned)
        np.copyto(out, rows[(slice(None), *region[1:])])
        del rows


def _too_short(handle: io.FileIO, needed: int) -> InputError:
    return InputError(
        f"{handle.name!s}: changed or truncated, its voxels reach byte {needed}; copy or export the file again"
    )
