"""The images of a folder that can be learned from, what they are like, and why others are left out."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from superres.config import IntensityRule
from superres.datasets.fingerprint import ImageFacts, measure_image
from superres.datasets.folder_manifest import Listed, unique_ids
from superres.errors import InputError, MissingFileError, SuperresError
from superres.progress import Progress, ProgressCallback, silent
from superres.training.choices import too_small
from superres.volumes import Volume, open_volume
from superres.volumes.collection import Found, find_acquisitions
from superres.volumes.opening import is_pattern, is_url, split_part

Triple = tuple[int, int, int]

_MOST_MEASURED = 64  # images, evenly spread; the sizes of all are known
_FEWEST_FILES_TO_SPLIT = 10
_END = 5  # the last fifth of the files of one series


@dataclass(frozen=True, slots=True)
class UsableImage:
    """One image that can be learned from.

    Parameters
    ----------
    name, path : str
        As in `superres.volumes.collection.Found`.
    file : str
        Relative to the root, as a manifest names it.
    shape : tuple of int
        TCZYX.
    files : tuple of str
        Those of a series of single planes, relative to the root; else empty.
    axes : str or None
        Where the file does not tell.
    """

    name: str
    path: str
    file: str
    shape: tuple[int, int, int, int, int]
    files: tuple[str, ...]
    axes: str | None


@dataclass(frozen=True, slots=True)
class FolderImages:
    """All images of a folder.

    Parameters
    ----------
    root : Path
        Absolute; files are relative to it.
    images : tuple of UsableImage
        In the order of their names.
    facts : tuple of ImageFacts
        Of the images, or of an even sample of very many.
    left_out : tuple of str
        A line for each of the others.
    """

    root: Path
    images: tuple[UsableImage, ...]
    facts: tuple[ImageFacts, ...]
    left_out: tuple[str, ...]


def look_at(
    given: Sequence[str | Path],
    factor: Triple,
    rule: IntensityRule,
    *,
    axes: str | None = None,
    leave_out: Sequence[Path] = (),
    progress: ProgressCallback = silent,
) -> FolderImages:
    """Open the images of folders, patterns and files, and measure them.

    Parameters
    ----------
    given : sequence of str or Path
        On this machine.
    factor : tuple of int
        ZYX, from the low grid to that of the images.
    rule : IntensityRule
        How black and white are measured.
    axes : str, optional
        Of images whose files do not tell.
    leave_out : sequence of Path
        Folders that are not searched.
    progress : callable
        Gets events of the stage ``"look"``, in images.

    Raises
    ------
    MissingFileError, InputError
        When there is no image to learn from; the message names what was found.
    """
    root = root_of(given)
    opened: list[tuple[UsableImage, Volume]] = []
    left_out: list[str] = []
    for found in find_acquisitions(given, leave_out=leave_out, progress=progress):
        one = _opened(found, axes)
        reason = one.error or _unfit(one, root, factor)
        if one.volume is None or reason:
            left_out.append(_line(one.path, found.error or reason))  # an image that cannot be opened with axes either
        else:
            opened.append((_usable(one, root, axes if found.volume is None else None), one.volume))
    facts, unusable, reasons = _measured(opened, factor, rule, progress)
    left_out += reasons
    if not facts:
        raise InputError(_nothing(given, left_out))
    images = tuple(image for image, _ in opened if image not in unusable)
    return FolderImages(root, images, tuple(facts), tuple(left_out))


def _measured(
    opened: Sequence[tuple[UsableImage, Volume]], factor: Triple, rule: IntensityRule, progress: ProgressCallback
) -> tuple[list[ImageFacts], list[UsableImage], list[str]]:
    """Measure images; return what they are like, which of them cannot be used, and why."""
    facts: list[ImageFacts] = []
    unusable: list[UsableImage] = []
    reasons: list[str] = []
    chosen = _spread(len(opened), _MOST_MEASURED)
    for number, index in enumerate(chosen):
        image, volume = opened[index]
        progress(Progress("look", number, len(chosen), "images", image.name))
        try:
            found = measure_image(volume, factor, rule)
        except SuperresError as error:
            unusable.append(image)
            reasons.append(str(error))
            continue
        if found.channels:
            facts.append(found)
        else:
            unusable.append(image)
            reasons += found.without_structure
    progress(Progress("look", len(chosen), len(chosen), "images"))
    return facts, unusable, reasons


def _line(path: str, reason: str) -> str:
    """Write why an image is left out; what other commands take as a setting is an option here."""
    return f"{path}: {reason.removeprefix(f'{path}: ').replace('--set axes=', '--axes ')}"


def root_of(given: Sequence[str | Path]) -> Path:
    """Return the folder that holds all that was given, absolute.

    Raises
    ------
    MissingFileError
        When something is not there.
    InputError
        When a URL was given.
    """
    places = []
    for one in given:
        address, _ = split_part(one)
        if is_url(address):
            raise InputError(f"{one}: images to train on are read again and again; copy them to this machine first")
        path = Path(os.path.abspath(address))  # noqa: PTH100 (no link followed)
        if not os.path.lexists(path) and not is_pattern(address):
            raise MissingFileError(f"{one}: no such file or folder; check the path")
        while is_pattern(str(path)):
            path = path.parent
        places.append(path if path.is_dir() and path.suffix != ".zarr" else path.parent)
    return Path(os.path.commonpath(places))


def listed(images: Sequence[UsableImage], *, planes_apart: bool) -> tuple[list[Listed], dict[str, int], list[str]]:
    """Return the acquisitions that images become, their voxels by id, and what a person should know.

    Parameters
    ----------
    planes_apart : bool
        Whether each plane is restored on its own: then a single series of files can be divided.
    """
    if len(images) == 1 and planes_apart and len(images[0].files) >= _FEWEST_FILES_TO_SPLIT:
        return _divided(images[0])
    found = [
        Listed(name, (image.file,), image.axes)
        for name, image in zip(unique_ids([image.name for image in images]), images, strict=True)
    ]
    voxels = {one.id: math.prod(image.shape) for one, image in zip(found, images, strict=True)}
    return found, voxels, []


def _divided(image: UsableImage) -> tuple[list[Listed], dict[str, int], list[str]]:
    """Keep the last planes of one series for validation."""
    count = len(image.files)
    first = count - count // _END
    (name,) = unique_ids([image.name])
    note = "files of one series; the last of them are kept for validation"
    parts = [Listed(name, image.files[:first], note=note), Listed(f"{name}-end", image.files[first:], note=note)]
    each = math.prod(image.shape) // count
    told = (
        f"the images are one series of {count} files: the last {count - first} are kept for validation, and as they "
        "show the same specimen, figures on them are better than on another one"
    )
    return parts, {parts[0].id: first * each, parts[1].id: (count - first) * each}, [told]


def _opened(found: Found, axes: str | None) -> Found:
    """Open an image whose file does not tell its axes by those that were given."""
    if found.volume is not None or axes is None:
        return found
    try:
        return replace(found, volume=open_volume(found.path, axes=axes), error=None)
    except SuperresError:
        return found


def _unfit(found: Found, root: Path, factor: Triple) -> str:
    assert found.volume is not None
    address, _ = split_part(found.path)
    if is_pattern(address) and (glob.has_magic(str(root)) or glob.has_magic(str(_plain_folder(address)))):
        return "a series of files in a folder whose name holds *, ? or [; rename the folder"
    return too_small(found.volume.shape, factor)


def _usable(found: Found, root: Path, axes: str | None) -> UsableImage:
    assert found.volume is not None
    address, part = split_part(found.path)
    folder, name = _plain_folder(address), Path(address).name
    file = _below(root, folder / name) + (f"::{part}" if part else "")
    is_series = is_pattern(address) and len(found.volume.files) == math.prod(found.volume.shape[:3])
    files = tuple(_below(root, path) for path in found.volume.files) if is_series else ()
    return UsableImage(found.name or name, found.path, file, found.volume.shape, files, axes)


def _plain_folder(address: str) -> Path:
    """Return the folder of a file or series, without what keeps its letters from meaning a pattern."""
    folder = str(Path(os.path.abspath(address)).parent)  # noqa: PTH100
    return Path(re.sub(r"\[([*?[])\]", r"\1", folder) if is_pattern(address) else folder)


def _below(root: Path, path: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _nothing(given: Sequence[str | Path], left_out: Sequence[str]) -> str:
    names = ", ".join(str(one) for one in given)
    shown = "".join(f"\n  {line}" for line in left_out[:10])
    more = f"\n  ... and {len(left_out) - 10} more" if len(left_out) > 10 else ""
    return f"{names}: no image to learn from; of {len(left_out)} found none can be used:{shown}{more}"


def _spread(count: int, most: int) -> list[int]:
    most = min(count, most)
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]
