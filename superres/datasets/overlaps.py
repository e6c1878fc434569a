"""Images that share part of a field: shifted, cropped, turned, mirrored, on another grey scale, recorded again.

A picture's spectrum keeps its speckle when the picture is shifted, and most of it when part of the picture is another:
comparing speckles, one product of matrices, finds the few candidates among many pairs of images. They are then laid on
each other by their phases and refused only where the grey values of the overlap agree too; different fields of one
specimen share neither.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter, uniform_filter

from superres.datasets.alignment import Peak, bin_voxels, correlation, find_peak

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
# Pixels per side of the places in which structure is compared, and sigma of what is taken for illumination there.
_PLACE, _LARGE = 32, 12.0
# Correlation of neighbours from which on there is structure in a place, and of two places that show the same or not.
_STRUCTURE, _SAME, _OTHER = 0.7, 0.5, 0.3
# Share of the smaller picture that the overlap must have.
_SHARED = 0.15
# Waves longer than this share of a picture are illumination.
_LOWEST = 4.0
# Quarter turns and whether mirrored before: whether axes are exchanged, then whether Y and X are reversed.
_WAYS = {
    (0, False): (False, False, False),
    (0, True): (False, False, True),
    (1, False): (True, True, False),
    (1, True): (True, False, False),
    (2, False): (False, True, True),
    (2, True): (False, True, False),
    (3, False): (True, False, True),
    (3, True): (True, True, True),
}


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
    around = _median(image)
    above = image - around
    limit = float(np.quantile(np.abs(above), _OUTLYING))
    return np.asarray(around + np.clip(above, -limit, limit))


def _median(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of 3 x 3 pixels, edges repeated: as a rank filter gives it, in a tenth of the time."""
    wide = np.pad(image, 1, mode="edge")
    a, b, c = wide[:-2], wide[1:-1], wide[2:]
    ordered = np.minimum(np.minimum(a, b), c), _middle(a, b, c), np.maximum(np.maximum(a, b), c)
    low, middle, high = ((one[:, :-2], one[:, 1:-1], one[:, 2:]) for one in ordered)
    return _middle(
        np.maximum(np.maximum(low[0], low[1]), low[2]),
        _middle(*middle),
        np.minimum(np.minimum(high[0], high[1]), high[2]),
    )


def _middle(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)))


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

    @functools.cache
    def speckles(which: int, cell: int, own: int) -> Floats:
        pictures = (first, second)[which]
        return np.stack([_speckle(_at(picture, cell)) for picture in pictures if picture.cell == own])

    for a, b in itertools.product(sorted({t.cell for t in first}), sorted({t.cell for t in second})):
        rows = [i for i, t in enumerate(first) if t.cell == a]
        columns = [j for j, t in enumerate(second) if t.cell == b]
        cell = max(a, b)
        left = speckles(0, cell, a)
        for turned in _turned_speckles(speckles(1, cell, b)):
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
    reach = int(_BAND * _SIDE)
    spectrum = fft.rfft2(_softened(image), (_SIDE + 1, _SIDE + 1))[:, : reach + 1]
    half = np.log(np.abs(np.concatenate([spectrum[-reach:], spectrum[: reach + 1]])) ** 2 + 1e-3)
    part = np.concatenate([half[::-1, :0:-1], half], axis=1)  # the spectrum of a real image is symmetric
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
    size = fft.next_fast_len(max(*fixed.shape, *other.shape))
    peak, (turns, mirrored) = _likeliest(fixed, other, size)
    if peak.height < _CERTAIN:
        return None
    moving = np.rot90(other[:, ::-1] if mirrored else other, turns)
    shared = max(_shared(fixed, moving, (peak.shift[0], peak.shift[1]), size), default=None, key=lambda one: one[0])
    if shared is None or shared[0] < _ALIKE:
        return None
    alike, share, shift = shared
    cut = _cut(fixed, moving, shift)
    within = find_peak(*cut, bands=_BANDS)
    if within.height < _SURE or max(map(abs, within.shift)) > 2 or _contradicted(*cut):
        return None
    words = ["mirrored"] if mirrored else []
    words += [f"turned by {90 * turns} degrees"] if turns else []
    return share, alike, " and ".join(words), (shift[0] * cell, shift[1] * cell)


def _likeliest(fixed: NDArray[np.float64], other: NDArray[np.float64], size: int) -> tuple[Peak, tuple[int, bool]]:
    """Return the highest peak of all eight ways to turn the second picture, and that way.

    The same as `find_peak` on each: a picture turned in its square has the same transform, turned, so that one
    transform of each picture does for all.
    """
    spectra = [fft.fft2(_padded(image, size)) for image in (fixed, other)]
    base, moving = (one / np.maximum(np.abs(one), np.finfo(np.float64).tiny) for one in spectra)
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.fftfreq(size))
    bands = [(frequency < end) & (frequency > _LOWEST / size) for end in _BANDS]
    counts = [int(band.sum()) for band in bands]
    half = slice(0, size // 2 + 1)
    best, how = Peak((0, 0), 0.0), (0, False)
    for way, (across, upside, sideways) in _WAYS.items():
        turned = moving.T if across else moving
        shape = other.shape[::-1] if across else other.shape
        # Read backwards, a transform is that of the picture reflected at pixel 0, not at the middle of the picture.
        back = [(length - 1) * flipped for length, flipped in zip(shape, (upside, sideways), strict=True)]
        for axis, flipped in enumerate((upside, sideways)):
            turned = np.roll(np.flip(turned, axis), 1, axis) if flipped else turned
        phase = base[:, half] * np.conj(turned[:, half])
        for band, count in zip(bands, counts, strict=True):
            surface = fft.irfft2(phase * band[:, half], s=(size, size))
            height = float(surface.max()) * size * size / max(count, 1) ** 0.5
            if count >= 2 * size and height > best.height:
                y, x = np.unravel_index(int(surface.argmax()), surface.shape)
                shift = (int(y) - back[0], int(x) - back[1])
                best, how = Peak(tuple((s + size // 2) % size - size // 2 for s in shift), height), way
    return best, how


def _contradicted(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two pictures that lie on each other show different structure in most places where both show some.

    One large object decides about phases and correlation, and a round cell looks like another, or like itself in a
    mirror; what surrounds it tells them apart. Noise is no structure: two recordings of one field differ in it.
    """
    detail = [image - gaussian_filter(image, _LARGE) for image in (first, second)]
    agreeing = against = 0
    for y, x in itertools.product(*(range(0, n - _PLACE + 1, _PLACE) for n in first.shape)):
        a, b = (one[y : y + _PLACE, x : x + _PLACE] for one in detail)
        if min(_smoothness(a), _smoothness(b)) < _STRUCTURE:
            continue
        alike = _cosine(a, b)
        agreeing += alike > _SAME
        against += alike < _OTHER
    return against > agreeing


def _smoothness(image: NDArray[np.float64]) -> float:
    """Return how much neighbours are alike: 0 for white noise, and for what is too faint for a byte per pixel."""
    if image.std() < 1:
        return 0.0
    return min(_cosine(image[1:], image[:-1]), _cosine(image[:, 1:], image[:, :-1]))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float(np.sqrt((a * a).sum() * (b * b).sum())), 1e-12))


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
