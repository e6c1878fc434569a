"""One level of a store on the disk: its array, a file per shard.

A shard is encoded in memory and its file written whole, so that its checksum is that of what was meant to be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from superres.volumes.whole_files import remove_strays, write_whole


class StoredLevel:
    """The array of one pyramid level, a file per shard.

    Parameters
    ----------
    folder : Path
        The array's folder inside the store.
    metadata : mapping
        Array metadata of Zarr 3, or of Zarr 2 where `zarr_format` is 2.
    zarr_format : int
        2 or 3; in version 2 a chunk is a file of its own and counts as shard.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any], *, zarr_format: int) -> None:
        self.folder = folder
        self._zarr_format = zarr_format
        self._specification = {
            "driver": "zarr3" if zarr_format == 3 else "zarr",
            "metadata": metadata,
            # Without it a shard that is all fill value would leave no file, and never count as done.
            "store_data_equal_to_fill_value": True,
        }
        kvstore = {"driver": "file", "path": str(folder.absolute())}
        self.array: Any = ts.open(self._specification | {"kvstore": kvstore}, open=True, create=True).result()

    def shard_path(self, position: Sequence[int]) -> Path:
        """Return the file of a shard, at a position counted in shards along TCZYX."""
        return shard_path(self.folder, position, zarr_format=self._zarr_format)

    def write(self, position: Sequence[int], region: tuple[slice, slice, slice], block: NDArray[Any]) -> bytes:
        """Write one shard; torn or empty ones, and what killed writers left of it, are replaced.

        Parameters
        ----------
        position : sequence of int
            Counted in shards along TCZYX.
        region : tuple of slice
            ZYX voxels that the shard holds, clipped to the array.
        block : ndarray, (z, y, x)
            Its voxels.

        Returns
        -------
        bytes
            The file's content.
        """
        content = self._encoded((position[0], position[1], *region), block)
        path = self.shard_path(position)
        remove_strays(path.parent.glob(f"{path.name}.*") if path.parent.is_dir() else ())
        write_whole(path, content)
        return content

    def _encoded(self, region: tuple[int | slice, ...], block: NDArray[Any]) -> bytes:
        memory = self._specification | {"kvstore": {"driver": "memory"}}
        array: Any = ts.open(memory, create=True, context=ts.Context()).result()
        array[region].write(block, can_reference_source_data_indefinitely=True).result()
        (key,) = (key for key in array.kvstore.list().result() if key[:1].isdigit() or key.startswith(b"c/"))
        return bytes(array.kvstore.read(key).result().value)


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
