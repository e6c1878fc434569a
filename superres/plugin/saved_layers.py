"""Layers as files that a job can open: those that are only in the viewer are written to a temporary file first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        self._known: dict[int, tuple[Any, str]] = {}
        self._ready: Ready | None = None
        self._saving = Background(self)
        self._saving.found.connect(self._go_on)
        self._saving.failed.connect(show_error)

    def with_files(self, layers: Sequence[Any], ready: Ready) -> None:
        """Call `ready` with the layers as files, at once or when they are written; what is wrong is shown."""
        try:
            sources = [source_of(layer) for layer in layers]
        except SuperresError as error:
            show_error(str(error))
            return
        if self._saving.is_busy:
            show_info("Layers are still being written to temporary files; wait a moment.")
            return
        waiting: list[tuple[Any, Any]] = []
        images = []
        for layer, source in zip(layers, sources, strict=True):
            path = source.path
            if path is None:
                data = finest(layer)
                known = self._known.get(id(layer))
                if known is None or known[0] is not data:
                    known = (data, str(temporary_folder() / f"layer_{id(self)}_{id(layer)}_{len(self._known)}.npy"))
                    waiting.append((data, known))
                    self._known[id(layer)] = known
                path = known[1]
            told = source.path is not None or source.axes == "YX"
            images.append(Image(path, source.channel, None if told else source.axes))
        self._ready = ready
        if not waiting:
            self._go_on(images)
            return

        def save() -> list[Image]:
            from pathlib import Path

            for data, (_, target) in waiting:
                save_voxels(data, Path(target))
            return images

        self._saving.ask(save)

    def _go_on(self, images: list[Image]) -> None:
        if self._ready is not None:
            self._ready(images)
