"""A box to choose one of the viewer's layers, which follows the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox

from superres.plugin.docked import Listening


class LayerChoice(QComboBox):
    """Lists layers of a viewer by name.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    listening : Listening
        Of the widget that the box is in.
    accepts : callable
        Says whether a layer is listed.
    empty : str
        Shown where nothing is chosen.

    Attributes
    ----------
    chosen : Signal()
        Another layer is chosen, or none any more.
    """

    chosen = Signal()

    def __init__(
        self, viewer: Any, listening: Listening, accepts: Callable[[Any], bool], empty: str = "(no layer)"
    ) -> None:
        super().__init__()
        self._viewer, self._accepts, self._empty = viewer, accepts, empty
        self._layers: list[Any] = [None]
        self.addItem(empty)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.currentIndexChanged.connect(self._changed)
        for event in ("inserted", "removed", "reordered"):
            listening.to(getattr(viewer.layers.events, event), self.follow)
        self.follow()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        index = self.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @property
    def layers(self) -> tuple[Any, ...]:
        """All that can be chosen, in the order of the viewer."""
        return tuple(self._layers[1:])

    def choose(self, layer: Any) -> None:
        """Choose a layer; None, or one that is not listed, for none."""
        self.setCurrentIndex(self._layers.index(layer) if layer in self._layers else 0)

    def follow(self, event: object = None) -> None:
        """List the layers of the viewer again, and keep what is chosen while it is there."""
        before = self.layer
        for layer in self._layers[1:]:
            layer.events.name.disconnect(self._rename)
        self.blockSignals(True)
        self._layers = [None, *(layer for layer in self._viewer.layers if self._accepts(layer))]
        self.clear()
        self.addItems([self._empty, *(layer.name for layer in self._layers[1:])])
        self.choose(before)
        self.blockSignals(False)
        for layer in self._layers[1:]:
            layer.events.name.connect(self._rename)
        if self.layer is not before:
            self.chosen.emit()

    def _rename(self, event: object = None) -> None:
        for index, layer in enumerate(self._layers[1:], start=1):
            self.setItemText(index, layer.name)

    def _changed(self, index: int) -> None:
        self.chosen.emit()


def is_picture(layer: Any) -> bool:
    """Say whether a layer is a grey-level image that is no overlay of ours."""
    from napari.layers import Image

    told = layer.metadata.get("superres", {})
    return isinstance(layer, Image) and not layer.rgb and "overlay" not in told


def source_of(layer: Any) -> tuple[str, int] | None:
    """Return path and channel of a layer that came from a file by our reader; None for others."""
    told = {} if layer is None else layer.metadata.get("superres", {})
    return (str(told["path"]), int(told.get("channel") or 0)) if "path" in told else None


def unit_of(layer: Any) -> str:
    """Return the unit of the plane: ``"µm"``, or what the layer says, ``"pixel"`` where no size is known."""
    name = str(layer.units[-1])
    return {"micrometer": "µm", "micron": "µm", "nanometer": "nm", "millimeter": "mm"}.get(name, name)
