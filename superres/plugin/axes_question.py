"""Ask what the axes of a file are that does not tell: they are never guessed."""

from __future__ import annotations

from superres.errors import UnknownAxesError
from superres.plugin.window import open_window

_MEANINGS = {"Z": "planes in depth (Z)", "T": "time points (T)", "C": "channels (C)"}


def ask_axes(error: UnknownAxesError, name: str) -> str | None:
    """Let the user choose what the axes of a file are.

    Parameters
    ----------
    error : UnknownAxesError
        What opening the file said.
    name : str
        Of the file.

    Returns
    -------
    str or None
        The ``axes`` for `superres.open_volume`; None without a viewer to ask in, or where the user gives up.
    """
    from superres.volumes.axes import possible_axes

    window = open_window()
    choices = {meaning(axes, error): axes for axes in possible_axes(error.found)}
    if window is None or not choices:
        return None
    from qtpy.QtWidgets import QInputDialog

    sizes = " x ".join(map(str, error.shape))
    question = f"{name} ({sizes} voxels) does not say what its axes are.\nWhat is it?"
    chosen, accepted = QInputDialog.getItem(window, "superres: axes of the image", question, list(choices), 0, False)
    return choices[chosen] if accepted else None


def meaning(axes: str, error: UnknownAxesError) -> str:
    """Say in words what axes make of an image, for example "30 planes in depth (Z), 512 x 512 pixels"."""
    sizes = dict(zip(axes, error.shape, strict=True))
    stacked = [f"{sizes[letter]} {_MEANINGS[letter]}" for letter in axes if letter in _MEANINGS]
    return ", ".join([*stacked, f"{sizes['Y']} x {sizes['X']} pixels"])
