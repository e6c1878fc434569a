"""Checking a data set against its manifest: every file, and nothing that stands in two splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from superres.datasets.acquisition import Manifest
from superres.datasets.checksum import image_files, image_sha256
from superres.datasets.duplicates import refuse_duplicates
from superres.datasets.manifest import as_manifest, find_data_root, nothing_listed
from superres.datasets.manifest_format import AcquisitionEntry, FileEntry, ManifestEntry
from superres.datasets.manifest_reading import read_entry
from superres.errors import InputError
from superres.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from superres.volumes import Volume

_SAME_SIZE = 1e-3  # relative; tags round voxel sizes


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file: what it is, what was found in it, and what is wrong with it (nothing, where `problems` is empty)."""

    acquisition: str
    split: str
    role: str
    file: str
    bytes: int | None = None
    sha256: str | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedManifest:
    """All files of a manifest, and what is wrong with the set as a whole."""

    path: Path
    root: Path
    root_from: str
    entry: ManifestEntry
    files: tuple[CheckedFile, ...]
    problems: tuple[str, ...]
    not_compared: tuple[Path, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(item.problems for item in self.files)


def check_manifest(
    path: Path, data_root: Path | None = None, *, progress: ProgressCallback = silent
) -> CheckedManifest:
    """Check that every file is there, is the one that was meant and opens as the manifest says, and the splits.

    Parameters
    ----------
    path : Path
        The manifest.
    data_root : Path, optional
        As in `superres.datasets.load_manifest`.
    progress : callable, optional
        Gets events of the stage ``"check"``, in files.

    Raises
    ------
    MissingFileError, InputError
        When the manifest itself is missing or wrong; whatever is wrong with the data is in the result.
    """
    entry = read_entry(path)
    root = find_data_root(entry, path, data_root)
    listed = [(item, file, role) for item in entry.acquisitions for file, role in item.files]
    files: list[CheckedFile] = []
    for index, (item, file, role) in enumerate(listed):
        progress(Progress("check", index, len(listed), "files", file.file))
        files.append(_check_file(item, file, role, root.folder))
    progress(Progress("check", len(listed), len(listed), "files"))
    files = list(_check_pairs(entry, files))
    problems, not_compared = _check_set(entry, path, root.folder, files)
    return CheckedManifest(path, root.folder, root.origin, entry, tuple(files), tuple(problems), not_compared)


def _check_file(item: AcquisitionEntry, file: FileEntry, role: str, root: Path) -> CheckedFile:
    checked = CheckedFile(item.id, item.split, role, file.file)
    path = root / file.file
    files = image_files(path)
    if not files:
        return replace(checked, problems=("missing",))
    size = sum(one.stat().st_size for one in files)
    try:
        found = image_sha256(path)
    except OSError as error:
        return replace(checked, bytes=size, problems=(f"cannot be read: {error.strerror}",))
    checked = replace(checked, bytes=size, sha256=found)
    problems = list(_wrong_bytes(file, size, found))
    from superres.datasets.channels import open_channels  # Dask takes a second to load; checking a recipe needs none

    try:
        volume = open_channels(path, item.axes, file.channels)
    except InputError as error:
        return replace(checked, problems=(*problems, f"does not open: {error}"))
    problems += _wrong_voxel_size(item, role, volume)
    return replace(checked, shape=volume.shape, dtype=str(volume.dtype), problems=tuple(problems))


def _wrong_bytes(file: FileEntry, size: int, found: str) -> Iterator[str]:
    if file.bytes is not None and file.bytes != size:
        yield f"has {size} bytes, expected {file.bytes}"
    if file.sha256 is None:
        yield f"the manifest has no checksum; if this is the right file, write 'sha256: {found}' there"
    elif file.sha256 != found:
        yield f"SHA-256 is {found}, expected {file.sha256}: damaged, or another version"


def _wrong_voxel_size(item: AcquisitionEntry, role: str, volume: Volume) -> Iterator[str]:
    """Compare what is said of `high` with what its files say; finer `high` than `low` is told by the factor."""
    if item.voxel_size is None or role != "high":
        return
    for axis, stated, found in zip("ZYX", item.voxel_size, volume.voxel_size, strict=True):
        if stated is not None and found is not None and abs(stated - found) > _SAME_SIZE * stated:
            yield f"its {axis} voxel size is {found:g} µm, the manifest says {stated:g}"


def _check_pairs(entry: ManifestEntry, files: list[CheckedFile]) -> Iterator[CheckedFile]:
    """Compare the shapes of low and high; all files of one acquisition are planes or channels of one field."""
    of = {(item.acquisition, item.role, item.file): item for item in files}
    wrong: dict[tuple[str, str, str], str] = {}
    for item in entry.acquisitions:
        for low, high in zip(item.low, item.high[: len(item.low)], strict=True):
            a, b = of[item.id, "low", low.file], of[item.id, "high", high.file]
            if a.shape is None or b.shape is None or item.factor is None or low.shift is not None:
                continue  # under a stated shift both are cut to what they share
            expected = tuple(n * f for n, f in zip(a.shape[2:], item.factor, strict=True))
            if b.shape[2:] != expected:
                text = f"its ZYX shape is {b.shape[2:]}, {item.factor} times that of {low.file} is {expected}"
                wrong[item.id, "high", high.file] = text
    for checked in files:
        problem = wrong.get((checked.acquisition, checked.role, checked.file))
        yield replace(checked, problems=(*checked.problems, problem)) if problem else checked


def _check_set(
    entry: ManifestEntry, path: Path, root: Path, files: list[CheckedFile]
) -> tuple[list[str], tuple[Path, ...]]:
    if not entry.acquisitions:
        return [nothing_listed(entry, path)], ()
    try:
        manifest = _only_readable(as_manifest(entry, path, root), {item.file for item in files if item.shape}, root)
        return [], refuse_duplicates(manifest)
    except InputError as error:
        return [str(error)], ()


def _only_readable(manifest: Manifest, readable: set[str], root: Path) -> Manifest:
    """Leave out files that are missing or do not open, which is said of each already."""
    there = {root / name for name in readable}
    kept = []
    for item in manifest.acquisitions:
        high = [pair for pair in zip(item.high, item.high_sha256, strict=True) if pair[0] in there]
        low = [pair for pair in zip(item.low, item.low_sha256, strict=True) if pair[0] in there]
        kept.append(
            replace(
                item,
                high=tuple(file for file, _ in high),
                high_sha256=tuple(digest for _, digest in high),
                low=tuple(file for file, _ in low),
                low_sha256=tuple(digest for _, digest in low),
            )
        )
    return replace(manifest, acquisitions=tuple(kept))
