"""One image, one split: a validation image that was also trained on makes every figure worthless.

Found are the same file, files with the same bytes, and the same picture under another name, format, bit depth, or gain
and offset; also when it is a plane of a stack in one split and a file of its own in the other. Found as well are copies
that were turned, mirrored, shifted or cropped, and second recordings of a field, by `superres.datasets.overlaps`. Not
found are copies at another magnification.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets.acquisition import Acquisition, Manifest
from superres.datasets.overlaps import Thumbnail, find_overlap, thumbnail
from superres.errors import DuplicateError

# Differences of neighbouring pixels at that many places stand for a plane.
_SAMPLES = 4096
# Measured on real images: below 0.1 between acquisitions, up to 0.4 between channels of one field and 0.7 between
# neighbouring slices of one volume; 0.999 between a 16-bit image and its 8-bit copy.
_SAME = 0.95
# Planes of a file, and of a split, that are searched for overlaps: their reduced pictures take 256 kB each.
_PER_FILE = 8
_PER_SPLIT = 400


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image stands; as text, what is told of it."""

    acquisition: Acquisition
    file: Path
    manifest: Manifest

    def __str__(self) -> str:
        return f"{self.file} ({self.acquisition.split}, {self.acquisition.id} in {self.manifest.path})"


@dataclass(frozen=True, slots=True)
class _Plane:
    """What is kept of one YX plane to recognise it, and where it is from."""

    split: str
    place: _Place
    exact: str
    sketch: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class _Picture:
    """A reduced plane, and where it is from."""

    split: str
    place: _Place
    thumbnail: Thumbnail


def refuse_same_files(*manifests: Manifest) -> None:
    """Refuse a file, or two files with the same SHA-256, in two splits; nothing is opened.

    Raises
    ------
    DuplicateError
        Naming both places.
    """
    seen: dict[object, tuple[str, _Place]] = {}
    for manifest in manifests:
        for acquisition, file, digest in manifest.files:
            place = _Place(acquisition, file, manifest)
            for key, what in (
                (Path(os.path.abspath(file)), "the same file"),  # noqa: PTH100 (no link followed, no file touched)
                (digest, "files with the same SHA-256"),
            ):
                if key == "":
                    continue  # no checksum is known
                split, other = seen.setdefault(key, (acquisition.split, place))
                if split != acquisition.split:
                    raise _duplicate(what, other, place)


def refuse_duplicates(*manifests: Manifest, max_voxels: int = 2**27) -> tuple[Path, ...]:
    """Refuse an image that stands in two splits of manifests used together, under whatever name.

    Parameters
    ----------
    *manifests : Manifest
        Loaded, that is with all files in place.
    max_voxels : int
        Larger files are compared by their bytes only; reading them would take minutes.

    Returns
    -------
    tuple of Path
        The files that were too large to be opened.

    Raises
    ------
    DuplicateError
        Naming both places.
    """
    refuse_same_files(*manifests)
    splits = {acquisition.split for manifest in manifests for acquisition in manifest.acquisitions}
    if len(splits) < 2:
        return ()
    too_large: list[Path] = []
    planes: dict[tuple[int, ...], list[_Plane]] = defaultdict(list)
    pictures: list[_Picture] = []
    read: set[Path] = set()
    for manifest in manifests:
        for acquisition, file, _ in manifest.files:
            if file in read:
                continue  # one file may hold both images of a pair
            read.add(file)
            values = _read(file, acquisition.axes, max_voxels)
            if values is None:
                too_large.append(file)
                continue
            place = _Place(acquisition, file, manifest)
            planes[values.shape[-2:]] += _planes(values, acquisition.split, place)
            pictures += _pictures(values, acquisition.split, place)
    for alike in planes.values():
        _refuse_equal(alike)
        _refuse_similar(alike)
    _refuse_overlapping(pictures)
    return tuple(too_large)


def _duplicate(what: str, first: _Place, second: _Place) -> DuplicateError:
    return DuplicateError(
        f"{what} in two splits: {first} and {second}; expected every image in one split only: remove one of the two "
        "entries, or put both into the same split",
        first.acquisition.id,
        second.acquisition.id,
    )


