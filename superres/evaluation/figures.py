"""Small pure functions that draw: grey images as PNG data, line charts as SVG. No plotting library, no files."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 34, 46
_RED, _BLUE = np.array([178.0, 24.0, 43.0]), np.array([33.0, 102.0, 172.0])
_ROW = 20  # height of a row of the legend
_CHARACTER = 7.0  # mean width of a legend character in SVG units


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    colour: str
    width: float = 1.5
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A dashed vertical line with a word beside it."""

    x: float
    text: str


def grey_picture(image: NDArray[Any], levels: tuple[float, float]) -> NDArray[np.uint8]:
    """Return a grey image, (y, x), as 8 bits.

    Parameters
    ----------
    levels : tuple of float
        Grey levels shown as black and white; what lies beyond is shown as black or white. NaN is shown as black.
    """
    black, white = levels
    share = np.nan_to_num((image.astype(np.float64) - black) / (white - black), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(share, 0.0, 1.0) * 255).astype(np.uint8)


def difference_picture(image: NDArray[Any], limit: float) -> NDArray[np.uint8]:
    """Return signed values, (y, x), as colours, (y, x, 3): white at 0, red towards `limit`, blue towards its negative.

    NaN is shown as grey.
    """
    share = np.clip(image.astype(np.float64) / limit, -1.0, 1.0)
    ends = np.where(share[..., None] >= 0, _RED, _BLUE)
    colour = 255 + np.abs(share[..., None]) * (ends - 255.0)
    return np.rint(np.where(np.isnan(colour), 128.0, colour)).astype(np.uint8)


def png_uri(image: NDArray[Any], levels: tuple[float, float]) -> str:
    """Return `grey_picture` as a data URI."""
    return _uri(grey_picture(image, levels))


def difference_uri(image: NDArray[Any], limit: float) -> str:
    """Return `difference_picture` as a data URI."""
    return _uri(difference_picture(image, limit))


def _uri(picture: NDArray[np.uint8]) -> str:
    content: bytes = iio.imwrite("<bytes>", picture, extension=".png")
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def line_chart(lines: Sequence[Line], *, title: str, x_label: str, y_label: str, marks: Sequence[Mark] = ()) -> str:
    """Draw lines over a common x axis as a self-contained SVG element; points that are not finite break a line."""
    x_low, x_high = _limits([line.x for line in lines])
    y_low, y_high = _limits([line.y for line in lines])
    margin = 0.04 * (y_high - y_low)
    frame = Frame(x_low, x_high, y_low - margin, y_high + margin)
    rows = _legend_rows(lines)
    # More rows of the legend than one stand above the chart.
    above = _ROW * (len(rows) - 1)
    box = f"0 {-above} {WIDTH} {_HEIGHT + above}"
    parts = [
        f'<svg class="chart" viewBox="{box}" role="img" aria-label="{html.escape(title)}">',
        *axes(frame, x_label, y_label),
        *(_mark(frame, mark) for mark in marks if x_low <= mark.x <= x_high),
        *(_path(frame, line) for line in lines),
        *(part for number, row in enumerate(rows) for part in _legend(row, 16 - above + _ROW * number)),
        "</svg>",
    ]
    return "\n".join(parts)


def nice_ticks(low: float, high: float, *, wanted: int = 6) -> list[float]:
    """Return round positions (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle that data are drawn in: its data at the edges, and the height of the whole drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    height: int = _HEIGHT

    def x(self, value: float) -> float:
        """Return where a value lies along x in the drawing."""
        return _LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies along y in the drawing."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)


def _limits(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    finite = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    if finite.size == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def axes(frame: Frame, x_label: str, y_label: str) -> list[str]:
    """Draw the axes of a frame with ticks, a grid and labels."""
    bottom, right = frame.height - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in nice_ticks(frame.y_low, frame.y_high, wanted=5):
        y = frame.y(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    for tick in nice_ticks(frame.x_low, frame.x_high, wanted=8):
        x = frame.x(tick)
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v5"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{frame.height - 8}" text-anchor="middle">{html.escape(x_label)}</text>')
    y = (_TOP + bottom) / 2
    parts.append(
        f'<text x="14" y="{y}" text-anchor="middle" transform="rotate(-90 14 {y})">{html.escape(y_label)}</text>'
    )
    return parts


def _mark(frame: Frame, mark: Mark) -> str:
    x = frame.x(mark.x)
    return (
        f'<path class="mark" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>'
        f'<text class="note" x="{x + 5:.1f}" y="{_TOP + 12}">{html.escape(mark.text)}</text>'
    )


def _path(frame: Frame, line: Line) -> str:
    steps = []
    pen = "M"
    for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        steps.append(f"{pen}{frame.x(x):.1f} {frame.y(y):.1f}")
        pen = "L"
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    return (
        f'<path fill="none" stroke="{line.colour}" stroke-width="{line.width}" stroke-linejoin="round"{dash} '
        f'd="{"".join(steps)}"/>'
    )


def _legend_width(line: Line) -> float:
    return 26 + _CHARACTER * len(line.name) + 16


def _legend_rows(lines: Sequence[Line]) -> list[list[Line]]:
    """Break the legend into rows that are no wider than the chart."""
    rows: list[list[Line]] = [[]]
    for line in lines:
        if rows[-1] and sum(map(_legend_width, [*rows[-1], line])) > WIDTH - _LEFT:
            rows.append([])
        rows[-1].append(line)
    return rows


def _legend(lines: Sequence[Line], y: int) -> list[str]:
    parts = []
    x = float(_LEFT)
    for line in lines:
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(f'<path stroke="{line.colour}" stroke-width="{line.width + 0.5}"{dash} d="M{x:.0f} {y}h20"/>')
        parts.append(f'<text x="{x + 26:.0f}" y="{y + 4}">{html.escape(line.name)}</text>')
        x += _legend_width(line)
    return parts
