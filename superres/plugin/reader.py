"""napari's File > Open for everything that `superres.open_volume` reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superres.plugin.window import open_viewer

if TYPE_CHECKING:
    from superres.volumes import Volume

LayerData = tuple[Any, dict[str, Any], str]
ReaderFunction = Callable[[str | list[str]], list[LayerData]]

# More images at once than one wants in a list of layers.
_MOST_IMAGES = 16


def get_reader(path: str | list[str]) -> ReaderFunction | None:
    """Say whether superres opens `path`, by its name and first bytes.

    Parameters
    ----------
    path : str or list of str
        A file or folder; a list is a series of files.

    Returns
    -------
    callable or None
        None where it is nothing that superres reads. What it reads but cannot open (a damaged file, a folder of many
        images) is claimed, so that opening it says what is wrong.
    """
    from superres.errors import InputError
    from superres.volumes.opening import seems_readable

    try:
        readable = all(map(seems_readable, [path] if isinstance(path, str) else path))
    except InputError:
        return read
    return read if readable else None


def read(path: str | list[str]) -> list[LayerData]:
    """Open a file, a folder or a series of files as layers, one for each channel of each image; voxels are read later.

    Parameters
    ----------
    path : str or list of str
        As for `get_reader`; ``file::image`` is one of several images in a file.

    Raises
    ------
    InputError
        As `superres.open_volume`.
    """
    from superres.errors import InputError, UnknownAxesError

    if not isinstance(path, str):
        from superres.volumes.series import pattern_of

        files = [_absolute(file) for file in path]
        return _layers(files[0] if len(files) == 1 else pattern_of(files))
    path = _absolute(path)
    try:
        return _layers(path)
    except InputError as error:
        inside = [] if isinstance(error, UnknownAxesError) else _inside(path)
        if not inside:
            raise
    if len(inside) > 1:
        _tell_of_others(path, inside)
    layers: list[LayerData] = []
    for number, one in enumerate(inside[:_MOST_IMAGES]):
        layers += _layers(one, visible=number == 0)
    return layers


def _absolute(path: str) -> str:
    """Name a file so that another process finds it, too."""
    from superres.volumes.opening import is_url, split_part

    address, part = split_part(path)
    if is_url(address):
        return path
    return f"{Path(address).absolute()}{'' if part is None else f'::{part}'}"


def _layers(path: str, *, visible: bool = True) -> list[LayerData]:
    from superres.plugin.layers import layers_of

    volume, axes = _open(path)
    layers = layers_of(volume, given_axes=axes, visible=visible)
    overview = layers[0][1]["metadata"]["superres_overview"]
    viewer = None if overview is None else open_viewer()
    if viewer is not None:
        from superres.plugin.overview_layers import keep_fresh

        keep_fresh(overview, viewer, volume.source.name)
    return layers


def _open(path: str) -> tuple[Volume, str | None]:
    """Open an image; where it does not tell its axes, the user is asked. Returns the answer, too."""
    from superres.errors import UnknownAxesError
    from superres.volumes import open_volume

    try:
        return open_volume(path), None
    except UnknownAxesError as error:
        from superres.plugin.axes_question import ask_axes

        axes = ask_axes(error, Path(path).name)
        if axes is None:
            raise
        return open_volume(path, axes=axes), axes


def _inside(path: str) -> list[str]:
    """List the images of a file with several, or of a folder; those that can be opened."""
    from superres.errors import InputError
    from superres.volumes.collection import find_acquisitions
    from superres.volumes.opening import list_images

    try:
        if Path(path).is_dir():
            return [found.path for found in find_acquisitions([path]) if found.error is None]
        names = list_images(path)
    except InputError:
        return []
    return [f"{path}::{name}" for name in names] if len(names) > 1 else []


def _tell_of_others(path: str, inside: Sequence[str]) -> None:
    from napari.utils.notifications import show_info

    name = Path(path).name
    if len(inside) > _MOST_IMAGES:
        show_info(
            f"{name} holds {len(inside)} images; the first {_MOST_IMAGES} are in the list of layers. To see another "
            f"one, write it into a file of its own: superres convert '{inside[_MOST_IMAGES]}' image.ome.zarr"
        )
    else:
        show_info(f"{name} holds {len(inside)} images; all are in the list of layers, the first one is shown.")
