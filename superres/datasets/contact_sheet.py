"""The contact sheet of registered pairs: low, high, and the two in green and magenta before and after the shift."""

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
from scipy.ndimage import zoom

from superres.datasets.moved import Shift, move_pair, shared_span
from superres.datasets.registration import PlaneShift, Registration
from superres.errors import OutputWriteError
from superres.volumes import Volume

Triple = tuple[int, int, int]
Picture = NDArray[np.uint8]

# Voxels of high that are shown, pixels per side of a picture, and the frame around them.
_SHOWN = 128
_SIDE = 256
_GAP = 10
_LINE = 20
_FONT = 14
_PERCENTILES = (1.0, 99.7)
_PAPER, _INK, _WRONG = 24, (235, 235, 235), (255, 120, 110)
_COLUMNS = ("low", "high", "as the files lie", "registered")


@dataclass(frozen=True, slots=True)
class PairView:
    """A row of the sheet: words above it, and its pictures, (y, x, 3)."""

    title: str
    verdict: str
    accepted: bool
    pictures: tuple[Picture, ...]


def view_pair(low: Volume, high: Volume, *, factor: Triple, registration: Registration, title: str) -> PairView:
    """Draw the most certain plane of a pair, where it has most contrast; nothing where no plane could be measured."""
    if not registration.planes:
        return PairView(title, registration.problem, False, ())
    best = max(registration.planes, key=lambda plane: plane.certainty)
    shift = registration.stated if registration.is_accepted else best.shift
    before = _plane(low, high, best, factor, (0.0, 0.0, 0.0))
    after = _plane(low, high, best, factor, shift)
    y, x = _window(after[0], factor)
    pictures = []
    for recorded, sharp in (before, after):
        coarse = np.kron(recorded[y, x], np.ones(factor[1:]))
        fine = sharp[y.start * factor[1] : y.stop * factor[1], x.start * factor[2] : x.stop * factor[2]]
        pictures.append((_grey(coarse), _grey(fine)))
    (low_grey, high_grey), (low_moved, high_moved) = pictures
    shown = (_rgb(low_grey), _rgb(high_grey), _overlay(low_grey, high_grey), _overlay(low_moved, high_moved))
    text = "shift " + ", ".join(f"{s:+.2f}" for s in shift) + f" high voxels (ZYX), certainty {best.certainty:.0f}, "
    text += f"correlation {best.unregistered:.3f} before, {best.correlation:.3f} after"
    verdict = text if registration.is_accepted else f"refused: {text}"
    return PairView(title, verdict, registration.is_accepted, tuple(_sized(picture) for picture in shown))


def write_sheet(views: Sequence[PairView], path: Path) -> None:
    """Draw all rows below each other and write them as PNG.

    Raises
    ------
    OutputWriteError
        When the file cannot be written.
    """
    height = _SIDE + 2 * _LINE + _GAP
    sheet = Image.new("RGB", (_GAP + (_SIDE + _GAP) * len(_COLUMNS), _LINE + _GAP + height * len(views)), (_PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(_COLUMNS):
        _write(draw, (_GAP + column * (_SIDE + _GAP), _GAP // 2), name, _SIDE, _INK)
    for row, view in enumerate(views):
        top = _LINE + _GAP + row * height
        _write(draw, (_GAP, top), view.title, sheet.width - 2 * _GAP, _INK)
        _write(draw, (_GAP, top + _LINE), view.verdict, sheet.width - 2 * _GAP, _INK if view.accepted else _WRONG)
        for column, picture in enumerate(view.pictures):
            sheet.paste(Image.fromarray(picture), (_GAP + column * (_SIDE + _GAP), top + 2 * _LINE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, np.asarray(sheet))
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror or error}); give another folder") from None


def _plane(
    low: Volume, high: Volume, place: PlaneShift, factor: Triple, shift: Shift
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read one plane of both, `high` moved, on the grid of the whole `low`; NaN where `high` does not reach."""
    a, b = move_pair(low, high, factor=factor, shift=shift)
    first = [shared_span(*axis)[0] for axis in zip(low.shape[2:], high.shape[2:], factor, shift, strict=True)]
    z = min(max(0, place.z - first[0]), a.shape[2] - 1)
    fz, fy, fx = factor
    everything = slice(None)
    recorded = a.read(t=place.t, c=place.c, z=slice(z, z + 1), y=everything, x=everything)[0]
    sharp = b.read(t=place.t, c=place.c, z=slice(z * fz, (z + 1) * fz), y=everything, x=everything).mean(axis=0)
    whole = np.full(low.shape[3:], np.nan), np.full((low.shape[3] * fy, low.shape[4] * fx), np.nan)
    y, x = first[1:]
    whole[0][y : y + a.shape[3], x : x + a.shape[4]] = recorded
    whole[1][y * fy : y * fy + sharp.shape[0], x * fx : x * fx + sharp.shape[1]] = sharp
    return whole


def _window(plane: NDArray[np.float64], factor: Triple) -> tuple[slice, slice]:
    """Return the window of low voxels, of those half a window apart, in which a plane varies most."""
    sides = [max(1, min(n, _SHOWN // f)) for n, f in zip(plane.shape, factor[1:], strict=True)]
    starts = [range(0, n - side + 1, max(1, side // 2)) for n, side in zip(plane.shape, sides, strict=True)]
    windows = [(slice(y, y + sides[0]), slice(x, x + sides[1])) for y in starts[0] for x in starts[1]]
    return max(windows, key=lambda window: _contrast(plane[window]))


def _contrast(window: NDArray[np.float64]) -> float:
    """Width of the grey levels after averaging 4 x 4 voxels; less than nothing where voxels are missing."""
    y, x = (n // 4 * 4 for n in window.shape)
    if not np.isfinite(window).all() or not y or not x:
        return -1.0
    return float(window[:y, :x].reshape(y // 4, 4, x // 4, 4).mean(axis=(1, 3)).std())


def _grey(image: NDArray[Any]) -> Picture:
    finite = image[np.isfinite(image)]
    if finite.size == 0:
        return np.zeros(image.shape, np.uint8)
    black, white = (float(value) for value in np.percentile(finite, _PERCENTILES))
    share = (np.nan_to_num(image, nan=black) - black) / max(white - black, 1e-300)
    return np.asarray((np.clip(share, 0, 1) * 255).round(), np.uint8)


def _rgb(grey: Picture) -> Picture:
    return np.repeat(grey[..., None], 3, axis=2)


def _overlay(low: Picture, high: Picture) -> Picture:
    """Low in magenta, high in green: grey where they agree."""
    return np.stack([low, high, low], axis=2)


def _sized(picture: Picture) -> NDArray[np.uint8]:
    """Bring a picture into its square, by repeating pixels."""
    scale = _SIDE / max(picture.shape[:2])
    sized: Any = zoom(picture, (scale, scale, 1), order=0, grid_mode=True, mode="nearest")
    return np.asarray(sized, np.uint8)


def _write(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int, ink: tuple[int, int, int]
) -> None:
    """Write one line, cut where it would leave its column."""
    font = ImageFont.load_default(_FONT)
    room = math.floor(len(text) * width / max(1.0, draw.textlength(text, font=font)))
    draw.text(corner, text if room >= len(text) else text[: max(1, room - 2)].rstrip() + "..", font=font, fill=ink)
