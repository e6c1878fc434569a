"""From a volume to napari's layers, and from a layer back to what a job can open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Layer

    from superres.volumes import Volume
    from superres.volumes.display import Display

LayerData = tuple[Any, dict[str, Any], str]
VoxelSize = tuple[float | None, float | None, float | None]

_ENDINGS = (".ome.zarr", ".zarr.zip", ".ome.tiff", ".ome.tif", ".companion.ome")
# So many channels at once can still be told apart; the others are there, but not shown before they are asked for.
_MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a layer that superres opened comes from.

    Parameters
    ----------
    path : str
        As `superres.open_volume` takes it.
    axes : str
        Of the layer: ``"YX"``, ``"ZYX"`` or ``"TZYX"``.
    channel : int
        Which channel of the file the layer shows.
    given_axes : str or None
        ``axes`` for `superres.open_volume`, where the file does not tell them and the user did.
    """

    path: str
    axes: str
    channel: int
    given_axes: str | None = None


def layers_of(volume: Volume, *, given_axes: str | None = None, visible: bool = True) -> list[LayerData]:
    """Show a volume as one image layer per channel; of its voxels only a few are read, for the contrast.

    Layers have the last axes of TZYX: YX of a single plane, ZYX of a stack, TZYX of a time series. Where the file says
    so they lie in micrometre and seconds; else in pixels, with a scale of 1.

    Parameters
    ----------
    volume : Volume
        As `superres.open_volume` returns it.
    given_axes : str, optional
        The axes with which it was opened, where the file does not tell them.
    visible : bool
        Whether the layers are shown from the start.

    Returns
    -------
    list of tuple
        Data, arguments of `napari.layers.Image`, and ``"image"``. ``metadata["superres"]`` tells where the layer comes
        from: the fields of `Origin`, and ``voxel_size`` ([z, y, x] in micrometre; None where the file does not say);
        ``metadata["superres_overview"]`` is what averages planes that are too large (see `Overview`), or None.

    Raises
    ------
    InputError
        When the file turns out damaged.
    """
    from superres.volumes.display import display_of

    display = display_of(volume)
    return [_layer(volume, display, channel, given_axes, visible) for channel in range(volume.shape[1])]


def _layer(volume: Volume, display: Display, channel: int, given_axes: str | None, visible: bool) -> LayerData:
    axes = _axes(volume)
    single = (0,) * (4 - len(axes))
    levels = [level[single] if single else level for level in display.channel(channel)]
    arguments: dict[str, Any] = {
        "name": _name(volume, channel),
        **placed(volume, axes),
        **_shown(volume, channel),
        "visible": visible and channel < _MOST_SHOWN,
        # A cache would go on showing an overview as it was at first.
        "cache": display.overview is None,
        "multiscale": len(levels) > 1,
        "metadata": {"superres": _told(volume, axes, channel, given_axes), "superres_overview": display.overview},
    }
    return levels if len(levels) > 1 else levels[0], arguments, "image"


def _axes(volume: Volume) -> str:
    t, _, z, _, _ = volume.shape
    if t > 1:
        return "TZYX"
    return "ZYX" if z > 1 else "YX"


def _name(volume: Volume, channel: int) -> str:
    name = volume.source.name
    ending = next((end for end in _ENDINGS if name.lower().endswith(end)), Path(name).suffix)
    name = name[: len(name) - len(ending)]
    if volume.part is not None:
        name = f"{name} {volume.part}"
    if volume.channel_names and volume.channel_names[channel]:
        return f"{name}: {volume.channel_names[channel]}"
    return f"{name}: channel {channel}" if volume.shape[1] > 1 else name


def placed(volume: Volume, axes: str) -> dict[str, Any]:
    """Return where a layer of a volume lies: scale, translate, units and axis labels for the axes of the layer.

    Parameters
    ----------
    volume : Volume
        Its level 0 is the layer's.
    axes : str
        The layer's, the last ones of ``"TZYX"``.
    """
    sizes = dict(zip("TZYX", (volume.time_step, *volume.voxel_size), strict=True))
    starts = dict(zip("TZYX", (0.0, *volume.translation), strict=True))
    units = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}
    return {
        "scale": tuple(sizes[axis] or 1.0 for axis in axes),
        "translate": tuple(starts[axis] for axis in axes),
        "units": tuple(units[axis] if sizes[axis] else "pixel" for axis in axes),
        "axis_labels": tuple(axes.lower()),
    }


def _shown(volume: Volume, channel: int) -> dict[str, Any]:
    from superres.volumes.display import sampled_contrast
    from superres.volumes.ngff import channel_colours

    several = volume.shape[1] > 1
    colours = volume.channel_colours or channel_colours(volume.shape[1])
    colour = colours[channel]
    windows = volume.channel_windows
    return {
        "colormap": "gray" if colour.upper() == "FFFFFF" else f"#{colour.lower()}",
        "blending": "additive" if several else "translucent_no_depth",
        "contrast_limits": windows[channel] if windows else sampled_contrast(volume, channel),
    }


def _told(volume: Volume, axes: str, channel: int, given_axes: str | None) -> dict[str, Any]:
    known = any(size is not None for size in volume.voxel_size)
    return {
        "path": _path(volume),
        "axes": axes,
        "voxel_size": list(volume.voxel_size) if known else None,
        "channel": channel,
        "given_axes": given_axes,
    }


def _path(volume: Volume) -> str:
    return str(volume.source) if volume.part is None else f"{volume.source}::{volume.part}"


def origin_of(layer: Layer) -> Origin | None:
    """Tell where a layer comes from; None for one that superres did not open."""
    told = layer.metadata.get("superres")
    if not isinstance(told, dict) or "path" not in told:
        return None
    return Origin(str(told["path"]), str(told["axes"]), int(told["channel"]), told.get("given_axes"))


def voxel_size_of(layer: Layer) -> VoxelSize:
    """Return the voxel size that a layer says it has, ZYX in micrometre; None where it does not say.

    A layer in pixels whose scale along Y and X is 1 does not say; one with another scale is taken to be in micrometre,
    as most readers leave the unit out.
    """
    return voxel_size(layer.scale, layer.units)


def voxel_size(scale: Sequence[float], units: Sequence[Any]) -> VoxelSize:
    """Return the voxel size that a scale with units amounts to (see `voxel_size_of`)."""
    if all(str(unit) == "pixel" for unit in units):
        known = any(float(size) != 1.0 for size in scale[-2:])
        sizes = [float(size) if known else None for size in scale]
    else:
        sizes = [in_unit(size, unit, "micrometer") for size, unit in zip(scale, units, strict=True)]
    z, y, x = ([None] * 3 + sizes)[-3:]
    return z, y, x


def in_unit(value: float, unit: Any, wanted: str) -> float | None:
    """Convert a length or time; None where the unit measures something else."""
    import pint

    quantity = float(value) * pint.get_application_registry().Quantity(1, str(unit))  # type: ignore[no-untyped-call]
    return float(quantity.to(wanted).magnitude) if quantity.is_compatible_with(wanted) else None
