"""What to learn from: sharp images of a folder or of the viewer, pairs of layers, or marks on a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSpinBox,
    QWidget,
)

from superres.errors import InputError
from superres.plugin.docked import Listening
from superres.plugin.layer_choice import LayerChoice, is_picture
from superres.plugin.marks_choice import MarksChoice

FOLDER, LAYERS, PAIR = "Sharp images in a folder", "Sharp image layers", "A recording and its sharp image"
MARKS = "What I mark on a result"
BY_IMAGES, BY_LAYER = "as such images usually are", "as in a layer"


class TrainChoice(QWidget):
    """Lets a person choose what a net learns from.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    listening : Listening
        Of the widget.

    Attributes
    ----------
    changed : Signal()
        Something else is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: Any, listening: Listening) -> None:
        super().__init__()
        self._viewer = viewer
        self.kind = QComboBox()
        self.kind.addItems([FOLDER, LAYERS, PAIR, MARKS])
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("folder, file or pattern")
        self.browse = QPushButton("Browse…")
        self.layers = QListWidget()
        self.layers.setMaximumHeight(90)
        self.low, self.high = LayerChoice(viewer, listening, is_picture), LayerChoice(viewer, listening, is_picture)
        self.factor = QSpinBox()
        self.factor.setRange(2, 8)
        self.factor.setValue(4)
        self.factor_z = QSpinBox()
        self.factor_z.setRange(1, 8)
        self.degradation = QComboBox()
        self.degradation.addItems([BY_IMAGES, BY_LAYER])
        self.recording = LayerChoice(viewer, listening, is_picture)
        self.marks = MarksChoice(viewer, listening)
        self._lay_out()
        self.browse.clicked.connect(self._browse)
        self.kind.currentTextChanged.connect(self._show)
        self.degradation.currentTextChanged.connect(self._show)
        self._items: list[tuple[Any, QListWidgetItem]] = []
        for event in ("inserted", "removed", "reordered"):
            listening.to(getattr(viewer.layers.events, event), self._list)
        self._list()
        self._show()

    @property
    def triple(self) -> tuple[int, int, int]:
        """The factor, ZYX."""
        return (self.factor_z.value(), self.factor.value(), self.factor.value())

    @property
    def is_pair(self) -> bool:
        """Whether recordings are there, so that none are made."""
        return bool(self.kind.currentText() == PAIR)

    @property
    def is_marks(self) -> bool:
        """Whether a model is trained on by what is marked on its result."""
        return bool(self.kind.currentText() == MARKS)

    @property
    def images(self) -> list[Any]:
        """The sharp layers that are chosen, or the two of a pair: a recording and its sharp image.

        Raises
        ------
        InputError
            When there are none.
        """
        if self.is_marks:
            return self.marks.images
        if self.is_pair:
            if self.low.layer is None or self.high.layer is None or self.low.layer is self.high.layer:
                raise InputError("Choose two layers: a recording, and the sharp image of the same field.")
            return [self.low.layer, self.high.layer]
        chosen = [layer for layer, item in self._items if item.checkState() == Qt.CheckState.Checked]
        if not chosen:
            raise InputError("Tick at least one layer with a sharp image, better several of different specimens.")
        return chosen

    @property
    def path(self) -> str | None:
        """The folder of sharp images; None where layers are chosen.

        Raises
        ------
        InputError
            When none is given.
        """
        if self.kind.currentText() != FOLDER:
            return None
        text = str(self.folder.text()).strip()
        if not text:
            raise InputError("Choose the folder with your sharp images.")
        return str(Path(text).expanduser())

    @property
    def fitted_to(self) -> list[Any]:
        """The layer that shows what recordings are like; none where that is chosen by the images.

        Raises
        ------
        InputError
            When it is to be a layer, and none is chosen.
        """
        if self.is_pair or self.is_marks or self.degradation.currentText() == BY_IMAGES:
            return []
        if self.recording.layer is None:
            raise InputError("Choose the layer that shows what your low-resolution recordings are like.")
        return [self.recording.layer]

    def _list(self, event: object = None) -> None:
        """List the viewer's images, and keep what is ticked."""
        ticked = [layer for layer, item in self._items if item.checkState() == Qt.CheckState.Checked]
        self.layers.clear()
        self._items = []
        for layer in filter(is_picture, self._viewer.layers):
            item = QListWidgetItem(layer.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if layer in ticked else Qt.CheckState.Unchecked)
            self.layers.addItem(item)
            self._items.append((layer, item))

    def _show(self) -> None:
        kind, fits = self.kind.currentText(), self.degradation.currentText() == BY_LAYER
        makes = kind in (FOLDER, LAYERS)  # recordings, of sharp images
        rows = {
            self._folder_row: kind == FOLDER,
            self.layers: kind == LAYERS,
            self.low: kind == PAIR,
            self.high: kind == PAIR,
            self._factor_row: makes,
            self.degradation: makes,
            self.recording: makes and fits,
            self.marks: kind == MARKS,
        }
        for widget, is_shown in rows.items():
            widget.setVisible(is_shown)
            label = self._form.labelForField(widget)
            if label is not None:
                label.setVisible(is_shown)
        self.changed.emit()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder with sharp images")
        if folder:
            self.folder.setText(folder)

    def _lay_out(self) -> None:
        self._folder_row = _side_by_side(self.folder, self.browse)
        self.factor_z.setPrefix("along Z: ")
        self._factor_row = _side_by_side(self.factor, self.factor_z)
        self.factor.setToolTip("How many times coarser your recordings will be, along Y and X")
        self.degradation.setToolTip("Recordings to train with are made from the sharp images: blurred, coarse, noisy")
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("Learn from", self.kind)
        self._form.addRow("Folder", self._folder_row)
        self._form.addRow("Layers", self.layers)
        self._form.addRow("Recording", self.low)
        self._form.addRow("Sharp", self.high)
        self._form.addRow("Factor", self._factor_row)
        self._form.addRow("Recordings", self.degradation)
        self._form.addRow("Layer", self.recording)
        self._form.addRow(self.marks)


def _side_by_side(*widgets: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return row
