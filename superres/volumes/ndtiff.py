"""NDTiff, versions 2 and 3: what Micro-Manager and Pycro-Manager write.

A folder with ``NDTiff.index`` and TIFF files; the index names for every plane its place on the axes, its file and where
its voxels begin, so that the TIFF headers are not needed. Positions, and the rows and columns of a tiled acquisition,
are images of their own.

Format: https://github.com/micro-manager/NDTiffStorage
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from superres.errors import InputError
from superres.volumes.axes import TczyxArray, resolve_axes
from superres.volumes.parts import choose_image
from superres.volumes.tiff_raw import RawTiff
from superres.volumes.unchanged import Stamp
from superres.volumes.units import to_micrometre, to_second
from superres.volumes.volume import Calibration, Volume, make_volume

_INDEX = "NDTiff.index"
_FULL = "Full resolution"
_MAGIC = 483729
_LETTERS = {"time": "T", "channel": "C", "z": "Z"}
_DTYPES = {0: "u1", 1: "u2", 3: "u2", 4: "u2", 5: "u2", 6: "u2"}
_RGB = 2
_LONGEST_ENTRY = 2**20

Place = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class _Plane:
    """One entry of the index."""

    place: Place
    file: str
    offset: int
    shape: tuple[int, int]
    pixel_type: int
    compression: int
    metadata: tuple[int, int]


@dataclass(slots=True)
class _Image:
    """The planes of one position (or tile): axes other than time, channel and z have one value."""

    name: str
    planes: list[_Plane] = field(default_factory=list)


def beside_ndtiff_index(path: Path) -> bool:
    """Whether a TIFF file belongs to an NDTiff folder."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    if len(start) < 12 or start[:2] not in (b"II", b"MM"):
        return False
    (mark,) = struct.unpack(("<" if start[:2] == b"II" else ">") + "I", start[8:12])
    return bool(mark == _MAGIC) and (path.parent / _INDEX).is_file()


def is_ndtiff_folder(path: Path) -> bool:
    """Whether a folder is an NDTiff data set, plain or tiled with levels of resolution."""
    return (path / _INDEX).is_file() or (path / _FULL / _INDEX).is_file()


