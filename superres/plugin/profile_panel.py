"""The part of the Compare widget that plots grey levels of input and result along a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QGroupBox, QLabel, QPushButton, QVBoxLayout

from superres.plugin.background import Background
from superres.plugin.docked import Listening
from superres.plugin.grid import along, finest
from superres.plugin.layer_choice import unit_of
from superres.plugin.placing import camera_of
from superres.plugin.profile_plot import Curve, ProfilePlot
from superres.plugin.trust_maps import TrustMaps

_INPUT, _RESULT = "#7fb3ff", "#ffa64d"
_NAME = "profile line"
_WIDTH = 3.0  # pixels of the screen
_PAUSE = 100  # milliseconds: the line is read when it rests so long

Sources = Callable[[], tuple[Any, Any, TrustMaps]]


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line in the world: whole positions of its ends, and its length in the unit of the plane."""

    start: tuple[float, ...]
    stop: tuple[float, ...]

    @property
    def length(self) -> float:
        """Distance of the ends in the plane."""
        return float(np.hypot(*(np.array(self.stop[-2:]) - np.array(self.start[-2:]))))


class ProfilePanel(QGroupBox):
    """A plot, and a button to draw the line that it is along.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the line is drawn.
    listening : Listening
        Of the widget.
    sources : callable
        Returns input, result and the maps of the result.
    """

    def __init__(self, viewer: Any, listening: Listening, sources: Sources) -> None:
        super().__init__("Along a line")
        self._viewer, self._sources = viewer, sources
        self._line: Any = None
        self._before: Any = None
        self.button = QPushButton("Draw a line")
        self.button.setToolTip("Press in the image, and drag")
        self.button.clicked.connect(self.draw)
        self.note = QLabel("")
        self.note.setWordWrap(True)
        self.note.setVisible(False)
        self.plot = ProfilePlot()
        layout = QVBoxLayout(self)
        for widget in (self.button, self.plot, self.note):
            layout.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._read)
        self._reading = Background(self)
        self._reading.found.connect(self._show)
        self._reading.failed.connect(self._say)
        listening.to(viewer.dims.events.point, self.follow)
        listening.to(viewer.layers.events.removed, self._removed)

    @property
    def is_reading(self) -> bool:
        """Whether the plot is not yet that of the line."""
        return self._timer.isActive() or self._reading.is_busy

    def draw(self) -> None:
        """Let the user draw a line, in a layer of its own."""
        active = self._viewer.layers.selection.active
        self._before = self._before if active is self._line else active
        if self._line is None:
            low, result, _ = self._sources()
            shown = low if result is None else result
            if shown is None:
                self._say("Choose an input or a result first.")
                return
            self._line = self._new_layer(shown)
            self._line.events.set_data.connect(self.follow)
            self._line.events.data.connect(self.follow)
            self._line.mouse_drag_callbacks.append(self._drawing)
        self._line.data = []
        self._line.current_edge_width = _WIDTH / camera_of(self._viewer).zoom
        self._viewer.layers.selection.active = self._line
        self._line.mode = "add_line"

    def follow(self, event: object = None) -> None:
        """Read again, when the line rests."""
        if self._line is not None:
            self._timer.start()

    def _drawing(self, layer: Any, event: Any) -> Iterator[None]:
        """When a line is drawn, let the mouse move the image again."""
        while event.type != "mouse_release":
            yield
        QTimer.singleShot(0, self._drawn)

    def _drawn(self) -> None:
        if self._line is not None and self._line.mode == "add_line" and len(self._line.data):
            self._line.mode = "pan_zoom"
            if self._before in self._viewer.layers:
                self._viewer.layers.selection.active = self._before

    def _new_layer(self, shown: Any) -> Any:
        return self._viewer.add_shapes(
            None,
            ndim=2,
            name=_NAME,
            edge_color="#ffd23f",
            units=shown.units[-2:],
            metadata={"superres": {"overlay": "line"}},
        )

    def _read(self) -> None:
        low, result, maps = self._sources()
        line = self._current()
        if line is None or (low is None and result is None):
            return
        if tuple(self._viewer.dims.order[-2:]) != (self._viewer.dims.ndim - 2, self._viewer.dims.ndim - 1):
            self._say("The line is read in planes of Y and X; turn the axes back (the button with the cube).")
            return
        unit = unit_of(low if result is None else result)
        self._reading.ask(partial(_curves, _ends(line, low), _ends(line, result), maps, line.length, unit))

    def _current(self) -> Line | None:
        """Return the line that was drawn last."""
        if self._line is None or len(self._line.data) == 0:
            return None
        first, last = (
            tuple(self._line.data_to_world(end)) for end in (self._line.data[-1][0], self._line.data[-1][-1])
        )
        lead = tuple(self._viewer.dims.point[:-2])
        return Line((*lead, *first[-2:]), (*lead, *last[-2:]))

    def _show(self, found: tuple[Sequence[Curve], str]) -> None:
        curves, unit = found
        self._say("")
        self.plot.show_curves(curves, f"position ({unit})", "grey level")

    def _say(self, text: str) -> None:
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _removed(self, event: Any) -> None:
        if event.value is self._line:
            self._line = None
            self.plot.show_curves((), "", "")


_Ends = tuple[Any, list[float], list[float]]


def _ends(line: Line, layer: Any) -> _Ends | None:
    """Return the array of a layer, and the ends of the line in its voxels."""
    if layer is None:
        return None
    start, stop = ([float(p) for p in layer.world_to_data(end)] for end in (line.start, line.stop))
    return finest(layer), start, stop


def _curves(
    low: _Ends | None, result: _Ends | None, maps: TrustMaps, length: float, unit: str
) -> tuple[list[Curve], str]:
    """Read what is along the line; runs in a thread."""
    curves = []
    if low is not None:
        shares, values = along(*low)
        curves.append(Curve("input", shares * length, values, _INPUT))
    if result is not None:
        shares, values = along(*result)
        band: list[NDArray[np.float64] | None] = [None, None]
        if maps.below is not None:
            below, above = (along(part, result[1], result[2])[1] for part in (maps.below, maps.above))
            band = [values - below, values + above]
        curves.append(Curve("result", shares * length, values, _RESULT, *band))
    return curves, unit
