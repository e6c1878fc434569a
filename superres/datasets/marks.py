"""Places that a person marked on an image, and the boxes of it that are learnt from or kept for validation.

Nothing is read here. Outlines are in voxels of the low image: voxel i reaches from i - 0.5 to i + 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from superres.errors import InputError

Kind = Literal["wrong", "right"]
Span = tuple[int, int]
Triple = tuple[int, int, int]
Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place that is right or wrong in a prediction.

    Parameters
    ----------
    kind : str
        ``"wrong"`` or ``"right"``.
    t, z : int
        Time point and plane of the low image.
    outline : tuple of (tuple of float)
        Corners of a polygon, Y and X in low voxels.
    """

    kind: Kind
    t: int
    z: int
    outline: tuple[tuple[float, float], ...]


class Box(NamedTuple):
    """A part of a low image: first voxel and the one behind the last along each axis."""

    t: Span
    z: Span
    y: Span
    x: Span

    def moved(self, by: Triple) -> Box:
        """Return the same part counted from voxel `by`, ZYX."""
        z, y, x = ((a - n, b - n) for (a, b), n in zip(self[1:], by, strict=True))
        return Box(self.t, z, y, x)


def box_of(mark: Mark, shape: Shape, least: Shape) -> Box:
    """Return the part of an image around a mark: all that is inside of it, and at least so many voxels.

    Parameters
    ----------
    mark : Mark
        What of it lies beyond the image is left out.
    shape : tuple of int
        TZYX voxels of the low image.
    least : tuple of int
        TZYX voxels that the part has; fewer only where the image has fewer.

    Raises
    ------
    InputError
        When the mark lies beside the image.
    """
    corners = np.asarray(mark.outline, float)
    spans = [(mark.t, mark.t + 1), (mark.z, mark.z + 1)]
    for low, high in zip(corners.min(axis=0), corners.max(axis=0), strict=True):
        first = math.floor(low + 0.5)
        spans.append((first, max(first + 1, math.ceil(high + 0.5))))
    inside = [(max(0, a), min(n, b)) for (a, b), n in zip(spans, shape, strict=True)]
    if any(a >= b for a, b in inside):
        raise InputError(
            f"a place that is marked as {mark.kind} lies beside the recording; draw where both the recording and the "
            "sharp image are, and remove the other shapes"
        )
    t, z, y, x = (_grown(span, wanted, n) for span, wanted, n in zip(inside, least, shape, strict=True))
    return Box(t, z, y, x)


def boxes_elsewhere(marks: Sequence[Mark], taken: Sequence[Box], shape: Shape, least: Shape, most: int) -> list[Box]:
    """Return boxes of the least size on the planes of the marks that share no row-and-column place with those taken.

    Neighbouring planes look alike, so a place that is learnt from in one of them is left out in all.

    Parameters
    ----------
    marks : sequence of Mark
        On whose planes.
    taken : sequence of Box
        What is learnt from.
    shape, least : tuple of int
        As for `box_of`.
    most : int
        So many are chosen, evenly spread.
    """
    height, width = (min(n, wanted) for n, wanted in zip(shape[2:], least[2:], strict=True))
    places = [
        ((y, y + height), (x, x + width))
        for y in range(0, shape[2] - height + 1, height)
        for x in range(0, shape[3] - width + 1, width)
    ]
    free = [(y, x) for y, x in places if not any(_meet(y, box.y) and _meet(x, box.x) for box in taken)]
    chosen = sorted({round(i) for i in np.linspace(0, len(free) - 1, min(most, len(free)))})
    planes = sorted({(mark.t, mark.z) for mark in marks})
    found = []
    for number, index in enumerate(chosen):
        t, z = planes[number % len(planes)]
        deep = [_grown((n, n + 1), wanted, size) for n, wanted, size in zip((t, z), least, shape, strict=False)]
        found.append(Box(deep[0], deep[1], *free[index]))
    return found


def inside(mark: Mark, box: Box, factor: Triple) -> NDArray[np.bool_]:
    """Return which voxels of a box are marked, on the grid of the high image.

    Returns
    -------
    ndarray
        bool, (t, z * fz, y * fy, x * fx): those whose centre is inside the outline, on the mark's own plane.
    """
    (t, _), (z, _), (y0, y1), (x0, x1) = box
    fz, fy, fx = factor
    size = ((y1 - y0) * fy, (x1 - x0) * fx)
    found = np.zeros((box.t[1] - t, (box.z[1] - z) * fz, *size), bool)
    if not (t <= mark.t < box.t[1] and z <= mark.z < box.z[1]):
        return found
    corners = (np.asarray(mark.outline, float) - (y0, x0) + 0.5) * (fy, fx) - 0.5
    found[mark.t - t, (mark.z - z) * fz : (mark.z - z + 1) * fz] = polygon2mask(size, corners)  # type: ignore[no-untyped-call]
    return found


def _grown(span: Span, wanted: int, size: int) -> Span:
    """Lengthen a span on both sides to what is wanted, inside of the image."""
    first, stop = span
    length = min(size, max(stop - first, wanted))
    start = min(max(0, first - (length - (stop - first)) // 2), size - length)
    return start, start + length


def _meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
