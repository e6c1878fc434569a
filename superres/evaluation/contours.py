"""A surface as a map of contour lines, with a path over it, as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from superres.evaluation.figures import WIDTH, Frame, axes, difference_uri

_HEIGHT = 520
_LINES = 11
# The lowest places are white, the highest this far to full blue: lines and path stay readable over both.
_DEEPEST = 0.75
_LINE, _PATH = "#1f4e79", "#d1480f"


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Values over a plane.

    Parameters
    ----------
    x, y : ndarray
        float64, evenly spaced, rising.
    values : ndarray
        float64, (y, x); what is not finite is left out.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    values: NDArray[np.float64]


def levels_of(values: NDArray[np.float64]) -> list[float]:
    """Return the heights of contour lines, as short as they can be told apart: between two lie equal parts of the map.

    So every region has lines, also where the surface rises by many powers of ten towards the edge.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.min() == finite.max():
        return []
    heights = np.quantile(finite, np.arange(1, _LINES + 1) / (_LINES + 1))
    digits = 3 + max(0, math.ceil(math.log10(np.abs(finite).max() / np.ptp(finite))))
    return sorted({float(f"{height:.{digits}g}") for height in heights.tolist()})


def contours(surface: Surface, level: float) -> list[NDArray[np.float64]]:
    """Return the lines of one height, each (points, 2) with x and y."""
    known = np.where(np.isfinite(surface.values), surface.values, np.nan)
    steps = [(axis[-1] - axis[0]) / (len(axis) - 1) for axis in (surface.x, surface.y)]
    return [
        np.stack([surface.x[0] + line[:, 1] * steps[0], surface.y[0] + line[:, 0] * steps[1]], axis=1)
        for line in find_contours(known, level)  # type: ignore[no-untyped-call]
    ]


def contour_map(
    surface: Surface, path: Sequence[tuple[float, float]], *, title: str, x_label: str, y_label: str
) -> str:
    """Draw a surface as a self-contained SVG element.

    Parameters
    ----------
    path : sequence of pair of float
        Drawn with a dot at each point and a large one at its last; the last one alone where there is no path.
    """
    frame = Frame(surface.x[0], surface.x[-1], surface.y[0], surface.y[-1], _HEIGHT)
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        _background(frame, surface),
        *axes(frame, x_label, y_label),
        *_lines(frame, surface, path),
        *_path(frame, path),
        "</svg>",
    ]
    return "\n".join(parts)


def _background(frame: Frame, surface: Surface) -> str:
    """Colour the map by the rank of its values, so that colour and lines tell the same."""
    known = np.isfinite(surface.values)
    ranks = np.full(surface.values.shape, np.nan)
    ranks[known] = np.searchsorted(np.sort(surface.values[known]), surface.values[known]) / max(1, known.sum() - 1)
    left, top = frame.x(frame.x_low), frame.y(frame.y_high)
    width, height = frame.x(frame.x_high) - left, frame.y(frame.y_low) - top
    # The centres of the outer pixels lie on the frame; what is beyond is cut away.
    wide, tall = width / (len(surface.x) - 1), height / (len(surface.y) - 1)
    return (
        f'<svg x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f'<image href="{difference_uri(-_DEEPEST * ranks[::-1], 1.0)}" x="{-wide / 2:.2f}" y="{-tall / 2:.2f}" '
        f'width="{width + wide:.2f}" height="{height + tall:.2f}" preserveAspectRatio="none"/></svg>'
    )


def _lines(frame: Frame, surface: Surface, path: Sequence[tuple[float, float]]) -> list[str]:
    """Draw the lines, and the height of each at the place that is farthest from everything written or drawn before."""
    parts: list[str] = []
    taken = [(frame.x(x), frame.y(y)) for x, y in path]
    for level in levels_of(surface.values):
        drawn = [np.array([(frame.x(x), frame.y(y)) for x, y in line]) for line in contours(surface, level)]
        for line in drawn:
            points = "L".join(f"{x:.1f} {y:.1f}" for x, y in line)
            parts.append(f'<path fill="none" stroke="{_LINE}" stroke-opacity="0.75" d="M{points}"/>')
        place = _roomiest(frame, drawn, taken)
        if place is not None:
            taken.append(place)
            parts.append(
                f'<text x="{place[0]:.0f}" y="{place[1] + 4:.0f}" text-anchor="middle" stroke="#fff" stroke-width="3" '
                f'paint-order="stroke">{level:.9g}</text>'
            )
    return parts


def _roomiest(
    frame: Frame, lines: Sequence[NDArray[np.float64]], taken: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Return the point on lines that is farthest from what is taken; none where no point is inside the frame."""
    if not lines:
        return None
    points = np.concatenate(lines)
    inside = (points[:, 0] > frame.x(frame.x_low) + 24) & (points[:, 0] < frame.x(frame.x_high) - 24)
    inside &= (points[:, 1] > frame.y(frame.y_high) + 12) & (points[:, 1] < frame.y(frame.y_low) - 12)
    points = points[inside]
    if len(points) == 0:
        return None
    distances = np.min([np.hypot(points[:, 0] - x, points[:, 1] - y) for x, y in taken], axis=0)
    chosen = points[int(np.argmax(distances))]
    return float(chosen[0]), float(chosen[1])


def _path(frame: Frame, path: Sequence[tuple[float, float]]) -> list[str]:
    places = [(frame.x(x), frame.y(y)) for x, y in path]
    *before, (x, y) = places
    parts = []
    if before:
        points = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        parts.append(f'<path fill="none" stroke="{_PATH}" stroke-width="2" stroke-linejoin="round" d="M{points}"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{_PATH}"/>' for a, b in before]
        parts.append(_word(*before[0], "start"))
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{_PATH}" stroke="#fff" stroke-width="1.5"/>')
    parts.append(_word(x, y, "final weights"))
    return parts


def _word(x: float, y: float, word: str) -> str:
    """Write a word above a point, on the side where there is room."""
    anchor, shift = ("start", 8) if x < WIDTH / 2 else ("end", -8)
    return (
        f'<text x="{x + shift:.0f}" y="{y - 8:.0f}" text-anchor="{anchor}" stroke="#fff" stroke-width="3" '
        f'paint-order="stroke" font-weight="600">{word}</text>'
    )
