"""Choosing what of an image is upscaled: which planes, which area, which channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QVBoxLayout, QWidget

from superres.plugin.placing import Spans, in_rectangle, in_view, shown_slice

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from superres.plugin.sources import Source

ALL, TIME, PLANE = "all planes and time points", "the time point shown", "the plane shown"
WHOLE, VIEW = "whole planes", "what is in view"


class PartRow(QWidget):
    """Lets a person choose a part.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose sliders, view and shapes.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer, self._listens = viewer, True
        self.slices = QComboBox()
        self.slices.addItems([ALL, TIME, PLANE])
        self.slices.setToolTip("Which planes and time points; those shown are where the sliders stand")
        self.area = QComboBox()
        self.area.setToolTip("Which part of the planes; rectangles are drawn in a shapes layer")
        self.channels = QCheckBox("all channels of the file")
        self.channels.setToolTip("Upscale every channel, each into a layer of its own")
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        for part in (self.slices, self.area, self.channels):
            whole.addWidget(part)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._fill)
        self._fill()

    def release(self) -> None:
        """Hear no more of the viewer's layers; works when the widget is deleted, too."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered) if self._listens else ():
            event.disconnect(self._fill)
        self._listens = False

    def fit(self, source: Source | None) -> None:
        """Offer what makes sense for an image."""
        axes = "" if source is None else source.axes
        self.slices.setVisible("T" in axes or "Z" in axes)
        self.channels.setVisible(source is not None and source.is_saved)

    def crop(self, layer: Image, axes: str) -> Spans:
        """Return the part of a layer that is chosen, of T, Z, Y, X; what is left out is taken whole.

        Raises
        ------
        InputError
            When the viewer shows nothing of the layer, or there is no rectangle.
        """
        from napari.layers import Shapes

        spans: Spans = {}
        if self.slices.currentText() != ALL and len(axes) > 2:
            shown = shown_slice(self._viewer, layer, axes)
            kept = "t" if self.slices.currentText() == TIME else "tz"
            spans |= {axis: span for axis, span in shown.items() if axis in kept}
        shapes = self.area.currentData()
        if self.area.currentText() == VIEW:
            spans |= in_view(self._viewer, layer)
        elif isinstance(shapes, Shapes):
            spans |= in_rectangle(self._viewer, layer, shapes)
        return spans

    def _fill(self, event: Any = None) -> None:
        """List whole planes, the view, and the shapes layers; keep the choice."""
        from napari.layers import Shapes

        chosen = self.area.currentText()
        self.area.clear()
        self.area.addItems([WHOLE, VIEW])
        for layer in self._viewer.layers:
            if isinstance(layer, Shapes):
                self.area.addItem(f"rectangle in '{layer.name}'", layer)
        self.area.setCurrentIndex(max(0, self.area.findText(chosen)))
