"""Is an image whole, or is it still being written? What its headers and its last voxels say."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import numpy as np

from superres.errors import InputError, SuperresError
from superres.volumes.volume import Volume
from superres.volumes.zarr_arrays import ZarrArray

# A store of more files than this is looked at in part.
_MOST_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when a file, or any file of a folder, is written to.

    Parameters
    ----------
    files : int
        How many there are.
    size : int
        Bytes in all.
    mtime_ns : int
        Time of the latest change.
    """

    files: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Look at a file or a whole folder; None where there is nothing any more."""
        try:
            state = path.stat()
        except OSError:
            return None
        if not path.is_dir():
            return cls(1, state.st_size, state.st_mtime_ns)
        return cls(*_sums(path, state.st_mtime_ns))


def why_incomplete(volume: Volume) -> str | None:
    """Say why an image that opens is not whole yet; None where it is.

    Opening has compared what the headers declare with what the file holds. Here the last voxels are read, and of a Zarr
    every chunk of the finest level must be there: a program that records leaves none out, though the format allows it.

    Parameters
    ----------
    volume : Volume
        Just opened.
    """
    array = volume.finest.inner if volume.finest is not None else None
    if isinstance(array, ZarrArray) and array.place.kind == "folder":
        absent, looked_at = _absent_chunks(array)
        if absent:
            return f"{absent} of {looked_at} chunks are not there yet"
    t, c, z, y, x = (n - 1 for n in volume.shape)
    try:
        last = volume.read(t=t, c=c, z=slice(z, z + 1), y=slice(y, y + 1), x=slice(x, x + 1))
    except SuperresError as error:
        return str(error).removeprefix(f"{volume.source}: ")
    return None if last.size == 1 else "its last voxel is not there yet"


def is_marked(path: Path, marker: str) -> bool:
    """Whether a file that says 'done' lies beside an image.

    Parameters
    ----------
    path : Path
        The image.
    marker : str
        Name of that file; ``{name}`` and ``{stem}`` stand for the image's name with and without its endings; ``*``,
        ``?`` and ``[...]`` as in patterns.

    Raises
    ------
    InputError
        When the folder cannot be read.
    """
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    pattern = marker.format(name=_literal(path.name), stem=_literal(stem))
    try:
        with os.scandir(path.parent) as entries:
            return any(fnmatchcase(entry.name, pattern) and entry.name != path.name for entry in entries)
    except OSError as error:
        raise InputError(f"{path.parent}: a folder that cannot be read ({error.strerror})") from None


def _literal(text: str) -> str:
    """Take the meaning out of what would be a pattern."""
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in text)


def _sums(folder: Path, newest: int) -> tuple[int, int, int]:
    files = size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.stat(os.path.join(root, name))  # noqa: PTH116, PTH118 (twice as fast for 100 000 chunks)
            except OSError:
                continue  # renamed meanwhile: the next look will see it
            files += 1
            size += state.st_size
            newest = max(newest, state.st_mtime_ns)
    return files, size, newest


def _absent_chunks(array: ZarrArray) -> tuple[int, int]:
    """Count the files of chunks that are not there, among those that were looked at."""
    counts = [-(-n // chunk) for n, chunk in zip(array.shape, array.stored_chunk(), strict=True)]
    total = int(np.prod(counts, dtype=np.int64)) if counts else 1
    if total <= _MOST_CHUNKS:
        positions = itertools.product(*map(range, counts))
    else:  # evenly spread, the last one among them
        numbers = np.linspace(0, total - 1, _MOST_CHUNKS).astype(np.int64)
        positions = zip(*(map(int, axis) for axis in np.unravel_index(numbers, counts)), strict=True)  # type: ignore[assignment]
    absent = sum(not array.file(position).is_file() for position in positions)
    return absent, min(total, _MOST_CHUNKS)
