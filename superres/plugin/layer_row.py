"""Choosing the image: a layer of the viewer or a file; and the size of its voxels where it does not say."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from superres.errors import InputError, SuperresError
from superres.plugin.sources import Source, source_of

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

OURS = "superres_preview"
"""Key in the metadata of layers that are no images to work on."""


class LayerRow(QWidget):
    """Lets a person choose an image layer.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.

    Attributes
    ----------
    changed : Signal()
        Another layer was chosen, or the size of its voxels was given.
    """

    changed = Signal()

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer, self._listens = viewer, True
        self.box = QComboBox()
        self.box.setToolTip("The image layer to upscale")
        self.box.setMinimumContentsLength(12)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open an image file of any size; only what is on screen is read")
        self.size_question = QLabel("How large is a voxel of this layer? Along Z, Y and X in micrometre:")
        self.size_question.setWordWrap(True)
        self.sizes = [QLineEdit() for _ in "ZYX"]
        self.unknown = QCheckBox("I do not know")
        self.third = QComboBox()
        self.third.addItems(["third axis: depth (Z)", "third axis: time (T)"])
        self._asks = QWidget()
        self._lay_out()
        self._connect()
        self._fill()

    @property
    def layer(self) -> Image:
        """The chosen layer.

        Raises
        ------
        InputError
            When there is none.
        """
        for layer in self._viewer.layers:
            if layer is self.box.currentData():
                return layer
        other = next((layer for layer in self._viewer.layers.selection), None)
        if other is not None:
            source_of(other)  # says what is wrong with it
        raise InputError("There is no image to upscale yet: open one (File > Open, or drop a file onto the viewer)")

    def source(self, *, asks: bool = True) -> Source:
        """Return what the chosen layer is made of, with what was typed of it.

        Parameters
        ----------
        asks : bool
            Whether the size of the voxels must be known, or be said to be unknown.

        Raises
        ------
        InputError
            When the layer cannot be upscaled, or its voxel size is still asked for.
        """
        found = source_of(self.layer)
        if not found.is_saved and len(found.axes) == 3 and self.third.currentIndex() == 1:
            found = replace(found, axes="TYX")
        if found.voxel_size is None and not self.unknown.isChecked():
            typed = self._typed()
            if typed is None and asks:
                raise InputError(
                    f"'{self.layer.name}' does not say how large its voxels are. Type the size in micrometre "
                    "below the layer's name, or tick 'I do not know'"
                )
            return replace(found, voxel_size=typed)
        return found

    def release(self) -> None:
        """Hear no more of the viewer's layers; works when the widget is deleted, too."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered) if self._listens else ():
            event.disconnect(self._fill)
        self._listens = False

    def _connect(self) -> None:
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self._fill)
        self.box.currentIndexChanged.connect(self._choose)
        self.open.clicked.connect(self._open)
        self.unknown.toggled.connect(self._choose)
        for edit in self.sizes:
            edit.editingFinished.connect(self.changed)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.box, 1)
        top.addWidget(self.open)
        numbers = QHBoxLayout()
        for axis, edit in zip("ZYX", self.sizes, strict=True):
            edit.setPlaceholderText(axis)
            edit.setMinimumWidth(36)
            numbers.addWidget(edit)
        numbers.addWidget(self.unknown)
        asks = QVBoxLayout(self._asks)
        asks.setContentsMargins(0, 0, 0, 0)
        asks.addWidget(self.size_question)
        asks.addLayout(numbers)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(top)
        whole.addWidget(self.third)
        whole.addWidget(self._asks)

    def _fill(self, event: Any = None) -> None:
        """List the image layers, the one on top first, and keep the choice."""
        from napari.layers import Image

        chosen = self.box.currentData()
        self.box.blockSignals(True)
        self.box.clear()
        for layer in reversed(self._viewer.layers):
            if isinstance(layer, Image) and OURS not in layer.metadata:
                self.box.addItem(layer.name, layer)
        index = next((i for i in range(self.box.count()) if self.box.itemData(i) is chosen), 0)
        self.box.setCurrentIndex(index if self.box.count() else -1)
        self.box.blockSignals(False)
        if self.box.currentData() is not chosen or chosen is None:
            self._choose()

    def _choose(self) -> None:
        """Ask for what the chosen layer does not say."""
        found = None
        with contextlib.suppress(InputError):
            found = source_of(self.layer)
        self._asks.setVisible(found is not None and found.voxel_size is None)
        self.third.setVisible(found is not None and not found.is_saved and len(found.axes) == 3)
        for axis, edit in zip("ZYX", self.sizes, strict=True):
            edit.setVisible(axis != "Z" or (found is not None and "Z" in found.axes))
            edit.setEnabled(not self.unknown.isChecked())
        self.changed.emit()

    def _typed(self) -> tuple[float | None, float, float] | None:
        """Read the sizes that were typed; None where they are not complete."""
        values = []
        for edit in self.sizes:
            try:
                value = float(edit.text().replace(",", "."))
            except ValueError:
                value = 0.0
            values.append(value if value > 0 else None)
        z, y, x = values
        return None if y is None or x is None else (z, y, x)

    def _open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open an image")
        if path:
            self.open_file(path)

    def open_file(self, path: str) -> None:
        """Open an image as layers, and choose the first of them."""
        from superres.plugin.reader import read

        try:
            found = read(path)
        except SuperresError as error:
            show_warning(str(error))
            return
        added = [self._viewer.add_image(data, **arguments) for data, arguments, _ in found]
        for index in range(self.box.count()):
            if self.box.itemData(index) is added[0]:
                self.box.setCurrentIndex(index)
