"""Files of microscope makers (CZI, ND2, LIF, ...), read by bioio's plugins where the user has installed them.

What bioio invents where a file says nothing (a voxel size of 1, channel names) is unknown here.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import Region, TczyxArray, resolve_axes
from superres.volumes.parts import choose_image, unique_names
from superres.volumes.volume import Calibration, Volume, VoxelSize, make_volume

_INVENTED = re.compile(r"Channel:\d+(:\d+)*")


@dataclass(frozen=True, slots=True)
class Vendor:
    """A format, the package that reads it, and under which licence that comes."""

    name: str
    package: str
    licence: str

    @property
    def module(self) -> str:
        """What to import."""
        return self.package.replace("-", "_")


_BIOFORMATS = ("bioio-bioformats", "MIT; it runs the GPL-2 Java program Bio-Formats, which it downloads")
_CZI = Vendor("Zeiss CZI", "bioio-czi", "GPL-3")
_ND2 = Vendor("Nikon ND2", "bioio-nd2", "MIT")
_LIF = Vendor("Leica LIF", "bioio-lif", "BSD-3-Clause")
_DV = Vendor("DeltaVision DV", "bioio-dv", "MIT")
_OLE = Vendor("Olympus OIB or Zeiss ZVI", *_BIOFORMATS)
_OIR = Vendor("Olympus OIR", *_BIOFORMATS)
_OIF = Vendor("Olympus OIF", *_BIOFORMATS)
_VSI = Vendor("Olympus VSI", *_BIOFORMATS)
_DICOM = Vendor("DICOM", *_BIOFORMATS)
_MRC = Vendor("MRC", *_BIOFORMATS)


def vendor_of(path: Path, start: bytes) -> Vendor | None:
    """Recognise a maker's format by the first bytes of a file; the suffix only says which of two kinds of one family.

    Parameters
    ----------
    path : Path
        The file, for its suffix.
    start : bytes
        Its first 256 bytes or more.
    """
    suffix = path.suffix.lower()
    magic = {b"ZISRAWFILE": _CZI, b"\xda\xce\xbe\x0a": _ND2, b"OLYMPUSRAWFORMAT": _OIR}
    magic |= {b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _OLE}
    for known, vendor in magic.items():
        if start.startswith(known):
            return vendor
    if start.startswith(b"\0\0\0\x0cjP  ") and suffix == ".nd2":
        return _ND2
    if start.startswith(b"\x70\0\0\0") and start[8:9] == b"\x2a":
        return _LIF
    if start[96:98] in (b"\xa0\xc0", b"\xc0\xa0") and suffix in (".dv", ".r3d", ".r3d_d3d"):
        return _DV
    if start[208:212] == b"MAP ":
        return _MRC
    if start[128:132] == b"DICM":
        return _DICOM
    # An OIF is a text, a VSI a TIFF of the overview alone: nothing in them but their names tells.
    return {".oif": _OIF, ".vsi": _VSI}.get(suffix)


class VendorArray:
    """One image of a maker's file in the order of its reader's axes; opened anew in every process.

    Parameters
    ----------
    path : Path
        The file.
    vendor : Vendor
        Its format.
    number : int
        Which image.

    Attributes
    ----------
    axes : str
        The reader's letter for each axis.
    """

    def __init__(self, path: Path, vendor: Vendor, number: int) -> None:
        self.path = path
        self.vendor = vendor
        self.number = number
        self._lock = threading.Lock()
        self._data: Any = None
        self.axes = ""
        data = self._open()
        self.shape: tuple[int, ...] = tuple(int(size) for size in data.shape)
        self.dtype: np.dtype[Any] = np.dtype(data.dtype)
        self.block: tuple[int, ...] = tuple(int(size) for size in data.chunksize)

    def __reduce__(self) -> tuple[Any, ...]:
        return VendorArray, (self.path, self.vendor, self.number)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        data = self._open()
        with self._lock:  # the readers below are not made for several threads
            try:
                return np.asarray(data[region].compute(scheduler="synchronous"))
            except _DAMAGE as error:
                raise _damaged(self.path, self.vendor, error) from error

    def _open(self) -> Any:
        with self._lock:
            if self._data is None:
                reader = _reader(self.path, self.vendor)
                try:
                    reader.set_scene(reader.scenes[self.number])
                    self._data, self.axes = _without_empty_axes(reader.dask_data, str(reader.dims.order))
                except _DAMAGE as error:
                    raise _damaged(self.path, self.vendor, error) from error
            return self._data


# What readers of half a dozen authors raise for a damaged file has no common class.
_DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError)


def open_vendor(
    path: Path, *, part: str | None = None, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open an image of a maker's file lazily.

    Raises
    ------
    InputError
        When the package that reads it is not installed, the file is damaged, or holds several images of which none is
        chosen.
    """
    vendor = _vendor_at(path)
    reader = _reader(path, vendor)
    number = choose_image(_scenes(reader), part, path)
    try:
        reader.set_scene(reader.scenes[number])
        calibration = _calibration(reader)
    except _DAMAGE as error:
        raise _damaged(path, vendor, error) from error
    array = VendorArray(path, vendor, number)
    found = "".join(letter if letter in "TCZYXS" else "Q" for letter in array.axes)
    letters = resolve_axes(found, array.shape, given=axes, path=path)
    return make_volume(
        [TczyxArray(array, letters)],
        calibration,
        axes=letters,
        format=vendor.name,
        source=path,
        voxel_size=voxel_size,
        part=part,
    )


