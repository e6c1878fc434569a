"""TIFF files: plain, ImageJ hyperstacks, OME-TIFF (also pyramidal and multi-file), any compression tifffile knows.

A file must hold every plane that it declares; that is checked when it is opened, block by block again when it is read.
Values are those stored: where the metadata say that zero is white (MINISWHITE) they are not turned round, and images of
one bit are 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from superres.errors import InputError
from superres.volumes.axes import FileArray, TczyxArray, resolve_axes
from superres.volumes.ndtiff import beside_ndtiff_index, images_in_ndtiff, open_ndtiff
from superres.volumes.parts import choose_image
from superres.volumes.tiff_arrays import PagedTiff, PickedAxis
from superres.volumes.tiff_checks import check_end, check_mapped, check_paged
from superres.volumes.tiff_damage import damage_is_an_error
from superres.volumes.tiff_metadata import read_calibration
from superres.volumes.tiff_ome import open_described
from superres.volumes.tiff_raw import RawTiff
from superres.volumes.unchanged import Stamp
from superres.volumes.volume import Volume, make_volume

_PALETTE = 3
_NAMES = {
    "imagej": "ImageJ TIFF",
    "ome": "OME-TIFF",
    "lsm": "LSM",
    "stk": "MetaMorph TIFF",
    "mmstack": "Micro-Manager TIFF",
    "fluoview": "FluoView TIFF",
    "scanimage": "ScanImage TIFF",
}
# What scanners put beside the image itself.
_BESIDE_THE_IMAGE = {"thumbnail", "label", "macro", "map", "overview"}


@dataclass(frozen=True, slots=True)
class _Image:
    """One of the images of a file: a series, or one position of a series."""

    name: str
    series: tifffile.TiffPageSeries
    number: int
    position: int | None = None


def open_tiff(
    path: Path, *, part: str | None = None, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open a TIFF lazily, after checking that it holds every plane that it declares.

    Parameters
    ----------
    path : Path
        The file; of an OME-TIFF set any part of it or its companion file.
    part : str, optional
        Which of several images: its name, or its number, the first being 0.
    axes, voxel_size
        As `superres.volumes.open_volume`.

    Raises
    ------
    InputError
        When the file is damaged, truncated or lacks files of its set, holds colours or several images, or its axes
        cannot be told.
    """
    if beside_ndtiff_index(path):
        return open_ndtiff(path, part=part, axes=axes, voxel_size=voxel_size)
    with damage_is_an_error(path):
        described = open_described(path)
        with described.file as file:
            images = _images(file, path)
            sizes = [_sizes(image) for image in images]
            image = images[choose_image([image.name for image in images], part, path, sizes=sizes)]
            series = image.series
            _refuse_palette(series, path)
            found, shape = series.axes, series.shape
            if image.position is not None:
                place = found.index("R")
                found, shape = found[:place] + found[place + 1 :], shape[:place] + shape[place + 1 :]
            letters = resolve_axes(found, shape, given=axes, path=path)
            files = described.members or _files(series, path)
            arrays = _arrays(image, path, files)
            return make_volume(
                [TczyxArray(array, letters) for array in arrays],
                read_calibration(file, series),
                axes=letters,
                format=_NAMES.get(series.kind, "TIFF"),
                source=path,
                voxel_size=voxel_size,
                files=files,
                part=part,
            )


def images_in_tiff(path: Path) -> tuple[str, ...]:
    """List the images of a TIFF by name, or by number where names are missing or alike; empty for a single image.

    Raises
    ------
    InputError
        When the file is damaged.
    """
    if beside_ndtiff_index(path):
        return images_in_ndtiff(path)
    with damage_is_an_error(path):
        described = open_described(path)
        with described.file as file:
            names = tuple(image.name for image in _images(file, path))
    return names if len(names) > 1 else ()


def _images(file: tifffile.TiffFile, path: Path) -> list[_Image]:
    """Find the images of a file, without thumbnails, masks and the labels of slides."""
    if not file.series:
        raise InputError(f"{path}: no image found in this TIFF; copy or export the file again")
    if file.is_imagej and file.series[0].kind != "imagej":
        held = len(file.pages)
        short = f"the file holds {held}" if held < _declared(file) else "the voxels of the last one are cut short"
        raise InputError(
            f"{path}: ImageJ metadata declare {_declared(file)} planes, {short}; it is truncated, copy or export it "
            "again"
        )
    numbered = list(enumerate(file.series))
    proper = [(number, series) for number, series in numbered if not _is_beside(series)] or numbered
    if len(proper) == 1 and "R" in proper[0][1].axes:
        number, series = proper[0]
        count = series.shape[series.axes.index("R")]
        return [_Image(str(place), series, number, place) for place in range(count)]
    names = [series.name for _, series in proper]
    distinct = all(names) and len(set(names)) == len(names)
    return [
        _Image(series.name if distinct else str(place), series, number) for place, (number, series) in enumerate(proper)
    ]


