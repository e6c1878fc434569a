"""Which images a training or an evaluation uses, which of them belong together, and where they come from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from superres.datasets.manifest_format import AcquisitionEntry, ManifestEntry, read_entry
from superres.errors import InputError, MissingFileError

DATA_ROOT_VARIABLE = "SUPERRES_DATA"


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One specimen, field or volume: the unit of splits and of statistics.

    Parameters
    ----------
    id : str
        Unique within the manifest.
    split : str
        ``"train"``, ``"val"`` or ``"test"``.
    high, low : tuple of Path
        Image files. `low` is empty (low images are made by degrading `high`) or as long as `high` (real pairs).
    axes : str or None
        Axes of every file, where the files do not tell.
    voxel_size : tuple of float or None
        ZYX of `high` in micrometre; None where unknown.
    grey_range : tuple of float or None
        Black and white in grey levels; None where they are to be measured.
    source, licence, credit : str
        Origin, terms of use, and whom to name.
    modality, note : str
        For people; may be empty.
    high_sha256, low_sha256 : tuple of str
        SHA-256 of the files in `high` and `low`, in the same order.
    """

    id: str
    split: str
    high: tuple[Path, ...]
    low: tuple[Path, ...]
    axes: str | None
    voxel_size: tuple[float | None, float | None, float | None]
    grey_range: tuple[float, float] | None
    source: str
    licence: str
    credit: str
    modality: str = ""
    note: str = ""
    high_sha256: tuple[str, ...] = ()
    low_sha256: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """Every file, high ones first, with its SHA-256."""
        return (*zip(self.high, self.high_sha256, strict=True), *zip(self.low, self.low_sha256, strict=True))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set: its acquisitions, and the SHA-256 of the manifest file that lists them."""

    name: str
    description: str
    path: Path
    sha256: str
    acquisitions: tuple[Acquisition, ...]

    def of_split(self, split: str) -> tuple[Acquisition, ...]:
        """Return the acquisitions of ``"train"``, ``"val"`` or ``"test"``, in the order of the manifest."""
        return tuple(acquisition for acquisition in self.acquisitions if acquisition.split == split)

    @property
    def licences(self) -> tuple[str, ...]:
        """Every licence that applies, each once, in the order of the manifest."""
        return tuple(dict.fromkeys(acquisition.licence for acquisition in self.acquisitions))

    @property
    def credits(self) -> tuple[str, ...]:
        """Everyone to be named, each once, in the order of the manifest."""
        return tuple(dict.fromkeys(acquisition.credit for acquisition in self.acquisitions))


@dataclass(frozen=True, slots=True)
class _Root:
    """The folder that file names are relative to, and the words that say how it was found."""

    folder: Path
    origin: str


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


def parse_manifest(path: Path, data_root: Path | None = None) -> Manifest:
    """Read and check a manifest without looking at any image file; otherwise like `load_manifest`."""
    return _read(Path(path), data_root)[0]


def _read(path: Path, data_root: Path | None) -> tuple[Manifest, _Root]:
    entry = read_entry(path)
    root = _find_root(entry, path, data_root)
    acquisitions = tuple(_acquisition(item, entry, root.folder) for item in entry.acquisitions)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = Manifest(entry.name, entry.description, path, digest, acquisitions)
    _require_unique_ids(manifest)
    require_disjoint_splits([manifest])
    return manifest, root


def _find_root(entry: ManifestEntry, path: Path, data_root: Path | None) -> _Root:
    if entry.root is not None:
        return _Root(path.parent / entry.root, f"'root: {entry.root}' in the manifest")
    if data_root is not None:
        return _Root(Path(data_root), "the setting data_root")
    if os.environ.get(DATA_ROOT_VARIABLE):
        return _Root(Path(os.environ[DATA_ROOT_VARIABLE]), f"the environment variable {DATA_ROOT_VARIABLE}")
    return _Root(path.parent, "the manifest's own folder, as no other was given")


def _acquisition(entry: AcquisitionEntry, manifest: ManifestEntry, folder: Path) -> Acquisition:
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
        high_sha256=tuple(item.sha256 for item in entry.high),
        low_sha256=tuple(item.sha256 for item in entry.low),
    )


def _files(manifest: Manifest) -> Iterator[tuple[Acquisition, Path, str]]:
    for acquisition in manifest.acquisitions:
        for file, digest in acquisition.files:
            yield acquisition, file, digest


def _require_unique_ids(manifest: Manifest) -> None:
    ids = [acquisition.id for acquisition in manifest.acquisitions]
    repeated = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if repeated:
        raise InputError(
            f"{manifest.path}: more than one acquisition is called {', '.join(repeated)}; an id names one specimen, "
            "field or volume: rename one, or put the files of both under one id"
        )


def require_disjoint_splits(manifests: list[Manifest]) -> None:
    """Refuse a file, or two files with the same SHA-256, in two splits; nothing is opened.

    Raises
    ------
    InputError
        Naming both places.
    """
    seen: dict[object, tuple[Acquisition, Path, Manifest]] = {}
    for manifest in manifests:
        for acquisition, file, digest in _files(manifest):
            for key in (Path(os.path.abspath(file)), digest):  # noqa: PTH100 (no link is followed, no file touched)
                first, other, where = seen.setdefault(key, (acquisition, file, manifest))
                if first.split != acquisition.split:
                    what = "the same file" if key != digest else "files with the same SHA-256"
                    raise InputError(
                        f"{what} in two splits: {other} ({first.split}, {first.id} in {where.path}) and {file} "
                        f"({acquisition.split}, {acquisition.id} in {manifest.path}); expected every image in one "
                        "split only: remove one of the two entries"
                    )


def _require_files(manifest: Manifest, root: _Root) -> None:
    missing = [(acquisition.id, file) for acquisition, file, _ in _files(manifest) if not file.is_file()]
    if not missing:
        return
    name, file = missing[0]
    others = f" (and {len(missing) - 1} other files)" if len(missing) > 1 else ""
    raise MissingFileError(
        f"{file}: no such file{others}, listed for {name} in {manifest.path}; looked in {root.folder}, from "
        f"{root.origin}; set the folder that holds the data with {DATA_ROOT_VARIABLE}=/folder or --set "
        "data_root=/folder"
    )


def _require_hashes(manifest: Manifest) -> None:
    for acquisition, file, expected in _files(manifest):
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise InputError(
                f"{file}: SHA-256 is {found}, expected {expected} ({acquisition.id} in {manifest.path}); the file is "
                "damaged or another version: fetch it again, or, if the new version is meant, write its SHA-256 into "
                "the manifest"
            )
