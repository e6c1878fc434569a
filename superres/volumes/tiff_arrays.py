"""Voxels of TIFF series that are compressed, tiled or packed: decoded segment by segment.

`tifffile.aszarr` is not used: its chunk is a whole plane and it cannot be pickled.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import FileArray, Region
from superres.volumes.cores import on_all_cores
from superres.volumes.tiff_damage import damage_is_an_error
from superres.volumes.tiff_decoding import ScratchDecoder
from superres.volumes.tiff_ome import open_described
from superres.volumes.unchanged import Stamp

# Decoded strips or tiles kept: enough for the strips below one tile of a 64-plane slab of 2048-voxel rows.
_CACHE_BYTES = 256 * 2**20


class PagedTiff:
    """A series of compressed, tiled or packed pages; only the strips or tiles of a region are decoded.

    Parameters
    ----------
    files : tuple of Stamp
        The files as they were when they were opened; the first is the one to open.
    place : tuple of int
        Number of the series in the file, and its pyramid level, 0 the finest.
    shape : tuple of int
        Axes in file order; the last ones are those of a page.
    dtype : numpy.dtype
        Native byte order.
    block : tuple of int
        Voxels of one strip or tile, axes in file order.
    """

    def __init__(
        self,
        files: tuple[Stamp, ...],
        place: tuple[int, int],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        block: tuple[int, ...],
    ) -> None:
        self.files = files
        self.path = files[0].path
        self.place = place
        self.shape = shape
        self.dtype = dtype
        self.block = block
        self._lock = threading.RLock()
        self._series: tifffile.TiffPageSeries | None = None
        self._cache: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self._cached = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return PagedTiff, (self.files, self.place, self.shape, self.dtype, self.block)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        self.files[0].check()
        series = self._open()
        page_ndim = series.keyframe.ndim
        leading = region[: len(region) - page_ndim]
        page_region = region[len(region) - page_ndim :]
        block = np.empty([item.stop - item.start for item in region], self.dtype)
        if block.size == 0:
            return block
        pages = block.reshape(-1, *block.shape[len(leading) :])
        positions = itertools.product(*(range(item.start, item.stop) for item in leading))
        checked: set[str] = set()
        layouts: dict[int, _Layout] = {}
        wanted: list[_Wanted] = []
        for plane, position in zip(pages, positions, strict=True):
            index = int(np.ravel_multi_index(position, self.shape[: len(leading)])) if position else 0
            page = self._page(series, index)
            self._check_file(page, checked)
            layout = layouts.setdefault(id(page.keyframe), _Layout(page.keyframe, page_region))
            target = plane.reshape([item.stop - item.start for item in layout.region])
            wanted += [_Wanted(page, index, layout, piece, target) for piece in layout.pieces]
        on_all_cores(self._fill, wanted)
        return block

    def _page(self, series: tifffile.TiffPageSeries, index: int) -> Any:
        with self._lock:  # tifffile may read the header of the page only now
            page = series[index]
        if page is None:
            raise InputError(f"{self.path}: plane {index} is missing; the file is truncated or part of a set")
        return page

    def _check_file(self, page: Any, checked: set[str]) -> None:
        """Check that the file of a page has not changed, once per read."""
        name = page.parent.filehandle.path
        if name not in checked:
            checked.add(name)
            for stamp in self.files[1:]:
                if str(stamp.path.resolve()) == name:
                    stamp.check()

    def _open(self) -> tifffile.TiffPageSeries:
        with self._lock:
            if self._series is None:
                with damage_is_an_error(self.path):
                    file = open_described(self.path).file
                    weakref.finalize(self, file.close)
                    self._series = file.series[self.place[0]].levels[self.place[1]]
            return self._series

    def _fill(self, wanted: Sequence[_Wanted]) -> None:
        """Decode strips or tiles into their places."""
        decoders: dict[int, ScratchDecoder | None] = {}
        for page, plane, layout, piece, target in wanted:
            if id(layout) not in decoders:
                usual = layout.keyframe.dtype == self.dtype
                decoders[id(layout)] = ScratchDecoder.of(layout.keyframe, layout.grid.block) if usual else None
            decoder = decoders[id(layout)]
            place = target[piece.destination]
            # A piece that this way cannot decode is read again: it is damaged, which the usual way can explain.
            if piece.whole and decoder and decoder.decode(self._read_segment(page, plane, piece.segment), place):
                continue
            key = (plane, piece.segment)
            kept = self._kept(key)
            data = self._decode(page, plane, piece.segment) if kept is None else kept
            used = data[piece.source]
            place[...] = used
            # What is used whole will hardly be asked for again, and keeping it costs more than copying it.
            if kept is None and used.size < data.size:
                self._keep(key, data)

    def _kept(self, key: tuple[int, int]) -> NDArray[Any] | None:
        with self._lock:
            data = self._cache.get(key)
            if data is not None:
                self._cache.move_to_end(key)
            return data

    def _keep(self, key: tuple[int, int], data: NDArray[Any]) -> None:
        with self._lock:
            if key not in self._cache:
                self._cache[key] = data
                self._cached += data.nbytes
            while self._cached > _CACHE_BYTES and len(self._cache) > 1:
                self._cached -= self._cache.popitem(last=False)[1].nbytes

    def _decode(self, page: Any, index: int, segment: int) -> NDArray[Any]:
        """Return a decoded strip or tile, (sample, depth, length, width, sample)."""
        keyframe = page.keyframe
        arguments: dict[str, Any] = {"_fullsize": False}
        if keyframe.compression in {6, 7, 34892, 33007}:  # the JPEG family keeps its tables outside the segments
            arguments |= {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        encoded = self._read_segment(page, index, segment)
        try:
            data, _, shape = keyframe.decode(encoded, segment, **arguments)
        # tifffile and the codecs of imagecodecs raise these on damaged data
        except (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.path}: plane {index}, block {segment} cannot be decoded ({_one_line(error)}); "
                "the file is damaged, copy or export it again"
            ) from None
        if data is None or data.size < math.prod(shape):
            raise InputError(f"{self.path}: plane {index}, block {segment} holds too few voxels; the file is truncated")
        result: NDArray[Any] = np.asarray(data, dtype=self.dtype).reshape(1, *shape)
        return result

    def _read_segment(self, page: Any, index: int, segment: int) -> bytes:
        if segment >= min(len(page.dataoffsets), len(page.databytecounts)):
            raise InputError(f"{self.path}: plane {index} lacks block {segment}; the file is damaged")
        offset, count = page.dataoffsets[segment], page.databytecounts[segment]
        with self._lock:
            handle = page.parent.filehandle
            closed = handle.closed  # the further files of a multi-file set are opened only while they are read
            try:
                if closed:
                    handle.open()
                handle.seek(offset)
                encoded: bytes = handle.read(count)
            except OSError as error:
                raise InputError(f"{handle.path}: cannot be read ({error.strerror}); check that it is there") from None
            except (OverflowError, TypeError, ValueError) as error:  # offsets that are no whole numbers, or too large
                raise InputError(
                    f"{handle.path}: plane {index}, block {segment} has no usable place ({_one_line(error)}); "
                    "the file is damaged, copy or export it again"
                ) from None
            finally:
                if closed and not handle.closed:
                    handle.close()
        if count == 0 or len(encoded) < count:
            raise InputError(
                f"{handle.path}: plane {index}, block {segment} holds {len(encoded)} of {count} bytes; "
                "the file is truncated, copy or export it again"
            )
        return encoded


class _Piece(NamedTuple):
    """A strip or tile, what of it is wanted, where that goes, and whether it is wanted whole."""

    segment: int
    source: Region
    destination: Region
    whole: bool


class _Layout:
    """How the pages of one keyframe are cut up, and what of each is wanted.

    Pages have axes (sample, depth, length, width, sample) inside tifffile, most of them of length 1.
    """

    def __init__(self, keyframe: Any, region: Region) -> None:
        self.keyframe = keyframe
        self.grid = _SegmentGrid(keyframe)
        self.region = _expand(region, keyframe)
        self.pieces = [self._piece(segment) for segment in self.grid.overlapping(self.region)]

    def _piece(self, segment: int) -> _Piece:
        start, block = self.grid.start(segment), self.grid.block
        source, destination = _overlap(self.region, start, block)
        return _Piece(
            segment, source, destination, whole=all(s.stop - s.start == n for s, n in zip(source, block, strict=True))
        )


class _Wanted(NamedTuple):
    """A piece of a plane to be decoded; `target` is the plane's part of the result, with the axes of `_Layout`."""

    page: Any
    plane: int
    layout: _Layout
    piece: _Piece
    target: NDArray[Any]


