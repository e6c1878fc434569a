"""What a layer is made of, for a job: a file, or voxels that only the viewer has and that are written down first."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superres.errors import InputError

if TYPE_CHECKING:
    from napari.layers import Layer

VoxelSize = tuple[float | None, float, float]

_TO_MICROMETRE = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "meter": 1e6, "angstrom": 1e-4}
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
    """

    path: str | None
    axes: str
    channel: int = 0
    voxel_size: VoxelSize | None = None
    in_file: VoxelSize | None = None

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
    told = layer.metadata.get("superres", {})
    shown = _voxel_size(layer)
    if "path" not in told:
        return Source(None, {2: "YX", 3: "ZYX", 4: "TZYX"}[layer.ndim], 0, shown)
    size = told.get("voxel_size")
    in_file = None if size is None else (size[0], float(size[1]), float(size[2]))
    return Source(str(told["path"]), str(told["axes"]), int(told["channel"]), shown or in_file, in_file)


def _voxel_size(layer: Layer) -> VoxelSize | None:
    """Return ZYX micrometre where a layer says so; a scale of 1 pixel says nothing."""
    units = [str(unit) for unit in layer.units[-2:]]
    if not all(unit in _TO_MICROMETRE for unit in units):
        return None
    sizes = [float(value) * _TO_MICROMETRE[unit] for value, unit in zip(layer.scale[-2:], units, strict=True)]
    depth = None
    if layer.ndim >= 3 and str(layer.units[-3]) in _TO_MICROMETRE:
        depth = float(layer.scale[-3]) * _TO_MICROMETRE[str(layer.units[-3])]
    return depth, sizes[0], sizes[1]


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
