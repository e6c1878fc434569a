"""Choosing where a result is written: beside the image, elsewhere, or only for as long as napari runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from superres.errors import InputError
from superres.plugin.sources import temporary_folder


class OutputRow(QWidget):
    """Lets a person choose the store; until a path is typed it follows image, model and part.

    Attributes
    ----------
    changed : Signal()
        Another store was chosen.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.edit = QLineEdit()
        self.edit.setPlaceholderText("beside the image")
        self.browse = QPushButton("Folder…")
        self.temporary = QCheckBox("only until napari is closed")
        self.replace = QCheckBox("replace what is there")
        self.replace.setToolTip("A result of other settings, or of another image, is deleted; otherwise it is kept")
        self._folder: Path | None = None
        self._suggested = Path("upscaled.ome.zarr")
        top = QHBoxLayout()
        top.addWidget(self.edit, 1)
        top.addWidget(self.browse)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(top)
        whole.addWidget(self.temporary)
        whole.addWidget(self.replace)
        self.browse.clicked.connect(self._browse)
        self.temporary.toggled.connect(self._show)
        self.temporary.toggled.connect(self.changed)
        self.edit.editingFinished.connect(self.changed)

    @property
    def path(self) -> Path:
        """The store.

        Raises
        ------
        InputError
            When what was typed is no path of a store.
        """
        if self.temporary.isChecked():
            return temporary_folder() / self._suggested.name
        text = self.edit.text().strip()
        if not text:
            return self._suggested
        path = Path(text).expanduser()
        if path.suffix != ".zarr":
            raise InputError(f"{path}: the result is an OME-Zarr store, give a name that ends with .ome.zarr")
        return path.absolute()

    def suggest(self, source: str | None, name: str, model: str, part: Mapping[str, tuple[int, int]]) -> None:
        """Suggest a name that tells image, model and part.

        Parameters
        ----------
        source : str or None
            The image file; None where there is none, so that the result is temporary unless a path is typed.
        name : str
            Of the layer.
        model : str
            Its name.
        part : mapping
            Axis to first voxel and the one behind the last.
        """
        spans = "".join(f"_{axis}{_span_text(*span)}" for axis, span in part.items())
        is_file = source is not None and "://" not in source
        stem = Path(str(source).split("::")[0]).name.split(".")[0] if is_file else re.sub(r"[^\w-]+", "_", name)
        if source is not None and "::" in source:
            stem += "_" + re.sub(r"[^\w-]+", "_", source.split("::")[1]).strip("_")
        folder = Path(str(source).split("::")[0]).absolute().parent if is_file else temporary_folder()
        self._suggested = (self._folder or folder) / f"{stem}_{model}{spans}.ome.zarr"
        self._show()

    def _show(self) -> None:
        self.edit.setEnabled(not self.temporary.isChecked())
        self.browse.setEnabled(not self.temporary.isChecked())
        self.edit.setPlaceholderText(str(self._suggested))
        self.edit.setToolTip(self.edit.text() or str(self._suggested))

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the results")
        if folder:
            self._folder = Path(folder)
            self._suggested = self._folder / self._suggested.name
            self._show()
            self.changed.emit()


def _span_text(start: int, stop: int) -> str:
    return str(start) if stop == start + 1 else f"{start}-{stop}"
