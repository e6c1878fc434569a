"""From a volume to napari's layers, and from a layer back to what a job can open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superres.volumes import Volume

LayerData = tuple[Any, dict[str, Any], str]


def layers_of(volume: Volume) -> list[LayerData]:
    """Show a volume as one image layer per channel; nothing but headers is read.

    Layers have the last axes of TZYX: YX of a single plane, ZYX of a stack, TZYX of a time series.

    Parameters
    ----------
    volume : Volume
        As `superres.open_volume` returns it.

    Returns
    -------
    list of tuple
        Data, arguments of `napari.layers.Image`, and ``"image"``. ``metadata["superres"]`` tells where the layer comes
        from: ``path`` (as `superres.open_volume` takes it), ``axes`` of the layer, ``voxel_size`` ([z, y, x] in
        micrometre, None where the file does not say), ``channel``.
    """
    return [_layer(volume, channel) for channel in range(volume.shape[1])]


def _layer(volume: Volume, channel: int) -> LayerData:
    axes = _axes(volume)
    drop = (0,) * (4 - len(axes))
    levels = [level[:, channel][drop] for level in volume.levels]
    name = volume.source.name
    if volume.channel_names:
        name = f"{name}: {volume.channel_names[channel]}"
    told = {
        "path": _path(volume),
        "axes": axes,
        "voxel_size": None if None in volume.voxel_size[1:] else list(volume.voxel_size),
        "channel": channel,
    }
    arguments: dict[str, Any] = {"name": name, "metadata": {"superres": told}}
    return levels if len(levels) > 1 else levels[0], arguments, "image"


def _axes(volume: Volume) -> str:
    t, _, z, _, _ = volume.shape
    if t > 1:
        return "TZYX"
    return "ZYX" if z > 1 else "YX"


def _path(volume: Volume) -> str:
    return str(volume.source) if volume.part is None else f"{volume.source}::{volume.part}"
