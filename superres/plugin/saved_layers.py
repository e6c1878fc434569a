"""Layers as files that a job can open: those that are only in the viewer are written to a temporary file first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject

from superres.errors import SuperresError
from superres.plugin.background import Background
from superres.plugin.grid import finest
from superres.plugin.pair_manifest import Image
from superres.plugin.sources import save_voxels, source_of, temporary_folder

Ready = Callable[[list[Image]], None]


class SavedLayers(QObject):
    """Turns layers into files, in a thread where they must be written."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._known: dict[int, tuple[Any, Path]] = {}
        self._ready: Ready | None = None
        self._saving = Background(self)
        self._saving.found.connect(self._go_on)
        self._saving.failed.connect(show_error)

    def with_files(self, layers: Sequence[Any], ready: Ready) -> None:
        """Call `ready` with the layers as files, at once or when they are written; what is wrong is shown."""
        if self._saving.is_busy:
            show_info("Layers are still being written to temporary files; wait a moment.")
            return
        waiting: list[tuple[Any, Path]] = []
        try:
            images = [self._image(layer, waiting) for layer in layers]
        except SuperresError as error:
            show_error(str(error))
            return
        self._ready = ready
        if waiting:
            self._saving.ask(partial(_saved, images, waiting))
        else:
            self._go_on(images)

    def _image(self, layer: Any, waiting: list[tuple[Any, Path]]) -> Image:
        """Return a layer as a file; one that is not there yet is put on the list of those to be written."""
        source = source_of(layer)
        if source.path is not None:
            return Image(source.path, source.channel, source.given_axes)
        data = finest(layer)
        known = self._known.get(id(layer))
        if known is None or known[0] is not data or not known[1].exists():
            known = (data, temporary_folder() / f"layer_{id(self)}_{id(layer)}_{len(self._known)}.npy")
            self._known[id(layer)] = known
            waiting.append(known)
        return Image(str(known[1]), 0, None if source.axes == "YX" else source.axes)

    def _go_on(self, images: list[Image]) -> None:
        if self._ready is not None:
            self._ready(images)


def _saved(images: list[Image], waiting: Sequence[tuple[Any, Path]]) -> list[Image]:
    for data, path in waiting:
        save_voxels(data, path)
    return images
