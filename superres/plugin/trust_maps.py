"""The stores that tell how far to believe a result, as layers over it.

Which maps there are, and what their channels hold, is told by `superres.inference.trust` and
`superres.inference.interval`; these modules are not imported, since they load torch, and the stores say it themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from superres.plugin.grid import grid_on

SUSPICIOUS = 5.0
"""Standard deviations beyond which a place is called inconsistent, as `superres.inference.consistency` has it."""

FLAG_COLOURS: Mapping[str, str] = {
    "no value": "#8c8c8c",
    "saturated": "#e69f00",
    "inconsistent": "#d55e00",
    "out of range": "#cc79a7",
    "unlike the training data": "#56b4e9",
}
"""Colours of flags, most serious first: where a voxel has several, the first is shown. Edge and uncalibrated are told
at a click only, since all images have edges, and a model is calibrated for all voxels or none."""

_MAPS, _SIDES = 3, 2
_Z, _FLAGS = 0, 2
BLUE_TO_RED = [
    [0.1, 0.35, 1.0, 1.0],
    [0.4, 0.6, 1.0, 0.35],
    [1.0, 1.0, 1.0, 0.0],
    [1.0, 0.55, 0.3, 0.35],
    [1.0, 0.1, 0.0, 1.0],
]
"""Colours of deviations, RGBA, evenly spaced: nothing where there is none."""

HEAT = [[0.2, 0.0, 0.4, 0.0], [0.45, 0.05, 0.6, 0.55], [0.95, 0.3, 0.35, 0.85], [1.0, 0.9, 0.4, 1.0]]
"""Colours of half-widths, RGBA, evenly spaced: nothing where they are narrow."""


@dataclass(frozen=True, slots=True)
class TrustMaps:
    """Lazy maps of one channel of a result; what is not there is empty.

    Parameters
    ----------
    interval : tuple of dask.array.Array
        Half the length of the interval, levels from the finest on, on the grid of the result.
    below, above : dask.array.Array or None
        How far the interval reaches from the written value, finest level.
    z, flags : tuple of dask.array.Array
        Levels on the grid of the input.
    bits : mapping
        Name of a flag to its bit.
    claim : str
        What the intervals promise.
    widest : float
        Half-width that is drawn in the last colour.
    """

    interval: tuple[Any, ...] = ()
    below: Any = None
    above: Any = None
    z: tuple[Any, ...] = ()
    flags: tuple[Any, ...] = ()
    bits: Mapping[str, int] = field(default_factory=dict)
    claim: str = ""
    widest: float = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether there is no map at all."""
        return not (self.interval or self.z)

    def names(self, value: float | None) -> list[str]:
        """Return the names of the flags that are set in a value."""
        bits = 0 if value is None or not np.isfinite(value) else int(value)
        return [name for name, bit in self.bits.items() if bits & bit]


def open_maps(result: Path, channel: int, ndim: int) -> TrustMaps:
    """Open the maps beside a result; only headers and one small plane are read.

    Parameters
    ----------
    result : Path
        The store of the result.
    channel : int
        Of the result.
    ndim : int
        Axes of the result's layer, the last ones of TZYX.

    Raises
    ------
    InputError
        When a store beside the result is damaged.
    """
    from superres.volumes.beside import beside

    found: dict[str, Any] = {}
    trust, interval = beside(result, "trust"), beside(result, "interval")
    # Without its metadata a store is still being written.
    if _is_whole(trust):
        attributes, channels = _opened(trust, ndim)
        found = {"z": channels(channel * _MAPS + _Z), "flags": channels(channel * _MAPS + _FLAGS)}
        found["bits"] = dict(attributes.get("flags", {}))
    if _is_whole(interval):
        attributes, channels = _opened(interval, ndim)
        below, above = (channels(channel * _SIDES + side) for side in range(_SIDES))
        half = tuple((a.astype("float32") + b) / 2 for a, b in zip(below, above, strict=True))
        found |= {"interval": half, "below": below[0], "above": above[0], "widest": _widest(half[-1])}
        found["claim"] = str(attributes.get("claim", {}).get("text", ""))
    return TrustMaps(**found)


def _is_whole(store: Path) -> bool:
    return (store / "zarr.json").is_file() or (store / ".zattrs").is_file()


def _opened(store: Path, ndim: int) -> tuple[dict[str, Any], Any]:
    """Return what a store says of itself, and what gives the levels of one of its channels."""
    from superres.volumes import open_volume
    from superres.volumes.verification import root_attributes

    volume = open_volume(store)
    own = root_attributes(store)[0].get("superres")
    first = (0,) * (4 - ndim)
    return own if isinstance(own, dict) else {}, lambda c: tuple(level[:, c][first] for level in volume.levels)


def _widest(level: Any) -> float:
    """Choose the end of the colours: the middle plane of the coarsest level tells."""
    plane = level[tuple(n // 2 for n in level.shape[:-2])].compute(scheduler="synchronous")
    known = plane[np.isfinite(plane)]
    return float(max(np.percentile(known, 99), 1e-6)) if known.size else 1.0


# --- as layers -------------------------------------------------------------------------------------------------------


def interval_layer(maps: TrustMaps, result: Any) -> Any:
    """Make the layer of half-widths: nothing where they are narrow, bright where they are wide."""
    limits = (0.0, maps.widest)
    return _image(maps.interval, result, "interval half-width", limits, _colormap("superres half-width", HEAT))


def z_layer(maps: TrustMaps, result: Any) -> Any:
    """Make the layer of deviations: red where the result, recorded again, is brighter than the input, blue darker."""
    limits = (-SUSPICIOUS, SUSPICIOUS)
    return _image(maps.z, result, "consistency z", limits, _colormap("superres z", BLUE_TO_RED))


def flags_layer(maps: TrustMaps, result: Any) -> Any:
    """Make the layer of flags, one colour each."""
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    for value in range(1, 2 * max(maps.bits.values(), default=0)):
        names = maps.names(value)
        colours[value] = next((colour for name, colour in FLAG_COLOURS.items() if name in names), "transparent")
    levels = [level.astype("uint8") for level in maps.flags]
    layer = Labels(
        levels if len(levels) > 1 else levels[0],
        name=f"{result.name}: flags",
        colormap=DirectLabelColormap(color_dict=colours),
        metadata={"superres": {"overlay": "flags"}},
        **grid_on(result, levels[0].shape),
    )
    layer.editable = False
    return layer


def _image(levels: tuple[Any, ...], result: Any, what: str, limits: tuple[float, float], colormap: Any) -> Any:
    from napari.layers import Image

    return Image(
        list(levels) if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=f"{result.name}: {what}",
        colormap=colormap,
        contrast_limits=limits,
        blending="translucent",
        metadata={"superres": {"overlay": what}},
        **grid_on(result, levels[0].shape),
    )


def _colormap(name: str, colours: list[list[float]]) -> Any:
    from napari.utils.colormaps import Colormap

    return Colormap(colours, name=name)
