"""What a TIFF declares against what it holds, checked when it is opened."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tifffile

from superres.errors import InputError
from superres.volumes.unchanged import Stamp

# One block above this size must have compressed at least plausibly, or a damaged header would fill the memory.
_LARGE_BLOCK = 2**28
_LARGEST_RATIO = 10_000
# ImageWidth, ImageLength, Compression, SamplesPerPixel, PlanarConfiguration, Predictor, TileWidth, TileLength
_ALIKE = {256, 257, 259, 277, 284, 317, 322, 323}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
# One read gets the header of a page with up to 20 tags of BigTIFF.
_USUAL_HEADER = 416


def check_mapped(level: tifffile.TiffPageSeries, offset: int, path: Path) -> None:
    """Check that voxels which lie in one piece are all there."""
    expected = math.prod(level.shape) * level.dtype.itemsize
    held = level.keyframe.parent.filehandle.size - offset
    if held < expected:
        raise InputError(
            f"{path}: truncated, {held} of {expected} bytes of voxels found for shape "
            f"{'x'.join(map(str, level.shape))}; copy or export the file again"
        )


def check_end(end: int, plane: int, file: Stamp) -> None:
    """Check that a plane ends within its file."""
    if end > file.size:
        raise InputError(
            f"{file.path}: truncated, plane {plane} ends at byte {end}, the file at byte {file.size}; "
            "copy or export it again"
        )


def check_paged(level: tifffile.TiffPageSeries, path: Path) -> None:
    """Check the declared shape against the pages, that all are alike, and that the first and last lie in their file."""
    keyframe = level.keyframe
    leading = level.shape[: len(level.shape) - keyframe.ndim]
    found = f"{len(level)} planes of {'x'.join(map(str, keyframe.shape))} found"
    declared = f"shape {'x'.join(map(str, level.shape))} declared"
    if math.prod(level.shape) != len(level) * math.prod(keyframe.shape):
        raise InputError(f"{path}: {declared}, {found}; the file is truncated, copy or export it again")
    if tuple(level.shape[len(leading) :]) != tuple(keyframe.shape):
        raise InputError(f"{path}: {declared}, {found}; superres reads Y and X from one plane, export the file again")
    missing = sum(page is None for page in level)
    if missing:
        raise InputError(f"{path}: {missing} of {len(level)} planes are missing; put all files of the set beside it")
    segments = math.prod(keyframe.chunked)
    block = math.prod(keyframe.chunks) * level.dtype.itemsize
    for page in {0: level[0], len(level) - 1: level[len(level) - 1]}.values():
        assert page is not None
        _check_page(page, segments, block, path)
    _check_alike([page for page in level if page is not None], path)


def _check_page(page: Any, segments: int, block: int, path: Path) -> None:
    """Check one page; damaged headers declare blocks that are absent, beyond the end, or absurdly large."""
    if len(page.dataoffsets) < segments or len(page.databytecounts) < segments:
        raise InputError(
            f"{path}: {len(page.dataoffsets)} of {segments} blocks of a plane found; the file is truncated"
        )
    handle = page.parent.filehandle
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if max(ends) > handle.size:
        raise InputError(
            f"{path}: truncated, a plane ends at byte {max(ends)}, the file at byte {handle.size}; "
            "copy or export it again"
        )
    if block > _LARGE_BLOCK and block > _LARGEST_RATIO * max(1, min(page.databytecounts)):
        raise InputError(f"{path}: a block of {block} bytes declared, which the file cannot hold; it is damaged")


def _check_alike(pages: Iterable[Any], path: Path) -> None:
    """Check that later pages have the size and encoding of the first, which tifffile takes for granted."""
    headers: dict[int, _Header] = {}
    first = None
    for number, page in enumerate(pages):
        keyframe = page.keyframe
        first = first or keyframe
        if (keyframe.shape, keyframe.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{page.parent.filehandle.path}: plane {number} has {'x'.join(map(str, keyframe.shape))} voxels of "
                f"type {keyframe.dtype}, plane 0 {'x'.join(map(str, first.shape))} of type {first.dtype}; planes of "
                "one size expected, export the set again"
            )
        # Virtual frames have no header of their own, and those of further files were read in full.
        if page is keyframe or not page.offset or page.parent.filehandle.closed:
            continue
        expected = headers.get(id(keyframe))
        if expected is None:
            expected = headers[id(keyframe)] = _Header(keyframe)
        if expected.is_like(page):
            continue
        found, wanted = _layout(page, _read_header(page)), expected.layout
        if found != wanted:
            tags = ", ".join(
                f"{tifffile.TIFF.TAGS[code]} {found.get(code)} instead of {wanted.get(code)}"
                for code in sorted(_ALIKE)
                if found.get(code) != wanted.get(code)
            )
            raise InputError(
                f"{path}: plane {number} is unlike plane 0 ({tags}); planes of one size expected, "
                "split the file into images of one size each"
            )


class _Header:
    """The header of a page, for a quick comparison with those of thousands of others.

    Parameters
    ----------
    page : tifffile.TiffPage
        Of which the header is read.
    """

    def __init__(self, page: Any) -> None:
        tiff = page.parent.tiff
        header = _read_header(page)
        self.layout = _layout(page, header)
        self._codes = header[:: tiff.tagsize], header[1 :: tiff.tagsize]
        starts = range(0, len(header), tiff.tagsize)
        order = tiff.byteorder + "H"
        alike = [start for start in starts if struct.unpack_from(order, header, start)[0] in _ALIKE]
        self._entries = [(start, start + tiff.tagsize, header[start : start + tiff.tagsize]) for start in alike]

    def is_like(self, page: Any) -> bool:
        """Whether a page has the same tags, and the same values in those that decide about its voxels' layout."""
        header, size = _read_header(page), page.parent.tiff.tagsize
        return self._codes == (header[::size], header[1::size]) and all(
            header[start:end] == entry for start, end, entry in self._entries
        )


def _read_header(page: Any) -> bytes:
    """Read the entries of a page's header, without their number and what follows them."""
    tiff, handle = page.parent.tiff, page.parent.filehandle
    handle.seek(page.offset)
    start: bytes = handle.read(_USUAL_HEADER)
    (count,) = struct.unpack_from(tiff.tagnoformat, start)
    end = tiff.tagnosize + count * tiff.tagsize
    if len(start) < end:
        handle.seek(page.offset + len(start))
        start += handle.read(end - len(start))
    return start[tiff.tagnosize : end]


def _layout(page: Any, header: bytes) -> dict[int, int]:
    """Return the values of the tags that decide about the layout of a page's voxels."""
    tiff = page.parent.tiff
    found: dict[int, int] = {}
    for code, kind, _, value in struct.iter_unpack(
        tiff.byteorder + ("HHI4s" if tiff.tagsize == 12 else "HHQ8s"), header
    ):
        if code in _ALIKE and kind in _INTEGERS:
            (found[code],) = struct.unpack_from(tiff.byteorder + _INTEGERS[kind], value)
    return found
