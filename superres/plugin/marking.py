"""Layers to mark in what is right and wrong on a result, and what is drawn there as outlines on the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from superres.errors import InputError
from superres.plugin.grid import finest
from superres.plugin.sources import source_of

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Shapes

COLOURS: Mapping[str, str] = {"right": "#2ecc71", "wrong": "#ff4d4d"}
_TAG = "superres_marks"
_CORNERS = 48  # of a polygon that stands for an ellipse


def mark_layers(viewer: napari.Viewer) -> dict[str, Shapes]:
    """Return the layers for marks that there are, by ``"wrong"`` and ``"right"``."""
    found = {layer.metadata[_TAG]: layer for layer in viewer.layers if layer.metadata.get(_TAG) in COLOURS}
    return {kind: found[kind] for kind in ("wrong", "right") if kind in found}


def add_mark_layers(viewer: napari.Viewer, result: Image) -> dict[str, Shapes]:
    """Add the layers for marks that are missing, on the grid of a result, and let the person draw in ``"wrong"``."""
    found = mark_layers(viewer)
    for kind, colour in COLOURS.items():
        if kind not in found:
            found[kind] = viewer.add_shapes(
                ndim=result.ndim,
                name=kind,
                edge_color=colour,
                face_color=f"{colour}30",
                edge_width=max(1.0, max(finest(result).shape[-2:]) / 400),
                opacity=1.0,
                metadata={_TAG: kind},
                scale=result.scale,
                translate=result.translate,
                rotate=result.rotate,
                shear=result.shear,
                affine=result.affine,
                units=result.units,
                axis_labels=result.axis_labels,
            )
    viewer.layers.selection = {found["wrong"]}
    found["wrong"].mode = "add_rectangle"
    return mark_layers(viewer)


def marks_on(layers: Mapping[str, Shapes], low: Image, result: Image, factor: Sequence[int]) -> list[dict[str, Any]]:
    """Return what is drawn, as outlines in voxels of a recording.

    Parameters
    ----------
    layers : mapping
        As `mark_layers` returns them.
    low, result : Image
        The recording, and what a model made of it or of a part of it.
    factor : sequence of int
        ZYX, of the model.

    Returns
    -------
    list of dict
        The fields of `superres.datasets.marks.Mark`, as plain JSON.

    Raises
    ------
    InputError
        When nothing is marked as wrong, or a shape encloses nothing or lies in several planes.
    """
    found = []
    for kind, layer in layers.items():
        for corners, form in zip(layer.data, layer.shape_type, strict=True):
            if str(form) in ("line", "path"):
                raise InputError(
                    f"'{layer.name}' holds a {form}, which encloses nothing; draw a rectangle or a polygon"
                )
            outline = _ellipse(np.asarray(corners)) if str(form) == "ellipse" else np.asarray(corners, float)
            found.append(_mark(kind, layer, outline, low, result, factor))
    if not any(one["kind"] == "wrong" for one in found):
        also = " What is right alone teaches nothing new." if found else ""
        raise InputError(
            f"Nothing is marked as wrong yet: press Mark, and draw around places where the result differs from the "
            f"sharp image.{also}"
        )
    return found


def _mark(kind: str, layer: Shapes, outline: Any, low: Image, result: Image, factor: Sequence[int]) -> dict[str, Any]:
    axes = source_of(low).axes
    points = np.array([_on_low(layer.data_to_world(corner), low, result, factor, axes) for corner in outline])
    planes = np.unique(np.floor(points[:, :-2] + 0.5), axis=0)
    if len(planes) > 1:
        raise InputError(
            f"'{layer.name}' holds a shape that lies in several planes, as those drawn in the 3-D view do; remove it, "
            "and draw in one plane (the 2-D view, a button at the lower left)"
        )
    plane = dict(zip(axes[:-2], planes[0], strict=True))
    return {
        "kind": kind,
        "t": int(plane.get("T", 0)),
        "z": int(plane.get("Z", 0)),
        "outline": points[:, -2:].tolist(),
    }


def _on_low(position: Any, low: Image, result: Image, factor: Sequence[int], axes: str) -> Any:
    """Return the voxel of a recording, between its centres too, at a place of the world.

    Where the result is of the whole recording the two are matched voxel by voxel: they lie apart in the viewer where
    the size of a voxel is not known.
    """
    times = np.array([dict(zip("ZYX", factor, strict=True)).get(axis, 1) for axis in axes], float)
    if result.ndim == low.ndim and np.array_equal(finest(result).shape, times * finest(low).shape):
        return (np.asarray(result.world_to_data(position), float) + 0.5) / times - 0.5
    return np.asarray(low.world_to_data(position), float)


def _ellipse(corners: Any) -> Any:
    """Return a polygon for an ellipse that is given by the corners of the rectangle around it."""
    middle, along, across = corners.mean(axis=0), (corners[1] - corners[0]) / 2, (corners[2] - corners[1]) / 2
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
    return middle + np.cos(angles) * along + np.sin(angles) * across
