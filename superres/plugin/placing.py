"""Where a part of an upscaled layer lies in the world, and what of a layer is in view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from superres.errors import InputError

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Shapes

Spans = dict[str, tuple[int, int]]
"""From an axis letter to the first voxel and the one behind the last, of the input."""


def placed(layer: Image, axes: str, start: Mapping[str, int], factor: Sequence[int]) -> dict[str, Any]:
    """Return how a result that begins at voxel `start` of `layer` is placed: arguments of a new layer.

    The first voxel of the result is smaller than that of the input, and its centre lies before it by half of the
    difference, so that both cover the same ground.

    Parameters
    ----------
    layer : Image
        The input.
    axes : str
        Of the input and of the result, some of TZYX.
    start : mapping
        Axis letter to the first voxel of the input; left out it is 0.
    factor : sequence of int
        Upscaling along Z, Y, X.
    """
    from napari.utils.transforms import Affine

    times = np.array([dict(zip("ZYX", factor, strict=True)).get(letter, 1) for letter in axes], float)
    first = np.array([start.get(letter.lower(), 0) for letter in axes], float)
    own = Affine(scale=layer.scale, translate=layer.translate, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim)
    return {
        "scale": np.asarray(layer.scale) / times,
        "translate": np.asarray(own(first + (1 / times - 1) / 2)),
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def shape_of(layer: Image) -> tuple[int, ...]:
    """Return the voxels of a layer's finest level."""
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape)


def shown_slice(viewer: napari.Viewer, layer: Image, axes: str) -> Spans:
    """Return the plane of a layer that the sliders show: T and Z of it, one voxel each.

    Raises
    ------
    InputError
        When the viewer shows something else than planes along Y and X, or a plane beside the layer.
    """
    if viewer.dims.ndisplay != 2 or list(viewer.dims.displayed) != [viewer.dims.ndim - 2, viewer.dims.ndim - 1]:
        raise InputError("the viewer does not show planes along Y and X; switch it to 2D (button at the lower left)")
    point = np.round(layer.world_to_data(viewer.dims.point)).astype(int)
    found: Spans = {}
    for letter, index, length in zip(axes, point, shape_of(layer), strict=True):
        if letter in "YX":
            continue
        if not 0 <= index < length:
            raise InputError(f"'{layer.name}' has nothing where the sliders stand; move them to where it is seen")
        found[letter.lower()] = (int(index), int(index) + 1)
    return found


def camera_of(viewer: napari.Viewer) -> Any:
    """Return what looks at the layers: before napari 0.9 the viewer itself has it."""
    return getattr(viewer, "scene", viewer).camera


def in_view(viewer: napari.Viewer, layer: Image) -> Spans:
    """Return rows and columns of a layer that the canvas shows.

    Raises
    ------
    InputError
        When nothing of the layer is in view.
    """
    canvas = np.asarray(viewer.window._qt_viewer.canvas.size, float)  # no public name for it
    camera = camera_of(viewer)
    centre = np.asarray(camera.center[-2:], float)
    half = canvas / camera.zoom / 2
    corners = [centre + np.array(sign) * half for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1))]
    return _rows_and_columns(layer, [_at(viewer, corner) for corner in corners], "nothing of it is in view")


def in_rectangle(viewer: napari.Viewer, layer: Image, shapes: Shapes) -> Spans:
    """Return rows and columns of a layer inside the selected shapes of a shapes layer, or inside all of them.

    Raises
    ------
    InputError
        When there is no shape, or none over the layer.
    """
    chosen = sorted(shapes.selected_data) or range(len(shapes.data))
    corners = [shapes.data_to_world(vertex) for number in chosen for vertex in shapes.data[number]]
    if not corners:
        raise InputError(f"'{shapes.name}' holds no shape yet; draw a rectangle over what is to be upscaled")
    points = [_at(viewer, np.asarray(corner)[-2:]) for corner in corners]
    return _rows_and_columns(layer, points, f"the shapes of '{shapes.name}' lie beside it")


def middle(spans: Spans, most: int) -> Spans:
    """Cut rows and columns to their middle where they are more than `most`."""
    found = dict(spans)
    for axis in "yx":
        start, stop = spans[axis]
        if stop - start > most:
            first = start + (stop - start - most) // 2
            found[axis] = (first, first + most)
    return found


def _at(viewer: napari.Viewer, corner: Any) -> Any:
    """Return a point of the plane that is shown, in world coordinates of all axes."""
    return np.concatenate([np.asarray(viewer.dims.point, float)[:-2], corner])


def _rows_and_columns(layer: Image, points: Sequence[Any], nothing: str) -> Spans:
    found = np.array([np.asarray(layer.world_to_data(point))[-2:] for point in points])
    spans = {}
    for axis, low, high, length in zip("yx", found.min(0), found.max(0), shape_of(layer)[-2:], strict=True):
        start, stop = max(0, int(np.floor(low + 0.5))), min(length, int(np.ceil(high + 0.5)))
        if start >= stop:
            raise InputError(f"'{layer.name}': {nothing}; move it into view (the house button shows all) and try again")
        spans[axis] = (start, stop)
    return spans
