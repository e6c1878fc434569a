"""Compare: input and result in one place, by a line to swipe or by blinking, and how far to believe the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from superres.plugin.docked import Docked
from superres.plugin.grid import finest, grid_on
from superres.plugin.layer_choice import LayerChoice, is_picture, source_of, unit_of
from superres.plugin.point_panel import PointPanel
from superres.plugin.profile_panel import ProfilePanel
from superres.plugin.swipe import Swipe
from superres.plugin.trust_maps import TrustMaps
from superres.plugin.trust_panel import TrustPanel

if TYPE_CHECKING:
    import napari

_BLINK = 700  # milliseconds
_STEPS = 1000


class CompareWidget(Docked):
    """Look at an input and its result in the same place.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer: Any = napari_viewer
        self.input = LayerChoice(napari_viewer, self.listening, is_picture)
        self.result = LayerChoice(napari_viewer, self.listening, is_picture)
        self.swipe = QCheckBox("Swipe")
        self.swipe.setToolTip("Input left of the line, result right of it; drag the line in the image")
        self.position = QSlider(Qt.Orientation.Horizontal)
        self.position.setRange(0, _STEPS)
        self.position.setValue(_STEPS // 2)
        self.blink = QCheckBox("Blink")
        self.blink.setToolTip("Input and result in turn")
        self.note = QLabel("")
        self.note.setWordWrap(True)
        self.align = QPushButton("Lay the result on the input")
        self.align.setToolTip("The size of a voxel is not known of these images; this lets both cover the same field")
        self.align.hide()
        self.trust = TrustPanel(napari_viewer, self.listening)
        self.point = PointPanel()
        self.profile = ProfilePanel(napari_viewer, self.listening, self._sources)
        self._line = Swipe(napari_viewer, self._dragged)
        self._timer = QTimer(self)
        self._timer.setInterval(_BLINK)
        self._timer.timeout.connect(self._turn)
        self._lay_out()
        self._connect()
        self._guess()

    def showEvent(self, event: QShowEvent) -> None:
        """Listen to clicks."""
        if self._clicked not in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.append(self._clicked)
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent) -> None:
        """Show everything everywhere again when the widget is closed, and listen no more."""
        if self._clicked in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._clicked)
        self.swipe.setChecked(False)
        self.blink.setChecked(False)
        super().hideEvent(event)

    def _lay_out(self) -> None:
        layers = QFormLayout()
        layers.addRow("Input", self.input)
        layers.addRow("Result", self.result)
        ways = QHBoxLayout()
        for widget in (self.swipe, self.position, self.blink):
            ways.addWidget(widget)
        group = QGroupBox("What to compare")
        inside = QVBoxLayout(group)
        inside.addLayout(layers)
        inside.addLayout(ways)
        inside.addWidget(self.note)
        inside.addWidget(self.align)
        content = QWidget()
        column = QVBoxLayout(content)
        for widget in (group, self.trust, self.point, self.profile):
            column.addWidget(widget)
        column.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self.setMinimumWidth(320)

    def _connect(self) -> None:
        self.input.chosen.connect(self._choose)
        self.result.chosen.connect(self._choose)
        self.swipe.toggled.connect(self._swiped)
        self.blink.toggled.connect(self._blinked)
        self.align.clicked.connect(self._lay_on)
        self.position.valueChanged.connect(self._moved)
        self.trust.changed.connect(self._trust_changed)
        viewer = self._viewer
        self.listening.to(viewer.layers.events.inserted, self._guess)
        self.listening.to(viewer.layers.events.reordered, self._cut)
        self.listening.to(viewer.dims.events.ndisplay, self._cut)
        self.listening.to(_grid(viewer).events.enabled, self._cut)

    # --- the two layers ----------------------------------------------------------------------------------------------

    def _sources(self) -> tuple[Any, Any, TrustMaps]:
        return self.input.layer, self.result.layer, self.trust.maps

    def _guess(self, event: object = None) -> None:
        """Choose input and result, where nothing is chosen yet: the two that belong together, or by their voxels."""
        for choice in (self.input, self.result):  # napari tells the newest listener first
            choice.follow()
        low, result = likely_pair(self.result.layers)
        if self.result.layer is None and self.input.layer is not result:
            self.result.choose(result)
        if self.input.layer is None and self.result.layer is not low:
            self.input.choose(low)

    def _lay_on(self) -> None:
        """Let the result cover the field of the input."""
        low, result = self.input.layer, self.result.layer
        for name, value in grid_on(low, finest(result).shape).items():
            setattr(result, name, value)
        for overlay in self.trust.layers:
            for name, value in grid_on(result, finest(overlay).shape).items():
                setattr(overlay, name, value)
        self._cut()

    def _is_apart(self) -> bool:
        """Whether two images of unknown voxel size cover different fields, as they do when they are opened."""
        low, result = self.input.layer, self.result.layer
        if low is None or result is None or low.ndim != result.ndim or not unit_of(low) == unit_of(result) == "pixel":
            return False
        return not np.allclose(_field(low), _field(result), atol=float(np.min(result.scale)) / 2)

    def _choose(self) -> None:
        self.trust.follow(self.result.layer)
        self._cut()
        self.profile.follow()

    def _trust_changed(self) -> None:
        self._cut()
        self.profile.follow()

    def _why_not(self) -> str:
        """Say why the two cannot be laid on each other; empty where they can."""
        low, result = self.input.layer, self.result.layer
        if low is None or result is None:
            return "Choose the input and its result."
        if low is result:
            return "Input and result are the same layer; choose two."
        if low.units[-1] != result.units[-1]:
            return (
                f"{low.name} is in {low.units[-1]}, {result.name} in {result.units[-1]}: the size of a voxel is known "
                "of one of them only, so that it is not known how they lie on each other."
            )
        a, b = low.extent.world[:, -2:], result.extent.world[:, -2:]
        if np.any(a[1] < b[0]) or np.any(b[1] < a[0]):
            return f"{low.name} and {result.name} show different places."
        return ""

    # --- swipe and blink ---------------------------------------------------------------------------------------------

    def _swiped(self, on: bool) -> None:
        if on:
            self.blink.setChecked(False)
        self._cut()

    def _blinked(self, on: bool) -> None:
        if on:
            self._line.share = 0.0  # the result first
            self.swipe.setChecked(False)
            self._timer.start()
        else:
            self._timer.stop()
        self._cut()

    def _cut(self, event: object = None) -> None:
        """Bring what is drawn in line with what is chosen."""
        reason = self._why_not()
        is_wanted = self.swipe.isChecked() or self.blink.isChecked()
        if is_wanted and not reason:
            reason = self._why_not_here()
        self.note.setText(reason)
        self.note.setVisible(bool(reason))
        self.align.setVisible(self._is_apart())
        if not is_wanted or reason:
            self._line.stop()
            return
        is_swipe = self.swipe.isChecked()
        if is_swipe:  # a blink stays at its turn, whatever else changes meanwhile
            self._line.share = self.position.value() / _STEPS
        left, right = self._together(self.input.layer), self._together(self.result.layer)
        self._line.start(left, [*right, *self.trust.layers], ("input", "result"), line=is_swipe)

    def _why_not_here(self) -> str:
        if self._viewer.dims.ndisplay == 3:
            return "Swipe and blink work in two dimensions; leave the 3-D view (a button below the list of layers)."
        if _grid(self._viewer).enabled:
            return "Swipe and blink work where layers lie on each other; leave the grid view (a button below the list)."
        return ""

    def _together(self, layer: Any) -> list[Any]:
        """Return a layer with the other channels of its file."""
        source = source_of(layer)
        same = [one for one in self.input.layers if source is not None and (source_of(one) or ("",))[0] == source[0]]
        return same or [layer]

    def _moved(self, value: int) -> None:
        if self.swipe.isChecked():
            self._line.move(value / _STEPS)

    def _dragged(self, share: float) -> None:
        self.position.setValue(round(share * _STEPS))

    def _turn(self) -> None:
        self._line.move(0.0 if self._line.share > 0.5 else 1.0)

    # --- the mouse ---------------------------------------------------------------------------------------------------

    def _clicked(self, viewer: Any, event: Any) -> Iterator[None]:
        """Tell of a place that was clicked at, that is without dragging."""
        active = viewer.layers.selection.active
        if active is not None and str(active.mode) != "pan_zoom":
            return
        yield
        if event.type == "mouse_release":
            self.point.ask(event.position, *self._sources())


