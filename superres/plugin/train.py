"""Train: from sharp images, or pairs, to a model, without code; the recipe can be read, changed and saved."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from superres.errors import InputError, SuperresError
from superres.plugin import marks_task, recipe_task, train_task
from superres.plugin.docked import Docked
from superres.plugin.job import Job
from superres.plugin.job_row import JobRow
from superres.plugin.model_row import ModelRow
from superres.plugin.pace import duration
from superres.plugin.pair_manifest import Image
from superres.plugin.remembered import remember_model
from superres.plugin.saved_layers import SavedLayers
from superres.plugin.sources import temporary_folder
from superres.plugin.train_choice import TrainChoice
from superres.plugin.train_watch import TrainWatch

if TYPE_CHECKING:
    import napari

_LENGTHS = {"as the images are worth": "", "10 minutes": "10min", "1 hour": "1h", "a night (8 hours)": "8h"}


class TrainWidget(Docked):
    """Make a model of one's own images.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.choice = TrainChoice(napari_viewer, self.listening)
        self.folder = QLineEdit(str(_new_folder()))
        self.browse = QPushButton("Browse…")
        self.length = QComboBox()
        self.length.addItems(list(_LENGTHS))
        self.settings = QLineEdit()
        self.settings.setPlaceholderText("such as model.preset=S patch.batch=4")
        self.write_button = QPushButton("Write the recipe")
        self.recipe = QPlainTextEdit()
        self.save_button = QPushButton("Save it as…")
        self.notes = QLabel("")
        self.train_button = QPushButton("Train")
        self.enough_button = QPushButton("Stop early and keep the model")
        self.watch = TrainWatch()
        self._area = QScrollArea()
        self.model: Path | None = None
        self.row: JobRow | None = None
        self._enough, self._written = Path(), ""
        self._marked: tuple[Any, ...] = ()
        self._written_text = ""
        self._saved = SavedLayers(self)
        self._lay_out()
        self._connect()

    @property
    def run_folder(self) -> Path:
        """Where recipe and model go."""
        return Path(self.folder.text().strip()).expanduser().absolute()

    # --- the recipe --------------------------------------------------------------------------------------------------

    def write_recipe(self) -> None:
        """Look at the images and write a recipe for them, in a job."""
        self._with_request(lambda request: self._start_recipe(request, then=None))

    def train(self) -> None:
        """Train with the recipe as it stands in the box; write one first where there is none."""
        if not self.recipe.toPlainText().strip() or self._is_of_other_marks():
            self._with_request(lambda request: self._start_recipe(request, then=self._start_training))
            return
        self._start_training()

    def _is_of_other_marks(self) -> bool:
        """Whether something else is marked than what the recipe is for; one that was changed by hand stays."""
        if not self.choice.is_marks or self.recipe.toPlainText() != self._written_text:
            return False
        try:
            return bool(self._marked != _in_short(self.choice.marks.asked()))
        except SuperresError:  # said when the request is made
            return True

    def save_recipe(self) -> None:
        """Save the recipe to another file."""
        name, _ = QFileDialog.getSaveFileName(self, "Save the recipe", "recipe.yaml", "Recipes (*.yaml)")
        if name:
            self._write_text(Path(name))

    def _with_request(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Make the request for a recipe, once all layers are files."""
        try:
            path, fitted = self.choice.path, self.choice.fitted_to
            layers = [] if path is not None else self.choice.images
            given = self._given()
            marked = self.choice.marks.asked() if self.choice.is_marks else {}
        except (SuperresError, ValueError) as error:
            show_error(str(error))
            return
        out, factor = self.run_folder, self.choice.triple

        def go_on(images: list[Image]) -> None:
            sharp, low = images[: len(layers)], images[len(layers) :]
            if marked:
                ready(marks_task.request(images, out, given=given, **marked))
                return
            if self.choice.is_pair:
                ready(recipe_task.request_for_pairs([(sharp[0], sharp[1])], out, given=given))
                return
            channels = sorted({one.channel for one in sharp})
            # Layers of one file in one channel only: the others are not to be learned from.
            own = [f"channels={channels}"] if sharp and channels != [0] else []
            sources = [path] if path is not None else list(dict.fromkeys(one.path for one in sharp))
            axes = next((one.axes for one in sharp if one.axes), None)
            recordings = list(dict.fromkeys(one.path for one in low))
            ready(recipe_task.request_for_images(sources, factor, out, low=recordings, axes=axes, given=[*own, *given]))

        self._saved.with_files([*layers, *fitted], go_on)

    def _given(self) -> list[str]:
        """Return the settings that win over what is chosen.

        Raises
        ------
        InputError
            When one is no setting.
        """
        given = shlex.split(self.settings.text())
        wrong = [one for one in given if "=" not in one]
        if wrong:
            raise InputError(f"{wrong[0]}: expected key=value, for example model.preset=S")
        length = _LENGTHS[self.length.currentText()]
        return [*([f"time_budget={length}"] if length else []), *given]

    def _start_recipe(self, request: Mapping[str, Any], then: Callable[[], None] | None) -> None:
        request = {**request, "replace": self._written == request["out"]}

        def finish(found: Mapping[str, Any]) -> None:
            self._written, self._marked = request["out"], _in_short(request)
            self.recipe.setPlainText(found["text"])
            self._written_text = self.recipe.toPlainText()
            lines = list(found["notes"])
            if found["expected"] is not None:
                lines.insert(0, f"The training takes about {duration(found['expected'])} on this machine.")
            self._say(lines)
            if then is not None:
                then()

        self._start("Write a recipe", lambda: Job(request), finish, resumes=False)

    def _write_text(self, path: Path) -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.recipe.toPlainText(), encoding="utf-8")
        except OSError as error:
            show_error(f"{path}: cannot be written ({error.strerror}); choose another folder")
            return False
        return True

    # --- the training ------------------------------------------------------------------------------------------------

    def _start_training(self) -> None:
        recipe, out = self.run_folder / "recipe.yaml", self.run_folder
        if not self._write_text(recipe):
            return
        self._enough = temporary_folder() / f"enough_{id(self)}"

        def make() -> Job:
            self._enough.unlink(missing_ok=True)
            return Job(train_task.request(recipe, out, self._enough))

        self.watch.follow(out)
        self.watch.show()
        QTimer.singleShot(0, lambda: self._area.ensureWidgetVisible(self.watch))  # when it has its place
        self._start(f"Train {out.name}", make, self._finish, resumes=True)

    def stop_early(self) -> None:
        """Ask the training to end and to keep its model."""
        self._enough.touch()
        self.enough_button.setEnabled(False)
        self.enough_button.setText("Ending; the model is being written")

    def _finish(self, found: Mapping[str, Any]) -> None:
        self.model = Path(found["model"])
        self.watch.look()
        figures = found["metrics"]
        lines = [f"The model is {self.model}, after {found['steps']} steps."]
        if "psnr" in figures and "psnr_bicubic" in figures:
            gain = figures["psnr"] - figures["psnr_bicubic"]
            lines.append(f"On images that were not trained on it is {gain:+.2f} dB from interpolation.")
        self._say([*lines, *found["changes"], *found["warnings"]])
        offer_model(self.model)
        show_info(f"{self.model} can be chosen in the Upscale widget now.")

    def _start(
        self, title: str, make: Callable[[], Job], finish: Callable[[Mapping[str, Any]], None], *, resumes: bool
    ) -> None:
        if self.row is not None and self.row.is_under_way:
            show_error("A job of this widget is still under way; wait for it, or cancel it.")
            return
        if self.row is not None:
            self._jobs.removeWidget(self.row)
            self.row.deleteLater()
        row = JobRow(title, make, resumes=resumes)

        def follow(job: Job) -> None:
            job.finished.connect(finish)
            if resumes:
                job.progressed.connect(self.watch.take)
                job.progressed.connect(self._can_stop)
            job.ended.connect(self._rest)

        row.made.connect(follow)
        row.closed.connect(row.hide)
        self.row = row
        self.listening.with_job(row)
        self._jobs.addWidget(row)
        row.start()

    def _can_stop(self, event: Any) -> None:
        if event.stage == "train" and not self._enough.exists():
            self.enough_button.show()

    def _rest(self) -> None:
        self.enough_button.hide()
        self.enough_button.setEnabled(True)
        self.enough_button.setText("Stop early and keep the model")

    def _say(self, lines: list[str]) -> None:
        self.notes.setText("\n".join(lines))
        self.notes.setVisible(bool(lines))

    # --- how it looks ------------------------------------------------------------------------------------------------

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the model")
        if folder:
            self.folder.setText(folder)

    def _connect(self) -> None:
        self.browse.clicked.connect(self._browse)
        self.write_button.clicked.connect(self.write_recipe)
        self.save_button.clicked.connect(self.save_recipe)
        self.train_button.clicked.connect(self.train)
        self.enough_button.clicked.connect(self.stop_early)
        self.choice.changed.connect(self._fit_choice)
        self.recipe.textChanged.connect(lambda: self.save_button.setEnabled(bool(self.recipe.toPlainText())))

    def _fit_choice(self) -> None:
        self.train_button.setText("Fine-tune on what I mark" if self.choice.is_marks else "Train")
        content = self._area.widget()
        bar = self._area.verticalScrollBar()
        assert content is not None and bar is not None
        self._area.setMinimumWidth(content.minimumSizeHint().width() + bar.sizeHint().width())

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Length", self.length)
        form.addRow("Settings", self.settings)
        line = QHBoxLayout()
        line.addWidget(self.folder, 1)
        line.addWidget(self.browse)
        form.addRow("Model folder", line)
        self.recipe.setPlaceholderText("What the training does, with reasons; it can be changed before it begins.")
        self.recipe.setMinimumHeight(140)
        self.recipe.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.save_button.setEnabled(False)
        buttons = QHBoxLayout()
        buttons.addWidget(self.write_button, 1)
        buttons.addWidget(self.save_button)
        group = QGroupBox("Recipe")
        inside = QVBoxLayout(group)
        inside.addLayout(buttons)
        inside.addWidget(self.recipe)
        self.notes.setWordWrap(True)
        self.train_button.setStyleSheet("font-weight: bold")
        for widget in (self.notes, self.enough_button, self.watch):
            widget.hide()
        self._jobs = QVBoxLayout()
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.choice)
        column.addLayout(form)
        column.addWidget(group)
        column.addWidget(self.train_button)
        column.addLayout(self._jobs)
        for widget in (self.enough_button, self.watch, self.notes):
            column.addWidget(widget)
        column.addStretch()
        self._area.setWidgetResizable(True)
        self._area.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._area)
        self.setMinimumWidth(320)


def offer_model(path: Path) -> None:
    """Put a new model into the lists of models, of the Upscale widgets that are open and of later ones."""
    remember_model(path)
    for widget in QApplication.allWidgets():
        if isinstance(widget, ModelRow):
            if widget.box.findText(str(path)) < 0:
                widget.box.insertItem(0, str(path))
            if not widget.box.currentText().strip():
                widget.choose(path)


def _in_short(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return of a request what tells whether a recipe is still for what is marked."""
    return request.get("marks"), str(request.get("model")), request.get("result")


def _new_folder() -> Path:
    """Return a folder for a model that is not there yet."""
    home = Path.home() / "superres"
    return next(folder for number in range(1, 10_000) if not (folder := home / f"model_{number}").exists())
