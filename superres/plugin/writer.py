"""File > Save for image layers: OME-Zarr and OME-TIFF, by the writers of `superres convert`, block by block."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from superres.errors import Cancelled, OutputExistsError
from superres.plugin.layer_volume import FullLayerData, volume_of
from superres.plugin.window import open_window

if TYPE_CHECKING:
    from superres.progress import Progress, ProgressCallback
    from superres.volumes.conversion import Format

T = TypeVar("T")


def write_omezarr(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """Write image layers as the channels of one OME-Zarr 0.5 with a pyramid; values stay as they are.

    Parameters
    ----------
    path : str
        The store's folder; one that is there is not replaced.
    layers : sequence of tuple
        Data, attributes and kind of each layer.

    Returns
    -------
    list of str
        What was written; nothing where the user stopped it.
    """
    out = Path(path)
    if out.exists():
        raise OutputExistsError(f"{path}: is there already; choose another name, or remove it first")
    return _save(out, layers, "ome-zarr-0.5")


def write_ometiff(path: str, layers: Sequence[FullLayerData]) -> list[str]:
    """Write image layers as the channels of one OME-TIFF, which Fiji opens; values stay as they are.

    Parameters
    ----------
    path : str
        A TIFF that is there is replaced, as the dialog has asked about that.
    layers : sequence of tuple
        Data, attributes and kind of each layer.

    Returns
    -------
    list of str
        What was written; nothing where the user stopped it.
    """
    return _save(Path(path), layers, "ome-tiff")


def _save(out: Path, layers: Sequence[FullLayerData], format: Format) -> list[str]:
    from superres.volumes.convert import convert

    volume = volume_of(layers)

    def work(progress: ProgressCallback) -> None:
        convert(volume, out, format=format, overwrite=format == "ome-tiff", progress=progress)

    before = _file_at(out)
    try:
        with_progress(work, f"Saving {out.name}")
    except BaseException as error:
        if format != "ome-tiff":
            _remove(out)
        elif isinstance(error, Cancelled) and _file_at(out) != before:
            return [str(out)]  # it was whole before it could be stopped
        if not isinstance(error, Cancelled):
            raise
        from napari.utils.notifications import show_info

        show_info(f"Saving {out.name} was stopped; nothing was left behind.")
        return []
    return [str(out)]


def _file_at(out: Path) -> tuple[int, int] | None:
    """Tell one file from another that has taken its place."""
    try:
        found = out.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _remove(out: Path) -> None:
    """Remove what was begun: layers in memory cannot be known again, so nothing could go on with it."""
    from superres.volumes.records import records_folder

    for folder in (out, records_folder(out)):
        shutil.rmtree(folder, ignore_errors=True)


def with_progress(work: Callable[[ProgressCallback], T], title: str) -> T:
    """Do work in a thread behind a bar with a Cancel button; without a window to show it, just do it.

    Parameters
    ----------
    work : callable
        Takes a progress callback, which raises `Cancelled` when the user cancels.
    title : str
        Above the bar.

    Raises
    ------
    Cancelled
        When the user cancelled.
    Exception
        Whatever `work` raises.
    """
    from superres.progress import silent

    window = open_window()
    return work(silent) if window is None else _Watched(work, title).run(window)


class _Watched:
    """Work in a thread, looked at by a dialog."""

    def __init__(self, work: Callable[[ProgressCallback], Any], title: str) -> None:
        self._work = work
        self._title = title
        self._share = 0.0
        self._stopped = False
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self, window: Any) -> Any:
        """Show the dialog until the work is done, and return its result."""
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QApplication, QProgressDialog

        dialog = QProgressDialog(f"{self._title} ...", "Cancel", 0, 1000, window)
        dialog.setWindowTitle("superres")
        dialog.setWindowModality(Qt.WindowModality.WindowModal)
        dialog.setMinimumDuration(500)
        dialog.setAutoReset(False)
        dialog.setAutoClose(False)
        dialog.canceled.connect(self._stop)
        thread = threading.Thread(target=self._do, name="superres save")
        thread.start()
        while thread.is_alive():
            thread.join(0.02)
            dialog.setValue(int(1000 * self._share))
            QApplication.processEvents()
        dialog.close()
        dialog.deleteLater()
        if self._error is not None:
            raise self._error
        return self._result

    def _stop(self) -> None:
        self._stopped = True

    def _do(self) -> None:
        try:
            self._result = self._work(self._progress)
        except BaseException as error:  # raised again in the thread of the window
            self._error = error

    def _progress(self, event: Progress) -> None:
        if self._stopped:
            raise Cancelled(f"{self._title}: stopped")
        self._share = event.done / event.total if event.total else 0.0
