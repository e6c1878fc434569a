"""The Upscale widget: choose image and model, look at a preview, run, and watch the result grow."""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from superres.config import UpscaleConfig, load_config
from superres.errors import SuperresError
from superres.plugin.command import upscale_command
from superres.plugin.job import Job
from superres.plugin.job_row import JobRow
from superres.plugin.layer_row import LayerRow
from superres.plugin.live_preview import LivePreview
from superres.plugin.model_row import ModelRow
from superres.plugin.order import Order
from superres.plugin.output_row import OutputRow
from superres.plugin.part_row import PartRow
from superres.plugin.result import Result
from superres.plugin.sources import Source, VoxelSize, save_voxels, temporary_folder
from superres.progress import Progress

if TYPE_CHECKING:
    import napari


class UpscaleWidget(QWidget):
    """Upscales an image layer with a model.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer that it belongs to.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer, self._was_docked = napari_viewer, False
        self.layer_row = LayerRow(napari_viewer)
        self.model_row = ModelRow()
        self.part_row = PartRow(napari_viewer)
        self.output_row = OutputRow()
        self.guard = QCheckBox("keep to the image where the model fails")
        self.trust = QCheckBox("write maps of how far to believe it")
        self.guard.setToolTip("Falls back on plain interpolation where the prediction is not to be believed")
        self.trust.setToolTip("Stores beside the result, for the Compare widget")
        self.preview = LivePreview(napari_viewer, self._preview_order)
        self.run_button = QPushButton("Run")
        self.copy_button = QPushButton("Copy as command")
        self.rows: list[JobRow] = []
        self.results: list[Result] = []  # whose layers still change
        self._saver = _Saver(self)
        self._saved: dict[int, tuple[Any, str]] = {}
        self._lay_out()
        self._connect()
        self._update()
        # Loaded when a result begins, in the viewer's thread; it takes a second the first time.
        threading.Thread(target=importlib.import_module, args=("superres.volumes",), daemon=True).start()
        self._end = _ender((self.layer_row, self.part_row, self.preview), self.rows)
        self.destroyed.connect(self._end)

    # --- what is chosen ----------------------------------------------------------------------------------------------

    def order(self, *, asks: bool = True, whole: bool = False) -> Order:
        """Return what is chosen, as one order.

        Parameters
        ----------
        asks : bool
            Whether the size of the voxels must be known, or be said to be unknown.
        whole : bool
            Whether to leave the part that is chosen aside: a preview has its own, and keeps what it measured.

        Raises
        ------
        SuperresError
            Naming what is missing or wrong.
        """
        layer, source = self.layer_row.layer, self.layer_row.source(asks=asks)
        model, header = self.model_row.path, self.model_row.header
        assert header is not None
        crop = {} if whole else self.part_row.crop(layer, source.axes)
        every = header.channels > 1 or header.context.get("axis") == "c" or self.part_row.channels.isChecked()
        config = load_config(
            UpscaleConfig,
            None,
            model=model,
            axes=source.given_axes if source.is_saved else source.axes,
            voxel_size=_given(source),
            channels=None if every else [source.channel],
            crop={axis: list(span) for axis, span in crop.items()} or None,
            guard=self.guard.isChecked(),
            trust=self.trust.isChecked() and not whole,
            overwrite=self.output_row.replace.isChecked() and not whole,
        )
        if not whole:
            self.output_row.suggest(source.path, layer.name, header.name, crop)
        return Order(layer, source, Path() if whole else self.output_row.path, config, header)

    def _preview_order(self) -> Order | None:
        """Return what to preview, once its voxels are in a file."""
        return self._with_file(self.order(asks=False, whole=True), self.preview.ask)

    # --- what is done ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start a job for what is chosen, or put it behind those that run."""
        try:
            order = self._with_file(self.order(), self.run)
        except SuperresError as error:
            show_warning(str(error))
            return
        if order is None:
            return
        self.model_row.remember()
        row = JobRow(order.out.name, order.job)
        row.made.connect(lambda job: self._follow(job, order))
        row.closed.connect(lambda: self._take_away(row))
        self.rows.append(row)
        self._jobs.addWidget(row)
        if self._under_way() > 0:
            show_info("Another job is running; this one starts when it ends.")
        row.start()
        self.output_row.replace.setChecked(False)

    def copy(self) -> None:
        """Put the command line that does the same on the clipboard."""
        try:
            order = self.order()
        except SuperresError as error:
            show_warning(str(error))
            return
        if not order.source.is_saved:
            show_warning(f"'{order.layer.name}' is in no file that a command could read; save it and open the file")
            return
        QApplication.clipboard().setText(upscale_command(order.path, order.out, order.config))
        show_info("The command line is on the clipboard.")

    def event(self, event: Any) -> bool:
        """Stop everything when napari takes the widget out of its window."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._was_docked:
                self._end()
            self._was_docked = self.parent() is not None
        return bool(super().event(event))

    def _follow(self, job: Job, order: Order) -> None:
        """Show what a job makes while it makes it."""
        result = Result(self._viewer, order.look)
        self.results.append(result)
        result.settled.connect(self._let_go)
        job.told.connect(result.take)
        job.finished.connect(lambda done: result.finish(done["path"]))
        job.ended.connect(result.stop)
        job.progressed.connect(_noting(order.out))

    def _let_go(self, result: Result) -> None:
        if result in self.results:
            self.results.remove(result)

    def _under_way(self) -> int:
        return sum(row.is_under_way for row in self.rows)

    def _take_away(self, row: JobRow) -> None:
        self.rows.remove(row)
        self._jobs.removeWidget(row)
        row.deleteLater()

    def _with_file(self, order: Order, again: Any) -> Order | None:
        """Return an order for a file; where the voxels are in none, write them in a thread and call `again` then."""
        if order.source.is_saved:
            return order
        data = order.layer.data[0] if order.layer.multiscale else order.layer.data
        there = set(map(id, self._viewer.layers))
        self._saved = {layer: saved for layer, saved in self._saved.items() if layer in there}
        known = self._saved.get(id(order.layer))
        if known is not None and known[0] is data:
            return order.with_path(known[1])
        path = temporary_folder() / f"layer_{id(order.layer)}_{len(self._saved)}.npy"

        def done(error: str) -> None:
            self._saver.ended.disconnect(done)
            if error:
                show_error(error)
                return
            self._saved[id(order.layer)] = (data, str(path))
            again()

        if not self._saver.is_busy:
            self._saver.ended.connect(done)
            self._saver.save(data, path)
        return None

    # --- how it looks ------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self.layer_row.changed.connect(self._update)
        self.model_row.changed.connect(self._update)
        self.run_button.clicked.connect(self.run)
        self.copy_button.clicked.connect(self.copy)
        self.part_row.slices.currentIndexChanged.connect(self._update)
        self.part_row.area.currentIndexChanged.connect(self._update)
        self.output_row.changed.connect(self._update)

    def _update(self) -> None:
        """Show what follows from what is chosen."""
        source, goes_on = None, False
        with contextlib.suppress(SuperresError):
            source = self.layer_row.source(asks=False)
            self.layer_row.box.setToolTip(source.path or "in memory")
            goes_on = _is_begun(self.order(asks=False).out)
        self.run_button.setText("Resume" if goes_on else "Run")
        self.part_row.fit(source)
        self.model_row.compare_with(None if source is None else source.voxel_size)

    def _lay_out(self) -> None:
        self.guard.setChecked(True)
        self.trust.setChecked(True)
        self.run_button.setStyleSheet("font-weight: bold")
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        form.addRow("Image", self.layer_row)
        form.addRow("Model", self.model_row)
        form.addRow("Look first", self.preview)
        form.addRow("What to upscale", self.part_row)
        form.addRow("Result", self.output_row)
        form.addRow(self.guard)
        form.addRow(self.trust)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 1)
        buttons.addWidget(self.copy_button)
        self._jobs = QVBoxLayout()
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 0, 4, 4)
        whole.addWidget(_scrolled(form), 1)
        whole.addLayout(buttons)  # always in sight
        whole.addLayout(self._jobs)


def _scrolled(form: QFormLayout) -> QScrollArea:
    """Put a form where it can be scrolled up and down; it is as wide as it needs."""
    inside = QWidget()
    inside.setLayout(form)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(inside)
    scroll.setMinimumWidth(inside.minimumSizeHint().width() + scroll.verticalScrollBar().sizeHint().width())
    return scroll


class _Saver(QObject):
    """Writes voxels in a thread, one layer at a time."""

    ended = Signal(str)
    _heard = Signal(str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)  # with which it goes, and not with the thread
        self.is_busy = False
        self._heard.connect(self._end, Qt.ConnectionType.QueuedConnection)

    def save(self, data: Any, path: Path) -> None:
        """Begin; `ended` follows, with what went wrong or nothing."""
        self.is_busy = True
        threading.Thread(target=self._run, args=(data, path), daemon=True).start()

    def _run(self, data: Any, path: Path) -> None:
        why = ""
        try:
            save_voxels(data, path)
        except SuperresError as error:
            why = str(error)
        with contextlib.suppress(RuntimeError):  # the viewer is gone, and this object with it
            self._heard.emit(why)

    def _end(self, why: str) -> None:
        self.is_busy = False
        self.ended.emit(why)


def _is_other(one: VoxelSize, other: VoxelSize | None) -> bool:
    """Whether a layer's voxel size was changed from what its file says."""
    if other is None:
        return True
    return any(a is not None and (b is None or not math.isclose(a, b)) for a, b in zip(one, other, strict=True))


