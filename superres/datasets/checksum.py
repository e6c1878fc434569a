"""The checksum by which manifests know a file, or an image of several files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as ``sha256sum`` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the files of an image as a manifest names it: a file, ``file::image``, a Zarr folder or a pattern.

    Returns
    -------
    tuple of Path
        In the order of their names; empty where there is nothing.
    """
    if path.is_file():
        return (path,)
    if path.is_dir():
        return tuple(sorted(item for item in path.rglob("*") if item.is_file()))
    from superres.volumes.collection import matches  # Dask takes a second to load, and single files need none
    from superres.volumes.opening import is_pattern, split_part

    address, part = split_part(path)
    if part is not None:
        return image_files(Path(address))
    return tuple(sorted(item for item in matches(address) if item.is_file())) if is_pattern(address) else ()


def image_sha256(path: Path) -> str:
    """Return the SHA-256 of an image: of the bytes of one file, or over those of several, in the order of their names.

    Where the folder lies does not matter; a name that changes within it does.
    """
    files = image_files(path)
    if len(files) == 1 and not path.is_dir():
        return file_sha256(files[0])
    base = path if path.is_dir() else Path(os.path.commonpath([file.parent for file in files]))
    lines = [f"{file_sha256(file)}  {file.relative_to(base).as_posix()}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
