"""Voxel size, time step and channel names from the metadata of a TIFF; what is not said stays unknown."""

from __future__ import annotations

import re
from typing import Any

import tifffile

from superres.volumes.units import micrometres_per, to_micrometre, to_second
from superres.volumes.volume import Calibration

# Scanners and screens write 72 to 1200 dots per inch into any TIFF; no microscope has pixels that large.
_PRINT_PIXEL = 20.0
_CENTIMETRE, _INCH = 3, 2


def read_calibration(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Calibration:
    """Read what the file says, by its dialect: OME-XML, ImageJ's description, or plain resolution tags."""
    if series.kind == "ome" and file.ome_metadata:
        return _from_ome(file.ome_metadata, series)
    page = file.pages[0]
    if series.kind == "imagej" and file.imagej_metadata is not None:
        return _from_imagej(file.imagej_metadata, page, series)
    y, x = _plain_pixel(page)
    return Calibration(voxel_size=(None, y, x))


def _from_ome(xml: str, series: tifffile.TiffPageSeries) -> Calibration:
    images = _as_list(tifffile.xml2dict(xml).get("OME", {}).get("Image"))
    pixels: dict[str, Any] = next((image["Pixels"] for image in images if _describes(image, series)), {})
    sizes = [
        to_micrometre(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"
    ]
    names = [channel.get("Name") for channel in _as_list(pixels.get("Channel"))]
    return Calibration(
        voxel_size=(sizes[0], sizes[1], sizes[2]),
        channel_names=tuple(map(str, names)) if all(name is not None for name in names) else (),
        time_step=to_second(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")),
    )


def _describes(image: dict[str, Any], series: tifffile.TiffPageSeries) -> bool:
    """Whether an Image element has the size of a series; tifffile leaves out images without data."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    pixels = image.get("Pixels", {})
    return bool(pixels.get("SizeY") == sizes["Y"] and pixels.get("SizeX") == sizes["X"])


def _as_list(value: Any) -> list[dict[str, Any]]:
    return [item for item in (value if isinstance(value, list | tuple) else [value]) if isinstance(item, dict)]


def _from_imagej(metadata: dict[str, Any], page: Any, series: tifffile.TiffPageSeries) -> Calibration:
    unit = metadata.get("unit") or {_CENTIMETRE: "cm", _INCH: "inch"}.get(page.resolutionunit)
    scale = micrometres_per(unit)
    y, x = (_length(page, tag, scale) for tag in ("YResolution", "XResolution"))
    # ImageJ may hold further units for Y and Z, and writes a negative spacing for a stack recorded downwards.
    spacing = metadata.get("spacing")
    z = to_micrometre(abs(spacing), metadata.get("zunit") or unit) if isinstance(spacing, int | float) else None
    return Calibration(
        voxel_size=(z, y, x),
        channel_names=_imagej_channels(metadata, series),
        # ImageJ writes an interval into stacks that have no time points, too.
        time_step=to_second(metadata.get("finterval"), metadata.get("tunit") or "s") if "T" in series.axes else None,
    )


def _imagej_channels(metadata: dict[str, Any], series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Read names from the plane labels, of which the first C belong to the channels of plane 0."""
    labels = [str(label) for label in metadata.get("Labels") or ()]
    channels = dict(zip(series.axes, series.shape, strict=True)).get("C", 1)
    if len(labels) < channels:
        return ()
    # Hyperstack labels read "c:1/2 z:1/9 - DAPI"; only the text after the position is a name.
    names = tuple(re.sub(r"^\s*([czt]:\d+/\d+\s*)+(-\s*)?", "", label).strip() for label in labels[:channels])
    distinct = len(set(names)) == channels and all(names)
    return names if distinct and (channels > 1 or len(labels) == 1) else ()


def _plain_pixel(page: Any) -> tuple[float | None, float | None]:
    scale = {_CENTIMETRE: 1e4, _INCH: 25400.0}.get(page.resolutionunit)
    y, x = (_length(page, tag, scale) for tag in ("YResolution", "XResolution"))
    believable = y is not None and x is not None and max(y, x) <= _PRINT_PIXEL
    return (y, x) if believable else (None, None)


def _length(page: Any, tag: str, scale: float | None) -> float | None:
    """Convert a resolution tag (pixels per unit, a fraction) to micrometre per pixel."""
    entry = page.tags.get(tag)
    if entry is None or scale is None:
        return None
    value = entry.value
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[1] / value[0] * scale)
