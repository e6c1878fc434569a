"""One job in a widget: what it is, how far it is, how long it will take, and a button to stop it or to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from superres.plugin.job import Job, Jobs
from superres.plugin.pace import Pace, duration
from superres.progress import Progress

_STEPS = 1000


class JobRow(QWidget):
    """Shows a job and restarts it when asked.

    Parameters
    ----------
    title : str
        What is done.
    make_job : callable
        Makes the job, each time it is started.
    resumes : bool
        Whether a job that was stopped goes on where it was.

    Attributes
    ----------
    made : Signal(object)
        A `Job` that is about to start, to connect to.
    closed : Signal()
        The row is no longer wanted.
    """

    made = Signal(object)
    closed = Signal()

    def __init__(self, title: str, make_job: Callable[[], Job], *, resumes: bool = True) -> None:
        super().__init__()
        self._title, self._make_job, self._resumes = title, make_job, resumes
        self._pace = Pace()
        self.job: Job | None = None
        self.title = QLabel(title)
        self.title.setTextInteractionFlags(self.title.textInteractionFlags().TextSelectableByMouse)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.button = QPushButton("Cancel")
        self.button.clicked.connect(self._press)
        self.close_button = QPushButton("✕")
        self.close_button.setToolTip("Take this line away; the result stays")
        self.close_button.setFixedWidth(24)
        self.close_button.clicked.connect(self.closed)
        self._lay_out()
        Jobs.shared().changed.connect(self._say_waiting)

    def start(self) -> None:
        """Start the job, or put it behind those that run."""
        self.job = self._make_job()
        self.made.emit(self.job)
        self._pace = Pace()
        self.bar.setRange(0, 0)
        self.button.setText("Cancel")
        self.button.setEnabled(True)
        self.button.show()
        self.close_button.hide()
        self.status.setText("starting")
        self.job.progressed.connect(self._progress)
        self.job.finished.connect(self._finish)
        self.job.failed.connect(self._fail)
        self.job.cancelled.connect(self._stopped)
        Jobs.shared().add(self.job)

    def cancel(self) -> None:
        """Stop the job if it is under way."""
        if self.job is not None and self.job.state in ("waiting", "running"):
            self.button.setEnabled(False)
            self.status.setText("stopping")
            self.job.cancel()

    @property
    def is_under_way(self) -> bool:
        """Whether the job runs or waits."""
        return self.job is not None and self.job.state in ("waiting", "running")

    def _lay_out(self) -> None:
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.title.setToolTip(self._title)
        top = QHBoxLayout()
        top.addWidget(self.title, 1)
        top.addWidget(self.button)
        top.addWidget(self.close_button)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 4, 0, 4)
        whole.addLayout(top)
        whole.addWidget(self.bar)
        whole.addWidget(self.status)
        self.close_button.hide()

    def _press(self) -> None:
        if self.is_under_way:
            self.cancel()
        else:
            self.start()

    def _say_waiting(self) -> None:
        if self.job is None or self.job.state != "waiting":
            return
        ahead = Jobs.shared().ahead_of(self.job)
        self.status.setText(f"waiting for {ahead} other job{'s' if ahead > 1 else ''} to end")

    def _progress(self, event: Progress) -> None:
        if event.total <= 0:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, _STEPS)
            self.bar.setValue(round(_STEPS * event.done / event.total))
        self.status.setText(self._pace.text(event, time.monotonic()))

    def _finish(self, result: Mapping[str, Any]) -> None:
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(_STEPS)
        lines = [f"done in {duration(float(result.get('seconds', 0)))}"]
        lines += [str(result["trust"])] if result.get("trust") else []
        lines += [str(warning) for warning in result.get("warnings", ())]
        self._rest("\n".join(lines), again="")
        for warning in result.get("warnings", ()):
            show_info(str(warning))

    def _fail(self, why: str) -> None:
        self.bar.setRange(0, _STEPS)
        self._rest(why, again="Try again")
        show_error(f"{self._title}: {why}")

    def _stopped(self) -> None:
        self.bar.setRange(0, _STEPS)
        text = "stopped; what is finished is kept, Resume goes on" if self._resumes else "stopped"
        self._rest(text, again="Resume" if self._resumes else "Start again")

    def _rest(self, text: str, again: str) -> None:
        self.status.setText(text)
        self.button.setText(again)
        self.button.setEnabled(True)
        self.button.setVisible(bool(again))
        self.close_button.show()
