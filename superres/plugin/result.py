"""The layers of a result: there as soon as the store is, filled shard by shard, at the end the store's own pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import QObject, QTimer, Signal

from superres.plugin.background import Background
from superres.plugin.filling import Coarse, FineChannel, coarse_channel, of_layer, picture_of
from superres.plugin.placing import placed

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

# Each refresh reads what is on screen.
_REFRESH_APART = 400  # milliseconds


@dataclass(frozen=True, slots=True)
class Look:
    """How a layer is placed and shown, kept because the layer may be deleted meanwhile.

    Parameters
    ----------
    name : str
        Of the input layer.
    axes : str
        Some of TZYX.
    layer : Image
        The input layer; what a new layer needs of it is taken when the result begins.
    channel : int
        Of the input file.
    path : str
        The input file.
    factor : tuple of int
        Upscaling along ZYX.
    """

    name: str
    axes: str
    layer: Image
    channel: int
    path: str
    factor: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Begun:
    """What the layers of a store that is being written show, finest first, by channel."""

    levels: list[list[Any]]


@dataclass(frozen=True, slots=True)
class _Store:
    """A finished store, and its pyramid by channel."""

    path: str
    levels: list[list[Any]]
    voxel_size: list[float | None] | None


class Result(QObject):
    """Shows the result of one job in the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Where.
    look : Look
        The input.

    Attributes
    ----------
    settled : Signal(object)
        Nothing more will change, says this object: the layers show the store, or what there was when the job ended.
    """

    settled = Signal(object)

    def __init__(self, viewer: napari.Viewer, look: Look) -> None:
        super().__init__()
        self._viewer, self._look = viewer, look
        self._coarse: Coarse | None = None
        self._layers: dict[int, Image] = {}  # by channel of the store
        self._begun: dict[str, Any] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REFRESH_APART)
        self._timer.timeout.connect(self._refresh)
        self._has_ended, self._asked = False, 0
        self._opening = Background(self)
        self._opening.found.connect(self._show)
        self._opening.failed.connect(self._cannot_open)

    def take(self, told: Mapping[str, Any]) -> None:
        """Take what the worker tells on the way (`superres.plugin.following.followed`)."""
        if "begun" in told:
            self._begin(told["begun"])
        elif "shard" in told and self._coarse is not None:
            picture = picture_of(told)
            if picture is not None:
                self._coarse.take(tuple(told["shard"]), picture)
                if not self._timer.isActive():
                    self._timer.start()

    def finish(self, path: str) -> None:
        """Show the store's own pyramid, once it has been opened in a thread."""
        self._timer.stop()
        if self._begun:
            self._ask(partial(_opened, path, len(self._begun["channels"]), self._look.axes))

    def stop(self) -> None:
        """Show what there is, wait for nothing more from the job, and hold nothing that it told."""
        self._timer.stop()
        self._refresh()
        self._has_ended = True
        self._settle()

    def _ask(self, opened: Callable[[], _Begun | _Store]) -> None:
        """Open something in a thread, which takes a tenth of a second and more."""
        self._asked += 1
        self._opening.ask(opened)

    def _show(self, found: _Begun | _Store) -> None:
        self._asked -= 1
        if isinstance(found, _Begun):
            self._show_begun(found)
        else:
            self._show_store(found)
        self._settle()

    def _cannot_open(self, reason: str) -> None:
        self._asked -= 1
        show_info(f"The result cannot be opened: {reason}")
        self._settle()

    def _settle(self) -> None:
        if self._has_ended and self._asked == 0:
            self._coarse = None
            self._layers = {}
            self.settled.emit(self)

    def _show_store(self, store: _Store) -> None:
        for channel, layer in self._shown().items():
            levels = store.levels[channel]
            limits = layer.contrast_limits
            layer.data = levels if layer.multiscale else levels[0]
            layer.contrast_limits = limits
            if str(layer.blending) == "additive" and self._look.layer is not layer:
                self._layer_of(self._begun["channels"][channel]).visible = False  # or both would add up
            layer.metadata.pop("superres_unfinished", None)
            layer.metadata["superres"] = {
                "path": store.path,
                "axes": self._look.axes,
                "voxel_size": store.voxel_size,
                "channel": channel,
                "given_axes": None,
                "predicted_from": self._look.path,
            }

    def _begin(self, begun: dict[str, Any]) -> None:
        shape, steps = tuple(begun["shape"]), tuple(begun["steps"])
        for layer in list(self._viewer.layers):
            if layer.metadata.get("superres_unfinished") == begun["path"]:  # of the run that is gone on with
                self._viewer.layers.remove(layer)
        self._begun = begun
        self._coarse = Coarse(shape, steps, begun["dtype"])
        self._ask(partial(_being_written, begun["path"], len(begun["channels"]), self._look.axes, self._coarse))

    def _show_begun(self, found: _Begun) -> None:
        channels = self._begun["channels"]
        for number, (channel, levels) in enumerate(zip(channels, found.levels, strict=True)):
            self._layers[number] = self._new_layer(levels, channel, is_alone=len(channels) == 1)

    def _new_layer(self, levels: list[Any], channel: int, *, is_alone: bool) -> Image:
        """Add a layer that looks like the layer of the same channel of the input."""
        like = self._layer_of(channel)
        look = self._look
        start = dict(zip("tzyx", self._begun["start"], strict=True))
        name = f"{like.name} upscaled" if like.name == look.name or is_alone else f"{look.name} upscaled [{channel}]"
        layer: Image = self._viewer.add_image(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=name,
            colormap=like.colormap,
            contrast_limits=like.contrast_limits,
            gamma=like.gamma,
            blending=like.blending,
            metadata={"superres_unfinished": self._begun["path"]},
            **placed(look.layer, look.axes, start, look.factor),
        )
        return layer

    def _layer_of(self, channel: int) -> Image:
        """Return the layer of a channel of the input, or the one that was chosen."""
        from napari.layers import Image

        for layer in self._viewer.layers:
            told = layer.metadata.get("superres", {})
            if isinstance(layer, Image) and told.get("path") == self._look.path and told.get("channel") == channel:
                return layer
        return self._look.layer

    def _shown(self) -> dict[int, Image]:
        """Return those of its layers that nobody deleted."""
        return {channel: layer for channel, layer in self._layers.items() if layer in self._viewer.layers}

    def _refresh(self) -> None:
        for layer in self._shown().values():
            layer.refresh(extent=False)


def _being_written(path: str, channels: int, axes: str, coarse: Coarse) -> _Begun:
    """Return fine and coarse voxels of every channel; the coarse ones alone where they are as fine."""
    levels: list[list[Any]] = [[coarse_channel(coarse, channel, axes)] for channel in range(channels)]
    if max(coarse.steps) > 1:
        fine = [FineChannel(Path(path), channel, axes, coarse) for channel in range(channels)]
        levels = [[one, *rest] for one, rest in zip(fine, levels, strict=True)]
    return _Begun(levels)


def _opened(path: str, channels: int, axes: str) -> _Store:
    """Return the pyramid of every channel of a finished store."""
    from superres.volumes import open_volume

    volume = open_volume(path)
    levels = [[of_layer(level[:, channel], axes) for level in volume.levels] for channel in range(channels)]
    return _Store(path, levels, list(volume.voxel_size) if any(volume.voxel_size) else None)
