"""Single planes in PNG or JPEG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError

from superres.errors import InputError
from superres.volumes.axes import Region, TczyxArray, resolve_axes
from superres.volumes.unchanged import Stamp
from superres.volumes.volume import Calibration, Volume, make_volume


class PlaneFile:
    """One compressed plane; decoded when first read, because these formats cannot be read in part.

    Parameters
    ----------
    stamp : Stamp
        The file as it was when it was opened.
    shape : tuple of int
        (Y, X) or (Y, X, samples).
    dtype : numpy.dtype
        As decoded; of images of one bit, which become 0 and 1, uint8.
    """

    def __init__(self, stamp: Stamp, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.stamp = stamp
        self.path = stamp.path
        self.shape = shape
        self.dtype = dtype
        self._pixels: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[type[PlaneFile], tuple[Stamp, tuple[int, ...], np.dtype[Any]]]:
        return PlaneFile, (self.stamp, self.shape, self.dtype)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        self.stamp.check()
        if self._pixels is None:
            self._pixels = self._decode()
        return self._pixels[region]

    def _decode(self) -> NDArray[Any]:
        try:
            pixels = np.asarray(iio.imread(self.path, plugin="pillow"), self.dtype)
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{self.path}: damaged or truncated ({error}); write or copy the file again") from None
        if pixels.shape != self.shape:
            raise InputError(f"{self.path}: decoded to shape {pixels.shape}, the header says {self.shape}")
        return pixels


def open_plane(
    path: Path, *, format: str, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open a PNG or JPEG; the voxel size stays unknown, because their resolution means print.

    Raises
    ------
    InputError
        When the file is damaged or holds colours.
    """
    try:
        properties = iio.improps(path, plugin="pillow")
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error.__cause__, DecompressionBombError):
            raise InputError(
                f"{path}: a {format} of more than 178 million pixels, which must be decoded as a whole; "
                "convert it to TIFF or OME-Zarr, which are read in parts"
            ) from None
        raise InputError(f"{path}: not a readable {format} ({error}); write or copy the file again") from None
    shape = tuple(int(size) for size in properties.shape)
    found = {2: "YX", 3: "YXS", 4: "QYXS"}[len(shape)]
    letters = resolve_axes(found, shape, given=axes, path=path)
    dtype = np.dtype(properties.dtype)
    file = PlaneFile(Stamp.of(path), shape, np.dtype(np.uint8) if dtype.kind == "b" else dtype)
    array = TczyxArray(file, letters)
    return make_volume([array], Calibration(), axes=letters, format=format, source=path, voxel_size=voxel_size)
