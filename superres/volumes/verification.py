"""Proof that a store on the disk is whole: every block is there and readable. Needs nothing but the path."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from superres.errors import InputError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes.records import Records, records_folder
from superres.volumes.zarr_arrays import ZarrArray


def verify_store(path: Path, *, progress: ProgressCallback = silent) -> list[str]:
    """Check every file of an OME-Zarr image or a Zarr array; return the problems found, each with its path.

    In a store of superres every block must be there; one with a done-record is compared with its size and checksum,
    one without is decoded. Elsewhere a block that is absent is all fill value, and those that are there are decoded.

    Parameters
    ----------
    path : Path
        The folder of an image or array, finished or not.
    progress : callable
        Receives an event per file.

    Raises
    ------
    InputError
        When the folder holds no image or array.
    """
    attributes, finished = root_attributes(path)
    arrays = [ZarrArray.open(folder) for folder in _array_folders(path, attributes)]
    records, own = _records(path, attributes)
    problems = [] if finished else [f"{path}: the group's metadata are missing; the store is not finished"]
    blocks = [(level, array, position) for level, array in enumerate(arrays) for position in _positions(array)]
    for done, (level, array, position) in enumerate(blocks):
        progress(Progress("verify", done, len(blocks), "blocks"))
        file = array.file(position)
        if records is not None and records.load(level, position) is not None:
            problem = records.problem(level, position, file)
        elif not file.is_file():
            problem = "missing" if own else None
        elif file.stat().st_size == 0:
            problem = "an empty file"
        else:
            problem = _unreadable(array, position)
        if problem is not None:
            problems.append(f"{file}: {problem}")
    progress(Progress("verify", len(blocks), len(blocks), "blocks"))
    return problems


def _positions(array: ZarrArray) -> Iterator[tuple[int, ...]]:
    counts = (-(-size // chunk) for size, chunk in zip(array.shape, array.stored_chunk(), strict=True))
    return itertools.product(*map(range, counts))


def _unreadable(array: ZarrArray, position: tuple[int, ...]) -> str | None:
    bounds = zip(position, array.stored_chunk(), array.shape, strict=True)
    try:
        array[tuple(slice(i * chunk, min((i + 1) * chunk, size)) for i, chunk, size in bounds)]
    except InputError as error:
        return f"cannot be decoded; {str(error).removeprefix(f'{array.path}: ')}"
    return None


def root_attributes(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the attributes of a group or array, and whether there are any metadata."""
    three = _json(path / "zarr.json")
    if three is not None:
        attributes = three.get("attributes")
        return (attributes if isinstance(attributes, dict) else {}), True
    two = _json(path / ".zattrs")
    return two or {}, two is not None or (path / ".zarray").is_file()


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged Zarr metadata ({error}); copy the store again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged Zarr metadata (a {type(content).__name__} found); copy the store again")
    return content


def _array_folders(path: Path, attributes: dict[str, Any]) -> list[Path]:
    ome = attributes.get("ome", attributes)
    try:
        if _is_array(path):
            return [path]
        if isinstance(ome, dict) and ome.get("multiscales"):
            return [path / str(dataset["path"]) for dataset in ome["multiscales"][0]["datasets"]]
        names = sorted((item.name for item in path.iterdir() if item.name.isdigit() and _is_array(item)), key=int)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise InputError(
            f"{path}: damaged Zarr metadata ({type(error).__name__}: {error}); copy the store again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the folder of an OME-Zarr image") from None
    if not names:
        raise InputError(f"{path}: no OME-Zarr image and no Zarr array; name the folder of one image")
    return [path / name for name in names]


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    return (_json(folder / "zarr.json") or {}).get("node_type") == "array"


def _records(path: Path, attributes: dict[str, Any]) -> tuple[Records | None, bool]:
    """Return the records of a store, where there are any, and whether superres wrote it."""
    own = attributes.get("superres")
    fingerprint = own.get("fingerprint") if isinstance(own, dict) else None
    folder = records_folder(path)
    if isinstance(fingerprint, str) and fingerprint.isalnum():
        return (Records(folder / fingerprint) if (folder / fingerprint).is_dir() else None), True
    begun = [item for item in folder.iterdir() if item.is_dir()] if folder.is_dir() else []
    return (Records(begun[0]) if len(begun) == 1 else None), bool(begun)
