"""The volume: lazy TCZYX image data with voxel size, whatever file it came from.

Reading files is the formats' business (`superres.volumes.tiff`, `planes`, `omezarr`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import TczyxArray

VoxelSize = tuple[float | None, float | None, float | None]
_CHUNK_BYTES = 16 * 2**20
# Along one axis; a damaged header that declares 10^18 planes would fill the memory with their numbers.
_MOST_CHUNKS = 2_000_000
# Enough to notice a changed store; a folder of millions of chunks would take minutes to list.
_FILES_STAMPED = 20_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a file says about its image besides the voxels; unknown things stay unknown.

    Parameters
    ----------
    voxel_size : tuple of float or None
        ZYX, micrometre.
    translation : tuple of float
        ZYX, micrometre; the centre of voxel 0.
    channel_names : tuple of str
        Empty when unknown.
    time_step : float or None
        Seconds between time points.
    channel_colours : tuple of str
        ``"RRGGBB"``, one per channel; empty when unknown.
    channel_windows : tuple of tuple of float
        Grey levels shown as black and as full colour, per channel; empty when unknown.
    """

    voxel_size: VoxelSize = (None, None, None)
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channel_names: tuple[str, ...] = ()
    time_step: float | None = None
    channel_colours: tuple[str, ...] = ()
    channel_windows: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A lazily read image; picklable as long as its files stay where they are.

    Parameters
    ----------
    levels : tuple of dask.array.Array
        TCZYX, finest first.
    voxel_size : tuple of float or None
        ZYX, micrometre; None where the file does not say.
    translation : tuple of float
        ZYX, micrometre; the centre of voxel 0.
    channel_names : tuple of str
        Empty when unknown.
    time_step : float or None
        Seconds between time points; None when unknown.
    axes : str
        Axes as found in the file or given by the user, e.g. ``"ZYX"``.
    format : str
        Kind of file, e.g. ``"ImageJ TIFF"``.
    source : Path
        The file or folder.
    finest : TczyxArray, optional
        Direct way to level 0, without Dask's overhead.
    files : tuple of Path
        Every file that holds voxels, where that is more than `source`.
    part : str, optional
        Which image of `source`, where it holds several: what stands after ``::``.
    channel_colours : tuple of str
        ``"RRGGBB"``, one per channel; empty when unknown.
    channel_windows : tuple of tuple of float
        Grey levels shown as black and as full colour, per channel; empty when unknown.
    coarser : tuple of TczyxArray
        Direct way to the other levels, as far as there is one.
    """

    levels: tuple[da.Array, ...]
    voxel_size: VoxelSize
    translation: tuple[float, float, float]
    channel_names: tuple[str, ...]
    time_step: float | None
    axes: str
    format: str
    source: Path
    finest: TczyxArray | None = field(default=None, repr=False)
    files: tuple[Path, ...] = field(default=(), repr=False)
    part: str | None = None
    channel_colours: tuple[str, ...] = ()
    channel_windows: tuple[tuple[float, float], ...] = ()
    coarser: tuple[TczyxArray, ...] = field(default=(), repr=False)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Voxels along T, C, Z, Y, X at level 0."""
        return tuple(int(n) for n in self.levels[0].shape)  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native-endian data type of the voxels."""
        dtype: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return dtype

    def read(self, *, t: int, c: int, z: slice, y: slice, x: slice) -> NDArray[Any]:
        """Read a block of level 0; only its chunks are touched.

        Returns
        -------
        ndarray, (z, y, x)
            Native grey levels and dtype. Slices are clipped to the image, as in NumPy.

        Raises
        ------
        InputError
            When the file turns out damaged.
        """
        if self.finest is not None:
            return self.finest[t, c, z, y, x]
        return np.asarray(self.levels[0][t, c, z, y, x].compute(scheduler="synchronous"))

    def identity(self) -> str:
        """Name this content by a hex digest of sizes, modification times, shape, dtype and axes."""
        own = getattr(self.finest.inner, "stamps", None) if self.finest is not None else None
        stamps = own() if own is not None else [_stamp(path) for path in self._stamped()]
        content = {"files": stamps, "shape": self.shape, "dtype": self.dtype.str, "axes": self.axes, "part": self.part}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def _stamped(self) -> Iterator[Path]:
        if self.files:
            return iter(self.files)
        if self.source.is_dir():
            return itertools.islice(_walk(self.source), _FILES_STAMPED)
        return iter((self.source,))


def _stamp(path: Path) -> list[str | int]:
    found = path.stat()
    return [path.name, found.st_size, found.st_mtime_ns]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def make_volume(
    arrays: Sequence[TczyxArray],
    calibration: Calibration,
    *,
    axes: str,
    format: str,
    source: Path,
    voxel_size: Sequence[float] | None = None,
    files: tuple[Path, ...] = (),
    part: str | None = None,
) -> Volume:
    """Put a volume together; a given `voxel_size` (ZYX, micrometre) wins over the file's.

    Raises
    ------
    InputError
        When the voxels are no real numbers, or a given voxel size is not positive.
    """
    dtype = arrays[0].dtype
    if dtype.kind not in "iuf":
        raise InputError(
            f"{source}: voxels of type {dtype} found, integers or floating-point numbers expected; "
            "convert the image to grey levels first"
        )
    names = calibration.channel_names if len(calibration.channel_names) == arrays[0].shape[1] else ()
    colours = calibration.channel_colours if len(calibration.channel_colours) == arrays[0].shape[1] else ()
    windows = calibration.channel_windows if len(calibration.channel_windows) == arrays[0].shape[1] else ()
    size = calibration.voxel_size if voxel_size is None else check_voxel_size(voxel_size, source)
    return Volume(
        levels=tuple(to_dask(array, source) for array in arrays),
        voxel_size=size,
        translation=calibration.translation,
        channel_names=names,
        time_step=calibration.time_step,
        axes=axes,
        format=format,
        source=source,
        finest=arrays[0],
        files=files,
        part=part,
        channel_colours=colours,
        channel_windows=windows,
        coarser=tuple(arrays[1:]),
    )


def view_of(volume: Volume, array: Any, **changes: Any) -> Volume:
    """Return a volume of one level that shows `array`, TCZYX, and is like another one but for `changes`."""
    shown = TczyxArray(array, "TCZYX")
    levels = (to_dask(shown, volume.source),)
    return replace(volume, levels=levels, finest=shown, coarser=(), axes="TCZYX", **changes)


def check_voxel_size(voxel_size: Sequence[float], source: Path) -> tuple[float, float, float]:
    """Check a voxel size that the user gave: three positive numbers, ZYX in micrometre."""
    sizes = tuple(float(value) for value in voxel_size)
    if len(sizes) != 3 or not all(np.isfinite(value) and value > 0 for value in sizes):
        raise InputError(
            f"{source}: voxel_size={list(voxel_size)} is not usable; expected three positive numbers, Z, Y and X in "
            "micrometre, e.g. voxel_size=[0.5,0.1,0.1]"
        )
    return sizes


def to_dask(array: TczyxArray, source: Path) -> da.Array:
    """See a file's array as Dask array, in chunks of about 16 MiB that hold whole blocks of the file.

    Raises
    ------
    InputError
        When the declared shape is so large that the file must be damaged; `source` is for the message.
    """
    block = list(array.block or (1, 1, 1, 1, array.shape[4]))
    volume = math.prod(block) * array.dtype.itemsize
    for axis in (4, 3, 2):
        grown = min(-(-array.shape[axis] // block[axis]), max(1, _CHUNK_BYTES // volume))
        block[axis] *= grown
        volume *= grown
    chunks = tuple(min(b, n) for b, n in zip(block, array.shape, strict=True))
    if max(-(-n // b) for b, n in zip(chunks, array.shape, strict=True)) > _MOST_CHUNKS:
        sizes = "x".join(map(str, array.shape))
        raise InputError(f"{source}: shape {sizes} (TCZYX) declared, more than a file can hold; it is damaged")
    meta = np.empty((0,) * 5, dtype=array.dtype)
    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        array, chunks=chunks, name=False, asarray=False, fancy=False, meta=meta
    )
    return lazy
