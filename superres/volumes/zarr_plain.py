"""Chunks that lie one to a file, uncompressed or behind Blosc: at the speed of the disk, or of the codec.

The general way (tensorstore) reads every chunk into fresh memory first, which costs half of the one speed and a third
of the other. What is unusual, and what is missing, is left to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superres.volumes.axes import Region
from superres.volumes.cores import on_all_cores

_BLOSC_HEADER = 16
Position = tuple[int, ...]
Decode = Callable[[bytes, NDArray[np.uint8]], int]
"""Decodes a chunk into its place; returns how many bytes it held."""


class _Wanted(NamedTuple):
    """A chunk's file, what of the chunk is wanted, and where that goes."""

    path: Path
    within: list[slice]
    target: NDArray[Any]


@dataclass(frozen=True, slots=True)
class PlainChunks:
    """An array whose chunks lie in C order in a file each.

    Parameters
    ----------
    chunk : tuple of int
        Voxels of a chunk; those at the end of the array are whole, too.
    dtype : numpy.dtype
        With the byte order of the files.
    path : callable
        The file of a chunk, by its position in the grid of chunks.
    decode : callable, optional
        Of compressed chunks.
    """

    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    path: Callable[[Position], Path]
    decode: Decode | None = None

    def read(self, region: Region) -> NDArray[Any]:
        """Read a region in native byte order.

        Raises
        ------
        FileNotFoundError
            When a chunk is not there, so that it holds the fill value throughout.
        ValueError, RuntimeError
            When a file does not hold exactly one chunk, or cannot be decoded.
        """
        out = np.empty([item.stop - item.start for item in region], dtype=self.dtype)
        grid = [range(r.start // n, -(-r.stop // n)) for r, n in zip(region, self.chunk, strict=True)]
        wanted = [self._wanted(position, region, out) for position in product(*grid)]
        if self.decode is None:
            for path, within, target in wanted:
                self._read_chunk(path, within, target)
        else:
            on_all_cores(partial(self._decode_chunks, self.decode), wanted)
        return out.astype(self.dtype.newbyteorder("="), copy=False)

    def _wanted(self, position: Position, region: Region, out: NDArray[Any]) -> _Wanted:
        first = [p * n for p, n in zip(position, self.chunk, strict=True)]
        low = [max(r.start, f) for r, f in zip(region, first, strict=True)]
        high = [min(r.stop, f + n) for r, f, n in zip(region, first, self.chunk, strict=True)]
        target = out[tuple(slice(a - r.start, b - r.start) for a, b, r in zip(low, high, region, strict=True))]
        return _Wanted(
            self.path(position), [slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True)], target
        )

    def _decode_chunks(self, decode: Decode, wanted: Sequence[_Wanted]) -> None:
        """Decode chunks one after the other by way of the same memory, which stays in the processor's cache."""
        voxels = np.empty(self.chunk, dtype=self.dtype)
        raw = voxels.reshape(-1).view(np.uint8)
        for path, within, target in wanted:
            held = decode(path.read_bytes(), raw)
            if held != raw.size:
                raise ValueError(f"{path.name} holds {held} bytes, a chunk has {raw.size}")
            target[...] = voxels[tuple(within)]

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
    """Return the direct way to an array's voxels; None where it is sharded, of another codec or an unusual layout."""
    found = _version_3(metadata) if metadata.get("zarr_format") == 3 else _version_2(metadata)
    if found is None or found[1].kind not in "iuf":
        return None
    chunk, dtype, is_compressed = found
    return PlainChunks(chunk, dtype, path, _decode_blosc if is_compressed else None)


def _decode_blosc(encoded: bytes, out: NDArray[np.uint8]) -> int:
    """Decode a chunk whose header says its sizes; the codec trusts them, and would read beyond a truncated file."""
    import imagecodecs

    held, _, size = struct.unpack_from("<III", encoded, 4) if len(encoded) >= _BLOSC_HEADER else (0, 0, 0)
    if size != len(encoded):
        raise ValueError(f"{len(encoded)} of {size} compressed bytes found")
    if held != len(out):
        return int(held)
    return len(imagecodecs.blosc_decode(encoded, numthreads=1, out=memoryview(out)))  # type: ignore[arg-type]


_Layout = tuple[tuple[int, ...], np.dtype[Any], bool]
"""Voxels of a chunk, their type in the file, whether Blosc is around them."""


def _version_2(metadata: Mapping[str, Any]) -> _Layout | None:
    compressor = metadata.get("compressor")
    is_compressed = isinstance(compressor, Mapping) and compressor.get("id") == "blosc"
    if (compressor is not None and not is_compressed) or metadata.get("filters") or metadata.get("order", "C") != "C":
        return None
    dtype = metadata.get("dtype")
    if not isinstance(dtype, str) or len(dtype) != 3:
        return None
    return tuple(int(size) for size in metadata["chunks"]), np.dtype(dtype), is_compressed


def _version_3(metadata: Mapping[str, Any]) -> _Layout | None:
    codecs = metadata.get("codecs")
    if not isinstance(codecs, list) or not all(isinstance(codec, Mapping) for codec in codecs):
        return None
    if [codec.get("name") for codec in codecs] not in (["bytes"], ["bytes", "blosc"]):
        return None
    kind = metadata.get("data_type")
    if not isinstance(kind, str) or kind.rstrip("0123456789") not in ("int", "uint", "float"):
        return None
    order = (codecs[0].get("configuration") or {}).get("endian", "little")
    chunk = tuple(int(size) for size in metadata["chunk_grid"]["configuration"]["chunk_shape"])
    if order not in ("little", "big"):
        return None
    try:
        return chunk, np.dtype(kind).newbyteorder("<" if order == "little" else ">"), len(codecs) == 2
    except TypeError:
        return None
