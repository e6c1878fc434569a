"""Images that share part of a field: shifted, cropped, turned, mirrored, on another grey scale, recorded again.

A picture's spectrum keeps its speckle when the picture is shifted, and most of it when part of the picture is another:
comparing speckles, one product of matrices, finds the few candidates among many pairs of images. They are then laid on
each other by their phases and refused only where the grey values of the overlap agree too; different fields of one
specimen share neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.ndimage import median_filter, uniform_filter

from superres.datasets.alignment import bin_voxels, correlation, find_peak

Floats = NDArray[np.float32]

# Pixels per side to which pictures are reduced by averaging, and the grid of their spectra.
_SIDE = 512
# Pictures and overlaps with fewer pixels per side are too small to tell.
_SMALLEST = 32
# Quantile of the distance from neighbours beyond which pixels are hot.
_OUTLYING = 0.98
# Cycles per pixel up to which spectra are compared: beyond it is mostly noise.
_BAND = 0.4
# Bins of the spectrum over which its trend is taken away, so that the speckle is left.
_TREND = 5.0
# Pairs of pictures, the likeliest first, that are laid on each other: all of them in small sets.
_MOST = 50
# Standard deviations by which the phases of whole pictures and those of the overlap alone must agree, and correlation
# of the overlap. The second test is there for mostly empty pictures, whose one bright spot fits on any other.
_CERTAIN = 15.0
_SURE = 12.0
_ALIKE = 0.7
_BANDS = (0.25, 0.5)
# Share of the smaller picture that the overlap must have.
_SHARED = 0.15


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A plane as it is compared: reduced, one byte per pixel, since hundreds are held.

    Parameters
    ----------
    pixels : ndarray
        uint8, (y, x); grey levels between the 0.1 and the 99.9 percentile.
    cell : int
        Pixels of the plane per pixel of it, a power of 2.
    """

    pixels: NDArray[np.uint8]
    cell: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two pictures, by their numbers, and what they share.

    Parameters
    ----------
    first, second : int
        Numbers in the two lists.
    share : float
        Of the area of the smaller one.
    correlation : float
        Of the grey values that lie on each other.
    turned : str
        How the second was turned; empty where it was not.
    shift : tuple of int
        Y, X pixels of the planes by which the (turned) second is moved to lie on the first.
    """

    first: int
    second: int
    share: float
    correlation: float
    turned: str
    shift: tuple[int, int]


def thumbnail(plane: NDArray[Any]) -> Thumbnail | None:
    """Reduce a plane, (y, x); None where it is too small or flat, or holds NaN."""
    if min(plane.shape) < _SMALLEST:
        return None
    cell = 1
    while max(plane.shape) > _SIDE * cell:
        cell *= 2
    y, x = (n // cell for n in plane.shape)
    if min(y, x) < _SMALLEST:
        return None
    reduced = bin_voxels(plane[: y * cell, : x * cell], (cell, cell))
    if not np.isfinite(reduced).all():
        return None
    reduced = _without_hot_pixels(reduced)
    black, white = (float(value) for value in np.percentile(reduced, (0.1, 99.9)))
    if white <= black:
        return None
    pixels = np.clip((reduced - black) * (255 / (white - black)), 0, 255).round().astype(np.uint8)
    return Thumbnail(pixels, cell)


def _without_hot_pixels(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Limit what stands out of its neighbours: hot pixels stay in place between acquisitions and must not decide."""
    around = median_filter(image, 3)
    above = image - around
    limit = float(np.quantile(np.abs(above), _OUTLYING))
    return np.asarray(around + np.clip(above, -limit, limit))


def find_overlap(first: Sequence[Thumbnail], second: Sequence[Thumbnail]) -> Overlap | None:
    """Find a picture of one list that shares part of its field with one of the other; None where there is none.

    Pictures are compared pixel for pixel, so a copy at another magnification is not found. Among many pictures, an
    overlap of less than about a third may not be among the pairs that are looked at.
    """
    for i, j in _candidates(first, second):
        found = _overlap(first[i], second[j])
        if found is not None:
            share, alike, turned, shift = found
            return Overlap(i, j, share, alike, turned, shift)
    return None


def _candidates(first: Sequence[Thumbnail], second: Sequence[Thumbnail]) -> list[tuple[int, int]]:
    """Return the pairs whose speckles are most alike, the likeliest first."""
    scores = np.full((len(first), len(second)), -np.inf)
    for a, b in itertools.product(sorted({t.cell for t in first}), sorted({t.cell for t in second})):
        rows = [i for i, t in enumerate(first) if t.cell == a]
        columns = [j for j, t in enumerate(second) if t.cell == b]
        cell = max(a, b)
        left = np.stack([_speckle(_at(first[i], cell)) for i in rows])
        right = np.stack([_speckle(_at(second[j], cell)) for j in columns])
        for turned in _turned_speckles(right):
            alike = left.reshape(len(rows), -1) @ turned.reshape(len(columns), -1).T
            scores[np.ix_(rows, columns)] = np.maximum(scores[np.ix_(rows, columns)], alike)
    order = np.argsort(scores, axis=None)[::-1][:_MOST]
    return [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, scores.shape), strict=True)]