def open_ndtiff(
    path: Path, *, part: str | None = None, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open one position of an NDTiff data set lazily.

    Parameters
    ----------
    path : Path
        The folder, or a TIFF file in it.
    part : str, optional
        Which of several positions: its name, or its number, the first being 0.
    axes, voxel_size
        As `superres.volumes.open_volume`.

    Raises
    ------
    InputError
        When the index is damaged, planes or files are missing, or the planes are unlike each other.
    """
    folder = _folder(path)
    images = _images(folder)
    image = images[choose_image([image.name for image in images], part, path)]
    places, shape = _grid(image, folder)
    files = _files(image, folder)
    found = "".join(letter for letter, size in zip("TCZYX", shape, strict=True) if size > 1 or letter in "YX")
    array = _array(image, places, shape, files)
    letters = resolve_axes(found, array.shape, given=axes, path=path)
    return make_volume(
        [TczyxArray(array, letters)],
        _calibration(image, places, folder),
        axes=letters,
        format="NDTiff",
        source=path,
        voxel_size=voxel_size,
        files=(folder / _INDEX, *(stamp.path for stamp in files)),
        part=part,
    )


def images_in_ndtiff(path: Path) -> tuple[str, ...]:
    """List the positions of an NDTiff data set; empty where there is one."""
    names = tuple(image.name for image in _images(_folder(path)))
    return names if len(names) > 1 else ()


def _folder(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    return folder if (folder / _INDEX).is_file() else folder / _FULL


def _read_index(folder: Path) -> Iterator[_Plane]:
    path = folder / _INDEX
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check that it is there") from None
    position = 0
    while position < len(content):
        try:
            place, position = _text(content, position)
            name, position = _text(content, position)
            fields = struct.unpack_from("<IiiiiIii", content, position)
            axes = json.loads(place)
        except (struct.error, ValueError) as error:
            raise InputError(
                f"{path}: entry at byte {position} cannot be read ({error}); the index is truncated or damaged, "
                "copy the folder again"
            ) from None
        position += 32
        offset, width, height, kind, compression, start, length, _ = fields
        if not isinstance(axes, dict) or not all(isinstance(value, int | str) for value in axes.values()):
            raise InputError(f"{path}: {place[:80]!r} found, the axes of a plane expected; the index is damaged")
        yield _Plane(axes, name, offset, (height, width), kind, compression, (start, length))


def _text(content: memoryview, position: int) -> tuple[str, int]:
    """Read a length and that many bytes of text."""
    (length,) = struct.unpack_from("<I", content, position)
    end = position + 4 + length
    if length > _LONGEST_ENTRY or end > len(content):
        raise ValueError(f"{length} bytes of text declared")
    return bytes(content[position + 4 : end]).decode(), end


def _images(folder: Path) -> list[_Image]:
    """Group the planes by the axes that superres has no letter for."""
    images: dict[tuple[tuple[str, int | str], ...], _Image] = {}
    planes = {tuple(sorted(plane.place.items())): plane for plane in _read_index(folder)}  # a later entry replaces
    for plane in planes.values():
        key = tuple((axis, value) for axis, value in sorted(plane.place.items()) if axis not in _LETTERS)
        images.setdefault(key, _Image("")).planes.append(plane)
    if not images:
        raise InputError(f"{folder / _INDEX}: names no plane; the acquisition was stopped before the first image")
    ordered = sorted(images.items(), key=lambda item: [(axis, isinstance(v, str), v) for axis, v in item[0]])
    for key, image in ordered:
        image.name = str(key[0][1]) if len(key) == 1 else ",".join(f"{axis}={value}" for axis, value in key)
    return [image for _, image in ordered]


def _grid(image: _Image, folder: Path) -> tuple[dict[str, list[int | str]], tuple[int, ...]]:
    """Return the values along time, channel and z, and the TCZYX shape, checking that every plane is there."""
    first = image.planes[0]
    if first.pixel_type == _RGB:
        raise InputError(f"{folder}: colours found, one intensity per voxel expected; convert them to grey levels")
    if first.pixel_type not in _DTYPES or first.compression:
        raise InputError(
            f"{folder}: pixel type {first.pixel_type}, compression {first.compression} found; expected grey levels of "
            "8 to 16 bits, uncompressed; export the data set as OME-TIFF"
        )
    for plane in image.planes:
        if (plane.shape, plane.pixel_type, plane.compression) != (first.shape, first.pixel_type, 0):
            raise InputError(
                f"{folder}: plane {plane.place} has {plane.shape[0]}x{plane.shape[1]} pixels of type "
                f"{plane.pixel_type}, plane {first.place} has {first.shape[0]}x{first.shape[1]} of type "
                f"{first.pixel_type}; one size expected, export the images one by one"
            )
    places = {axis: _values(image, axis) for axis in _LETTERS}
    shape = (*(max(1, len(values)) for values in places.values()), *first.shape)
    if min(shape) < 1 or math.prod(shape[:3]) != len(image.planes):
        expected = math.prod(shape[:3])
        raise InputError(
            f"{folder}: {len(image.planes)} of {expected} planes found{_example(image, places)}; the acquisition was "
            "stopped or the index is damaged, copy the folder again or export the complete part as OME-TIFF"
        )
    return places, shape


def _values(image: _Image, axis: str) -> list[int | str]:
    """Return the values along an axis: numbers in their order, names as they were first recorded."""
    values = list(dict.fromkeys(plane.place[axis] for plane in image.planes if axis in plane.place))
    numbers = [value for value in values if isinstance(value, int)]
    return [*sorted(numbers)] if len(numbers) == len(values) else values


def _example(image: _Image, places: dict[str, list[int | str]]) -> str:
    there = {tuple(plane.place.get(axis) for axis in _LETTERS) for plane in image.planes}
    values: list[Sequence[int | str | None]] = [places[axis] or [None] for axis in _LETTERS]
    for index in np.ndindex(*(len(items) for items in values)):
        wanted = tuple(items[i] for items, i in zip(values, index, strict=True))
        if wanted not in there:
            text = ", ".join(f"{a}={v}" for a, v in zip(_LETTERS, wanted, strict=True) if v is not None)
            return f" ({text} is missing)"
    return ""


def _files(image: _Image, folder: Path) -> tuple[Stamp, ...]:
    stamps = []
    for name in dict.fromkeys(plane.file for plane in image.planes):
        if name in {"", ".", ".."} or any(mark in name for mark in ("/", "\\", "\0")):
            raise InputError(f"{folder / _INDEX}: names the file {name!r}, which lies outside the folder; not opened")
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: named in {_INDEX}, but not there; put all files into one folder")
        stamps.append(Stamp.of(folder / name))
    return tuple(stamps)


def _array(
    image: _Image, places: dict[str, list[int | str]], shape: tuple[int, ...], files: tuple[Stamp, ...]
) -> RawTiff:
    dtype = np.dtype(_byteorder(files[0].path) + _DTYPES[image.planes[0].pixel_type])
    numbers = {stamp.path.name: number for number, stamp in enumerate(files)}
    ranks = {axis: {value: rank for rank, value in enumerate(values)} for axis, values in places.items()}
    owner, offsets = np.zeros(shape[:3], np.int64), np.zeros(shape[:3], np.int64)
    size = math.prod(shape[3:]) * dtype.itemsize
    for plane in image.planes:
        index = tuple(ranks[axis][plane.place[axis]] if axis in plane.place else 0 for axis in _LETTERS)
        number = numbers[plane.file]
        if plane.offset + size > files[number].size:
            raise InputError(
                f"{files[number].path}: truncated, plane {plane.place} ends at byte {plane.offset + size}, the file at "
                f"byte {files[number].size}; copy it again"
            )
        owner[index], offsets[index] = number, plane.offset
    kept = (*(size for size in shape[:3] if size > 1), *shape[3:])
    return RawTiff(files, owner.reshape(-1), offsets.reshape(-1), kept, 2, dtype)


def _byteorder(path: Path) -> str:
    with path.open("rb") as file:
        return ">" if file.read(2) == b"MM" else "<"


def _calibration(image: _Image, places: dict[str, list[int | str]], folder: Path) -> Calibration:
    first = image.planes[0]
    summary, metadata = _summary(folder / first.file), _metadata(first, folder)
    pixel = metadata.get("PixelSizeUm", metadata.get("PixelSize_um", summary.get("PixelSize_um")))
    size = to_micrometre(pixel, "um")
    channels = places["channel"]
    names = tuple(map(str, channels)) if channels and all(isinstance(value, str) for value in channels) else ()
    return Calibration(
        voxel_size=(_step(image, places, folder, summary), size, size),
        channel_names=names,
        time_step=to_second(summary.get("Interval_ms"), "ms") if len(places["time"]) > 1 else None,
    )


def _step(image: _Image, places: dict[str, list[int | str]], folder: Path, summary: dict[str, Any]) -> float | None:
    """Return the distance of planes: as planned, or between the stage positions of the first two."""
    planned = summary.get("z-step_um", summary.get("ZStep_um"))
    if isinstance(planned, int | float) and planned:
        return to_micrometre(abs(planned), "um")
    heights = []
    for value in places["z"][:2]:
        plane = next(plane for plane in image.planes if plane.place.get("z") == value)
        heights.append(_metadata(plane, folder).get("ZPosition_um_Intended"))
    numbers = [float(height) for height in heights if isinstance(height, int | float)]
    return to_micrometre(abs(numbers[1] - numbers[0]), "um") if len(numbers) == 2 else None


def _metadata(plane: _Plane, folder: Path) -> dict[str, Any]:
    """Read what was recorded with a plane; empty where it is damaged, because the voxels do not depend on it."""
    start, length = plane.metadata
    if not 0 < length <= _LONGEST_ENTRY * 16:
        return {}
    try:
        with (folder / plane.file).open("rb") as file:
            file.seek(start)
            found = json.loads(file.read(length))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _summary(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = tifffile.read_micromanager_metadata(file, {"Summary"}).get("Summary")
    except (OSError, ValueError, struct.error):
        return {}
    return found if isinstance(found, dict) else {}
