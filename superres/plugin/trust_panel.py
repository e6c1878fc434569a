"""The part of the Compare widget that shows how far to believe a result: overlays, their opacity and their legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QCheckBox, QGridLayout, QGroupBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from superres.plugin.background import Background
from superres.plugin.docked import Listening
from superres.plugin.layer_choice import source_of
from superres.plugin.trust_maps import (
    BLUE_TO_RED,
    FLAG_COLOURS,
    HEAT,
    SUSPICIOUS,
    TrustMaps,
    flags_layer,
    interval_layer,
    open_maps,
    z_layer,
)

_BAR = 160
_AGAIN = 3000  # milliseconds
_NOTHING = "No trust maps beside this result. They are written by an upscaling with 'trust' switched on."


class TrustPanel(QGroupBox):
    """Overlays of one result.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the overlays go.
    listening : Listening
        Of the widget.

    Attributes
    ----------
    changed : Signal()
        Other overlays are shown, or other maps were found.
    """

    changed = Signal()

    def __init__(self, viewer: Any, listening: Listening) -> None:
        super().__init__("How far to believe it")
        self._viewer = viewer
        self._result: Any = None
        self.maps = TrustMaps()
        self.note = _words("Choose a result that superres wrote.")
        self.interval = _Overlay("Interval half-width", interval_layer, HEAT)
        self.z = _Overlay("Consistency with the input", z_layer, BLUE_TO_RED)
        self.flags = _Overlay("Flags", flags_layer)
        self.flags.opacity.setValue(50)  # the image should be seen below areas of one colour
        layout = QVBoxLayout(self)
        layout.addWidget(self.note)
        for overlay in self._overlays:
            layout.addWidget(overlay)
            overlay.box.toggled.connect(self._toggle)
        self._reading = Background(self)
        self._reading.found.connect(self._take)
        self._reading.failed.connect(self._complain)
        listening.to(viewer.layers.events.removed, self._forget)
        # A result that is still being written gets its maps at the end.
        self._again = QTimer(self)
        self._again.setInterval(_AGAIN)
        self._again.timeout.connect(self._look)
        self._enable()

    @property
    def layers(self) -> list[Any]:
        """The overlays that are in the viewer."""
        return [one.layer for one in self._overlays if one.layer is not None]

    @property
    def is_reading(self) -> bool:
        """Whether maps are still being looked for."""
        return self._reading.is_busy

    def follow(self, result: Any) -> None:
        """Look for the maps of another result; those of the one before go."""
        if result is self._result:
            return
        self.clear()
        self._result, self.maps = result, TrustMaps()
        self._reading.forget()
        if result is None:
            self._again.stop()
        else:
            self._again.start()
        self.note.setText("" if result is None else _why_none(result))
        self._enable()
        self._look()

    def clear(self) -> None:
        """Take the overlays out of the viewer."""
        for overlay in self._overlays:
            overlay.box.setChecked(False)
            if overlay.layer is not None and overlay.layer in self._viewer.layers:
                self._viewer.layers.remove(overlay.layer)

    @property
    def _overlays(self) -> tuple[_Overlay, ...]:
        return (self.interval, self.z, self.flags)

    def _look(self) -> None:
        """Look for maps, in a thread."""
        result, source = self._result, source_of(self._result)
        if source is None:  # no file, or a result that is not finished
            return
        path, channel = source
        ndim = result.ndim
        self._reading.ask(lambda: (result, open_maps(Path(path), channel, ndim)))

    def _take(self, found: tuple[Any, TrustMaps]) -> None:
        result, maps = found
        if result is not self._result:
            return
        if not (maps.is_empty or self.maps.is_empty):  # once more after the first: intervals come after the flags
            self._again.stop()
        self.maps = maps
        self.note.setText(_why_none(result) if maps.is_empty else "")
        self._enable()
        if not maps.is_empty:
            self.changed.emit()

    def _complain(self, reason: str) -> None:
        self._again.stop()
        self.note.setText(reason)
        self.note.show()

    def _enable(self) -> None:
        maps = self.maps
        self.note.setVisible(bool(self.note.text()))
        for overlay, levels in ((self.interval, maps.interval), (self.z, maps.z), (self.flags, maps.flags)):
            overlay.setVisible(bool(levels))
        if maps.interval:
            claim = f" {maps.claim[:1].upper()}{maps.claim[1:]}." if maps.claim else ""
            self.interval.explain(
                ("0", f"± {maps.widest:.3g} grey levels"), f"Truth may lie so far from the value that is shown.{claim}"
            )
        if maps.z:
            self.z.explain(
                (f"-{SUSPICIOUS:g}", "0", f"+{SUSPICIOUS:g} standard deviations"),
                "The result, recorded again, is darker (blue) or brighter (red) than the input. Colours beyond "
                f"{SUSPICIOUS:g} are more than noise can do: something was added or erased there.",
            )
        if maps.flags:
            self.flags.explain_colours({name: c for name, c in FLAG_COLOURS.items() if name in maps.bits})

    def _toggle(self) -> None:
        for overlay in self._overlays:
            if overlay.box.isChecked() and overlay.layer is None and self._result is not None:
                active = self._viewer.layers.selection.active
                self._viewer.add_layer(overlay.make(self.maps, self._result))
                self._viewer.layers.selection.active = active  # clicks and lines go on where they were
            elif overlay.layer is not None:
                overlay.layer.visible = overlay.box.isChecked()
        self.changed.emit()

    def _forget(self, event: Any) -> None:
        """An overlay was taken out of the viewer by hand."""
        for overlay in self._overlays:
            if overlay.layer is event.value:
                overlay.layer = None
                overlay.box.setChecked(False)


class _Overlay(QWidget):
    """One map: whether it is shown, how strongly, and what its colours mean."""

    def __init__(
        self, title: str, make: Callable[[TrustMaps, Any], Any], colours: Sequence[Sequence[float]] = ()
    ) -> None:
        super().__init__()
        self.layer: Any = None
        self._make, self._colours = make, colours
        self.box = QCheckBox(title)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(80)
        self.opacity.setToolTip("Opacity")
        self.opacity.setMaximumWidth(110)
        self.opacity.valueChanged.connect(self._set_opacity)
        head = QHBoxLayout()
        head.addWidget(self.box)
        head.addStretch()
        head.addWidget(self.opacity)
        self.legend = QWidget()
        self._rows = QGridLayout(self.legend)
        self._rows.setContentsMargins(20, 0, 0, 6)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(head)
        layout.addWidget(self.legend)
        self.legend.setVisible(False)
        self.box.toggled.connect(self.legend.setVisible)

    def make(self, maps: TrustMaps, result: Any) -> Any:
        """Make the layer."""
        self.layer = self._make(maps, result)
        self._set_opacity(self.opacity.value())
        return self.layer

    def explain(self, labels: tuple[str, ...], words: str) -> None:
        """Draw a bar of the colours with numbers below it, and say what they mean."""
        self._clear()
        bar = QLabel()
        bar.setPixmap(_bar(self._colours))
        self._rows.addWidget(bar, 0, 0, 1, len(labels))
        for column, text in enumerate(labels):
            label = QLabel(text)
            self._rows.addWidget(label, 1, column)
        explained = _words(words)
        self._rows.addWidget(explained, 2, 0, 1, len(labels))

    def explain_colours(self, colours: dict[str, str]) -> None:
        """Name the colours."""
        self._clear()
        for row, (name, colour) in enumerate(colours.items()):
            patch = QLabel()
            patch.setFixedSize(16, 12)
            patch.setStyleSheet(f"background: {colour}")
            self._rows.addWidget(patch, row, 0)
            self._rows.addWidget(QLabel(name), row, 1)
        self._rows.setColumnStretch(1, 1)
        self._rows.addWidget(_words("Do not measure where a flag is set."), len(colours), 0, 1, 2)

    def _clear(self) -> None:
        while (item := self._rows.takeAt(0)) is not None:
            item.widget().deleteLater()

    def _set_opacity(self, value: int) -> None:
        if self.layer is not None:
            self.layer.opacity = value / 100


def _why_none(result: Any) -> str:
    return "Trust maps come when the result is finished." if "superres_unfinished" in result.metadata else _NOTHING


def _words(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def _bar(stops: Sequence[Sequence[float]]) -> QPixmap:
    """Draw the colours of a map over the grey of an image; `stops` are RGBA, evenly spaced."""
    ends, places = np.array(stops), np.linspace(0, 1, _BAR)
    colours = np.stack([np.interp(places, np.linspace(0, 1, len(ends)), channel) for channel in ends.T], axis=1)
    rgb = 128 * (1 - colours[:, 3:]) + 255 * colours[:, :3] * colours[:, 3:]
    rows = np.repeat(rgb[None].round().astype(np.uint8), 12, axis=0)
    return QPixmap.fromImage(QImage(rows.tobytes(), _BAR, 12, 3 * _BAR, QImage.Format.Format_RGB888).copy())
