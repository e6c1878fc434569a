"""Fetching what a manifest lists: only what is missing, checked, and never over a file that is there."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from superres.datasets.checksum import file_sha256
from superres.datasets.download import UnreachableError, Wanted, download
from superres.datasets.manifest import find_data_root, nothing_listed
from superres.datasets.manifest_format import ArchiveEntry, FileEntry, ManifestEntry
from superres.datasets.manifest_reading import read_entry
from superres.datasets.unpacking import unpack
from superres.errors import InputError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent

State = Literal["there", "fetched", "unpacked", "no address", "failed"]
ARCHIVES = "archives"  # folder below the data root; archives are kept there until the user deletes them
_SUFFIXES = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".zip", ".tar")


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """What became of one file or archive: its path below the root, and the SHA-256 it has and should have."""

    file: str
    state: State
    found: str | None = None
    expected: str | None = None
    message: str = ""

    @property
    def is_unverified(self) -> bool:
        """Whether it is there and the manifest has no checksum to hold it against."""
        return self.found is not None and self.expected is None


@dataclass(frozen=True, slots=True)
class FetchSummary:
    """What became of a manifest's files, and the folder they are in."""

    path: Path
    root: Path
    files: tuple[FetchedFile, ...]

    @property
    def problems(self) -> tuple[FetchedFile, ...]:
        """Every file that is not there in the end."""
        return tuple(item for item in self.files if item.state in ("failed", "no address"))


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch would do: what is to come (name, address, bytes), and how many files are there already."""

    path: Path
    entry: ManifestEntry
    root: Path
    missing: tuple[tuple[str, str | None, int | None], ...]
    there: int


def plan_fetch(path: Path, *, to: Path | None = None, data_root: Path | None = None) -> FetchPlan:
    """Say what `fetch_manifest` would fetch; nothing is opened, checked or downloaded.

    Raises
    ------
    MissingFileError, InputError
        As `fetch_manifest`.
    """
    entry, root = _entry_and_root(path, to, data_root)
    listed = {file.file: file for item in entry.acquisitions for file, _ in item.files}
    missing = [file for file in listed.values() if not (root / file.file).is_file()]
    packed = {file.archive for file in missing if file.archive is not None}
    used = {file.archive for file in listed.values()}
    plan = [(file.file, file.url, file.bytes) for file in missing if file.archive is None]
    for archive in entry.archives:
        unpacked = _is_unpacked(root, archive) if archive.archive not in used else archive.archive not in packed
        if not unpacked and not (root / ARCHIVES / entry.name / archive.archive).is_file():
            plan.append((archive.archive, archive.url, archive.bytes))
    return FetchPlan(path, entry, root, tuple(plan), len(listed) - len(missing))


def fetch_manifest(
    path: Path, *, to: Path | None = None, data_root: Path | None = None, progress: ProgressCallback = silent
) -> FetchSummary:
    """Fetch the files of a manifest that are missing; the same call resumes what broke off.

    Parameters
    ----------
    path : Path
        The manifest.
    to : Path, optional
        Folder for the files. Without it they go where `superres.datasets.load_manifest` looks for them.
    data_root : Path, optional
        As in `superres.datasets.load_manifest`.
    progress : callable, optional
        Gets events of the stages ``"fetch"`` (MB) and ``"unpack"`` (files).

    Returns
    -------
    FetchSummary
        One entry per file and archive. Those that failed are in it with the reason, and the others are complete.

    Raises
    ------
    MissingFileError, InputError
        When the manifest is missing or wrong, lists nothing, or names a folder of its own outside its place.
    """
    entry, root = _entry_and_root(path, to, data_root)
    sizes = [size for _, url, size in plan_fetch(path, to=root).missing if url is not None]
    job = _Job(entry, root, _Meter(progress, None if None in sizes else sum(size or 0 for size in sizes) / 1e6))
    return FetchSummary(path, root, (*job.archives_without_members(), *job.files()))


def _entry_and_root(path: Path, to: Path | None, data_root: Path | None) -> tuple[ManifestEntry, Path]:
    entry = read_entry(path)
    if not entry.acquisitions and not entry.archives:
        raise InputError(f"{path}: {nothing_listed(entry, path)}")
    return entry, to if to is not None else _own_root(entry, path, data_root)


def _own_root(entry: ManifestEntry, path: Path, data_root: Path | None) -> Path:
    """Find the folder; a manifest from elsewhere must not choose one of this machine."""
    if entry.root is not None and (Path(entry.root).is_absolute() or ".." in Path(entry.root).parts):
        raise InputError(
            f"{path}: its 'root: {entry.root}' is outside the manifest's folder; if files are to be written there, "
            f"say so with --to {entry.root}"
        )
    return find_data_root(entry, path, data_root).folder


def unpack_folder(archive: ArchiveEntry) -> str:
    """Return the folder below the data root for an archive of which no members are listed."""
    if archive.unpack is not None:
        return archive.unpack
    return next((archive.archive.removesuffix(end) for end in _SUFFIXES if archive.archive.endswith(end)), "") or "all"


def _note_of(root: Path, archive: ArchiveEntry) -> Path:
    return root / unpack_folder(archive) / f".{archive.archive}.unpacked.json"


def _is_unpacked(root: Path, archive: ArchiveEntry) -> str | None:
    """Return the SHA-256 of an archive that was unpacked completely; it may have been deleted since."""
    try:
        sha256 = str(json.loads(_note_of(root, archive).read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sha256 if archive.sha256 in (None, sha256) else None


@dataclass(slots=True)
class _Meter:
    """Turns the progress of each download into that of all; `expected` is in MB, None where a size is not known."""

    callback: ProgressCallback
    expected: float | None
    done: float = 0.0
    latest: float = 0.0

    def __call__(self, event: Progress) -> None:
        """Pass on an event; a few small files are counted in kB."""
        if event.stage != "fetch":
            self.callback(event)
            return
        scale, unit = (1000.0, "kB") if self.expected is not None and self.expected < 10 else (1.0, "MB")
        total = max(self.expected or 0.0, self.done + event.total)
        self.latest = event.done
        self.callback(Progress("fetch", scale * (self.done + event.done), scale * total, unit, event.note))

    def next(self) -> None:
        """Begin the next file."""
        self.done, self.latest = self.done + self.latest, 0.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One manifest being fetched into one folder."""

    entry: ManifestEntry
    root: Path
    progress: _Meter
    unreachable: set[str] = field(default_factory=set)

    def files(self) -> Iterator[FetchedFile]:
        """Fetch the files of the acquisitions, each once, archive by archive."""
        listed = {file.file: file for item in self.entry.acquisitions for file, _ in item.files}
        packed: dict[str, list[FileEntry]] = defaultdict(list)
        for file in listed.values():
            there = self._there(file)
            if there is not None:
                yield there
            elif file.archive is not None:
                packed[file.archive].append(file)
            else:
                yield self._single(file)
        for archive in self.entry.archives:
            if packed[archive.archive]:
                yield from self._members(archive, packed[archive.archive])

    def archives_without_members(self) -> Iterator[FetchedFile]:
        """Fetch and unpack the archives of which no file is listed."""
        used = {file.archive for item in self.entry.acquisitions for file, _ in item.files}
        for archive in self.entry.archives:
            if archive.archive not in used:
                yield self._whole(archive)

    def _there(self, file: FileEntry) -> FetchedFile | None:
        target = self.root / file.file
        if not target.is_file():
            return None
        found = file_sha256(target)
        if file.sha256 in (None, found):
            return FetchedFile(file.file, "there", found, file.sha256)
        message = f"{target}: another file is there, with SHA-256 {found}; move it away and fetch again"
        return FetchedFile(file.file, "failed", found, file.sha256, message)

    def _single(self, file: FileEntry) -> FetchedFile:
        if file.url is None:
            return FetchedFile(file.file, "no address", None, file.sha256, self._by_hand(self.root / file.file))
        wanted = Wanted(file.url, self.root / file.file, file.sha256, file.bytes)
        return self._download(file.file, wanted)

    def _download(self, name: str, wanted: Wanted) -> FetchedFile:
        server = urlsplit(wanted.url).netloc
        if server in self.unreachable:  # trying each of a hundred files again would take an hour
            return FetchedFile(name, "failed", None, wanted.sha256, f"not tried: {server} did not answer")
        self.progress.next()
        try:
            self._require_place(wanted)
            return FetchedFile(name, "fetched", download(wanted, progress=self.progress), wanted.sha256)
        except UnreachableError as error:
            self.unreachable.add(server)
            return FetchedFile(name, "failed", None, wanted.sha256, str(error))
        except (InputError, OutputWriteError) as error:
            return FetchedFile(name, "failed", None, wanted.sha256, str(error))

    def _require_place(self, wanted: Wanted) -> None:
        """Refuse a link that leads out of the folder, and a disk that is too small."""
        folder = next(parent for parent in wanted.target.absolute().parents if parent.exists())
        inside = folder.resolve().is_relative_to(self.root.resolve()) or self.root.resolve().is_relative_to(folder)
        if not inside or wanted.target.is_symlink():
            raise InputError(f"{wanted.target}: a link leads out of {self.root}; nothing is written there")
        free = shutil.disk_usage(folder).free
        if wanted.size is not None and wanted.size > free:
            raise OutputWriteError(
                f"{wanted.target}: needs {wanted.size / 1e6:.0f} MB, and there is room for {free / 1e6:.0f} MB; free "
                "some space, or choose another folder with --to"
            )

    def _archive(self, archive: ArchiveEntry) -> tuple[Path, FetchedFile]:
        target = self.root / ARCHIVES / self.entry.name / archive.archive
        name = str(PurePosixPath(ARCHIVES, self.entry.name, archive.archive))
        there = self._there(FileEntry(file=name, sha256=archive.sha256))
        if there is not None:
            return target, there
        if archive.url is None:
            return target, FetchedFile(name, "no address", None, archive.sha256, self._by_hand(target))
        return target, self._download(name, Wanted(archive.url, target, archive.sha256, archive.bytes))

    def _members(self, archive: ArchiveEntry, files: list[FileEntry]) -> Iterator[FetchedFile]:
        target, fetched = self._archive(archive)
        yield fetched
        if fetched.state not in ("there", "fetched"):
            why = f"its archive {archive.archive} is not there"
            yield from (FetchedFile(file.file, "failed", None, file.sha256, why) for file in files)
            return
        try:
            members = {file.member or file.file: self.root / file.file for file in files}
            unpack(target, self.root, only=members, progress=self.progress)
        except (InputError, OutputWriteError) as error:
            yield from (FetchedFile(file.file, "failed", None, file.sha256, str(error)) for file in files)
            return
        for file in files:
            there = self._there(file)
            assert there is not None
            yield replace(there, state="unpacked") if there.state == "there" else self._discard(file, target, there)

    def _discard(self, file: FileEntry, archive: Path, found: FetchedFile) -> FetchedFile:
        """Delete a member that was just unpacked and is not the one that was meant."""
        (self.root / file.file).unlink()
        message = f"{archive}: its {file.member or file.file} has SHA-256 {found.found}, expected {file.sha256}"
        return replace(found, message=f"{message}; it was deleted: the archive is another version")

    def _whole(self, archive: ArchiveEntry) -> FetchedFile:
        folder = self.root / unpack_folder(archive)
        sha256 = _is_unpacked(self.root, archive)
        if sha256:
            return FetchedFile(archive.archive, "there", sha256, archive.sha256, f"unpacked in {folder}")
        target, fetched = self._archive(archive)
        if fetched.state not in ("there", "fetched"):
            return fetched
        try:
            files = unpack(target, folder, progress=self.progress)
        except (InputError, OutputWriteError) as error:
            return replace(fetched, state="failed", message=str(error))
        note = {"archive": archive.archive, "sha256": fetched.found, "files": len(files)}
        _note_of(self.root, archive).write_text(json.dumps(note) + "\n", encoding="utf-8")
        message = f"{len(files)} files in {folder}"
        return FetchedFile(fetched.file, "unpacked", fetched.found, archive.sha256, message)

    def _by_hand(self, target: Path) -> str:
        page = self.entry.url or (f"https://doi.org/{self.entry.doi}" if self.entry.doi else None)
        where = f"see {page}" if page else f"source: {self.entry.source or 'see the acquisitions in the manifest'}"
        return f"{target}: the manifest has no address for it; fetch it by hand ({where}) and put it there"
