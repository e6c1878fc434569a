"""Reading manifests: which images a training or an evaluation uses, checked to be there and to be the right ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from superres.datasets.acquisition import Acquisition, Manifest, Whole
from superres.datasets.checksum import image_files, image_sha256
from superres.datasets.duplicates import refuse_duplicates, refuse_same_files
from superres.datasets.manifest_format import AcquisitionEntry, ManifestEntry
from superres.datasets.manifest_reading import read_entry
from superres.errors import InputError, MissingFileError

__all__ = ["DATA_ROOT_VARIABLE", "Acquisition", "Manifest", "load_manifest", "load_manifests", "parse_manifest"]

DATA_ROOT_VARIABLE = "SUPERRES_DATA"


@dataclass(frozen=True, slots=True)
class DataRoot:
    """The folder that file names are relative to, and the words that say how it was found."""

    folder: Path
    origin: str
    remedy: str = f"set the folder that holds the data with {DATA_ROOT_VARIABLE}=/folder or --set data_root=/folder"


def load_manifest(path: Path, data_root: Path | None = None) -> Manifest:
    """Read a manifest and check that every file is there and is the one that was meant.

    Parameters
    ----------
    path : Path
        YAML file; `superres.datasets.manifest_format` describes it.
    data_root : Path, optional
        Folder that file names are relative to. A ``root`` in the manifest wins over it; without either, the
        environment variable ``SUPERRES_DATA`` counts, and then the manifest's own folder.

    Raises
    ------
    MissingFileError
        When the manifest or one of its files does not exist.
    InputError
        When the manifest is wrong, a file has another SHA-256, an id repeats, or one file stands in two splits. The
        same image under another name is found by `superres.datasets.refuse_duplicates`.
    """
    manifest, root = _read(Path(path), data_root)
    _require_files(manifest, root)
    _require_hashes(manifest)
    return manifest


def load_manifests(paths: Sequence[Path], data_root: Path | None = None) -> tuple[Manifest, ...]:
    """Load manifests that are used together, and refuse an image that stands in two splits under any name.

    Raises
    ------
    MissingFileError, InputError
        As `load_manifest`, and when a test or validation image is also trained on.
    """
    manifests = tuple(load_manifest(path, data_root) for path in paths)
    refuse_duplicates(*manifests)
    return manifests


def parse_manifest(path: Path, data_root: Path | None = None) -> Manifest:
    """Read and check a manifest without looking at any image file; otherwise like `load_manifest`."""
    return _read(Path(path), data_root)[0]


def _read(path: Path, data_root: Path | None) -> tuple[Manifest, DataRoot]:
    entry = read_entry(path)
    root = find_data_root(entry, path, data_root)
    manifest = as_manifest(entry, path, root.folder)
    refuse_same_files(manifest)
    return manifest, root


def as_manifest(entry: ManifestEntry, path: Path, folder: Path) -> Manifest:
    """Turn what stands in the file into acquisitions with their files below `folder`; none of them is looked at.

    Raises
    ------
    InputError
        When an id repeats, or when the manifest lists no images.
    """
    if not entry.acquisitions:
        raise InputError(f"{path}: {nothing_listed(entry, path)}")
    acquisitions = tuple(_acquisition(item, entry, folder) for item in entry.acquisitions)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = Manifest(entry.name, entry.description, path, digest, acquisitions)
    _require_unique_ids(manifest)
    return manifest


def nothing_listed(entry: ManifestEntry, path: Path) -> str:
    """Say of a manifest without images what to do before it can be used."""
    then = "then list the images under 'acquisitions:', each with a split"
    if entry.archives:
        return f"lists archives and no images yet; fetch them with 'superres data fetch {path}', {then}"
    page = entry.url or (f"https://doi.org/{entry.doi}" if entry.doi else entry.source)
    return f"lists no images yet; fetch them by hand (see {page}), {then}"


def find_data_root(entry: ManifestEntry, path: Path, data_root: Path | None) -> DataRoot:
    """Find the folder that the file names of a manifest are relative to; it need not exist."""
    if entry.root is not None:
        origin = f"'root: {entry.root}' in the manifest"
        return DataRoot(path.parent / entry.root, origin, "correct 'root' there, or remove it and set data_root")
    if data_root is not None:
        return DataRoot(Path(data_root), "the setting data_root")
    if os.environ.get(DATA_ROOT_VARIABLE):
        return DataRoot(Path(os.environ[DATA_ROOT_VARIABLE]), f"the environment variable {DATA_ROOT_VARIABLE}")
    return DataRoot(path.parent, "the manifest's own folder, as no other was given")


def _acquisition(entry: AcquisitionEntry, manifest: ManifestEntry, folder: Path) -> Acquisition:
    whole = entry.whole
    return Acquisition(
        id=entry.id,
        split=entry.split,
        high=tuple(folder / item.file for item in entry.high),
        low=tuple(folder / item.file for item in entry.low),
        axes=entry.axes,
        voxel_size=entry.voxel_size or (None, None, None),
        grey_range=entry.grey_range,
        source=entry.source or manifest.source or "",
        licence=entry.licence or manifest.licence or "",
        credit=entry.credit or manifest.credit or "",
        modality=entry.modality or "",
        note=entry.note or "",
        high_sha256=tuple(item.sha256 or "" for item in entry.high),
        low_sha256=tuple(item.sha256 or "" for item in entry.low),
        shifts=tuple(item.shift for item in entry.low),
        high_channels=tuple(item.channels for item in entry.high),
        low_channels=tuple(item.channels for item in entry.low),
        weight=entry.weight,
        whole=whole if whole is None else Whole(*whole.intensity, whole.gain, whole.offset),
    )


def _require_unique_ids(manifest: Manifest) -> None:
    ids = [acquisition.id for acquisition in manifest.acquisitions]
    repeated = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if repeated:
        raise InputError(
            f"{manifest.path}: more than one acquisition is called {', '.join(repeated)}; an id names one specimen, "
            "field or volume: rename one, or put the files of both under one id"
        )


def _require_files(manifest: Manifest, root: DataRoot) -> None:
    missing = [(acquisition.id, file) for acquisition, file, _ in manifest.files if not image_files(file)]
    if not missing:
        return
    name, file = missing[0]
    others = f" (and {len(missing) - 1} other files)" if len(missing) > 1 else ""
    raise MissingFileError(
        f"{file}: no such file{others}, listed for {name} in {manifest.path}; looked in {root.folder}, from "
        f"{root.origin}; {root.remedy}"
    )


def _require_hashes(manifest: Manifest) -> None:
    for acquisition, file, expected in manifest.files:
        found = image_sha256(file)
        if not expected:
            raise InputError(
                f"{file}: {manifest.path} gives no SHA-256 for it ({acquisition.id}), so that nobody could tell later "
                f"which data were used; if this is the right file, write 'sha256: {found}' there"
            )
        if found != expected:
            raise InputError(
                f"{file}: SHA-256 is {found}, expected {expected} ({acquisition.id} in {manifest.path}); the file is "
                "damaged or another version: fetch it again, or, if the new version is meant, write its SHA-256 into "
                "the manifest"
            )
