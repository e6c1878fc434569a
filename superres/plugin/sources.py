"""What a layer is made of, for a job: a file, or voxels that only the viewer has and that are written down first."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superres.errors import InputError
from superres.plugin.layers import origin_of, voxel_size_of

if TYPE_CHECKING:
    from napari.layers import Layer

VoxelSize = tuple[float | None, float, float]

_temporary: tempfile.TemporaryDirectory[str] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An image that a job can open.

    Parameters
    ----------
    path : str or None
        As `superres.open_volume` takes it; None where the voxels are not in a file yet.
    axes : str
        Of the layer: some of TZYX, in this order, the last two YX.
    channel : int
        Of the file, counted from 0.
    voxel_size : tuple of float or None
        ZYX, micrometre, as the layer says; None where it does not say.
    in_file : tuple of float or None
        The same as the file says.
    given_axes : str or None
        What `superres.open_volume` must be told of the file's axes.
    """

    path: str | None
    axes: str
    channel: int = 0
    voxel_size: VoxelSize | None = None
    in_file: VoxelSize | None = None
    given_axes: str | None = None

    @property
    def is_saved(self) -> bool:
        """Whether it is a file."""
        return self.path is not None


def source_of(layer: Layer) -> Source:
    """Return what a layer is made of.

    Raises
    ------
    InputError
        When it is nothing that can be upscaled.
    """
    kind = type(layer).__name__
    if kind == "Labels":
        raise InputError(
            f"'{layer.name}' is a labels layer: its numbers are names of objects, not brightness. Choose the image "
            "layer that it was made from"
        )
    if kind != "Image":
        raise InputError(f"'{layer.name}' is a {kind.lower()} layer; choose an image layer")
    if layer.rgb:
        raise InputError(
            f"'{layer.name}' is a colour picture; superres works on grey values, channel by channel. Right-click the "
            "layer, choose 'Split RGB', and take the channel that you need"
        )
    if not 2 <= layer.ndim <= 4:
        raise InputError(
            f"'{layer.name}' has {layer.ndim} dimensions; images, stacks (Z), time series (T) and time series of "
            "stacks can be upscaled. Right-click the layer and choose 'Split Stack' to part its channels"
        )
    origin, shown = origin_of(layer), _known(voxel_size_of(layer))
    if origin is None:
        return Source(None, {2: "YX", 3: "ZYX", 4: "TZYX"}[layer.ndim], 0, shown)
    size = layer.metadata["superres"].get("voxel_size")
    in_file = None if size is None else _known((size[0], size[1], size[2]))
    return Source(origin.path, origin.axes, origin.channel, shown or in_file, in_file, origin.given_axes)


def _known(size: tuple[float | None, float | None, float | None]) -> VoxelSize | None:
    """Return a voxel size that is known along Y and X."""
    depth, height, width = size
    return None if height is None or width is None else (depth, height, width)


def temporary_folder() -> Path:
    """Return a folder that lasts as long as napari runs."""
    global _temporary
    if _temporary is None:
        _temporary = tempfile.TemporaryDirectory(prefix="superres_", ignore_cleanup_errors=True)
    return Path(_temporary.name)


def save_voxels(data: Any, path: Path) -> None:
    """Write the voxels of a layer to a .npy file, part by part along their first axis.

    Runs in a thread: it may take long.

    Parameters
    ----------
    data : array
        Finest level of a layer.
    path : Path
        The file.

    Raises
    ------
    InputError
        When the disk of temporary files cannot hold it.
    """
    shape, dtype = tuple(map(int, data.shape)), np.dtype(data.dtype)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    try:
        # Not by a memory map: a full disk would end the viewer.
        with path.open("wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for index in range(shape[0]):
                file.write(np.ascontiguousarray(data[index], dtype).data)
    except OSError as error:
        raise InputError(
            f"{path}: the layer cannot be written there ({error.strerror or error}); save it to a file yourself "
            "(File > Save Selected Layers) and open that"
        ) from None
