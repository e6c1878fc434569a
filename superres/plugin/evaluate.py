"""Evaluate: a result against truth, with a table here and the report in the browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from superres.errors import InputError, SuperresError
from superres.plugin import evaluate_task
from superres.plugin.docked import Docked
from superres.plugin.grid import finest
from superres.plugin.job import Job
from superres.plugin.job_row import JobRow
from superres.plugin.layer_choice import LayerChoice, is_picture
from superres.plugin.pair_manifest import Image
from superres.plugin.saved_layers import SavedLayers
from superres.plugin.sources import source_of

if TYPE_CHECKING:
    import napari

_COLUMNS = ("Method", "PSNR (dB)", "SSIM", "Detail (µm)")
_DIGITS = (2, 3, 3)


class EvaluateWidget(Docked):
    """Score a result against a layer that shows how it should be.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.result, self.input, self.truth = (LayerChoice(napari_viewer, self.listening, is_picture) for _ in range(3))
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("beside the result")
        self.browse = QPushButton("Browse…")
        self.planes = QSpinBox()
        self.planes.setRange(1, 1000)
        self.planes.setValue(8)
        self.planes.setToolTip("Planes that are scored, evenly spread over depth and time")
        self.run_button = QPushButton("Evaluate")
        self.table = QTableWidget(0, len(_COLUMNS))
        self.words = QLabel("")
        self.report_button = QPushButton("Open the report")
        self.report: Path | None = None
        self.row: JobRow | None = None
        self._saved = SavedLayers(self)
        self._lay_out()
        self._connect(napari_viewer)
        self._guess()

    def run(self) -> None:
        """Start the job, when all is chosen that it needs."""
        try:
            chosen = self._chosen()
        except SuperresError as error:
            show_error(str(error))
            return
        self._saved.with_files(chosen, self._start)

    def _chosen(self) -> list[Any]:
        """Return result, input and truth.

        Raises
        ------
        InputError
            When one is missing, or their sizes do not go together.
        """
        named = {"Result": self.result.layer, "Input": self.input.layer, "Truth": self.truth.layer}
        missing = [name.lower() for name, layer in named.items() if layer is None]
        if missing:
            raise InputError(f"Choose a layer for {' and '.join(missing)}.")
        result, low, truth = named.values()
        if truth is result or truth is low:
            raise InputError(f"'{truth.name}' is chosen as truth and as something else; truth is an image of its own.")
        if result.ndim > 2 and not source_of(result).is_saved:
            raise InputError(f"'{result.name}' is in no file yet; save it (File > Save Selected Layers) and open that.")
        found, wanted = finest(result).shape, finest(truth).shape
        if found != wanted:
            has, needs = (" x ".join(map(str, shape)) for shape in (found, wanted))
            raise InputError(
                f"'{result.name}' has {has} voxels and '{truth.name}' has {needs}; truth must show the same field on "
                "the same grid. Crop it, or upscale the recording that belongs to it"
            )
        return [result, low, truth]

    def _start(self, images: list[Image]) -> None:
        """Make the job, now that all layers are files."""
        result, low, truth = images
        out = Path(self.folder.text().strip() or _beside(result.path))
        settings = {"planes": self.planes.value()}

        def make() -> Job:
            return Job(evaluate_task.request(result, low, truth, out, settings=settings))

        if self.row is not None:
            self._jobs.removeWidget(self.row)
            self.row.deleteLater()
        self.row = JobRow(f"Evaluate {self.result.currentText()}", make, resumes=False)
        self.row.made.connect(self._follow)
        self.row.closed.connect(self.row.hide)
        self.listening.with_job(self.row)
        self._jobs.addWidget(self.row)
        self.row.start()

    def _follow(self, job: Job) -> None:
        job.finished.connect(self._finish)

    def _finish(self, found: Mapping[str, Any]) -> None:
        self.report = Path(found["report"])
        self.report_button.setEnabled(True)
        self.words.setText("\n".join(found["words"][:2]))
        self.table.setRowCount(len(found["table"]))
        best = [
            max((row[column] for row in found["table"] if row[column] is not None), default=None) for column in (1, 2)
        ]
        for row, (name, *figures) in enumerate(found["table"]):
            self.table.setItem(row, 0, QTableWidgetItem("this result" if name == "superres" else name))
            for column, (value, digits) in enumerate(zip(figures, _DIGITS, strict=True), start=1):
                item = QTableWidgetItem("-" if value is None else f"{value:.{digits}f}")
                font = item.font()
                font.setBold(column <= len(best) and value is not None and value == best[column - 1])
                item.setFont(font)
                self.table.setItem(row, column, item)
        self.table.show()
        self.words.show()

    def open_report(self) -> None:
        """Show the report in the browser."""
        if self.report is None or not self.report.is_file():
            show_error(f"{self.report or 'The report'}: is not there any more; evaluate again")
        elif not QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.report))):
            show_error(f"No browser opens {self.report}; open the file yourself")

    def _guess(self, event: object = None) -> None:
        """Choose the layers that go together by their sizes, where nothing is chosen yet."""
        for choice in (self.result, self.input, self.truth):
            choice.follow()
        pictures = sorted(self.result.layers, key=lambda layer: float(layer.scale[-1]))
        if len(pictures) < 3 or any(c.layer is not None for c in (self.result, self.input, self.truth)):
            return
        fine = [layer for layer in pictures if finest(layer).shape == finest(pictures[0]).shape]
        if len(fine) > 1 and pictures[-1] not in fine:
            predicted = next((layer for layer in fine if "zarr" in _path(layer)), fine[0])
            self.result.choose(predicted)
            self.truth.choose(next(layer for layer in fine if layer is not predicted))
            self.input.choose(pictures[-1])

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the report")
        if folder:
            self.folder.setText(folder)

    def _connect(self, viewer: Any) -> None:
        self.browse.clicked.connect(self._browse)
        self.run_button.clicked.connect(self.run)
        self.report_button.clicked.connect(self.open_report)
        self.listening.to(viewer.layers.events.inserted, self._guess)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Result", self.result)
        form.addRow("Input", self.input)
        form.addRow("Truth", self.truth)
        form.addRow("Planes", self.planes)
        line = QHBoxLayout()
        line.addWidget(self.folder, 1)
        line.addWidget(self.browse)
        form.addRow("Report", line)
        self.input.setToolTip("The recording that the result was made of; simpler methods start from it")
        self.truth.setToolTip("The same field, recorded as sharp as the result should be")
        self.run_button.setStyleSheet("font-weight: bold")
        self.report_button.setEnabled(False)
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.horizontalHeaderItem(3).setToolTip("The smallest detail that agrees with truth; smaller is better")
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.hide()
        self.words.setWordWrap(True)
        self.words.hide()
        self._jobs = QVBoxLayout()
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(self.run_button)
        column.addLayout(self._jobs)
        for widget in (self.table, self.words, self.report_button):
            column.addWidget(widget)
        column.addStretch()


def _path(layer: Any) -> str:
    return str(layer.metadata.get("superres", {}).get("path", ""))


def _beside(result: str) -> str:
    path = Path(result.split("::")[0])
    return str(path.with_name(path.name.removesuffix(".zarr").removesuffix(".ome") + ".evaluation"))
