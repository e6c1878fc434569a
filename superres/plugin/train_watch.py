"""How a training goes: its loss as a curve, and what the net makes of validation images so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QGroupBox, QLabel, QVBoxLayout

from superres.plugin.profile_plot import Curve, ProfilePlot
from superres.progress import Progress

_LOSS = "#ffa64d"
_STAGE = "train"


class TrainWatch(QGroupBox):
    """Follows one training by its events and its run folder."""

    def __init__(self) -> None:
        super().__init__("How it goes")
        self.plot = ProfilePlot("The first figures come after 20 steps")
        self.figures = QLabel("")
        self.figures.setWordWrap(True)
        self.sample = QLabel("")
        self.sample.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption = QLabel("recording, interpolation, the net so far, truth")
        self.caption.hide()
        layout = QVBoxLayout(self)
        for widget in (self.plot, self.figures, self.sample, self.caption):
            layout.addWidget(widget)
        self._folder: Path | None = None
        self._shown: Path | None = None
        self.done: list[float] = []
        self.losses: list[float] = []

    def follow(self, folder: Path) -> None:
        """Watch a training from its beginning, or from where it goes on."""
        self._folder, self._shown = folder, None
        self.done, self.losses = [], []
        self.figures.setText("")
        self.sample.clear()
        self.caption.hide()
        self.plot.show_curves((), "", "")

    def take(self, event: Progress) -> None:
        """Show what an event tells."""
        if event.stage != _STAGE:
            return
        loss = event.values.get("loss")
        if loss is not None:
            self.done.append(event.done)
            self.losses.append(loss)
            curve = Curve("loss", np.array(self.done), np.array(self.losses), _LOSS)
            self.plot.show_curves([curve], event.unit, "loss")
        said = _words(event.values)
        if said:
            self.figures.setText(said)
        self.look()

    def look(self) -> None:
        """Show the newest sample picture of the run folder; of these there is one every few hundred steps."""
        if self._folder is None:
            return
        newest = max((self._folder / "samples").glob("step_*.png"), default=None)
        if newest is None or newest == self._shown:
            return
        picture = QPixmap(str(newest))
        if picture.isNull():  # just being written
            return
        self._shown = newest
        width = max(200, self.width() - 30)
        self.sample.setPixmap(picture.scaledToWidth(width, Qt.TransformationMode.SmoothTransformation))
        step = int(newest.stem.removeprefix("step_"))
        self.caption.setText(f"Step {step}, left to right: recording, interpolation, the net so far, truth")
        self.caption.setWordWrap(True)
        self.caption.show()


def _words(values: Any) -> str:
    """Say what a validation found; empty where there was none."""
    if "psnr" not in values or "psnr_bicubic" not in values:
        return ""
    gain = values["psnr"] - values["psnr_bicubic"]
    return (
        f"On images that are not trained on: PSNR {values['psnr']:.2f} dB, {abs(gain):.2f} dB "
        f"{'above' if gain >= 0 else 'below'} interpolation."
    )
