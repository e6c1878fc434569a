"""Layers of planes without coarse levels: shown again as more of their overview is there."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from superres.volumes.overview import Overview


def keep_fresh(overview: Overview, viewer: napari.Viewer, name: str) -> None:
    """Show the layers of an overview again whenever there is more of it, and say that it is being made.

    Parameters
    ----------
    overview : Overview
        In the metadata of layers of the viewer.
    viewer : napari.Viewer
        That shows them.
    name : str
        Of the file.
    """
    from napari.utils.notifications import show_info

    show_info(
        f"{name} holds no smaller versions of its large planes, so an overview is made while you look; what is black "
        "may not have been read yet. Saved as OME-Zarr it would be there at once."
    )
    overview.changed = functools.partial(_tell, _Refresher(viewer, overview))


class _Refresher(QObject):
    """Lives in the thread of the window, where layers may be touched."""

    changed = Signal()

    def __init__(self, viewer: napari.Viewer, overview: Overview) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self._overview = weakref.ref(overview)
        self._said = False
        self.changed.connect(self._refresh)

    def _refresh(self) -> None:
        viewer, overview = self._viewer(), self._overview()
        if viewer is None or overview is None:
            return
        for layer in list(viewer.layers):
            if layer.metadata.get("superres_overview") is overview:
                _show_again(layer, done=overview.wait(0))
        if overview.error() and not self._said:
            from napari.utils.notifications import show_error

            self._said = True
            show_error(overview.error())


def _show_again(layer: Layer, *, done: bool) -> None:
    if done and layer.ndim == 2:
        # Of a plane napari keeps the coarsest level as it was at first.
        layer.data = list(layer.data)
    else:
        layer.refresh(extent=False)


def _tell(refresher: _Refresher) -> None:
    try:
        refresher.changed.emit()
    except RuntimeError:  # the window, and with it Qt's part of the object, is gone
        return
