"""Uncompressed chunks, one to a file: read straight into the result, at the speed of the disk.

The general way (tensorstore) reads a chunk into memory of its own first, which costs half of that speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.volumes.axes import Region

Position = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PlainChunks:
    """An array whose chunks lie uncompressed, in C order, in a file each.

    Parameters
    ----------
    chunk : tuple of int
        Voxels of a chunk; those at the end of the array are whole, too.
    dtype : numpy.dtype
        With the byte order of the files.
    path : callable
        The file of a chunk, by its position in the grid of chunks.
    """

    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    path: Callable[[Position], Path]

    def read(self, region: Region) -> NDArray[Any]:
        """Read a region in native byte order.

        Raises
        ------
        FileNotFoundError
            When a chunk is not there, so that it holds the fill value throughout.
        ValueError
            When a file is not as long as a chunk.
        """
        out = np.empty([item.stop - item.start for item in region], dtype=self.dtype)
        grid = [range(r.start // n, -(-r.stop // n)) for r, n in zip(region, self.chunk, strict=True)]
        for position in product(*grid):
            first = [p * n for p, n in zip(position, self.chunk, strict=True)]
            low = [max(r.start, f) for r, f in zip(region, first, strict=True)]
            high = [min(r.stop, f + n) for r, f, n in zip(region, first, self.chunk, strict=True)]
            target = out[tuple(slice(a - r.start, b - r.start) for a, b, r in zip(low, high, region, strict=True))]
            within = [slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True)]
            self._read_chunk(self.path(position), within, target)
        return out.astype(self.dtype.newbyteorder("="), copy=False)

    def _read_chunk(self, path: Path, within: list[slice], target: NDArray[Any]) -> None:
        """Read part of a chunk: only those rows along its first axis that are wanted."""
        size = int(np.prod(self.chunk)) * self.dtype.itemsize
        axis = next((i for i, n in enumerate(self.chunk) if n > 1), 0)
        rows = within[axis] if self.chunk else slice(0, 1)
        row = size // self.chunk[axis] if self.chunk else size
        whole = all(s.stop - s.start == n for s, n in zip(within[axis + 1 :], self.chunk[axis + 1 :], strict=True))
        with path.open("rb", buffering=0) as file:
            held = file.seek(0, 2)
            if held != size:
                raise ValueError(f"{path.name} has {held} bytes, a chunk has {size}")
            file.seek(rows.start * row)
            direct = whole and target.flags.c_contiguous
            shape = [*self.chunk[:axis], rows.stop - rows.start, *self.chunk[axis + 1 :]] if self.chunk else []
            slab = target if direct else np.empty(shape, dtype=self.dtype)
            _fill(file, slab.reshape(-1).view(np.uint8), path)
        if not direct:
            target[...] = slab[tuple(s if i != axis else slice(None) for i, s in enumerate(within))]


def _fill(file: Any, buffer: NDArray[np.uint8], path: Path) -> None:
    """Read until the buffer is full: one call reads at most 2 GiB."""
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done:])
        if not count:
            raise ValueError(f"{path.name} has become shorter while it was read")
        done += count


def plain_chunks(metadata: Mapping[str, Any], path: Callable[[Position], Path]) -> PlainChunks | None:
    """Return the direct way to an array's voxels; None where it is compressed, sharded or of an unusual layout."""
    found = _version_3(metadata) if metadata.get("zarr_format") == 3 else _version_2(metadata)
    if found is None or found[1].kind not in "iuf":
        return None
    return PlainChunks(found[0], found[1], path)


def _version_2(metadata: Mapping[str, Any]) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    if metadata.get("compressor") is not None or metadata.get("filters") or metadata.get("order", "C") != "C":
        return None
    dtype = metadata.get("dtype")
    if not isinstance(dtype, str) or len(dtype) != 3:
        return None
    return tuple(int(size) for size in metadata["chunks"]), np.dtype(dtype)


def _version_3(metadata: Mapping[str, Any]) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    codecs = metadata.get("codecs")
    if not isinstance(codecs, list) or len(codecs) != 1 or codecs[0].get("name") != "bytes":
        return None
    kind = metadata.get("data_type")
    if not isinstance(kind, str) or kind.rstrip("0123456789") not in ("int", "uint", "float"):
        return None
    order = (codecs[0].get("configuration") or {}).get("endian", "little")
    chunk = tuple(int(size) for size in metadata["chunk_grid"]["configuration"]["chunk_shape"])
    if order not in ("little", "big"):
        return None
    try:
        return chunk, np.dtype(kind).newbyteorder("<" if order == "little" else ">")
    except TypeError:
        return None
