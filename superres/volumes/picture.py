"""A picture of a volume at a glance: every channel, middle plane and projection, in one PNG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from superres.errors import InputError, OutputWriteError
from superres.volumes.axes import TczyxArray
from superres.volumes.survey import SAMPLE_BYTES
from superres.volumes.volume import Volume

_SIDE = 384
_MOST_CHANNELS = 6
_GAP = 12
_LINE = 20
_FONT = 14
_NARROWEST = 260
_PERCENTILES = (0.5, 99.8)
# Bytes of a projection that are read at a time, and of the largest plane that is shown whole.
_SLAB_BYTES = 16 * 2**20
_PLANE_BYTES = SAMPLE_BYTES
_PAPER, _INK, _DIM, _MISSING = 24, 235, 160, (160, 40, 40)


@dataclass(frozen=True, slots=True)
class _View:
    """What a row of the picture shows."""

    caption: str
    t: int
    planes: slice


@dataclass(frozen=True, slots=True)
class _Tile:
    """One thumbnail: grey levels (y, x), and image voxels per pixel of it along Y and X."""

    plane: NDArray[Any]
    step: tuple[float, float]
    note: str


def write_picture(volume: Volume, path: Path) -> None:
    """Draw a volume and write it as PNG (or what else the ending says).

    Raises
    ------
    InputError
        When the image turns out damaged, or the ending of `path` is none of a picture.
    OutputWriteError
        When it cannot be written.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{path}: a picture ends with .png or .jpg; give for example --picture {path.stem}.png")
    picture = draw_picture(volume)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, picture)
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror or error})") from None


