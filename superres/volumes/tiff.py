"""TIFF files: plain, ImageJ hyperstacks, OME-TIFF (also pyramidal and multi-file), any compression tifffile knows.

A file must hold every plane that it declares; that is checked when it is opened, block by block again when it is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile

from superres.errors import InputError
from superres.volumes.axes import FileArray, TczyxArray, resolve_axes
from superres.volumes.tiff_arrays import MappedTiff, PagedTiff
from superres.volumes.tiff_damage import damage_is_an_error, open_tifffile
from superres.volumes.tiff_metadata import read_calibration
from superres.volumes.volume import Volume, make_volume

_PALETTE = 3
_NAMES = {"imagej": "ImageJ TIFF", "ome": "OME-TIFF", "ndtiff": "NDTiff", "lsm": "LSM"}
# One block above this size must have compressed at least plausibly, or a damaged header would fill the memory.
_LARGE_BLOCK = 2**28
_LARGEST_RATIO = 10_000


def open_tiff(path: Path, *, axes: str | None = None, voxel_size: Sequence[float] | None = None) -> Volume:
    """Open a TIFF lazily, after checking that it holds every plane that it declares.

    Raises
    ------
    InputError
        When the file is damaged, truncated or one of a set, holds colours, or its axes cannot be told.
    """
    with damage_is_an_error(path):
        file = open_tifffile(path)
        with file:
            series = _first_series(file, path)
            letters = resolve_axes(series.axes, series.shape, given=axes, path=path)
            arrays = [TczyxArray(array, letters) for array in _arrays(file, series, path)]
            return make_volume(
                arrays,
                read_calibration(file, series),
                axes=letters,
                format=_NAMES.get(series.kind, "TIFF"),
                source=path,
                voxel_size=voxel_size,
                files=_files(series, path),
            )


def _first_series(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """Return the first image, refusing what is not an image of its own."""
    xml = file.ome_metadata or ""
    match = re.search(r'BinaryOnly[^>]*MetadataFile="([^"]*)"', xml)
    if match is not None:
        raise InputError(
            f"{path}: one part of the OME-TIFF set described in {match[1]}, which superres does not read; "
            "export the set as one OME-TIFF or OME-Zarr"
        )
    if not file.series:
        raise InputError(f"{path}: no image found in this TIFF; copy or export the file again")
    series = file.series[0]
    if file.is_imagej and series.kind != "imagej":
        raise InputError(
            f"{path}: ImageJ metadata declare {_declared(file)} planes, the file holds {len(file.pages)}; "
            "it is truncated, copy or export it again"
        )
    keyframe = series.keyframe
    if keyframe.photometric == _PALETTE and series.kind != "imagej" and not _grey_palette(keyframe.colormap):
        raise InputError(
            f"{path}: colours of a palette found, one intensity per voxel expected; convert the image to grey levels"
        )
    return series


def _declared(file: tifffile.TiffFile) -> int:
    metadata = file.imagej_metadata or {}
    product = math.prod(int(metadata.get(name, 1)) for name in ("channels", "slices", "frames"))
    return max(product, int(metadata.get("images", 1)))


def _grey_palette(colormap: Any) -> bool:
    """Whether a palette only displays intensities: it gets brighter with the value."""
    if colormap is None:
        return True
    brightness = colormap.astype(float).sum(axis=0)
    return bool((brightness[1:] >= brightness[:-1]).all())


def _arrays(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> list[FileArray]:
    arrays: list[FileArray] = []
    for number, level in enumerate(series.levels):
        if level.axes != series.axes:
            break  # a pyramid that drops axes cannot be shown as one image
        offset = level.dataoffset
        if offset is not None:
            dtype = level.dtype.newbyteorder(file.byteorder)
            _check_mapped(file, level, offset, path)
            arrays.append(MappedTiff(path, offset, tuple(level.shape), dtype))
        else:
            _check_paged(level, path)
            arrays.append(PagedTiff(path, number, tuple(level.shape), level.dtype))
    return arrays


def _check_mapped(file: tifffile.TiffFile, level: tifffile.TiffPageSeries, offset: int, path: Path) -> None:
    expected = math.prod(level.shape) * level.dtype.itemsize
    held = file.filehandle.size - offset
    if held < expected:
        raise InputError(
            f"{path}: truncated, {held} of {expected} bytes of voxels found for shape "
            f"{'x'.join(map(str, level.shape))}; copy or export the file again"
        )


def _check_paged(level: tifffile.TiffPageSeries, path: Path) -> None:
    """Check the declared shape against the pages, and that the first and last page lie inside their file."""
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


def _files(series: tifffile.TiffPageSeries, path: Path) -> tuple[Path, ...]:
    if not series.is_multifile:
        return ()
    return tuple(sorted({Path(page.parent.filehandle.path) for page in series if page is not None} | {path}))
