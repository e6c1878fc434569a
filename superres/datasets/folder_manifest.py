"""A manifest made of a folder: which images are in it, and which of them are kept for validation."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from superres.datasets.acquisition import Manifest
from superres.datasets.checksum import image_sha256
from superres.datasets.duplicates import refuse_duplicates
from superres.datasets.manifest import parse_manifest
from superres.errors import DuplicateError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent

ONE_IN = 5
"""One image in so many is kept for validation."""

# Images that turn out to show what others show are learned from; after so many the rest is not searched.
_MOST_ATTEMPTS = 12
_NOT_STATED = "not stated"
_HEAD = """\
# The images of {root}
#
# One entry under "acquisitions" is one image: train is learned from, val is watched and reported. Where several images
# show one specimen, put them into the same split. Say under licence and credit who may use a model that is trained on
# them, and whom to name; "root" is the folder that the files are in.
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """One acquisition of a folder.

    Parameters
    ----------
    id : str
        Unique in the manifest.
    files : tuple of str
        Relative to the root, as `superres.volumes.open_volume` takes them.
    axes : str or None
        Where the files do not tell.
    note : str
        For people; may be empty.
    """

    id: str
    files: tuple[str, ...]
    axes: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class FolderManifest:
    """What was written, and what a person should know of the split."""

    manifest: Manifest
    notes: tuple[str, ...]


def unique_ids(names: Sequence[str]) -> list[str]:
    """Make ids of names: letters, digits, ``.``, ``_`` and ``-``, none twice."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-") or "image"
        one, number = plain, 2
        while one in found:
            one, number = f"{plain}_{number}", number + 1
        found.append(one)
    return found


def write_folder_manifest(
    path: Path, root: Path, images: Sequence[Listed], *, name: str, progress: ProgressCallback = silent
) -> FolderManifest:
    """Keep whole images for validation, the last fifth in the order given, and write the manifest.

    Images that are neighbours by name are often of one specimen, so those kept are neighbours too. One that shows what
    a training image shows (`superres.datasets.refuse_duplicates`) is learned from, and another is kept in its place.

    Parameters
    ----------
    path : Path
        The manifest.
    root : Path
        Folder that the files are relative to, absolute.
    images : sequence of Listed
        In the order of their names.
    name : str
        Of the data set.
    progress : callable, optional
        Gets events of the stages ``"checksum"``, in images, and ``"compare"``, in splits.

    Raises
    ------
    OutputWriteError
        When the manifest cannot be written.
    """
    entries = []
    for number, image in enumerate(images):
        progress(Progress("checksum", number, len(images), "images", image.id))
        entries.append(_entry(image, root))
    progress(Progress("checksum", len(images), len(images), "images"))
    wanted = 0 if len(images) < 2 else max(1, len(images) // ONE_IN)
    excluded: dict[str, str] = {}
    while True:
        kept = [image.id for image in reversed(images) if image.id not in excluded][:wanted]
        progress(Progress("compare", len(excluded), len(excluded) + 1, "splits"))
        manifest = _written(path, root, entries, kept, name)
        if not kept or isinstance(manifest, Manifest):
            break
        twin, other = _ordered(manifest, kept)
        excluded[twin] = other
        if len(excluded) >= _MOST_ATTEMPTS:
            wanted = 0
    progress(Progress("compare", len(excluded) + 1, len(excluded) + 1, "splits"))
    if not isinstance(manifest, Manifest):  # all in one split: nothing can be said against it
        raise manifest
    return FolderManifest(manifest, tuple(_notes(len(images), len(kept), excluded)))


def _written(
    path: Path, root: Path, entries: list[dict[str, Any]], kept: Collection[str], name: str
) -> Manifest | DuplicateError:
    """Write the manifest with a split; return it, or what speaks against the split."""
    content = {
        "name": name,
        "description": f"Sharp images of {root.name or root}, listed by superres.",
        "licence": _NOT_STATED,
        "credit": _NOT_STATED,
        "source": _NOT_STATED,
        "root": str(root),
        "acquisitions": [
            {"id": entry["id"], "split": "val" if entry["id"] in kept else "train"} | entry for entry in entries
        ],
    }
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=118)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_HEAD.format(root=root) + "\n" + body, encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); give another folder") from None
    try:
        manifest = parse_manifest(path)
        refuse_duplicates(manifest)
    except DuplicateError as error:
        return error
    return manifest


def _entry(image: Listed, root: Path) -> dict[str, Any]:
    files = [{"file": file, "sha256": image_sha256(root / file)} for file in image.files]
    entry: dict[str, Any] = {"id": image.id, "high": files}
    return entry | ({"axes": image.axes} if image.axes else {}) | ({"note": image.note} if image.note else {})


def _ordered(error: DuplicateError, kept: Collection[str]) -> tuple[str, str]:
    """Return the id that was kept for validation, and that of its twin."""
    first, second = error.acquisitions
    return (first, second) if first in kept else (second, first)


def _notes(images: int, kept: int, excluded: dict[str, str]) -> list[str]:
    found = [f"{twin} shows the same field as {other}: both are learned from" for twin, other in excluded.items()]
    if images < 2:
        found.append(
            "there is one image only, so nothing can be validated on another: give a second one, of another specimen "
            "or field, before you believe the model"
        )
    elif kept == 0:
        found.append(
            "the images show one field, as far as was searched, so nothing was kept for validation: give images of "
            "another specimen or field before you believe the model"
        )
    return found