class _SegmentGrid:
    """Where the strips or tiles of a page lie, in axes (sample, depth, length, width, sample)."""

    def __init__(self, keyframe: Any) -> None:
        samples, depth, length, width, contig = keyframe.shaped
        if keyframe.is_tiled:
            block = (1, keyframe.tiledepth, keyframe.tilelength, keyframe.tilewidth, contig)
        else:
            block = (1, 1, min(keyframe.rowsperstrip or length, length), width, contig)
        self.block = block
        self.counts = [-(-size // step) for size, step in zip((samples, depth, length, width), block, strict=False)]

    def overlapping(self, region: Region) -> list[int]:
        """Return the indices of the segments that a region touches."""
        ranges = [
            range(item.start // step, -(-item.stop // step)) for item, step in zip(region, self.block[:4], strict=False)
        ]
        return [int(np.ravel_multi_index(position, self.counts)) for position in itertools.product(*ranges)]

    def start(self, segment: int) -> tuple[int, ...]:
        """Return the first voxel of a segment."""
        position = np.unravel_index(segment, self.counts)
        return (*(int(p) * step for p, step in zip(position, self.block, strict=False)), 0)


def _expand(region: Region, keyframe: Any) -> Region:
    """Give a region over a page's axes the five axes (sample, depth, length, width, sample) of tifffile's pages."""
    axes = keyframe.axes
    one = slice(0, 1)
    return (
        region[0] if axes[0] == "S" else one,
        region[axes.index("Z")] if "Z" in axes else one,
        region[axes.index("Y")],
        region[axes.index("X")],
        region[-1] if axes[-1] == "S" else one,
    )


def _overlap(region: Region, start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Region, Region]:
    """Return what of a segment lies in `region`, and where in it."""
    source, destination = [], []
    for item, first, size in zip(region, start, shape, strict=True):
        begin, end = max(item.start, first), min(item.stop, first + size)
        source.append(slice(begin - first, end - first))
        destination.append(slice(begin - item.start, end - item.start))
    return tuple(source), tuple(destination)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class PickedAxis:
    """An array without one of its axes, of which one position is taken.

    Parameters
    ----------
    inner : FileArray
        The whole array.
    axis : int
        The axis to leave out.
    position : int
        What is taken along it.
    """

    def __init__(self, inner: FileArray, axis: int, position: int) -> None:
        self.inner = inner
        self.axis = axis
        self.position = position
        self.shape = (*inner.shape[:axis], *inner.shape[axis + 1 :])
        self.dtype = inner.dtype
        block = getattr(inner, "block", ())
        self.block: tuple[int, ...] = (*block[:axis], *block[axis + 1 :])

    def __getitem__(self, region: Region) -> NDArray[Any]:
        taken = slice(self.position, self.position + 1)
        return self.inner[(*region[: self.axis], taken, *region[self.axis :])].squeeze(self.axis)
