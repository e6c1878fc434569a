"""What OME-XML says about an image of a TIFF: voxel size, position, time step, channels.

Attributes are read as the texts that they are: a channel called "007" or "1e5" is no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import tifffile

from superres.volumes.units import micrometres_per, to_micrometre, to_second
from superres.volumes.volume import Calibration


def calibration_of_ome(
    xml: str, series: tifffile.TiffPageSeries, every: Sequence[tifffile.TiffPageSeries]
) -> Calibration:
    """Read what OME-XML says about `series`, one of `every` series of a file; unknown things stay unknown."""
    images = [element for element in ElementTree.fromstring(xml) if local_name(element) == "Image"]
    described = [image for image in images if _has_size_of(image, series)]
    # Images without data are no series, so only images of one size and name are counted.
    described = [image for image in described if image.get("Name", "") == series.name] or described
    alike = [other for other in every if other.name == series.name and other.shape[-2:] == series.shape[-2:]]
    number = next((number for number, other in enumerate(alike) if other is series), 0)
    if not described:
        return Calibration()
    pixels = _pixels(described[min(number, len(described) - 1)])
    channels = [element for element in pixels if local_name(element) == "Channel"]
    sizes = [_micrometre(pixels, f"PhysicalSize{axis}", default="µm") for axis in "ZYX"]
    names = [channel.get("Name") for channel in channels]
    return Calibration(
        voxel_size=(sizes[0], sizes[1], sizes[2]),
        translation=_position(pixels),
        channel_names=tuple(name for name in names if name is not None) if None not in names else (),
        time_step=to_second(_number(pixels.get("TimeIncrement")), pixels.get("TimeIncrementUnit", "s")),
        channel_colours=_colours(channels),
    )


def local_name(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _pixels(image: ElementTree.Element) -> ElementTree.Element:
    return next((child for child in image if local_name(child) == "Pixels"), ElementTree.Element("Pixels"))


def _has_size_of(image: ElementTree.Element, series: tifffile.TiffPageSeries) -> bool:
    """Whether an Image element has the size of a series; tifffile leaves out images without data."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    pixels = _pixels(image)
    return all(_number(pixels.get(f"Size{axis}")) == sizes[axis] for axis in "YX")


def _position(pixels: ElementTree.Element) -> tuple[float, float, float]:
    """Read where the first plane lies; without a unit of length it lies in a frame that nobody knows."""
    plane = next((child for child in pixels if local_name(child) == "Plane"), ElementTree.Element("Plane"))
    z, y, x = (
        (_number(plane.get(f"Position{axis}")) or 0.0) * (micrometres_per(plane.get(f"Position{axis}Unit")) or 0.0)
        for axis in "ZYX"
    )
    return z, y, x


def _colours(channels: Sequence[ElementTree.Element]) -> tuple[str, ...]:
    """Read the colours of the channels, signed numbers RGBA; empty unless all have one."""
    numbers = [_number(channel.get("Color")) for channel in channels]
    return tuple(f"{int(n) >> 8 & 0xFFFFFF:06X}" for n in numbers if n is not None) if None not in numbers else ()


def _micrometre(element: ElementTree.Element, name: str, *, default: str) -> float | None:
    return to_micrometre(_number(element.get(name)), element.get(f"{name}Unit", default))


def _number(text: str | None) -> float | None:
    """Read a finite number; None for anything else."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None