def _read(path: Path, axes: str | None, max_voxels: int) -> NDArray[Any] | None:
    """Read a whole image as TCZYX, or nothing where it is too large."""
    from superres.volumes import open_volume  # Dask takes a second to load, and parsing a manifest needs none

    volume = open_volume(path, axes=axes)
    t, c = volume.shape[:2]
    if math.prod(volume.shape) > max_voxels:
        return None
    everything = slice(None)
    return np.stack(
        [
            np.stack([volume.read(t=i, c=j, z=everything, y=everything, x=everything) for j in range(c)])
            for i in range(t)
        ]
    )


def _planes(values: NDArray[Any], split: str, place: _Place) -> Iterator[_Plane]:
    for plane in values.reshape(-1, *values.shape[-2:]):
        if plane.size and np.all(plane == plane.flat[0]):
            continue  # an empty plane is like every other empty plane, and teaches nothing
        exact = hashlib.sha256(plane.astype(np.float64).tobytes()).hexdigest()
        yield _Plane(split, place, exact, _sketch(plane))


def _pictures(values: NDArray[Any], split: str, place: _Place) -> Iterator[_Picture]:
    planes = values.reshape(-1, *values.shape[-2:])
    for i in _spread(len(planes), _PER_FILE):
        found = thumbnail(planes[i])
        if found is not None:
            yield _Picture(split, place, found)


def _spread(count: int, wanted: int) -> list[int]:
    """Return at most so many numbers below `count`, evenly spread."""
    wanted = min(count, wanted)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _refuse_overlapping(pictures: list[_Picture]) -> None:
    """Refuse pictures of two splits that share part of a field."""
    splits = sorted({picture.split for picture in pictures})
    for one, two in itertools.combinations(splits, 2):
        left, right = ([picture for picture in pictures if picture.split == split] for split in (one, two))
        left, right = ([some[i] for i in _spread(len(some), _PER_SPLIT)] for some in (left, right))
        found = find_overlap([picture.thumbnail for picture in left], [picture.thumbnail for picture in right])
        if found is not None:
            y, x = found.shift
            how = f"{found.turned}, " if found.turned else ""
            what = (
                f"images of one field, which share {100 * found.share:.0f} % of the smaller one (the second {how}moved "
                f"by Y {y:+d}, X {x:+d} pixels; correlation {found.correlation:.2f})"
            )
            raise _duplicate(what, left[found.first].place, right[found.second].place)


def _sketch(plane: NDArray[Any]) -> NDArray[np.float32] | None:
    """Differences between neighbours at fixed random places: unit length, mean 0; None where they say nothing.

    The largest hundredth is cut off: hot pixels stay in place between acquisitions and must not decide.
    """
    if plane.shape[1] < 2:
        return None
    random = np.random.default_rng(0)
    y = random.integers(plane.shape[0], size=_SAMPLES)
    x = random.integers(plane.shape[1] - 1, size=_SAMPLES)
    steps = plane[y, x + 1].astype(np.float64) - plane[y, x].astype(np.float64)
    if not np.isfinite(steps).all():
        return None
    limit = np.quantile(np.abs(steps), 0.99)
    steps = np.clip(steps, -limit, limit)
    steps -= steps.mean()
    length = float(np.linalg.norm(steps))
    return None if length == 0 else (steps / length).astype(np.float32)


def _refuse_equal(planes: list[_Plane]) -> None:
    seen: dict[str, _Plane] = {}
    for plane in planes:
        first = seen.setdefault(plane.exact, plane)
        if first.split != plane.split:
            raise _duplicate("the same pixels", first.place, plane.place)


def _refuse_similar(planes: list[_Plane]) -> None:
    sketched = [plane for plane in planes if plane.sketch is not None]
    splits = sorted({plane.split for plane in sketched})
    for first, second in itertools.combinations(splits, 2):
        left, right = ([plane for plane in sketched if plane.split == split] for split in (first, second))
        likeness = np.abs(_sketches(left) @ _sketches(right).T)
        i, j = np.unravel_index(int(likeness.argmax()), likeness.shape)
        if likeness[i, j] > _SAME:
            what = "the same image (up to gain, offset and rounding)"
            raise _duplicate(what, left[i].place, right[j].place)


def _sketches(planes: list[_Plane]) -> NDArray[np.float32]:
    return np.stack([plane.sketch for plane in planes if plane.sketch is not None])
