"""From voxels to the bytes of a shard: blosc, a checksum on every chunk, and the index that finds them.

tensorstore would do it, too, but takes twice the time and several times the memory, for it assembles the whole shard
in copies. Format: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from superres.volumes.ngff import shuffle_of

_ABSENT = 2**64 - 1


def encode_shard(block: NDArray[Any], shard: Sequence[int], chunk: Sequence[int]) -> list[bytes]:
    """Encode a shard of Zarr 3 as `superres.volumes.ngff.array_metadata` specifies it.

    Parameters
    ----------
    block : ndarray, (z, y, x)
        The voxels of the shard, clipped to the array.
    shard, chunk : sequence of int
        ZYX voxels; chunks that lie outside `block` are left out, those at its edge are filled up with zeros.

    Returns
    -------
    list of bytes
        The parts of the file, one after the other.
    """
    counts = [whole // size for whole, size in zip(shard, chunk, strict=True)]
    parts: list[bytes] = []
    index = np.full((*counts, 2), _ABSENT, "<u8")
    offset = 0
    for position in itertools.product(*map(range, counts)):
        start = [i * size for i, size in zip(position, chunk, strict=True)]
        if any(first >= size for first, size in zip(start, block.shape, strict=True)):
            continue
        region = tuple(slice(first, first + size) for first, size in zip(start, chunk, strict=True))
        content = encode_chunk(block[region], chunk)
        parts += [content, google_crc32c.value(content).to_bytes(4, "little")]
        index[position] = offset, len(content) + 4
        offset += len(content) + 4
    table = index.tobytes()
    return [*parts, table, google_crc32c.value(table).to_bytes(4, "little")]


def encode_chunk(block: NDArray[Any], chunk: Sequence[int]) -> bytes:
    """Compress one chunk by blosc as `superres.volumes.ngff` specifies it, filled up with zeros to `chunk` voxels."""
    voxels = np.ascontiguousarray(block, block.dtype.newbyteorder("<"))
    if voxels.shape != tuple(chunk):
        voxels = np.pad(voxels, [(0, size - n) for n, size in zip(voxels.shape, chunk, strict=True)])
    return bytes(
        imagecodecs.blosc_encode(
            voxels.view(np.uint8).data,  # type: ignore[arg-type]  # any buffer will do
            level=1,
            compressor="zstd",
            shuffle=shuffle_of(block.dtype),
            typesize=voxels.itemsize,
            numthreads=1,
        )
    )
