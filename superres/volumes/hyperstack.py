"""Write a small volume as an ImageJ hyperstack, for other programs and for inputs made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from superres.errors import OutputWriteError

_DTYPES = ("uint8", "uint16", "float32")


def save_hyperstack(
    path: Path,
    image: NDArray[Any],
    *,
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None),
    channel_names: tuple[str, ...] = (),
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

    Raises
    ------
    OutputWriteError
        When the dtype is another, or the file cannot be written.
    """
    if image.dtype.name not in _DTYPES:
        raise OutputWriteError(f"{path}: ImageJ knows {', '.join(_DTYPES)}, not {image.dtype}; convert the image first")
    num_labels = image.shape[0] * image.shape[2]
    metadata: dict[str, Any] = {"axes": "TZCYX"}
    if channel_names:
        metadata["Labels"] = list(channel_names) * num_labels
    resolution = None
    if voxel_size[1] is not None and voxel_size[2] is not None:
        metadata["unit"] = "um"
        resolution = (1 / voxel_size[2], 1 / voxel_size[1])
    if voxel_size[0] is not None:
        metadata |= {"spacing": voxel_size[0], "unit": "um"}
    try:
        tifffile.imwrite(path, np.swapaxes(image, 1, 2), imagej=True, metadata=metadata, resolution=resolution)
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot write ({error}); free some space or give another folder") from None
