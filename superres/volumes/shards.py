"""One level of a store on the disk: its array, a file per shard.

A shard is encoded in memory and its file written whole, so that its checksum is that of what was meant to be written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from superres.volumes.records import Record
from superres.volumes.shard_encoding import encode_chunk, encode_shard
from superres.volumes.whole_files import remove_strays, write_whole


class StoredLevel:
    """The array of one pyramid level, a file per shard.

    Parameters
    ----------
    folder : Path
        The array's folder inside the store.
    metadata : mapping
        Array metadata of Zarr 3, or of Zarr 2 where `zarr_format` is 2.
    shard, chunk : sequence of int
        ZYX voxels, as in the metadata.
    zarr_format : int
        2 or 3; in version 2 a chunk is a file of its own and counts as shard.
    """

    def __init__(
        self, folder: Path, metadata: dict[str, Any], *, shard: Sequence[int], chunk: Sequence[int], zarr_format: int
    ) -> None:
        self.folder = folder
        self._shard, self._chunk = shard, chunk
        self._zarr_format = zarr_format
        self._specification = {"driver": "zarr3" if zarr_format == 3 else "zarr", "metadata": metadata}
        self._create()

    @cached_property
    def array(self) -> Any:
        """The voxels, as a `tensorstore.TensorStore` along TCZYX; opened when first asked for."""
        return self._open()

    def _open(self) -> Any:
        kvstore = {"driver": "file", "path": str(self.folder.absolute())}
        return ts.open(self._specification | {"kvstore": kvstore}, open=True, create=True).result()

    def _create(self) -> None:
        """Write the array's metadata, or see that those which are there say the same."""
        path = self.folder / ("zarr.json" if self._zarr_format == 3 else ".zarray")
        wanted = _metadata_file(json.dumps(self._specification, sort_keys=True), path.name)
        found = path.read_bytes() if path.is_file() else b""
        if not _is_json(found):  # there is none, or what a power failure left of it
            # tensorstore would wait for the disk, some milliseconds for every level of a store.
            write_whole(path, [wanted], durable=False)
        elif found != wanted:
            # tensorstore knows what is only another way to write it, and raises where it is not.
            self._open()

    def shard_path(self, position: Sequence[int]) -> Path:
        """Return the file of a shard, at a position counted in shards along TCZYX."""
        return shard_path(self.folder, position, zarr_format=self._zarr_format)

    def write(self, position: Sequence[int], block: NDArray[Any]) -> Record:
        """Write one shard; torn or empty ones, and what killed writers left of it, are replaced.

        Parameters
        ----------
        position : sequence of int
            Counted in shards along TCZYX.
        block : ndarray, (z, y, x)
            Its voxels, clipped to the array.

        Returns
        -------
        Record
            Size and checksum of what was meant to be written.
        """
        content = self._encode(block)
        path = self.shard_path(position)
        remove_strays(path.parent.glob(f"{path.name}.*") if path.parent.is_dir() else ())
        write_whole(path, content)
        return Record.of(content)

    def _encode(self, block: NDArray[Any]) -> list[bytes]:
        if self._zarr_format == 2:
            return [encode_chunk(block, self._chunk)]
        return encode_shard(block, self._shard, self._chunk)


@lru_cache(maxsize=64)
def _metadata_file(specification: str, name: str) -> bytes:
    """Return the bytes that tensorstore writes as the metadata of an array: the stores of a batch are often alike."""
    context, kvstore = ts.Context(), {"driver": "memory"}
    ts.open(json.loads(specification) | {"kvstore": kvstore}, context=context, open=True, create=True).result()
    content: bytes = ts.KvStore.open(kvstore, context=context).result().read(name).result().value
    return content


def _is_json(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), Mapping)
    except ValueError:
        return False


def shard_path(folder: Path, position: Sequence[int], *, zarr_format: int) -> Path:
    """Return the file of a shard, or in Zarr 2 of a chunk, of an array in `folder`."""
    return folder / Path(*(["c"] if zarr_format == 3 else []), *map(str, position))


def default_grid(
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    *,
    chunk_bytes: int = 2**20,
    shard_bytes: int = 2**27,
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Choose shard and chunk of a volume, ZYX voxels: chunks of 0.5 to 1 MiB, shards of 64 to 128 MiB of a large one.

    A chunk is at most 32 planes deep and grows evenly along Y and X, so that a plane and a column read about as fast;
    a shard takes in whole rows and planes first, as most files hold them.

    Examples
    --------
    >>> default_grid((256, 2048, 2048), np.dtype("uint16"))
    ((32, 1024, 2048), (32, 128, 128))
    >>> default_grid((1, 4096, 4096), np.dtype("uint16"))
    ((1, 2048, 4096), (1, 512, 1024))
    >>> default_grid((5, 300, 270), np.dtype("uint16"))
    ((5, 300, 270), (5, 300, 270))
    """
    depth = min(shape[0], 32)
    chunk = _grown((depth, 1, 1), (depth, *shape[1:]), chunk_bytes // dtype.itemsize, order=(2, 1))
    most = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    volume = shape[0] * shape[1] * shape[2] * dtype.itemsize
    # Smaller ones for a small volume: some shards are needed to read, compress and write at the same time.
    shard_bytes = min(shard_bytes, max(2**24, volume // 8))
    budget = shard_bytes // (dtype.itemsize * chunk[0] * chunk[1] * chunk[2])
    plane = _grown((1, 1, 1), (1, most[1], most[2]), budget, order=(2, 1))
    counts = _grown(plane, (most[0], most[1], most[2]), budget, order=(0,))
    return (counts[0] * chunk[0], counts[1] * chunk[1], counts[2] * chunk[2]), chunk


def _grown(
    start: tuple[int, int, int], most: tuple[int, int, int], volume: int, *, order: Sequence[int]
) -> tuple[int, int, int]:
    """Double the shortest of the axes in `order`, up to `most`, while the product stays within `volume`."""
    size = list(start)
    while True:
        growing = [axis for axis in order if size[axis] < most[axis]]
        for axis in sorted(growing, key=lambda axis: size[axis]):
            larger = min(size[axis] * 2, most[axis])
            if size[0] * size[1] * size[2] // size[axis] * larger <= volume:
                size[axis] = larger
                break
        else:
            return size[0], size[1], size[2]
