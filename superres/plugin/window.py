"""The viewer that is open, if one is: what is asked or told needs a window, and scripts may have none."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari


def open_viewer() -> napari.Viewer | None:
    """Return the viewer whose window was used last; None where there is none, or outside of the thread of windows."""
    widgets = sys.modules.get("qtpy.QtWidgets")
    # Nothing that has not been loaded can have opened a window.
    if widgets is None or widgets.QApplication.instance() is None:
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    import napari

    return napari.current_viewer()


def open_window() -> Any:
    """Return the viewer's main window, to which dialogs belong; None where there is none."""
    viewer = open_viewer()
    return None if viewer is None else viewer.window._qt_window
