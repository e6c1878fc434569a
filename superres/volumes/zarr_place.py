"""Where a Zarr lies: a folder, a zip file or a remote store; reads small files there and leads to the voxels."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from superres.errors import InputError

METADATA_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
# The metadata of a plate of 10 000 fields take about 1 MB.
_LARGEST_METADATA = 2**26


@dataclass(frozen=True, slots=True)
class Place:
    """A group or array; picklable, because it holds no handle.

    Parameters
    ----------
    root : str
        Folder, zip file or URL.
    kind : str
        ``"folder"``, ``"zip"`` or ``"url"``.
    key : str
        Where below `root`, without leading and trailing slashes.
    top : int
        How many steps of `key` lead to the store itself, where a zip file holds it in a folder.
    """

    root: str
    kind: str = "folder"
    key: str = ""
    top: int = 0

    @classmethod
    def of(cls, path: Path) -> Place:
        """Find the store in a folder or zip file; many programs zip the folder, not what is in it.

        Raises
        ------
        InputError
            When the zip file is damaged or holds no Zarr at its root or in its only folder.
        """
        if path.is_dir():
            return cls(str(path))
        try:
            with zipfile.ZipFile(path) as file:
                names = file.namelist()
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise InputError(f"{path}: a damaged or truncated zip file ({error}); copy it again") from None
        if any(name in METADATA_FILES for name in names):
            return cls(str(path), "zip")
        folders = {name.split("/")[0] for name in names if "/" in name}
        for folder in sorted(folders):
            if len(folders) == 1 and any(f"{folder}/{file}" in names for file in METADATA_FILES):
                return cls(str(path), "zip", folder, 1)
        raise InputError(f"{path}: a zip file without a Zarr at its root; unpack it, and give an image that is in it")

    def __str__(self) -> str:
        parts = self.key.split("/")[self.top :] if self.key else []
        if not parts:
            return self.root
        return "/".join([self.root.rstrip("/"), *parts]) if self.kind != "zip" else f"{self.root}::{'/'.join(parts)}"

    def __truediv__(self, name: str) -> Place:
        """Go to a group or array below; metadata are not trusted to stay there.

        Raises
        ------
        InputError
            When `name` leads out of the store.
        """
        steps = [step for step in name.replace("\\", "/").split("/") if step not in ("", ".")]
        if ".." in steps or name.startswith("/") or ":" in (steps or [""])[0] or not steps:
            raise InputError(f"{self}: the path {name!r} does not lead to something in this store; it is not followed")
        return replace(self, key="/".join([*filter(None, [self.key]), *steps]))

    def parents(self) -> Iterator[Place]:
        """Go through this place and those above it, up to the store itself."""
        steps = self.key.split("/") if self.key else []
        for count in range(len(steps), self.top - 1, -1):
            yield replace(self, key="/".join(steps[:count]))

    def path(self, name: str = "") -> str:
        """Return the path or URL of a file here; of a zip file, the path within it."""
        ends = [end for end in (self.key, name) if end]
        return "/".join(ends if self.kind == "zip" else [self.root.rstrip("/") or "/", *ends])

    def read(self, name: str) -> bytes | None:
        """Read a small file; None where there is none.

        Raises
        ------
        InputError
            When it is there but cannot be read, or is larger than metadata ever are.
        """
        try:
            content = {"folder": self._read_file, "zip": self._read_zipped, "url": self._read_remote}[self.kind](name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, KeyError):
            return None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise InputError(f"{self.path(name)}: cannot be read ({reason}); check its permissions") from None
        if len(content) > _LARGEST_METADATA:
            raise InputError(f"{self.path(name)}: more than {_LARGEST_METADATA} bytes of Zarr metadata; it is damaged")
        return content

    def _read_file(self, name: str) -> bytes:
        with Path(self.path(name)).open("rb") as file:
            return file.read(_LARGEST_METADATA + 1)

    def _read_zipped(self, name: str) -> bytes:
        with zipfile.ZipFile(self.root) as file, file.open(self.path(name)) as entry:
            return entry.read(_LARGEST_METADATA + 1)

    def _read_remote(self, name: str) -> bytes:
        from superres.volumes.remote import read_remote

        return read_remote(self.path(name))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a JSON object; None where there is none.

        Raises
        ------
        InputError
            When the file is damaged.
        """
        content = self.read(name)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path(name)}: damaged Zarr metadata ({error}); copy the store again") from None
        if not isinstance(found, dict):
            kind = type(found).__name__
            raise InputError(f"{self.path(name)}: damaged Zarr metadata (a {kind} found); copy the store again")
        return found

    def names(self) -> list[str]:
        """List what could be groups or arrays directly below; nothing where a store cannot be listed."""
        if self.kind == "folder":
            try:
                with os.scandir(self.path()) as entries:
                    return sorted(entry.name for entry in entries if entry.is_dir())
            except OSError as error:
                raise InputError(f"{self}: a folder that cannot be read ({error.strerror})") from None
        if self.kind == "url":
            from superres.volumes.remote import list_remote

            return list_remote(self.path())
        start = f"{self.key}/" if self.key else ""
        with zipfile.ZipFile(self.root) as file:
            below = (name[len(start) :].split("/") for name in file.namelist() if name.startswith(start))
            return sorted({steps[0] for steps in below if len(steps) > 1})

    def kvstore(self) -> dict[str, Any] | None:
        """Return tensorstore's words for this place; None where it does not read there."""
        if self.kind == "folder":
            return {"driver": "file", "path": f"{Path(self.path()).absolute()}/"}
        if self.kind == "zip":
            base = {"driver": "file", "path": str(Path(self.root).absolute())}
            return {"driver": "zip", "base": base, "path": f"{self.key}/" if self.key else ""}
        return None
