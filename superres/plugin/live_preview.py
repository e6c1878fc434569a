"""The preview of what is in view: made by a process of its own, shown as a layer, and renewed when the view moves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from superres.errors import SuperresError
from superres.plugin.filling import of_layer
from superres.plugin.layer_row import OURS
from superres.plugin.placing import Spans, camera_of, in_view, middle, placed, shown_slice
from superres.plugin.preview_task import request
from superres.plugin.previewing import Previews
from superres.plugin.sources import temporary_folder
from superres.progress import Progress

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

    from superres.plugin.order import Order

# Side of what is previewed without being asked for more: a second or two on two cores.
SIDE = 256
_SETTLE = 250  # milliseconds without a move of the view


class LivePreview(QWidget):
    """A button, a switch to follow the view, and the layer that they fill.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose view.
    order : callable
        Returns what is chosen, or None where its voxels are being written and it will call `ask` then.
    """

    def __init__(self, viewer: napari.Viewer, order: Callable[[], Order | None]) -> None:
        super().__init__()
        self._viewer, self._order = viewer, order
        self.previews = Previews()
        self._asked: Order | None = None
        self._time = 0
        self._layer: Image | None = None
        self._listens = False
        self.button = QPushButton("Preview")
        self.button.setToolTip("Upscale what is in view, to see what the model makes of it; nothing is saved")
        self.follow = QCheckBox("follow the view")
        self.follow.setToolTip("Renew the preview when the view or a slider moves")
        self.whole = QCheckBox("all that is in view")
        self.whole.setToolTip(f"Not only the middle {SIDE} by {SIDE} pixels; takes longer where more is in view")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE)
        self._lay_out()
        self._connect()

    def ask(self) -> None:
        """Ask for what is in view."""
        try:
            order = self._order()
            if order is None:
                self.status.setText("writing the layer down for the preview")
                return
            t, place = self._place(order)
        except SuperresError as error:
            self.status.setText(str(error))
            if not self.follow.isChecked():  # while one moves about, a line is enough
                show_warning(str(error))
            return
        self._asked, self._time = order, t
        path = Path(tempfile.mkdtemp(prefix="preview_", dir=temporary_folder())) / "preview.npy"
        channel = order.source.channel
        self.previews.ask(request(order.path, order.config, t=t, channel=channel, place=place, result=path))
        self.button.setText("Stop")
        self.status.setText("starting")

    def release(self) -> None:
        """End the process and hear no more of the view; works when the widget is deleted, too."""
        self._listen(False)
        self.previews.close()

    @property
    def pid(self) -> int | None:
        """Number of the process; None where there is none."""
        return self.previews.pid

    @property
    def layer(self) -> Image | None:
        """The layer that shows the preview; None before the first one, or when it was deleted."""
        return self._layer if self._layer in self._viewer.layers else None

    def _place(self, order: Order) -> tuple[int, Spans]:
        """Return the time point and the place that are in view."""
        shown = shown_slice(self._viewer, order.layer, order.source.axes)
        seen = in_view(self._viewer, order.layer)
        if not self.whole.isChecked():
            seen = middle(seen, SIDE)
        return shown.get("t", (0, 1))[0], {"z": shown.get("z", (0, 1)), **seen}

    def _press(self) -> None:
        if self.previews.is_busy:
            self.previews.stop()
            self.status.setText("stopping")
        else:
            self.ask()

    def _show(self, result: Mapping[str, Any]) -> None:
        """Show what came in the layer, in the place of the input that it was made of."""
        order = self._asked
        block = _taken(Path(result["path"]))
        if order is None or block is None or order.layer not in self._viewer.layers:
            return
        axes, start = order.source.axes, {axis: span[0] for axis, span in result["place"].items()}
        start["t"] = self._time
        where = placed(order.layer, axes, start, result["factor"])
        data = of_layer(block[None], axes)
        layer = self.layer
        if layer is None or layer.ndim != len(axes) or layer.dtype != block.dtype:
            self._layer = self._new_layer(order.layer, data, where)
        else:
            layer.data = data
            layer.scale, layer.translate = where["scale"], where["translate"]
        _, _, height, width = block[None].shape
        self.status.setText(f"{width} by {height} pixels in {result['seconds']:.1f} s")

    def _new_layer(self, like: Image, data: Any, where: Mapping[str, Any]) -> Image:
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)
        selected = list(self._viewer.layers.selection)
        layer: Image = self._viewer.add_image(
            data,
            name=f"preview of {like.name}",
            colormap=like.colormap,
            contrast_limits=like.contrast_limits,
            gamma=like.gamma,
            blending="translucent_no_depth",
            metadata={OURS: True},
            **where,
        )
        self._viewer.layers.selection.clear()
        self._viewer.layers.selection.update(selected)
        return layer

    def _fail(self, why: str) -> None:
        self.status.setText(why)
        self.follow.setChecked(False)
        show_error(f"Preview: {why}")

    def _progress(self, event: Progress) -> None:
        self.status.setText(event.note or f"tile {min(event.done + 1, event.total):.0f} of {event.total:.0f}")

    def _rest(self) -> None:
        self.button.setText("Preview")
        if self.status.text() == "stopping":
            self.status.setText("stopped")

    def _move(self, event: Any = None) -> None:
        if self.follow.isChecked():
            self._timer.start()

    def _switch(self, is_on: bool) -> None:
        self._listen(is_on)
        if is_on:
            self.ask()

    def _listen(self, is_on: bool) -> None:
        """Hear of the view when it moves, or no more."""
        if is_on == self._listens:
            return
        self._listens = is_on
        events = camera_of(self._viewer).events
        for event in (events.center, events.zoom, self._viewer.dims.events.current_step):
            if is_on:
                event.connect(self._move)
            else:
                event.disconnect(self._move)

    def _connect(self) -> None:
        self.button.clicked.connect(self._press)
        self.follow.toggled.connect(self._switch)
        self.whole.toggled.connect(self._move)
        self._timer.timeout.connect(self.ask)
        self.previews.shown.connect(self._show)
        self.previews.failed.connect(self._fail)
        self.previews.progressed.connect(self._progress)
        self.previews.idle.connect(self._rest)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.button)
        top.addWidget(self.follow)
        top.addWidget(self.whole)
        top.addStretch(1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(top)
        whole.addWidget(self.status)


def _taken(path: Path) -> Any:
    """Read an array that a worker wrote, and take it away; None where it is gone."""
    try:
        block = np.load(path)
        path.unlink()
        path.parent.rmdir()
    except (OSError, ValueError):
        return None
    return block
