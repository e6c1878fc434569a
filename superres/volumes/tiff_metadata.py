"""Voxel size, time step and channel names from the metadata of a TIFF; what is not said stays unknown."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from superres.volumes.ome_reading import calibration_of_ome
from superres.volumes.units import micrometres_per, to_micrometre, to_second
from superres.volumes.volume import Calibration

# Scanners and screens write 72 to 1200 dots per inch into any TIFF; no microscope has pixels that large.
_PRINT_PIXEL = 20.0
_CENTIMETRE, _INCH = 3, 2
# Finer than an atom or coarser than a millimetre: a unit that nobody meant (1 pixel = 1 inch).
_SMALLEST, _LARGEST = 1e-5, 1e3
_POSITION = re.compile(r"^\s*([czt]:\d+/\d+\s*)+(-\s*)?")
_PRINT_UNITS = {"inch", "in", "cm", "centimeter"}


def read_calibration(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Read what the file says, by its dialect: OME-XML, ImageJ's description, or plain resolution tags."""
    if series.kind == "ome" and file.ome_metadata:
        return calibration_of_ome(file.ome_metadata, series, file.series)
    page = file.pages[0]
    if series.kind == "imagej" and file.imagej_metadata is not None:
        return _from_imagej(file.imagej_metadata, page, series)
    y, x = _plain_pixel(page)
    return Calibration(voxel_size=(None, y, x))


def _from_imagej(metadata: dict[str, Any], page: Any, series: tifffile.TiffPageSeries) -> Calibration:
    unit = metadata.get("unit") or {_CENTIMETRE: "cm", _INCH: "inch"}.get(page.resolutionunit)
    scale = micrometres_per(unit)
    y, x = (_length(page, tag, scale) for tag in ("YResolution", "XResolution"))
    if str(unit).strip().lower() in _PRINT_UNITS and not _finer_than_print(y, x):
        y = x = None
    # ImageJ may hold further units for Y and Z, and writes a negative spacing for a stack recorded downwards.
    spacing = metadata.get("spacing")
    z = to_micrometre(abs(spacing), metadata.get("zunit") or unit) if isinstance(spacing, int | float) else None
    channels = dict(zip(series.axes, series.shape, strict=True)).get("C", 1)
    return Calibration(
        voxel_size=(z, y, x),
        channel_names=_imagej_channels(metadata, channels),
        channel_colours=_imagej_colours(metadata, channels),
        # ImageJ writes an interval into stacks that have no time points, too.
        time_step=to_second(metadata.get("finterval"), metadata.get("tunit") or "s") if "T" in series.axes else None,
    )


def _imagej_channels(metadata: dict[str, Any], channels: int) -> tuple[str, ...]:
    """Read names from the plane labels, of which the first C belong to the channels of plane 0."""
    # Hyperstack labels read "c:1/2 z:1/9 - DAPI"; only the text after the position is a name.
    labels = [_POSITION.sub("", str(label)).strip() for label in _as_list(metadata.get("Labels"))]
    if channels == 1:  # labels that differ are those of planes
        return (labels[0],) if len(set(labels)) == 1 and labels[0] else ()
    names = labels[:channels]
    return tuple(names) if len(set(names)) == channels and all(names) else ()


def _imagej_colours(metadata: dict[str, Any], channels: int) -> tuple[str, ...]:
    """Read colours from the lookup tables of the channels; empty unless each goes evenly from black to a colour."""
    tables = [np.asarray(table) for table in _as_list(metadata.get("LUTs"))]
    if len(tables) != channels or any(table.shape != (3, 256) for table in tables):
        return ()
    if any(np.abs(table - lookup_table(*table[:, -1])).max() > 1 for table in tables):
        return ()
    return tuple("".join(f"{int(value):02X}" for value in table[:, -1]) for table in tables)


def _as_list(value: Any) -> list[Any]:
    """Return what tifffile hands on bare where there is but one of it as a list."""
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def lookup_table(red: int, green: int, blue: int) -> NDArray[np.uint8]:
    """Return ImageJ's table of a colour: (3, 256), evenly from black to the colour."""
    ramp = np.linspace(0, 1, 256)
    return np.rint([int(red) * ramp, int(green) * ramp, int(blue) * ramp]).astype(np.uint8)


def _plain_pixel(page: Any) -> tuple[float | None, float | None]:
    scale = {_CENTIMETRE: 1e4, _INCH: 25400.0}.get(page.resolutionunit)
    y, x = (_length(page, tag, scale) for tag in ("YResolution", "XResolution"))
    return (y, x) if _finer_than_print(y, x) else (None, None)


def _finer_than_print(y: float | None, x: float | None) -> bool:
    return y is not None and x is not None and max(y, x) <= _PRINT_PIXEL


def _length(page: Any, tag: str, scale: float | None) -> float | None:
    """Convert a resolution tag (pixels per unit, a fraction) to micrometre per pixel."""
    entry = page.tags.get(tag)
    if entry is None or scale is None:
        return None
    value = entry.value
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    length = float(value[1] / value[0] * scale)
    return length if _SMALLEST <= length <= _LARGEST else None