def _noting(out: Path) -> Callable[[Progress], None]:
    """Return what tells a person at once of what holds a job up, such as a full disk."""
    told = [""]

    def take(event: Progress) -> None:
        if event.stage == "upscale" and event.note and event.note != told[0]:
            show_warning(f"{out.name}: {event.note}")
        told[0] = event.note

    return take


def _is_begun(store: Path) -> bool:
    """Whether a store was begun and not finished."""
    return store.with_name(store.name + ".records").is_dir() and not (store / "zarr.json").is_file()


def _given(source: Source) -> tuple[float, float, float] | None:
    """Return the voxel size that a job must be told, because the file says none or another one."""
    size = source.voxel_size
    if size is None or (source.is_saved and not _is_other(size, source.in_file)):
        return None
    depth = size[0] if size[0] is not None or "Z" in source.axes else 1.0  # of a single plane it means nothing
    if depth is None:
        return None
    return depth, size[1], size[2]


def _ender(parts: Sequence[LayerRow | PartRow | LivePreview], rows: list[JobRow]) -> Callable[[], None]:
    """Return what stops everything when the widget is deleted: it must work without the widget."""

    def end() -> None:
        for part in parts:
            part.release()
        for row in rows:
            if row.job is not None:
                row.job.cancel()

    return end
