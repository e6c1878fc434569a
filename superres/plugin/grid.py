"""Where the voxels of image layers lie, and what they hold; nothing is read but what is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Voxels along a line that are read at once: long slanted lines would else need boxes of whole images.
_PIECE = 192
_MOST_SAMPLES = 20_000


def finest(layer: Any) -> Any:
    """Return the array of an image layer, of a multiscale one the finest level."""
    return layer.data[0] if layer.multiscale else layer.data


def grid_on(layer: Any, shape: Sequence[int]) -> dict[str, Any]:
    """Return scale, translation and units of a map of `shape` that covers the voxels of `layer` exactly.

    Parameters
    ----------
    layer : napari.layers.Image
        The finer image.
    shape : sequence of int
        Of the map; as many axes as the layer has.
    """
    ratio = np.array([n / m for n, m in zip(finest(layer).shape, shape, strict=True)])
    scale = np.asarray(layer.scale, float)
    # The centre of a coarse voxel is the mean of the centres that it covers.
    translate = np.asarray(layer.translate, float) + scale * (ratio - 1) / 2
    return {"scale": scale * ratio, "translate": translate, "units": layer.units}


def index_at(layer: Any, position: Sequence[float]) -> tuple[int, ...] | None:
    """Return the voxel of the finest level at a place of the world; None outside of the image."""
    place = np.round(np.asarray(layer.world_to_data(position), float)).astype(int)
    inside = all(0 <= i < n for i, n in zip(place, finest(layer).shape, strict=True))
    return tuple(int(i) for i in place) if inside else None


def value_of(array: Any, index: tuple[int, ...] | None) -> float | None:
    """Read one voxel; None where there is none. Dask arrays load the chunk that holds it."""
    if index is None:
        return None
    found = array[index]
    return float(found.compute(scheduler="synchronous") if hasattr(found, "compute") else found)


def along(array: Any, start: Sequence[float], stop: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read grey levels along a straight line, linear between the voxels of a plane.

    Only small boxes around pieces of the line are read.

    Parameters
    ----------
    array : array, (..., y, x)
        NumPy or Dask.
    start, stop : sequence of float
        In voxels, one number per axis; along all but the last two the plane nearest to `start` is taken.

    Returns
    -------
    tuple of ndarray
        float64, (n,), shares of the way from 0 to 1, a voxel or less apart, and grey levels, NaN outside of the image.
    """
    first, last = np.asarray(start[-2:], float), np.asarray(stop[-2:], float)
    count = min(_MOST_SAMPLES, max(2, math.ceil(float(np.hypot(*(last - first)))) + 1))
    shares = np.linspace(0, 1, count)
    points = first + shares[:, None] * (last - first)
    lead = tuple(int(i) for i in np.round(np.asarray(start[:-2], float)))
    if any(not 0 <= i < n for i, n in zip(lead, array.shape, strict=False)):
        return shares, np.full(count, np.nan)
    values = [_box(array, lead, points[begin : begin + _PIECE]) for begin in range(0, count, _PIECE)]
    return shares, np.concatenate(values)


def _box(array: Any, lead: tuple[int, ...], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read the box around points of a plane, (n, 2), and interpolate in it."""
    from scipy.ndimage import map_coordinates

    size = np.array(array.shape[-2:])
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, size - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 1, low + 1, size)
    block = array[(*lead, *(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)))]
    if hasattr(block, "compute"):
        block = block.compute(scheduler="synchronous")
    # A voxel reaches half a voxel around its centre.
    inside = ((points >= -0.5) & (points <= size - 0.5)).all(axis=1)
    found = map_coordinates(np.asarray(block, np.float64), (points - low).T, order=1, mode="nearest")
    return np.where(inside, found, np.nan)
