"""Voxels of Zarr arrays, versions 2 and 3, read by tensorstore, or by zarr-python where tensorstore cannot."""

from __future__ import annotations

import functools
import hashlib
import math
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import Region
from superres.volumes.cores import core_count
from superres.volumes.zarr_place import METADATA_FILES, Place
from superres.volumes.zarr_plain import plain_chunks

# What zarr-python and numcodecs raise for what they do not know, or cannot decode, has no common class.
_REFUSALS = (OSError, ValueError, LookupError, TypeError, RuntimeError, ArithmeticError, AttributeError, AssertionError)
# Enough chunks to notice a changed store; looking at millions would take minutes.
_CHUNKS_STAMPED = 4096
# A chunk above this size must have compressed at least plausibly, or a few bytes would fill the memory.
_LARGE_CHUNK = 2**28
_LARGEST_RATIO = 2_000


@functools.cache
def _context() -> ts.Context:
    """Bound what tensorstore does at once: its own choice is a thread per file and core of the machine."""
    cores = core_count()
    return ts.Context(
        {
            "data_copy_concurrency": {"limit": cores},
            "file_io_concurrency": {"limit": max(4, cores)},
            "cache_pool": {"total_bytes_limit": 0},
        }
    )


class ZarrArray:
    """A Zarr array that is opened anew in every process.

    Parameters
    ----------
    place : Place
        Where the array is.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lock = threading.Lock()
        self._handle: Any = None
        self._tensorstore = True
        self._metadata = _array_metadata(place)
        handle = self._open()
        self.shape: tuple[int, ...] = tuple(int(size) for size in handle.shape)
        self.dtype: np.dtype[Any] = handle.dtype.numpy_dtype if self._tensorstore else np.dtype(handle.dtype)
        self.block: tuple[int, ...] = tuple(
            handle.chunk_layout.read_chunk.shape if self._tensorstore else handle.chunks
        )
        if min((*self.shape, 1)) < 0 or min((*self.block, 1)) < 1:
            raise InputError(f"{place}: chunks of {self.block} voxels declared for shape {self.shape}; it is damaged")
        self._plain = plain_chunks(self._metadata, self.file) if place.kind == "folder" else None
        self._suspicious = math.prod(self.block) * self.dtype.itemsize > _LARGE_CHUNK

    @classmethod
    def open(cls, path: Path) -> ZarrArray:
        """Open the array of a folder.

        Raises
        ------
        InputError
            When there is no array, or neither library can read it.
        """
        return cls(Place(str(path)))

    @property
    def path(self) -> Path:
        """The array's folder, where it lies in one."""
        return Path(self.place.path())

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrArray, (self.place,)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        if self._suspicious:
            self._check_chunks(region)
        try:
            return self._read(region)
        except _REFUSALS as error:
            reason = " ".join(str(error).split())[:300]
            advice = "the store is damaged, copy it again"
            if self.place.kind == "url":
                advice = "try again later; if it stays, check that the server serves parts of files (byte ranges)"
            raise InputError(f"{self.place}: a chunk cannot be read ({reason}); {advice}") from None

    def _read(self, region: Region) -> NDArray[Any]:
        if self._plain is not None:
            try:
                return self._plain.read(region)
            except FileNotFoundError:
                pass  # a chunk that is not there holds the fill value, which the libraries know
        handle = self._open()
        if not self._tensorstore:
            return np.asarray(handle[region])
        # NumPy's memory comes in huge pages, tensorstore's own does not: that alone is a third of the time.
        out = np.empty([item.stop - item.start for item in region], dtype=self.dtype)
        here = handle[region][ts.d[:].translate_to[0]] if region else handle
        ts.array(out, context=_context()).write(here).result()
        return out

    def _check_chunks(self, region: Region) -> None:
        """Refuse huge chunks whose files are too small to hold them: they would fill the memory."""
        size = math.prod(self.block) * self.dtype.itemsize
        first = [item.start // chunk for item, chunk in zip(region, self.block, strict=True)]
        last = [max(item.stop - 1, item.start) // chunk for item, chunk in zip(region, self.block, strict=True)]
        for position in np.ndindex(*(b - a + 1 for a, b in zip(first, last, strict=True))):
            file = self.file(tuple(a + p for a, p in zip(first, position, strict=True)))
            held = file.stat().st_size if self.place.kind == "folder" and file.is_file() else size
            if held * _LARGEST_RATIO < size:
                raise InputError(f"{file}: {held} bytes for a chunk of {size}, which they cannot hold; it is damaged")

    def _open(self) -> Any:
        with self._lock:
            if self._handle is None:
                self._handle = self._by_tensorstore()
            return self._handle

    def _by_tensorstore(self) -> Any:
        kvstore = self.place.kvstore()
        if kvstore is None:
            return self._by_zarr("not for remote stores")
        driver = "zarr3" if self._metadata.get("zarr_format") == 3 else "zarr"
        specification = {"driver": driver, "kvstore": kvstore, "recheck_cached_data": False}
        try:
            return ts.open(specification, open=True, read=True, context=_context()).result()
        except (OSError, ValueError) as error:
            return self._by_zarr(" ".join(str(error).split())[:200])

    def _by_zarr(self, refusal: str) -> Any:
        import zarr

        self._tensorstore = False
        try:
            # What zarr-python finds unusual about a foreign store is nothing that the user could mend.
            with warnings.catch_warnings(action="ignore"):
                return zarr.open_array(_zarr_store(self.place), path=self.place.key, mode="r")
        except _REFUSALS as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.place}: not a readable Zarr array (tensorstore: {refusal}; zarr: {reason}); "
                "copy the store again"
            ) from None

    def stamps(self) -> list[list[Any]]:
        """Size and time of change of metadata and chunks (a sample, where there are very many); changes with them."""
        if self.place.kind == "url":
            content = repr(sorted(self._metadata.items(), key=lambda item: item[0]))
            return [[str(self.place), hashlib.sha256(content.encode()).hexdigest()]]
        if self.place.kind == "zip":
            return [_stamp(Path(self.place.root))]
        metadata = [Path(place.path(name)) for place in self.place.parents() for name in METADATA_FILES]
        return [_stamp(path) for path in [*metadata, *self._sampled()]]

    def _sampled(self) -> Iterator[Path]:
        grid = [-(-size // chunk) for size, chunk in zip(self.shape, self.stored_chunk(), strict=True)]
        count = math.prod(grid)
        numbers = range(count) if count <= _CHUNKS_STAMPED else np.linspace(0, count - 1, _CHUNKS_STAMPED).astype(int)
        folders = set()
        for number in numbers:
            position = tuple(int(index) for index in np.unravel_index(number, grid)) if grid else ()
            path = self.file(position)
            folders.add(path.parent)
            yield path
        if count > _CHUNKS_STAMPED:  # a file that is replaced changes its folder, too
            yield from sorted(folders)

    def stored_chunk(self) -> list[int]:
        """Voxels per file: a shard, where there are any."""
        if "chunk_grid" in self._metadata:
            return [max(1, int(size)) for size in self._metadata["chunk_grid"]["configuration"]["chunk_shape"]]
        return [max(1, int(size)) for size in self._metadata["chunks"]]

    def file(self, position: tuple[int, ...]) -> Path:
        """Return the file of a chunk, or of a shard where there are any."""
        return Path(self.place.path(self._key(position)))

    def _key(self, position: tuple[int, ...]) -> str:
        """Name the file of a chunk or shard."""
        if self._metadata.get("zarr_format") != 3:
            return self._metadata.get("dimension_separator", ".").join(map(str, position)) or "0"
        encoding = self._metadata.get("chunk_key_encoding", {})
        plain = encoding.get("name") == "v2"
        separator = (encoding.get("configuration") or {}).get("separator", "." if plain else "/")
        return separator.join([*([] if plain else ["c"]), *map(str, position)]) or "0"


def _stamp(path: Path) -> list[Any]:
    try:
        found = path.stat()
    except OSError:
        return [path.name]
    return [path.name, 0 if path.is_dir() else found.st_size, found.st_mtime_ns]


def _zarr_store(place: Place) -> Any:
    if place.kind == "url":
        from superres.volumes.remote import zarr_store

        return zarr_store(place.root)
    if place.kind == "zip":
        from zarr.storage import ZipStore

        return ZipStore(place.root, mode="r")
    return place.root


def _array_metadata(place: Place) -> Mapping[str, Any]:
    """Read an array's metadata, and refuse what would have to be unpickled.

    Raises
    ------
    InputError
        When there is no array, or it holds Python objects.
    """
    metadata = place.read_json("zarr.json")
    if metadata is None:
        metadata = place.read_json(".zarray")
    if metadata is None:
        raise InputError(f"{place}: the metadata name this array, but it is not there; the store is incomplete")
    dtype = metadata.get("data_type", metadata.get("dtype"))
    if "pickle" in _codecs_in(metadata) or dtype in ("|O", "object"):
        raise InputError(
            f"{place}: an array of Python objects, which are never unpickled; numbers expected: save it as such"
        )
    return metadata


def _codecs_in(metadata: object) -> set[str]:
    """Collect the names of all codecs and filters, also of those within others."""
    if isinstance(metadata, list):
        return set().union(*map(_codecs_in, metadata))
    if not isinstance(metadata, dict):
        return set()
    named = {str(metadata[key]).lower() for key in ("id", "name") if key in metadata}
    inner = (value for key, value in metadata.items() if key not in ("attributes", "consolidated_metadata"))
    return {name.removeprefix("numcodecs.") for name in named}.union(*map(_codecs_in, inner))
