"""Proof that a store on the disk is whole: every block is there and readable. Needs nothing but the path."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superres.errors import InputError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes.records import Records, records_folder
from superres.volumes.shards import shard_path
from superres.volumes.zarr_arrays import ZarrArray


@dataclass(frozen=True, slots=True)
class _Grid:
    """The files of one array."""

    folder: Path
    shape: tuple[int, ...]
    file_shape: tuple[int, ...]
    zarr_format: int
    separator: str

    def positions(self) -> Iterator[tuple[int, ...]]:
        counts = (-(-n // s) for n, s in zip(self.shape, self.file_shape, strict=True))
        return itertools.product(*map(range, counts))

    def count(self) -> int:
        return math.prod(-(-n // s) for n, s in zip(self.shape, self.file_shape, strict=True))

    def file(self, position: tuple[int, ...]) -> Path:
        if self.separator == "/":
            return shard_path(self.folder, position, zarr_format=self.zarr_format)
        return self.folder / self.separator.join([*(["c"] if self.zarr_format == 3 else []), *map(str, position)])

    def region(self, position: tuple[int, ...]) -> tuple[slice, ...]:
        bounds = zip(position, self.file_shape, self.shape, strict=True)
        return tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in bounds)


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
    grids = _grids(path, attributes)
    records, own = _records(path, attributes)
    problems = [] if finished else [f"{path}: the group's metadata are missing; the store is not finished"]
    total, done = sum(grid.count() for grid in grids), 0
    for level, grid in enumerate(grids):
        array = None
        for position in grid.positions():
            progress(Progress("verify", done, total, "blocks"))
            done += 1
            file = grid.file(position)
            if records is not None and records.load(level, position) is not None:
                problem = records.problem(level, position, file)
            elif not file.is_file():
                problem = "missing" if own else None
            elif file.stat().st_size == 0:
                problem = "an empty file"
            else:
                array = array or ZarrArray.open(grid.folder)
                problem = _unreadable(array, grid.region(position))
            if problem is not None:
                problems.append(f"{file}: {problem}")
    progress(Progress("verify", total, total, "blocks"))
    return problems


def _unreadable(array: ZarrArray, region: tuple[slice, ...]) -> str | None:
    try:
        array[region]
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


def _grids(path: Path, attributes: dict[str, Any]) -> list[_Grid]:
    ome = attributes.get("ome", attributes)
    try:
        if _is_array(path):
            return [_grid(path)]
        if isinstance(ome, dict) and ome.get("multiscales"):
            return [_grid(path / str(dataset["path"])) for dataset in ome["multiscales"][0]["datasets"]]
        names = sorted((item.name for item in path.iterdir() if item.name.isdigit() and _is_array(item)), key=int)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise InputError(
            f"{path}: damaged Zarr metadata ({type(error).__name__}: {error}); copy the store again"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the folder of an OME-Zarr image") from None
    if not names:
        raise InputError(f"{path}: no OME-Zarr image and no Zarr array; name the folder of one image")
    return [_grid(path / name) for name in names]


def _is_array(folder: Path) -> bool:
    if (folder / ".zarray").is_file():
        return True
    return (_json(folder / "zarr.json") or {}).get("node_type") == "array"


def _grid(folder: Path) -> _Grid:
    three = _json(folder / "zarr.json")
    if three is not None:
        block = three["chunk_grid"]["configuration"]["chunk_shape"]
        encoding = three.get("chunk_key_encoding", {})
        separator = encoding.get("configuration", {}).get("separator", "/" if encoding.get("name") != "v2" else ".")
        zarr_format = 2 if encoding.get("name") == "v2" else 3
        return _Grid(folder, tuple(map(int, three["shape"])), tuple(map(int, block)), zarr_format, separator)
    two = _json(folder / ".zarray")
    if two is None:
        raise InputError(f"{folder}: the metadata name this array, but it is not there; the store is incomplete")
    separator = two.get("dimension_separator", ".")
    return _Grid(folder, tuple(map(int, two["shape"])), tuple(map(int, two["chunks"])), 2, separator)


def _records(path: Path, attributes: dict[str, Any]) -> tuple[Records | None, bool]:
    """Return the records of a store, where there are any, and whether superres wrote it."""
    own = attributes.get("superres")
    fingerprint = own.get("fingerprint") if isinstance(own, dict) else None
    folder = records_folder(path)
    if isinstance(fingerprint, str) and fingerprint.isalnum():
        return (Records(folder / fingerprint) if (folder / fingerprint).is_dir() else None), True
    begun = [item for item in folder.iterdir() if item.is_dir()] if folder.is_dir() else []
    return (Records(begun[0]) if len(begun) == 1 else None), bool(begun)
