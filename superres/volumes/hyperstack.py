"""Write a volume as an ImageJ hyperstack, plane by plane, for other programs and for inputs made here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from superres.errors import OutputWriteError
from superres.volumes.tiff_metadata import lookup_table
from superres.volumes.whole_files import whole_file

_DTYPES = ("uint8", "uint16", "float32")
# Offsets are 32 bits; header, description and labels need some room.
_LARGEST = 2**32 - 2**20
Shape = tuple[int, int, int, int, int]


def save_hyperstack(
    path: Path,
    image: NDArray[Any],
    *,
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None),
    channel_names: tuple[str, ...] = (),
    time_step: float | None = None,
) -> None:
    """Write an ImageJ hyperstack that fits in memory.

    Parameters
    ----------
    path : Path
        Ends with ``.tif``.
    image : ndarray
        TCZYX, uint8, uint16 or float32: the dtypes that ImageJ has. Others are refused, not converted.
    voxel_size : tuple of float or None
        ZYX in micrometre; unknown ones are left out.
    channel_names : tuple of str
        One per channel, or none.
    time_step : float, optional
        Seconds.

    Raises
    ------
    OutputWriteError
        When the dtype is another, the volume is too large, or the file cannot be written.
    """
    shape: Shape = image.shape
    check_hyperstack(path, shape, image.dtype)
    planes = np.swapaxes(image, 1, 2).reshape(-1, *shape[3:])
    metadata = hyperstack_metadata(shape, voxel_size=voxel_size, channel_names=channel_names, time_step=time_step)
    try:
        write_hyperstack(path, iter(planes), shape=shape, dtype=image.dtype, metadata=metadata)
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot write ({error}); free some space or give another folder") from None


def check_hyperstack(path: Path, shape: Shape, dtype: np.dtype[Any]) -> None:
    """Refuse what ImageJ's own format cannot hold.

    Raises
    ------
    OutputWriteError
        When the dtype is another than ImageJ's three, or the volume has 4 GiB or more.
    """
    if dtype.name not in _DTYPES:
        raise OutputWriteError(f"{path}: ImageJ knows {', '.join(_DTYPES)}, not {dtype}; convert the image first")
    size = math.prod(shape) * dtype.itemsize
    if size > _LARGEST:
        raise OutputWriteError(
            f"{path}: {size / 1e9:.1f} GB of voxels, an ImageJ hyperstack holds 4.29 GB; write an OME-TIFF, which Fiji "
            "opens too (--format ome-tiff), or OME-Zarr"
        )


def hyperstack_metadata(
    shape: Shape,
    *,
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None),
    channel_names: tuple[str, ...] = (),
    time_step: float | None = None,
    channel_colours: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return ImageJ's description of a hyperstack, with the resolution of its planes under ``resolution``.

    A name under ``software`` may be added to it.
    """
    # With the samples of a pixel, or an image one voxel wide would be taken for one of fewer axes.
    metadata: dict[str, Any] = {"axes": "TZCYXS"}
    if 1 < shape[1] <= 7:  # ImageJ mixes no more
        metadata["mode"] = "composite"
    if channel_names:
        metadata["Labels"] = list(channel_names) * (shape[0] * shape[2])
    if channel_colours:
        metadata["LUTs"] = [lookup_table(*bytes.fromhex(colour)) for colour in channel_colours]
    if time_step is not None:
        metadata |= {"finterval": time_step, "tunit": "sec"}
    z, y, x = voxel_size
    if y is not None and x is not None:
        metadata |= {"unit": "um", "resolution": (1 / x, 1 / y)}
        # One unit holds for all axes, and a plane without resolution would get pixels of 1 um by it.
        metadata |= {} if z is None else {"spacing": z}
    return metadata


def write_hyperstack(
    path: Path, planes: Iterator[NDArray[Any]], *, shape: Shape, dtype: np.dtype[Any], metadata: dict[str, Any]
) -> None:
    """Write an ImageJ hyperstack from its planes, whole or not at all.

    Parameters
    ----------
    path : Path
        Replaced if it exists; that is for the caller to decide.
    planes : iterator of ndarray, (y, x)
        In the order of ImageJ: T, then Z, then C.
    shape : tuple of int
        TCZYX.
    dtype : numpy.dtype
        Of `planes`; see `check_hyperstack`.
    metadata : mapping
        See `hyperstack_metadata`.

    Raises
    ------
    OSError
        When writing fails; nothing is left behind then.
    """
    t, c, z, y, x = shape
    tags = {key: metadata[key] for key in ("resolution", "software") if key in metadata}
    described = {key: value for key, value in metadata.items() if key not in tags}
    with whole_file(path) as handle, tifffile.TiffWriter(handle, imagej=True) as file:
        file.write(
            (plane[..., None] for plane in planes),
            shape=(t, z, c, y, x, 1),
            dtype=dtype,
            photometric="minisblack",
            metadata=described,
            contiguous=True,
            **tags,
        )