def images_in_vendor(path: Path) -> tuple[str, ...]:
    """List the images of a maker's file; their number where they have no name of their own."""
    return _scenes(_reader(path, _vendor_at(path)))


def _vendor_at(path: Path) -> Vendor:
    with path.open("rb") as file:
        vendor = vendor_of(path, file.read(4096))
    if vendor is None:
        raise InputError(f"{path}: no microscope maker's file; it has changed since it was looked at")
    return vendor


def _reader(path: Path, vendor: Vendor) -> Any:
    """Open a file by its own plugin: bioio's choice among all plugins prints a line for each that does not fit."""
    try:
        plugin = importlib.import_module(vendor.module)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != vendor.module:
            raise InputError(f"{path}: {vendor.package} is installed but cannot be used ({error}); repair it") from None
        raise InputError(
            f"{path}: a {vendor.name} file, which the package {vendor.package} reads (licence: {vendor.licence}); "
            f"install it with 'pip install {vendor.package}', or export the image as OME-TIFF"
        ) from None
    # Whole Z stacks are the readers' usual chunk; planes let a tile be read without them.
    takes_chunks = "chunk_dims" in inspect.signature(plugin.Reader.__init__).parameters
    try:
        return plugin.Reader(str(path), **({"chunk_dims": ["Y", "X"]} if takes_chunks else {}))
    except _DAMAGE as error:
        raise _damaged(path, vendor, error) from error


def _scenes(reader: Any) -> tuple[str, ...]:
    return unique_names([str(name) for name in reader.scenes])


def _damaged(path: Path, vendor: Vendor, error: Exception) -> InputError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return InputError(
        f"{path}: {vendor.package} cannot read this {vendor.name} file ({reason}); it may be damaged: copy it again, "
        "or export the image as OME-TIFF"
    )


def _without_empty_axes(data: Any, order: str) -> tuple[Any, str]:
    """Leave out axes beyond TCZYXS (tiles, blocks, rotations, ...) that have but one entry."""
    if len(order) != len(data.shape):
        raise ValueError(f"{len(data.shape)} axes found, {len(order)} named ({order})")
    kept = [letter in "TCZYXS" or size != 1 for letter, size in zip(order, data.shape, strict=True)]
    letters = "".join(letter for letter, keep in zip(order, kept, strict=True) if keep)
    return data[tuple(slice(None) if keep else 0 for keep in kept)], letters


def _calibration(reader: Any) -> Calibration:
    sizes = reader.physical_pixel_sizes
    names = tuple(str(name) for name in reader.channel_names or ())
    return Calibration(
        voxel_size=_known_sizes(sizes.Z, sizes.Y, sizes.X),
        channel_names=() if any(_INVENTED.fullmatch(name) for name in names) else names,
        time_step=_seconds(getattr(reader, "time_interval", None)),
    )


def _known_sizes(z: Any, y: Any, x: Any) -> VoxelSize:
    if y == 1.0 and x == 1.0:
        return None, None, None
    sizes = [float(v) if isinstance(v, int | float) and math.isfinite(v) and v > 0 else None for v in (z, y, x)]
    return sizes[0], sizes[1], sizes[2]


def _seconds(interval: Any) -> float | None:
    seconds = interval.total_seconds() if hasattr(interval, "total_seconds") else interval
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds <= 0:
        return None
    return float(seconds)
