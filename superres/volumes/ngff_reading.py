"""What OME-Zarr metadata of versions 0.1 to 0.5 say about an image: axes, voxel size, time step, channels.

Nothing in this module touches a disk; damaged metadata raise what Python raises, and the caller names the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from superres.volumes.axes import TCZYX
from superres.volumes.units import micrometres_per, to_micrometre, to_second
from superres.volumes.volume import Calibration

_COLOUR = re.compile("[0-9A-Fa-f]{6}")
_NAMES = {"TIME": "T", "FRAME": "T", "CHANNEL": "C"}
_KINDS = {"time": "T", "channel": "C"}


def axes_of(multiscale: Mapping[str, Any], count: int) -> tuple[str, list[Any]]:
    """Return a letter and a unit per axis; versions before 0.3 do not name the axes, which are TCZYX."""
    axes = multiscale.get("axes")
    if axes is None:
        return (TCZYX if count == 5 else "Q" * count), [None] * count
    if len(axes) != count:
        raise IndexError(f"{len(axes)} axes named, the arrays have {count}")
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    return "".join(axis_letter(axis.get("name"), axis.get("type")) for axis in named), [a.get("unit") for a in named]


def axis_letter(name: object, kind: object = None) -> str:
    """Return the letter of TCZYX for an axis' name and type; Q for one that is none of them."""
    letter = str(name).upper()
    if letter in tuple(TCZYX):
        return letter
    return _KINDS.get(str(kind), _NAMES.get(letter, "Q"))


def calibration_of(
    multiscale: Mapping[str, Any], level: int, letters: str, *, units: Sequence[Any], omero: object
) -> Calibration:
    """Read voxel size, translation, time step and channel names; what has no unit of length or time is unknown."""
    scale, shift = _transform(multiscale, level, len(letters))
    by_letter = {letter: (scale[i], shift[i], units[i]) for i, letter in enumerate(letters)}
    sizes, translation = [], []
    for letter in "ZYX":
        size, offset, unit = by_letter.get(letter, (1.0, 0.0, None))
        per = micrometres_per(unit)
        sizes.append(to_micrometre(size, unit))
        translation.append(0.0 if per is None else offset * per)
    step, _, unit = by_letter.get("T", (1.0, 0.0, None))
    return Calibration(
        voxel_size=(sizes[0], sizes[1], sizes[2]),
        translation=(translation[0], translation[1], translation[2]),
        channel_names=_channel_names(omero),
        time_step=to_second(step, unit),
        channel_colours=_channel_colours(omero),
        channel_windows=_channel_windows(omero),
    )


def _channel_names(omero: object) -> tuple[str, ...]:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return ()
    labels = [channel.get("label") if isinstance(channel, dict) else None for channel in channels]
    return tuple(map(str, labels)) if all(label is not None for label in labels) else ()


def _channel_colours(omero: object) -> tuple[str, ...]:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    colours = [str(one.get("color")) for one in channels if isinstance(one, dict)] if isinstance(channels, list) else []
    return tuple(colour.upper() for colour in colours) if all(map(_COLOUR.fullmatch, colours)) else ()


def _channel_windows(omero: object) -> tuple[tuple[float, float], ...]:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    described = channels if isinstance(channels, list) else []
    windows = [one.get("window") if isinstance(one, dict) else None for one in described]
    ends = [(one.get("start"), one.get("end")) if isinstance(one, dict) else (None, None) for one in windows]
    known = [(float(a), float(b)) for a, b in ends if isinstance(a, int | float) and isinstance(b, int | float)]
    usable = all(math.isfinite(a) and math.isfinite(b) and a < b for a, b in known)
    return tuple(known) if usable and len(known) == len(ends) else ()


def _transform(multiscale: Mapping[str, Any], level: int, count: int) -> tuple[list[float], list[float]]:
    """Compose the transformations of a level with those of the whole image, in the order in which they apply."""
    scale, shift = [1.0] * count, [0.0] * count
    steps = multiscale["datasets"][level].get("coordinateTransformations") or []
    for step in [*steps, *(multiscale.get("coordinateTransformations") or [])]:
        if step["type"] == "scale" and "scale" in step:
            factors = [float(value) for value in step["scale"]]
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            shift = [a * b for a, b in zip(shift, factors, strict=True)]
        elif step["type"] == "translation" and "translation" in step:
            shift = [a + float(b) for a, b in zip(shift, step["translation"], strict=True)]
    if not all(map(math.isfinite, [*scale, *shift])):
        raise TypeError("a scale or translation is not finite")
    return scale, shift