def _is_beside(series: tifffile.TiffPageSeries) -> bool:
    keyframe = series.keyframe
    return keyframe.is_reduced or keyframe.is_mask or series.name.lower() in _BESIDE_THE_IMAGE


def _sizes(image: _Image) -> str:
    return f"{image.series.axes} {'x'.join(map(str, image.series.shape))}"


def _declared(file: tifffile.TiffFile) -> int:
    metadata = file.imagej_metadata or {}
    product = math.prod(int(metadata.get(name, 1)) for name in ("channels", "slices", "frames"))
    return max(product, int(metadata.get("images", 1)))


def _refuse_palette(series: tifffile.TiffPageSeries, path: Path) -> None:
    keyframe = series.keyframe
    if keyframe.photometric == _PALETTE and series.kind != "imagej" and not _grey_palette(keyframe.colormap):
        raise InputError(
            f"{path}: colours of a palette found, one intensity per voxel expected; convert the image to grey levels"
        )


def _grey_palette(colormap: Any) -> bool:
    """Whether a palette only displays intensities: it gets brighter with the value."""
    if colormap is None:
        return True
    brightness = colormap.astype(float).sum(axis=0)
    return bool((brightness[1:] >= brightness[:-1]).all())


def _arrays(image: _Image, path: Path, files: tuple[Path, ...]) -> list[FileArray]:
    stamps = tuple(map(Stamp.of, dict.fromkeys((path, *files))))
    arrays: list[FileArray] = []
    for number, level in enumerate(image.series.levels):
        if level.axes != image.series.axes:
            break  # a pyramid that drops axes cannot be shown as one image
        array = _array(level, (image.number, number), stamps)
        if image.position is not None:
            array = PickedAxis(array, level.axes.index("R"), image.position)
        arrays.append(array)
    return arrays


def _array(level: tifffile.TiffPageSeries, place: tuple[int, int], stamps: tuple[Stamp, ...]) -> FileArray:
    path, keyframe = stamps[0].path, level.keyframe
    shape = tuple(int(size) for size in level.shape)
    dtype = level.dtype.newbyteorder(keyframe.parent.byteorder)
    numbers = {str(stamp.path.resolve()): number for number, stamp in enumerate(stamps)}
    offset = level.dataoffset
    if offset is not None and not level.is_multifile:
        check_mapped(level, offset, path)
        owner = numbers[keyframe.parent.filehandle.path]
        return RawTiff((stamps[owner],), np.zeros(1, np.int64), np.array([offset]), shape, len(shape), dtype)
    check_paged(level, path)
    pages: list[Any] = list(level)
    if keyframe.is_final and all(_in_one_run(page, keyframe) for page in pages):
        parents = {id(page.parent): page.parent for page in pages}
        by_parent = {key: numbers[parent.filehandle.path] for key, parent in parents.items()}
        owners = [by_parent[id(page.parent)] for page in pages]
        starts = [page.dataoffsets[0] for page in pages]
        for plane, (owner, start) in enumerate(zip(owners, starts, strict=True)):
            check_end(start + keyframe.nbytes, plane, stamps[owner])
        return RawTiff(stamps, np.array(owners), np.array(starts), shape, keyframe.ndim, dtype)
    block = (*(1 for _ in shape[: len(shape) - keyframe.ndim]), *keyframe.chunks)
    # Bits are unpacked to truth values; as intensities they are 0 and 1.
    native = np.dtype(np.uint8) if dtype.kind == "b" else level.dtype
    return PagedTiff(stamps, place, shape, native, block)


def _in_one_run(page: Any, keyframe: Any) -> bool:
    """Whether the strips of a page are uncompressed and follow each other."""
    starts, counts = page.dataoffsets, page.databytecounts
    scattered = any(a + n != b for a, n, b in zip(starts, counts, starts[1:], strict=False))
    alike = sum(counts) == keyframe.nbytes and page.parent.byteorder == keyframe.parent.byteorder
    return alike and not scattered


def _files(series: tifffile.TiffPageSeries, path: Path) -> tuple[Path, ...]:
    if not series.is_multifile:
        return ()
    return tuple(sorted({Path(page.parent.filehandle.path) for page in series if page is not None} | {path}))
