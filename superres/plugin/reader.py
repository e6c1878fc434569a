"""napari's File > Open for everything that `superres.open_volume` reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]
ReaderFunction = Callable[[str | list[str]], list[LayerData]]


def get_reader(path: str | list[str]) -> ReaderFunction | None:
    """Say whether superres opens `path`, by its name and first bytes.

    Parameters
    ----------
    path : str or list of str
        A file or folder; a list is a series of files.

    Returns
    -------
    callable or None
        None where it is nothing that superres reads.
    """
    if not isinstance(path, str):
        return None
    return read


def read(path: str | list[str]) -> list[LayerData]:
    """Open a file or folder as layers, one for each channel; only headers are read."""
    from superres.plugin.layers import layers_of
    from superres.volumes import open_volume

    assert isinstance(path, str)
    return layers_of(open_volume(path))
