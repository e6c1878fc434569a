"""Unpacking archives from strangers: nothing leaves the folder, nothing is a link, nothing fills the disk."""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from superres.errors import InputError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent

_BLOCK = 2**20
# Images pack to a few per cent at best; an archive that grows more than this is made to fill a disk.
_MAX_GROWTH = 100
_ALWAYS_ALLOWED = 100 * 10**6
_MAX_MEMBERS = 1_000_000
_MB = 1e6


@dataclass(frozen=True, slots=True)
class _Member:
    """One file in an archive."""

    name: str
    size: int
    is_file: bool
    entry: Any

    @property
    def path(self) -> str:
        """The name without ``./`` before it, as tar writes it at times."""
        return "/".join(_parts(self.name))


def unpack(
    archive: Path,
    folder: Path,
    *,
    only: Mapping[str, Path] | None = None,
    progress: ProgressCallback = silent,
) -> tuple[Path, ...]:
    """Unpack a ZIP or tar file; what is there already with the right size is kept.

    Parameters
    ----------
    archive : Path
        ``.zip``, ``.tar``, ``.tar.gz``, ``.tar.bz2`` or ``.tar.xz``; the content decides, not the name.
    folder : Path
        Where everything goes.
    only : mapping of str to Path, optional
        The members to take out, with the file that each becomes; without it everything is taken.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    InputError
        When it is no archive, damaged or encrypted; when a member would leave the folder, is a link or a device, or is
        missing; when it would unpack to more than a hundred times its size. Nothing outside the folder is ever written.
    OutputWriteError
        When the files do not fit on the disk or cannot be written.
    """
    with _opened(archive) as opened:
        members = _checked(archive, opened)
        names = {member.path: member for member in members if member.is_file}
        if only is None:
            targets = {name: folder / name for name in names}
        else:
            targets = {"/".join(_parts(name)): target for name, target in only.items()}
            _require_members(archive, targets, names)
        wanted = [member for name, member in names.items() if name in targets]
        _require_room(archive, sum(member.size for member in wanted), folder)
        for index, member in enumerate(wanted):
            progress(Progress("unpack", index, len(wanted), "files", member.name))
            _take_out(archive, opened, member, targets[member.path], folder)
        progress(Progress("unpack", len(wanted), len(wanted), "files"))
    return tuple(targets[member.path] for member in wanted)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield opened
        else:
            with tarfile.open(archive) as opened:
                yield opened
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise InputError(
            f"{archive}: cannot be unpacked ({reason}); expected a ZIP or tar file. Delete it and fetch it again"
        ) from None


def _checked(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> list[_Member]:
    """List the members, and refuse an archive that means harm before anything is written."""
    limit = max(_ALWAYS_ALLOWED, _MAX_GROWTH * archive.stat().st_size)
    members: list[_Member] = []
    seen: set[tuple[str, ...]] = set()
    total = 0
    for member in _listed(archive, opened):
        parts = _parts(member.name)
        if not parts and member.is_file:
            raise InputError(
                f"{archive}: holds '{member.name}', which would be written outside the folder; it is not to be trusted"
            )
        folded = tuple(part.casefold() for part in parts)
        if member.is_file and folded in seen:
            raise InputError(f"{archive}: holds '{member.name}' twice; it is not to be trusted")
        seen.add(folded)
        members.append(member)
        total += member.size
        if total > limit or len(members) > _MAX_MEMBERS:
            raise InputError(
                f"{archive}: unpacks to more than {limit / _MB:.0f} MB or {_MAX_MEMBERS} files from "
                f"{archive.stat().st_size / _MB:.1f} MB; such an archive is made to fill the disk and is not unpacked"
            )
    return members


def _listed(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    if isinstance(opened, zipfile.ZipFile):
        for info in opened.infolist():
            kind = (info.external_attr >> 16) & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise InputError(f"{archive}: holds a link or a device, '{info.filename}'; it is not to be trusted")
            if info.flag_bits & 1:
                raise InputError(f"{archive}: is encrypted; unpack it by hand")
            yield _Member(info.filename, info.file_size, not info.is_dir(), info)
    else:
        for entry in opened:
            if not (entry.isreg() or entry.isdir()):
                raise InputError(f"{archive}: holds a link or a device, '{entry.name}'; it is not to be trusted")
            yield _Member(entry.name, entry.size, entry.isreg(), entry)


def _parts(name: str) -> tuple[str, ...]:
    """Return folders and name of a member, or nothing where it would leave the folder on any system."""
    if name.startswith("/") or "\\" in name or re.match(r"[A-Za-z]:", name) or any(ord(letter) < 32 for letter in name):
        return ()
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    return () if ".." in parts else parts


def _require_members(archive: Path, only: Mapping[str, Path], found: Collection[str]) -> None:
    missing = [name for name in only if name not in found]
    if missing:
        some = ", ".join(sorted(found)[:5])
        raise InputError(
            f"{archive}: holds no '{missing[0]}' (and {len(missing) - 1} others are missing); it holds {some} ...; "
            "correct 'member' in the manifest"
        )


def _require_room(archive: Path, size: int, folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise OutputWriteError(
            f"{archive}: unpacks to {size / _MB:.0f} MB, and {folder} has room for {free / _MB:.0f} MB; free some "
            "space, or choose another folder with --to"
        )


def _take_out(
    archive: Path, opened: zipfile.ZipFile | tarfile.TarFile, member: _Member, target: Path, folder: Path
) -> None:
    if target.is_file() and target.stat().st_size == member.size:
        return
    if target.exists():
        raise OutputWriteError(f"{target}: is another file than that in {archive}; move it away and try again")
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{target}: a link leads out of {folder}; nothing is written there")
        with _stream(opened, member) as source, part.open("wb") as out:
            _copy(archive, source, out, member)
        part.replace(target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError):
        part.unlink(missing_ok=True)
        raise
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputWriteError(f"{target}: cannot be written ({error}); free some space and try again") from None


def _stream(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        return opened.open(member.entry)
    stream = opened.extractfile(member.entry)
    assert stream is not None  # only regular files get here
    return stream


def _copy(archive: Path, source: IO[bytes], out: IO[bytes], member: _Member) -> None:
    """Copy a member, and stop where it holds more than it said."""
    done = 0
    while block := source.read(_BLOCK):
        done += len(block)
        if done > member.size:
            raise InputError(f"{archive}: '{member.name}' is larger than the archive says; it is not to be trusted")
        out.write(block)
    if done < member.size:
        raise InputError(f"{archive}: '{member.name}' ends early; the archive is damaged: delete it and fetch it again")
