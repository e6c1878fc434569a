"""Write an OME-TIFF of any size: streamed in tile rows, compressed, with a pyramid in SubIFDs.

The finest level is written while the next coarser one is collected in a temporary file beside the output, from which
that level is written, and so on: memory stays at a few tile rows, and every voxel of the source is read once.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.ngff import VoxelSize, channel_colours
from superres.volumes.pyramid import mean_pooled
from superres.volumes.whole_files import whole_file

Compression = Literal["deflate", "zstd", "none"]
# A row of tiles: planes are counted along T, C, Z in that order, rows along Y.
ReadRows = Callable[[int, slice], NDArray[Any]]

_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_TILE = 512
_SMALLEST = 512
_BUFFER = 2**25
# Offsets of a classic TIFF are 32 bits; incompressible data and headers need some room above the voxels.
_CLASSIC_BYTES = 2**32 - 2**27


@dataclass(frozen=True, slots=True)
class OmeTiffLayout:
    """What an OME-TIFF is to be.

    Parameters
    ----------
    shape : tuple of int
        TCZYX voxels.
    dtype : numpy.dtype
        One that OME knows: 8 to 32-bit integers, float32 or float64.
    voxel_size, translation
        ZYX, micrometre; None where unknown. The translation is written as the position of every plane.
    channel_names : tuple of str
        One per channel, or empty.
    time_step : float or None
        Seconds.
    compression : str
        ``"deflate"`` opens everywhere; ``"zstd"`` is quicker, for software of late.
    description : str
        For people.
    channel_colours : tuple of str
        One per channel, ``"RRGGBB"``, or empty.
    software : str
        Who wrote it.
    """

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize = (None, None, None)
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channel_names: tuple[str, ...] = ()
    time_step: float | None = None
    compression: Compression = "deflate"
    description: str = ""
    channel_colours: tuple[str, ...] = ()
    software: str = "superres"

    @property
    def planes(self) -> int:
        """Number of planes."""
        return math.prod(self.shape[:3])

    def level_sizes(self) -> list[tuple[int, int]]:
        """Return height and width of every level; each halves the one before, rounded up."""
        sizes = [(self.shape[3], self.shape[4])]
        while max(sizes[-1]) > _SMALLEST:
            y, x = sizes[-1]
            sizes.append((-(-y // 2), -(-x // 2)))
        return sizes


def check_ome_type(dtype: np.dtype[Any], path: Path) -> None:
    """Refuse a type of voxels that OME does not know.

    Raises
    ------
    InputError
        Naming those that it knows.
    """
    if dtype.name not in _TYPES:
        raise InputError(
            f"{path}: OME-TIFF knows {', '.join(_TYPES)}, not {dtype}; give --dtype float32 or write OME-Zarr"
        )


def write_ometiff(path: Path, layout: OmeTiffLayout, read_rows: ReadRows) -> None:
    """Write an OME-TIFF, whole or not at all.

    Parameters
    ----------
    path : Path
        Replaced if it exists; that is for the caller to decide.
    layout : OmeTiffLayout
        What is written.
    read_rows : callable
        Called with plane number and rows, in the order of the file, each once; returns (y, x) in the layout's dtype.

    Raises
    ------
    InputError
        When OME does not know the dtype.
    OSError
        When writing fails; nothing is left behind then.
    """
    check_ome_type(layout.dtype, path)
    with whole_file(path) as file, ExitStack() as stack:
        _write(file, layout, read_rows, partial(_scratch, path.parent, stack))


def _scratch(folder: Path, stack: ExitStack) -> IO[bytes]:
    """Open a file without a name beside the output, for a level that is still to be written."""
    return stack.enter_context(tempfile.TemporaryFile(dir=folder))


def _write(handle: IO[bytes], layout: OmeTiffLayout, read_rows: ReadRows, scratch: Callable[[], IO[bytes]]) -> None:
    sizes = layout.level_sizes()
    stored = layout.planes * sum(_padded(size) for size in sizes) * layout.dtype.itemsize
    with tifffile.TiffWriter(handle, bigtiff=stored > _CLASSIC_BYTES, ome=True) as file:
        for level, size in enumerate(sizes):
            coarser = scratch() if level + 1 < len(sizes) else None
            options = _first_level(layout, len(sizes) - 1) if level == 0 else {"subfiletype": 1, "metadata": None}
            tile = _tile(size)
            file.write(
                _tiles(layout, size, tile, read_rows, coarser),
                shape=(*layout.shape[:3], *size),
                dtype=layout.dtype,
                tile=tile,
                photometric="minisblack",
                maxworkers=2,
                buffersize=_BUFFER,
                **_codec(layout),
                **options,
            )
            if coarser is not None:
                coarser.flush()
                coarser.seek(0)
                read_rows = _from_file(coarser, layout.dtype, sizes[level + 1])


def _tile(size: tuple[int, int]) -> tuple[int, int]:
    """Return the tile of a level: even, so that rows of tiles can be averaged apart, and as TIFF demands, 16-fold."""
    y, x = (-(-n // (-(-n // _TILE) * 16)) * 16 for n in size)
    return y, x


def _padded(size: tuple[int, int]) -> int:
    return math.prod(-(-n // side) * side for n, side in zip(size, _tile(size), strict=True))


def _tiles(
    layout: OmeTiffLayout, size: tuple[int, int], tile: tuple[int, int], read_rows: ReadRows, coarser: IO[bytes] | None
) -> Iterator[NDArray[Any]]:
    """Yield the tiles of every plane; on the way, append the averages of 2 x 2 voxels to a file."""
    for plane in range(layout.planes):
        for top in range(0, size[0], tile[0]):
            rows = read_rows(plane, slice(top, min(top + tile[0], size[0])))
            if coarser is not None:
                coarser.write(np.ascontiguousarray(mean_pooled(rows[None], (1, 2, 2))[0]).data)
            for left in range(0, size[1], tile[1]):
                part = rows[:, left : left + tile[1]]
                if part.shape != tile:
                    part = np.pad(part, [(0, full - n) for full, n in zip(tile, part.shape, strict=True)], mode="edge")
                yield np.ascontiguousarray(part)


def _from_file(file: IO[bytes], dtype: np.dtype[Any], size: tuple[int, int]) -> ReadRows:
    """Read rows back in the order in which they were written."""

    def read(_: int, rows: slice) -> NDArray[Any]:
        count = (rows.stop - rows.start) * size[1]
        return np.frombuffer(file.read(count * dtype.itemsize), dtype).reshape(-1, size[1])

    return read


def _codec(layout: OmeTiffLayout) -> dict[str, Any]:
    if layout.compression == "none":
        return {"compression": None}
    level = {"deflate": 4, "zstd": 3}[layout.compression]
    # The predictor for floating-point numbers is read by few programs, Bio-Formats not among them.
    predictor = layout.dtype.kind in "iu"
    return {"compression": layout.compression, "compressionargs": {"level": level}, "predictor": predictor}


def _first_level(layout: OmeTiffLayout, levels: int) -> dict[str, Any]:
    options: dict[str, Any] = {"metadata": ome_metadata(layout), "subifds": levels, "software": layout.software}
    _, y, x = layout.voxel_size
    if y is not None and x is not None:
        options |= {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    return options


def ome_metadata(layout: OmeTiffLayout) -> dict[str, Any]:
    """Return what tifffile makes the OME-XML of; unknown things are left out."""
    metadata: dict[str, Any] = {"axes": "TCZYX"}
    if layout.description:
        metadata["Description"] = layout.description
    for axis, size in zip("ZYX", layout.voxel_size, strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if layout.time_step is not None:
        metadata |= {"TimeIncrement": layout.time_step, "TimeIncrementUnit": "s"}
    colours = layout.channel_colours or channel_colours(layout.shape[1])
    metadata["Channel"] = {"Color": [_signed_rgba(colour) for colour in colours]}
    if layout.channel_names:
        metadata["Channel"]["Name"] = list(layout.channel_names)
    if any(layout.translation):
        metadata["Plane"] = {}
        for axis, position in zip("ZYX", _plane_positions(layout), strict=True):
            metadata["Plane"] |= {f"Position{axis}": position, f"Position{axis}Unit": ["µm"] * layout.planes}
    return metadata


def _plane_positions(layout: OmeTiffLayout) -> list[list[float]]:
    z, y, x = layout.translation
    step = layout.voxel_size[0] or 0.0
    depths = [z + step * (plane % layout.shape[2]) for plane in range(layout.planes)]
    return [depths, [y] * layout.planes, [x] * layout.planes]


def _signed_rgba(colour: str) -> int:
    value = int(colour, 16) << 8 | 0xFF
    return value - 2**32 if value >= 2**31 else value
