"""Grey levels along a line, painted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

Numbers = NDArray[np.float64]

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 22, 34
_TICKS = 5
# More points than a screen has pixels only make it slow.
_MOST_POINTS = 2000


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot.

    Parameters
    ----------
    name : str
        Of what.
    x, y : ndarray
        float64, (n,); NaN makes a gap.
    colour : str
        As Qt knows it.
    low, high : ndarray or None
        float64, (n,); the band around it.
    """

    name: str
    x: Numbers
    y: Numbers
    colour: str
    low: Numbers | None = None
    high: Numbers | None = None


class ProfilePlot(QWidget):
    """Curves over one axis each for place and grey level.

    Parameters
    ----------
    empty : str
        Shown where there is no curve.
    """

    def __init__(self, empty: str = "Draw a line on the image") -> None:
        super().__init__()
        self._empty = empty
        self.curves: tuple[Curve, ...] = ()
        self._labels = ("", "")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumHeight(190)

    def sizeHint(self) -> QSize:
        """Return a size at which the ticks can be read."""
        return QSize(300, 190)

    def show_curves(self, curves: Sequence[Curve], x_label: str, y_label: str) -> None:
        """Paint other curves."""
        self.curves, self._labels = tuple(map(_thinned, curves)), (x_label, y_label)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint axes, bands, curves and their names."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(self.foregroundRole())
        area = QRectF(_LEFT, _TOP, self.width() - _LEFT - _RIGHT, self.height() - _TOP - _BOTTOM)
        spans = _spans(self.curves)
        if spans is None:
            painter.setPen(text)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self._empty)
            return
        frame = _Frame(area, *spans)
        self._paint_axes(painter, frame, text)
        for curve in self.curves:
            _paint_band(painter, frame, curve)
        for curve in self.curves:
            _paint_curve(painter, frame, curve)
        self._paint_names(painter)

    def _paint_axes(self, painter: QPainter, frame: _Frame, text: QColor) -> None:
        faint = QColor(text)
        faint.setAlpha(60)
        for value in ticks(*frame.x_span):
            place = frame.point(value, frame.y_span[0])
            painter.setPen(faint)
            painter.drawLine(place, QPointF(place.x(), frame.area.top()))
            painter.setPen(text)
            box = QRectF(place.x() - 30, place.y() + 2, 60, 14)
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, f"{value:g}")
        for value in ticks(*frame.y_span):
            place = frame.point(frame.x_span[0], value)
            painter.setPen(faint)
            painter.drawLine(place, QPointF(frame.area.right(), place.y()))
            painter.setPen(text)
            box = QRectF(0, place.y() - 7, _LEFT - 5, 14)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{value:g}")
        below = QRectF(_LEFT, self.height() - 17, frame.area.width(), 16)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, self._labels[0])
        painter.drawText(QRectF(2, 2, _LEFT + 60, 16), Qt.AlignmentFlag.AlignLeft, self._labels[1])

    def _paint_names(self, painter: QPainter) -> None:
        right = self.width() - _RIGHT
        for curve in reversed(self.curves):
            width = painter.fontMetrics().horizontalAdvance(curve.name) + 10
            painter.setPen(QColor(curve.colour))
            painter.drawText(QRectF(right - width, 2, width, 16), Qt.AlignmentFlag.AlignRight, curve.name)
            right -= width


@dataclass(frozen=True, slots=True)
class _Frame:
    """From values to pixels."""

    area: QRectF
    x_span: tuple[float, float]
    y_span: tuple[float, float]

    def point(self, x: float, y: float) -> QPointF:
        across = (x - self.x_span[0]) / (self.x_span[1] - self.x_span[0])
        up = (y - self.y_span[0]) / (self.y_span[1] - self.y_span[0])
        return QPointF(self.area.left() + across * self.area.width(), self.area.bottom() - up * self.area.height())


def ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers between two numbers."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
    return [round(step * i, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _thinned(curve: Curve) -> Curve:
    step = -(-len(curve.x) // _MOST_POINTS)
    low, high = (None if band is None else band[::step] for band in (curve.low, curve.high))
    return Curve(curve.name, curve.x[::step], curve.y[::step], curve.colour, low, high)


def _spans(curves: Sequence[Curve]) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the ends of both axes; None where there is nothing to be seen."""
    heights = [part for c in curves for part in (c.y, c.low, c.high) if part is not None]
    y = np.concatenate(heights) if heights else np.zeros(0)
    y = y[np.isfinite(y)]
    if y.size == 0:
        return None
    end = max(float(curve.x.max()) for curve in curves)
    low, high = float(y.min()), float(y.max())
    room = 0.05 * (high - low) or 0.5
    return (0.0, end or 1.0), (low - room, high + room)


def _paint_band(painter: QPainter, frame: _Frame, curve: Curve) -> None:
    if curve.low is None or curve.high is None:
        return
    known = np.isfinite(curve.low) & np.isfinite(curve.high)
    there = [frame.point(x, y) for x, y in zip(curve.x[known], curve.low[known], strict=True)]
    back = [frame.point(x, y) for x, y in zip(curve.x[known][::-1], curve.high[known][::-1], strict=True)]
    fill = QColor(curve.colour)
    fill.setAlpha(60)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(fill)
    painter.drawPolygon(QPolygonF(there + back))


def _paint_curve(painter: QPainter, frame: _Frame, curve: Curve) -> None:
    painter.setPen(QPen(QColor(curve.colour), 1.6))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    known = np.isfinite(curve.y)
    pieces = np.flatnonzero(np.diff(known.astype(int))) + 1
    for part, is_known in zip(np.split(np.arange(len(known)), pieces), np.split(known, pieces), strict=True):
        if is_known.size and is_known[0]:
            line = [frame.point(x, y) for x, y in zip(curve.x[part], curve.y[part], strict=True)]
            painter.drawPolyline(QPolygonF(line))
