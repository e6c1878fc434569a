"""The part of the Compare widget that tells what is known of the place that was clicked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtWidgets import QFormLayout, QGroupBox, QLabel

from superres.plugin.background import Background
from superres.plugin.grid import finest, index_at, value_of
from superres.plugin.layer_choice import unit_of
from superres.plugin.trust_maps import SUSPICIOUS, TrustMaps


@dataclass(frozen=True, slots=True)
class Point:
    """What is known of one place; None for what is not.

    Parameters
    ----------
    place : tuple of float
        World coordinates along the layer's axes.
    axes : str
        Their letters.
    unit : str
        Of the plane.
    input, result : float or None
        Grey levels.
    below, above : float or None
        How far the interval reaches from the grey level of the result.
    z : float or None
        Deviation of the result, recorded again, from the input, in standard deviations.
    flags : tuple of str or None
        Names of those that are set.
    """

    place: tuple[float, ...]
    axes: str
    unit: str
    input: float | None = None
    result: float | None = None
    below: float | None = None
    above: float | None = None
    z: float | None = None
    flags: tuple[str, ...] | None = None


def read_point(position: Sequence[float], low: Any, result: Any, maps: TrustMaps) -> Callable[[], Point]:
    """Return a function that reads all that is known of a place, to be called in another thread.

    Parameters
    ----------
    position : sequence of float
        World coordinates.
    low, result : napari.layers.Image or None
        Input and result.
    maps : TrustMaps
        Of the result.
    """
    shown = low if result is None else result
    place, axes = tuple(float(p) for p in position[-shown.ndim :]), "TZYX"[-shown.ndim :]
    unit = unit_of(shown)
    at_low, at_result = (None if layer is None else index_at(layer, position) for layer in (low, result))
    arrays = tuple(None if layer is None else finest(layer) for layer in (low, result))

    def read() -> Point:
        low_level, level = (
            None if array is None else value_of(array, at)
            for array, at in zip(arrays, (at_low, at_result), strict=True)
        )
        below, above, z = (_on_map(array, arrays[1], at_result) for array in (maps.below, maps.above, _first(maps.z)))
        flags = _on_map(_first(maps.flags), arrays[1], at_result)
        names = None if flags is None else tuple(maps.names(flags))
        return Point(place, axes, unit, low_level, level, below, above, z, names)

    return read


def _first(levels: tuple[Any, ...]) -> Any:
    return levels[0] if levels else None


def _on_map(array: Any, result: Any, index: tuple[int, ...] | None) -> float | None:
    """Read a map at a voxel of the result that it covers, perhaps with larger voxels."""
    if array is None or index is None:
        return None
    return value_of(array, tuple(i * m // n for i, m, n in zip(index, array.shape, result.shape, strict=True)))


class PointPanel(QGroupBox):
    """A table of what is known of the place that was clicked at."""

    def __init__(self) -> None:
        super().__init__("At the place you click")
        layout = QFormLayout(self)
        names = ("Position", "Input", "Result", "Interval", "Consistency", "Flags")
        self.fields = {name: QLabel("-") for name in names}
        for name, label in self.fields.items():
            label.setWordWrap(True)
            layout.addRow(name, label)
        self.point: Point | None = None
        self._reading = Background(self)
        self._reading.found.connect(self._show)
        self._reading.failed.connect(self.fields["Position"].setText)

    def ask(self, position: Sequence[float], low: Any, result: Any, maps: TrustMaps) -> None:
        """Read what is known of a place, and show it."""
        if low is not None or result is not None:
            self._reading.ask(read_point(position, low, result, maps))

    def _show(self, point: Point) -> None:
        self.point = point
        for name, text in texts(point).items():
            self.fields[name].setText(text)


def texts(point: Point) -> dict[str, str]:
    """Say in words what is known of a place."""
    plane = ", ".join(f"{axis.lower()} {value:.4g}" for axis, value in zip("YX", point.place[-2:], strict=True))
    others = "".join(f", {a.lower()} {v:.4g}" for a, v in zip(point.axes[:-2], point.place[:-2], strict=True))
    return {
        "Position": f"{plane} {point.unit}{others}",
        "Input": _level(point.input),
        "Result": _level(point.result),
        "Interval": _interval(point),
        "Consistency": _consistency(point.z),
        "Flags": "-" if point.flags is None else ", ".join(point.flags) or "none",
    }


def _level(value: float | None) -> str:
    return "outside of the image" if value is None else f"{value:.6g}"


def _interval(point: Point) -> str:
    if point.result is None or point.below is None or point.above is None:
        return "-"
    low, high = point.result - point.below, point.result + point.above
    return f"{low:.6g} to {high:.6g} (-{point.below:.4g}, +{point.above:.4g})"


def _consistency(z: float | None) -> str:
    if z is None or z != z:
        return "-"
    verdict = "suspicious" if abs(z) > SUSPICIOUS else "as noise allows"
    return f"{z:+.2f} standard deviations: {verdict}"