def draw_picture(volume: Volume) -> NDArray[np.uint8]:
    """Draw thumbnails: a column per channel, a row per view, with contrast, scale bar and what is shown.

    Views are the middle plane and, where it is small enough to be read, the maximum along Z; of a time series the
    first, middle and last time point. A pyramid is drawn from a coarse level. A plane too large to be read is cropped.

    Returns
    -------
    ndarray, (y, x, 3)
        8-bit RGB.
    """
    array, factor = _level(volume)
    channels = range(min(volume.shape[1], _MOST_CHANNELS))
    rows = [(view, [_tile(array, view, c, factor) for c in channels]) for view in _views(array, len(channels))]
    height, width = (max(tile.plane.shape[axis] for _, row in rows for tile in row) for axis in (0, 1))
    top = _GAP + (_LINE if _heading(volume, 0) else 0)
    left_out = volume.shape[1] > len(channels)
    lines = sum(2 if view.caption else 1 for view, _ in rows)
    size = (_GAP + (_GAP + width) * len(channels), top + (height + _GAP) * len(rows) + _LINE * (lines + left_out))
    sheet = Image.new("RGB", (max(size[0], _NARROWEST), size[1]), (_PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for c in channels if _heading(volume, 0) else ():
        _write(draw, (_GAP + (_GAP + width) * c, _GAP), _heading(volume, c), width, _INK)
    for view, row in rows:
        if view.caption:
            _write(draw, (_GAP, top), view.caption + row[0].note, sheet.width - 2 * _GAP, _INK)
            top += _LINE
        for c, tile in zip(channels, row, strict=True):
            left = _GAP + (_GAP + width) * c
            shown, contrast = _shown(tile.plane, whole=volume.dtype.kind in "iu")
            sheet.paste(Image.fromarray(shown), (left, top))
            bar = _scale_bar(draw, volume, tile, (left, top)) if c == 0 else ""
            below = top + tile.plane.shape[0] + 2
            room = max(width, sheet.width - 2 * _GAP) if len(channels) == 1 else width
            _write(draw, (left, below), ", ".join(text for text in (bar, contrast) if text), room, _DIM)
        top += height + _LINE + _GAP
    if left_out:
        more = f"the first {len(channels)} of {volume.shape[1]} channels"
        _write(draw, (_GAP, sheet.height - _LINE), more, sheet.width, _DIM)
    return np.asarray(sheet)


def _heading(volume: Volume, channel: int) -> str:
    if volume.channel_names:
        return f"{channel} {volume.channel_names[channel]}"
    return f"channel {channel}" if volume.shape[1] > 1 else ""


# --- what is shown ---------------------------------------------------------------------------------------------------


def _level(volume: Volume) -> tuple[Any, tuple[float, float]]:
    """Return the coarsest level that fills a thumbnail, and voxels of the finest per voxel of it along Y and X."""
    full = volume.shape[3:]
    large = [level for level in volume.levels if max(level.shape[3:]) >= _SIDE]
    if len(large) < 2 and volume.finest is not None:
        return volume.finest, (1.0, 1.0)
    level = (large or list(volume.levels[:1]))[-1]
    return level, (full[0] / level.shape[3], full[1] / level.shape[4])


def _views(array: Any, channels: int) -> list[_View]:
    nt, _, nz, ny, nx = array.shape
    z, half = nz // 2, nt // 2
    middle = f"middle plane (z {z} of {nz})" if nz > 1 else ""
    times = [0, half, nt - 1] if nt > 2 else list(range(nt))
    stamps = [f"time point {t} of {nt}" if nt > 1 else "" for t in times]
    views = [
        _View(", ".join(text for text in (stamp, middle) if text), t, slice(z, z + 1))
        for t, stamp in zip(times, stamps, strict=True)
    ]
    if nz > 1 and nz * ny * nx * array.dtype.itemsize * channels <= SAMPLE_BYTES:
        stamp = f"time point {half} of {nt}, " if nt > 1 else ""
        views.append(_View(f"{stamp}maximum of all {nz} planes", half, slice(0, nz)))
    return views


def _tile(array: Any, view: _View, channel: int, factor: tuple[float, float]) -> _Tile:
    """Read a view, at most a slab of it at a time, and bring it to the size of a thumbnail."""
    height, width = array.shape[3:]
    y, x, note = slice(0, height), slice(0, width), ""
    if height * width * array.dtype.itemsize > _PLANE_BYTES:
        side = int(math.sqrt(_SLAB_BYTES / array.dtype.itemsize))
        y, x = (slice(max(0, (n - side) // 2), (n + side) // 2) for n in (height, width))
        note = ", the middle of it"
    plane: NDArray[Any] | None = None
    depth = max(1, _SLAB_BYTES // ((y.stop - y.start) * (x.stop - x.start) * array.dtype.itemsize))
    for start in range(view.planes.start, view.planes.stop, depth):
        block = _read(array, view.t, channel, slice(start, min(start + depth, view.planes.stop)), y, x)
        highest = np.fmax.reduce(block, axis=0)
        plane = highest if plane is None else np.fmax(plane, highest)
    assert plane is not None
    thumbnail, step = _resized(plane)
    return _Tile(thumbnail, (step[0] * factor[0], step[1] * factor[1]), note)


def _read(array: Any, t: int, c: int, z: slice, y: slice, x: slice) -> NDArray[Any]:
    region = array[t, c, z, y, x]
    return region if isinstance(array, TczyxArray) else np.asarray(region.compute(scheduler="synchronous"))


def _resized(plane: NDArray[Any]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Average whole cells of a large plane, repeat the voxels of a small one."""
    values = plane.astype(np.float64)
    longest = max(values.shape)
    if longest < _SIDE:
        times = _SIDE // longest
        return values.repeat(times, axis=0).repeat(times, axis=1), (1 / times, 1 / times)
    cell = round(longest / _SIDE)
    # Cells at the end average what there is; NaN is left out.
    return _cell_means(values, cell), (float(cell), float(cell))


def _cell_means(values: NDArray[np.float64], cell: int) -> NDArray[np.float64]:
    finite = np.isfinite(values)
    starts = [np.arange(0, size, cell) for size in values.shape]

    def total(array: NDArray[Any]) -> NDArray[np.float64]:
        rows = np.add.reduceat(array, starts[0], axis=0, dtype=np.float64)
        return np.asarray(np.add.reduceat(rows, starts[1], axis=1, dtype=np.float64))

    with np.errstate(invalid="ignore"):
        return total(np.where(finite, values, 0.0)) / total(finite)


def _shown(plane: NDArray[np.float64], *, whole: bool) -> tuple[NDArray[np.uint8], str]:
    """Return a plane as RGB, missing values red, and what is black and white in it."""
    finite = plane[np.isfinite(plane)]
    if finite.size == 0:
        return np.full((*plane.shape, 3), _MISSING, np.uint8), "no values"
    black, white = (float(value) for value in np.percentile(finite, _PERCENTILES))
    if white <= black:
        black, white = float(finite.min()), float(finite.max())
    share = (np.nan_to_num(plane, nan=black, posinf=white, neginf=black) - black) / max(white - black, 1e-300)
    grey = (np.clip(share, 0, 1) * 255).round().astype(np.uint8)
    shown = np.repeat(grey[..., None], 3, axis=2)
    shown[~np.isfinite(plane)] = _MISSING
    return shown, f"grey {_number(black, whole)} to {_number(white, whole)}"


def _number(value: float, whole: bool) -> str:
    return f"{value:.0f}" if whole or 1000 <= abs(value) < 1e7 else f"{value:.3g}"


# --- drawing ---------------------------------------------------------------------------------------------------------


def _scale_bar(draw: ImageDraw.ImageDraw, volume: Volume, tile: _Tile, corner: tuple[int, int]) -> str:
    """Draw a bar into the lower left of a thumbnail and return its length; nothing if the voxel size is unknown."""
    size = volume.voxel_size[2]
    height, width = tile.plane.shape
    if size is None or width < 40 or height < 16:
        return ""
    per_pixel = size * tile.step[1]
    length = _round_length(per_pixel * width / 3)
    pixels = round(length / per_pixel)
    left, bottom = corner[0] + 8, corner[1] + height - 8
    draw.rectangle((left - 1, bottom - 5, left + pixels + 1, bottom + 1), fill=(0, 0, 0))
    draw.rectangle((left, bottom - 4, left + pixels, bottom), fill=(255, 255, 255))
    return f"bar {_length_text(length)}"


def _round_length(longest: float) -> float:
    """Return the longest of 1, 2, 5, 10, ... that is not above `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))


def _length_text(micrometre: float) -> str:
    if micrometre >= 1000:
        return f"{micrometre / 1000:g} mm"
    return f"{micrometre:g} um" if micrometre >= 0.1 else f"{micrometre * 1000:g} nm"


def _write(draw: ImageDraw.ImageDraw, corner: Sequence[int], text: str, width: int, grey: int) -> None:
    """Write one line, cut where it would leave its column."""
    font = ImageFont.load_default(_FONT)
    while len(text) > 3 and draw.textlength(text, font=font) > width:
        text = text.removesuffix("..")[:-1].rstrip() + ".."
    draw.text((corner[0], corner[1]), text, font=font, fill=(grey,) * 3)
