"""What widgets in napari's dock share: they listen to the viewer, may have a job, and end both when they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from superres.plugin.job_row import JobRow


class Listening:
    """Connections to a viewer's events that can be taken back together, also when Qt's objects are gone."""

    def __init__(self) -> None:
        self._heard: list[tuple[Any, Callable[..., None]]] = []
        self._rows: list[JobRow] = []

    def to(self, event: Any, callback: Callable[..., None]) -> None:
        """Connect a callback to an event of napari."""
        event.connect(callback)
        self._heard.append((event, callback))

    def with_job(self, row: JobRow) -> None:
        """Stop the job of a row, if it is under way, at the end."""
        self._rows = [row]

    def end(self) -> None:
        """Listen no more, and stop the job."""
        for event, callback in self._heard:
            event.disconnect(callback)
        self._heard = []
        for row in self._rows:
            if row.job is not None:
                row.job.cancel()


class Docked(QWidget):
    """A widget that ends its job and its listening when it is closed, or napari is."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = Listening()
        self._was_docked = False
        self.destroyed.connect(self.listening.end)

    def event(self, event: Any) -> bool:
        """Notice that napari takes the widget out of its window."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._was_docked:
                self.listening.end()
            self._was_docked = self.parent() is not None
        return bool(super().event(event))