def likely_pair(pictures: Sequence[Any]) -> tuple[Any, Any]:
    """Guess which images are an input and its result; None where there are not two.

    Parameters
    ----------
    pictures : sequence of napari.layers.Image
        In the order of the viewer.

    Returns
    -------
    tuple of napari.layers.Image or None
        The newest result and the image that it tells it was made of; else the one with the largest voxels, and the one
        with the smallest.
    """
    if len(pictures) < 2:
        return None, None
    for result in reversed(pictures):
        origin = result.metadata.get("superres", {}).get("predicted_from")
        lows = [low for low in pictures if origin is not None and (source_of(low) or ("",))[0] == origin]
        if lows:
            alike = (low for low in lows if (source_of(low) or (0, 0))[1] == (source_of(result) or (0, 0))[1])
            return next(alike, lows[0]), result
    ordered = sorted(pictures, key=lambda layer: float(layer.scale[-1]))
    return ordered[-1], ordered[0]


def _field(layer: Any) -> Any:
    """Return where the outer edges of a layer lie in the plane."""
    half = np.asarray(layer.scale[-2:]) / 2
    return np.asarray(layer.extent.world)[:, -2:] + np.stack([-half, half])


def _grid(viewer: Any) -> Any:
    """Return the grid of the viewer, which newer versions of napari keep with the canvas."""
    return getattr(viewer, "canvas", viewer).grid
