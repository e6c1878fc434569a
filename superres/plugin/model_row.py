"""Choosing a model: those that were used last, a file, or a run folder; and its card."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from superres.errors import InputError, SuperresError
from superres.plugin.card import VoxelSize, card, mismatch
from superres.plugin.remembered import remember_model, remembered_models
from superres.sharing import bundled_models, find_model
from superres.sharing.addresses import cached, is_address

if TYPE_CHECKING:
    from superres.modelfile import ModelHeader


class ModelRow(QWidget):
    """Lets a person choose a model and shows what it is.

    Attributes
    ----------
    changed : Signal()
        Another model was chosen.
    header : ModelHeader or None
        Of the chosen model; None while there is none that can be read.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.header: ModelHeader | None = None
        self._problem = ""
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setMinimumContentsLength(12)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setToolTip(
            "A model of the package, a model file (.safetensors) or the folder of a training: choose one, or paste it"
        )
        self.browse = QPushButton("Browse…")
        self.card = QLabel()
        self.card.setWordWrap(True)
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.setStyleSheet("color: #ffb454; font-weight: bold")
        self.warning.hide()
        self._lay_out()
        bundled = bundled_models()
        used = [str(path) for path in remembered_models() if path not in bundled.values()]
        self.box.addItems([*used, *bundled])
        if not used:
            self.box.setCurrentIndex(-1)  # which model is for an image is a person's choice
        self.box.currentTextChanged.connect(self._read)
        self.browse.clicked.connect(self._browse)
        self._read()

    @property
    def path(self) -> Path:
        """The chosen model.

        Raises
        ------
        InputError
            When there is none, or it is no model.
        """
        if self._problem:
            raise InputError(self._problem)
        return _file_of(self.box.currentText().strip()).absolute()

    def choose(self, path: Path) -> None:
        """Choose a model, such as one that was just trained."""
        if self.box.findText(str(path)) < 0:
            self.box.insertItem(0, str(path))
        self.box.setCurrentText(str(path))

    def remember(self) -> None:
        """Keep the chosen model for the next time."""
        remember_model(self.path)
        shown = (str(self.path), self.box.currentText().strip())
        if all(self.box.findText(text) < 0 for text in shown):
            self.box.insertItem(0, str(self.path))

    def compare_with(self, voxel_size: VoxelSize | None) -> None:
        """Warn where an image has other voxels than those the model is for."""
        text = "" if self.header is None else mismatch(self.header, voxel_size)
        self.warning.setText(text)
        self.warning.setVisible(bool(text))

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.box, 1)
        top.addWidget(self.browse)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(top)
        whole.addWidget(self.card)
        whole.addWidget(self.warning)

    def _read(self) -> None:
        """Read the header of what is chosen: a few kilobytes."""
        from superres.modelfile import read_model_header

        text = self.box.currentText().strip()
        self.header, self._problem = None, ""
        if not text:
            self._problem = "No model is chosen yet: choose a model file (.safetensors) or the folder of a training"
        else:
            try:
                self.header = read_model_header(_file_of(text))
            except (SuperresError, OSError) as error:
                self._problem = str(error)
        self.card.setText(self._problem if self.header is None else card(self.header))
        self.box.setToolTip(text)
        self.changed.emit()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a model", "", "Models (*.safetensors)")
        if path:
            self.choose(Path(path))


def _file_of(text: str) -> Path:
    """Return the file or folder of a model; what is on the web must have been downloaded before.

    Raises
    ------
    InputError
        When it is not here.
    """
    if not is_address(text):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a folder that is called as the model is
            return find_model(text)
    file = cached(text)
    if file is None:
        raise InputError(f"{text}: is not downloaded yet; type in a terminal: superres models info '{text}'")
    return file