def _at(picture: Thumbnail, cell: int) -> NDArray[np.float64]:
    """Return a picture at a coarser or the same size of its cells."""
    times = cell // picture.cell
    y, x = (n // times for n in picture.pixels.shape)
    return bin_voxels(picture.pixels[: y * times, : x * times], (times, times))


def _speckle(image: NDArray[np.float64]) -> Floats:
    """Return what of the log power spectrum is no trend, unit length: the square of low frequencies, centred."""
    power = np.fft.fftshift(np.abs(np.fft.fft2(_softened(image), (_SIDE + 1, _SIDE + 1))) ** 2)
    reach = int(_BAND * _SIDE)
    middle = _SIDE // 2
    part = np.log(power[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1] + 1e-3)
    # Only the speckle of pictures smaller than the grid is smooth; its size is that of the picture.
    part -= uniform_filter(part, 2 * round(_TREND * _SIDE / max(image.shape)) + 1)
    part = np.clip(part, -3, 3)
    part -= part.mean()
    return np.asarray(part / max(float(np.linalg.norm(part)), 1e-12), np.float32)


def _turned_speckles(speckles: Floats) -> list[Floats]:
    """Return (n, q, q) as of pictures that were not turned, mirrored, turned by 90 degrees, or both."""
    across = speckles.transpose(0, 2, 1)
    return [speckles, speckles[:, :, ::-1], across, across[:, :, ::-1]]


def _overlap(first: Thumbnail, second: Thumbnail) -> tuple[float, float, str, tuple[int, int]] | None:
    """Lay two pictures on each other in all eight ways; return what they share in the best one, if it is certain."""
    cell = max(first.cell, second.cell)
    fixed, other = _at(first, cell), _at(second, cell)
    size = next_fast_len(max(*fixed.shape, *other.shape))
    base = _padded(fixed, size)
    best = None
    for turns, mirrored in itertools.product(range(4), (False, True)):
        moving = np.rot90(other[:, ::-1] if mirrored else other, turns)
        peak = find_peak(base, _padded(moving, size), windowed=True, bands=_BANDS)
        if best is None or peak.height > best[0].height:
            best = (peak, moving, turns, mirrored)
    assert best is not None
    peak, moving, turns, mirrored = best
    if peak.height < _CERTAIN:
        return None
    shared = max(_shared(fixed, moving, (peak.shift[0], peak.shift[1]), size), default=None, key=lambda one: one[0])
    if shared is None or shared[0] < _ALIKE:
        return None
    alike, share, shift = shared
    within = find_peak(*_cut(fixed, moving, shift), bands=_BANDS)
    if within.height < _SURE or max(map(abs, within.shift)) > 2:
        return None
    words = ["mirrored"] if mirrored else []
    words += [f"turned by {90 * turns} degrees"] if turns else []
    return share, alike, " and ".join(words), (shift[0] * cell, shift[1] * cell)


def _padded(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Lay a picture, its mean subtracted and its borders softened, into a square of zeros."""
    padded = np.zeros((size, size))
    padded[: image.shape[0], : image.shape[1]] = _softened(image)
    return padded


def _softened(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let the outermost pixels fall to the mean, so that borders are no lines; a corner may be all that is shared."""
    y, x = (np.hanning(n + 2)[1:-1] ** 0.25 for n in image.shape)
    return np.asarray((image - image.mean()) * np.outer(y, x))


def _shared(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], shift: tuple[int, int], size: int
) -> Iterator[tuple[float, float, tuple[int, int]]]:
    """Give correlation, share and shift of the overlap; the shift is known up to the size of the grid."""
    for y, x in itertools.product(*((s, s - size, s + size) for s in shift)):
        a, b = _cut(fixed, moving, (y, x))
        share = a.size / min(fixed.size, moving.size)
        if min(a.shape) >= _SMALLEST and share >= _SHARED:
            yield correlation(a, b), share, (y, x)


def _cut(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], shift: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut out what lies on each other when the second is moved."""
    parts = []
    for s, n, m in zip(shift, fixed.shape, moving.shape, strict=True):
        start, stop = max(0, s), max(0, s, min(n, m + s))
        parts.append((slice(start, stop), slice(start - s, stop - s)))
    return fixed[parts[0][0], parts[1][0]], moving[parts[0][1], parts[1][1]]
