"""What to learn from: places that are marked on a result, with the recording it was made of and a sharp image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QWidget

from superres.errors import InputError, SuperresError
from superres.plugin.docked import Listening
from superres.plugin.grid import finest
from superres.plugin.layer_choice import LayerChoice, is_picture, source_of
from superres.plugin.marking import add_mark_layers, mark_layers, marks_on
from superres.plugin.model_row import ModelRow

_HELP = (
    "Draw over the result: in 'wrong' where it is not like the sharp image, in 'right' where it must stay as it is. "
    "The model learns from these places, each grown to a training patch, and three times as often from wrong as from "
    "right. The rest of the image is not learnt from; places in it are watched, to see how the model does elsewhere."
)


class MarksChoice(QWidget):
    """Lets a person mark what is right and wrong on a result.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers.
    listening : Listening
        Of the widget.
    """

    def __init__(self, viewer: Any, listening: Listening) -> None:
        super().__init__()
        self._viewer, self._listening = viewer, listening
        self.result, self.low, self.high = (LayerChoice(viewer, listening, is_picture) for _ in range(3))
        self.model = ModelRow()
        self.mark_button = QPushButton("Mark")
        self.count = QLabel("")
        self._heard: list[Any] = []
        self._lay_out()
        self.mark_button.clicked.connect(self.mark)
        self.result.chosen.connect(self._choose_model)
        for event in ("inserted", "removed"):
            listening.to(getattr(viewer.layers.events, event), self._follow)
        self._follow()

    @property
    def images(self) -> list[Any]:
        """The recording and the sharp image.

        Raises
        ------
        InputError
            When a layer is not chosen, or is chosen twice.
        """
        named = {"result": self.result.layer, "recording": self.low.layer, "sharp image": self.high.layer}
        missing = [name for name, layer in named.items() if layer is None]
        if missing:
            raise InputError(
                f"Choose a layer for the {' and the '.join(missing)}: marks are learnt from a recording and a sharp "
                "image of the same field."
            )
        if len(set(map(id, named.values()))) < len(named):
            raise InputError("One layer is chosen twice: result, recording and sharp image are three.")
        return [self.low.layer, self.high.layer]

    def asked(self) -> dict[str, Any]:
        """Return model, marks and result as `superres.plugin.marks_task.request` takes them.

        Raises
        ------
        InputError
            When there is no model, or what is drawn cannot be learnt from.
        """
        low, _ = self.images
        model = self.model.path
        assert self.model.header is not None
        marks = marks_on(mark_layers(self._viewer), low, self.result.layer, self.model.header.factor)
        own = source_of(self.result.layer)
        return {"model": model, "marks": marks, "result": None if own is None else own[0]}

    def mark(self) -> None:
        """Add the layers to draw in, and let the person draw."""
        if self.result.layer is None:
            show_error("Choose the result that you want to mark; upscale a recording first.")
            return
        if self._viewer.dims.ndisplay == 3:
            show_error("Marks are drawn in planes; leave the 3-D view (a button below the list of layers).")
            return
        add_mark_layers(self._viewer, self.result.layer)
        self._follow()

    def _follow(self, event: object = None) -> None:
        """Choose layers where nothing is chosen yet, and count what is drawn."""
        self._guess()
        for layer in mark_layers(self._viewer).values():
            if layer not in self._heard:
                self._heard.append(layer)
                self._listening.to(layer.events.data, self._count)
        self._count()

    def _guess(self) -> None:
        choices = (self.result, self.low, self.high)
        for choice in choices:  # napari tells the newest listener first
            choice.follow()
        if any(choice.layer is not None for choice in choices):
            return
        pictures = self.result.layers
        result = next((layer for layer in reversed(pictures) if _told(layer)), None)
        if result is None:
            return
        others = [layer for layer in pictures if layer is not result]
        origin, name = result.metadata["superres"].get("predicted_from"), _told(result).get("input", {}).get("name")
        paths = [(layer, source[0]) for layer in others if (source := source_of(layer)) is not None]
        low = next((one for one, path in paths if path == origin or Path(path).name == name), None)
        alike = (one for one in others if one is not low and finest(one).shape == finest(result).shape)
        self.low.choose(low)
        self.high.choose(next(alike, None))
        self.result.choose(result)

    def _choose_model(self) -> None:
        """Choose the model that the result tells it was made by, of those that were used last."""
        from superres.modelfile import read_model_header

        name = _told(self.result.layer).get("model", {}).get("name")
        for index in range(self.model.box.count() if name else 0):
            path = self.model.box.itemText(index)
            try:
                header = read_model_header(Path(path))
            except (SuperresError, OSError):
                continue
            if header.name == name:
                self.model.choose(Path(path))
                return

    def _count(self, event: object = None) -> None:
        layers = mark_layers(self._viewer)
        counts = {kind: len(layers[kind].data) if kind in layers else 0 for kind in ("wrong", "right")}
        self.count.setText(f"{counts['wrong']} marked as wrong, {counts['right']} as right")

    def _lay_out(self) -> None:
        text = QLabel(_HELP)
        for label in (text, self.count):
            label.setWordWrap(True)
        self.mark_button.setToolTip("Adds the layers 'wrong' and 'right', and takes the tool for rectangles")
        self.low.setToolTip("The recording that the result was made of")
        self.high.setToolTip("The same field, recorded as sharp as the result should be")
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Result", self.result)
        form.addRow("Recording", self.low)
        form.addRow("Sharp", self.high)
        form.addRow(QLabel("The model that made the result"))
        form.addRow(self.model)
        form.addRow(text)
        form.addRow(self.mark_button, self.count)


def _told(layer: Any) -> Mapping[str, Any]:
    """Return what the store of a layer says of how it was predicted; empty for what no model made."""
    from superres.volumes.verification import root_attributes

    own = source_of(layer)
    if own is None or not Path(own[0]).is_dir():
        return {}
    told = root_attributes(Path(own[0]))[0].get("superres")
    return told if isinstance(told, dict) and "model" in told else {}
