"""What stands where a store is to be written: a store to go on with, one to replace, or what is never touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from superres.errors import OutputExistsError
from superres.volumes.records import records_folder


def refuse(path: Path, fingerprint: str, *, overwrite: bool) -> bool:
    """Refuse a path that holds anything but a store that may be replaced; return whether it holds one."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    if not _looks_like_store(path):
        raise OutputExistsError(
            f"{path}: {'a folder' if path.is_dir() else 'a file'} that is no Zarr store; it is never replaced, "
            "give another output"
        )
    if not overwrite:
        raise OutputExistsError(
            f"{path}: holds {_what_store(path, fingerprint)}; give another output, or --set overwrite=true to "
            "replace it"
        )
    return True


def make_room(path: Path, fingerprint: str, *, occupied: bool) -> None:
    """Delete the store that is to be replaced, and records of other fingerprints."""
    # Renamed first, so that a kill while deleting leaves nothing that looks like a store.
    doomed = path.with_name(path.name + ".deleted")
    if doomed.is_dir() and _looks_like_store(doomed):
        shutil.rmtree(doomed)
    if occupied:
        path.rename(doomed)
        shutil.rmtree(doomed)
    if records_folder(path).is_dir():
        # Records of the same fingerprint may be those of another process that starts at this moment.
        for other in records_folder(path).iterdir():
            if other.is_dir() and other.name != fingerprint:  # locks are files
                shutil.rmtree(other)


def _what_store(path: Path, fingerprint: str) -> str:
    try:
        group = json.loads((path / ("zarr.json" if (path / "zarr.json").is_file() else ".zattrs")).read_text())
        attributes = group.get("attributes", group)
        same = attributes["superres"]["fingerprint"] == fingerprint
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "a store of another input, model or settings"
    if same:
        return f"the finished result of these very settings, but its records ({records_folder(path).name}) are gone"
    return "a finished store of another input, model or settings"


def _looks_like_store(path: Path) -> bool:
    markers = ("zarr.json", ".zgroup", ".zattrs", ".zarray", "0/zarr.json", "0/.zarray")
    return path.is_dir() and any((path / name).exists() for name in markers)
