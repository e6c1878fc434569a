"""Where one image lies on another: whether they show the same field at all, and the shift to a hundredth of a voxel.

The arithmetic of registration, on arrays; files, planes and verdicts are the business of
`superres.datasets.registration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter, spline_filter
from scipy.ndimage import shift as move
from scipy.signal.windows import tukey
from skimage.registration import phase_cross_correlation

Floats = NDArray[np.float64]

# Upper ends of the bands, cycles per voxel, in which phases are compared. Noise covers the upper ones, smooth content
# leaves the lower ones only.
_BANDS = (0.03, 0.06, 0.12, 0.25, 0.5)
# Waves longer than this share of the image are illumination and window.
_LOWEST = 4.0
# Sigma of the Gaussians, voxels, at which grey values are compared; the best of them counts, as noise decides which.
_SCALES = (1.0, 2.0, 4.0, 8.0)
# Share of every axis that the window tapers off, and the step of the cross-correlation.
_TAPER = 0.5
_UPSAMPLING = 100
# Sigma in voxels of the coarse grid: interpolation damps finer detail and noise, which would draw shifts to whole ones.
_SMOOTHING = 0.7
_ROUNDS = 12
_CONVERGED = 1e-3


@dataclass(frozen=True, slots=True)
class Peak:
    """The likeliest shift in whole voxels, and by how many standard deviations it stands out.

    Parameters
    ----------
    shift : tuple of int
        One per axis.
    height : float
        In standard deviations of what images that have nothing in common give; their highest of all shifts is about 5.
    """

    shift: tuple[int, ...]
    height: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """The shift that explains one image by another, and how well.

    Parameters
    ----------
    shift : tuple of float
        By which `high` must be moved to lie on `low`, in voxels of `high`, one per axis.
    error : tuple of float
        Standard error of each, from the residual.
    gain, offset : float
        What brings `high` to the grey scale of `low` under that shift.
    residual : float
        What is left of the contrast of `low`: 0 is a perfect fit, 1 none.
    """

    shift: tuple[float, ...]
    error: tuple[float, ...]
    gain: float
    offset: float
    residual: float


def bin_voxels(image: NDArray[Any], factor: Sequence[int]) -> Floats:
    """Average blocks of voxels; along every axis the image is a multiple of the factor."""
    cells: list[int] = []
    for size, f in zip(image.shape, factor, strict=True):
        cells += [size // f, f]
    binned: Floats = np.asarray(image, np.float64).reshape(cells).mean(axis=tuple(range(1, 2 * image.ndim, 2)))
    return binned


def find_peak(
    low: NDArray[Any], high: NDArray[Any], *, windowed: bool = False, bands: Sequence[float] = _BANDS
) -> Peak:
    """Find the whole shift at which the phases of two images on one grid agree, and how surely they do.

    Phase correlation within bands. Phases of different fields are independent, whatever the fields look like, so the
    height of the peak is on a known scale: a Gaussian one, somewhat widened by the window.

    Parameters
    ----------
    low, high : ndarray
        One shape. Axes of length 1 have no shift.
    windowed : bool
        Whether both fall to 0 at their borders already.
    bands : sequence of float
        Upper ends, cycles per voxel; the band in which the peak is highest counts.
    """
    axes = [axis for axis, size in enumerate(low.shape) if size > 1]
    fixed, moving = (np.squeeze(np.asarray(image, np.float64)) for image in (low, high))
    window = np.ones(fixed.shape) if windowed else taper(fixed.shape)
    cross = fft.rfftn(_centred(fixed, window)) * np.conj(fft.rfftn(_centred(moving, window)))
    phase = cross / np.maximum(np.abs(cross), np.finfo(np.float64).tiny)
    frequency = _frequency(fixed.shape)
    best, where = 0.0, (0,) * fixed.ndim
    for end in bands:
        band = (frequency < end) & (frequency > _LOWEST / max(fixed.shape))
        count = int(band.sum())
        if count < 2 * fixed.size**0.5:
            continue
        surface = fft.irfftn(phase * band[..., : phase.shape[-1]], s=fixed.shape)
        height = float(surface.max()) * fixed.size / count**0.5
        if height > best:
            best, where = height, tuple(int(i) for i in np.unravel_index(int(surface.argmax()), surface.shape))
    found = iter((i + n // 2) % n - n // 2 for i, n in zip(where, fixed.shape, strict=True))
    return Peak(tuple(next(found) if axis in axes else 0 for axis in range(low.ndim)), best)


def align(low: NDArray[Any], high: NDArray[Any], *, factor: Sequence[int], start: Sequence[int]) -> Alignment:
    """Measure the shift between `low` and a `high` on a grid finer by whole numbers, to about 0.01 voxels of `high`.

    Cross-correlation without phase normalisation on the coarse grid, then least squares through the forward model:
    shift, gain and offset of `high` such that, moved and binned, it is closest to `low` (Gauss and Newton). Axes of
    length 1 stay as they are.

    Parameters
    ----------
    low : ndarray
        Coarse image.
    high : ndarray
        Fine image, along every axis `factor` times as long.
    factor : sequence of int
        One per axis.
    start : sequence of int
        Shift to begin with, in voxels of `low`; within about two voxels of the right one.
    """
    factor = tuple(factor)
    free = [axis for axis, size in enumerate(low.shape) if size > 1]
    fixed, moving = _overlap(np.asarray(low, np.float64), np.asarray(high, np.float64), factor, start)
    smoothing = [_SMOOTHING if axis in free else 0.0 for axis in range(low.ndim)]
    fixed = gaussian_filter(fixed, smoothing)
    moving = gaussian_filter(moving, [s * f for s, f in zip(smoothing, factor, strict=True)])
    shift = _correlate(fixed, bin_voxels(moving, factor)) * factor
    window = taper(fixed.shape)
    splines = spline_filter(moving, order=3)
    best: Alignment | None = None
    for _ in range(_ROUNDS):
        step, found = _solve(fixed, splines, shift, factor, free, window)
        if best is not None and found.residual > best.residual:
            shift = (np.asarray(best.shift) + shift) / 2  # too far: half the way
            if np.abs(shift - best.shift).max() < _CONVERGED:
                break
            continue
        best = found
        if np.abs(step).max() < _CONVERGED:
            break
        shift = shift + np.clip(step, -1.0, 1.0) * np.asarray(factor)
    assert best is not None
    whole = np.asarray(start) * factor
    return Alignment(
        tuple(float(s) for s in np.asarray(best.shift) + whole), best.error, best.gain, best.offset, best.residual
    )


def correlation(low: NDArray[Any], high: NDArray[Any]) -> float:
    """Correlate two images on one grid as they lie, at the scale at which they agree most; illumination is left out."""
    window = taper(low.shape)
    a, b = (np.fft.fftn(_centred(np.asarray(image, np.float64), window)) for image in (low, high))
    both, first, second = (a * np.conj(b)).real, np.abs(a) ** 2, np.abs(b) ** 2
    square = _frequency(low.shape) ** 2
    found = []
    for scale in _SCALES:
        if scale * 8 > max(low.shape):
            break
        # A Gaussian less one eight times as wide; squared, as it filters both images.
        passed = (np.exp(-2 * np.pi**2 * scale**2 * square) - np.exp(-2 * np.pi**2 * (8 * scale) ** 2 * square)) ** 2
        power = float((first * passed).sum() * (second * passed).sum())
        found.append(float((both * passed).sum()) / power**0.5 if power > 0 else 0.0)
    return max(found, default=0.0)


def overlap_of(shape: Sequence[int], shift: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return what of two images of one shape lies on each other when the second is moved by whole voxels."""
    first = tuple(slice(max(0, s), n + min(0, s)) for n, s in zip(shape, shift, strict=True))
    second = tuple(slice(max(0, -s), n + min(0, -s)) for n, s in zip(shape, shift, strict=True))
    return first, second


def taper(shape: Sequence[int]) -> Floats:
    """Return a window that falls to 0 at every border; 1 along axes of length 1."""
    window = np.ones(tuple(shape))
    for axis, size in enumerate(shape):
        if size > 1:
            window = window * tukey(size + 2, _TAPER)[1:-1].reshape(_along(axis, len(shape)))
    return window


def _frequency(shape: Sequence[int]) -> Floats:
    """Return the length of the frequency vector of every Fourier voxel, cycles per voxel."""
    squares: Floats = np.zeros(tuple(shape))
    for axis, size in enumerate(shape):
        squares = squares + np.square(np.fft.fftfreq(size)).reshape(_along(axis, len(shape)))
    return np.sqrt(squares)


def _along(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(-1 if i == axis else 1 for i in range(ndim))


def _centred(image: Floats, window: Floats, *, taper_too: bool = True) -> Floats:
    """Subtract the mean under the window; else the window were the main structure of what it is laid on."""
    middle = image - float((image * window).sum() / window.sum())
    return middle * window if taper_too else middle


def _overlap(low: Floats, high: Floats, factor: tuple[int, ...], start: Sequence[int]) -> tuple[Floats, Floats]:
    """Cut both to what they share under a whole shift of the coarse grid."""
    first, second = overlap_of(low.shape, start)
    fine = tuple(slice(part.start * f, part.stop * f) for part, f in zip(second, factor, strict=True))
    return low[first], high[fine]


def _correlate(fixed: Floats, moving: Floats) -> Floats:
    window = taper(fixed.shape)
    found, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        _centred(fixed, window), _centred(moving, window), normalization=None, upsample_factor=_UPSAMPLING
    )
    # Further than that the cross-correlation follows illumination, and the start is better.
    near = np.abs(found) <= 2.5
    return np.where(near, found, 0.0)


def _solve(
    fixed: Floats, splines: Floats, shift: Floats, factor: tuple[int, ...], free: list[int], window: Floats
) -> tuple[Floats, Alignment]:
    """Fit gain, offset and a small step of the shift, linearised; the step is in voxels of the coarse grid."""
    moved = move(splines, shift, order=3, mode="nearest", prefilter=False)
    model = bin_voxels(moved, factor)
    slopes = [-bin_voxels(np.gradient(moved, axis=axis), factor) * factor[axis] for axis in free]
    root = np.sqrt(window).ravel()
    columns = np.stack([slope.ravel() for slope in slopes] + [model.ravel(), np.ones(model.size)], axis=1)
    columns *= root[:, None]
    target = fixed.ravel() * root
    answer, *_ = np.linalg.lstsq(columns[:, -2:], target, rcond=None)
    gain, offset = float(answer[0]), float(answer[1])
    left = target - columns[:, -2:] @ answer
    normal = columns.T @ columns
    full = np.linalg.lstsq(normal, columns.T @ target, rcond=None)[0]
    step = np.zeros(fixed.ndim)
    error = np.zeros(fixed.ndim)
    scatter = float(left @ left) / max(1, model.size - columns.shape[1])
    # Smoothing makes the residuals of neighbours alike: they count for fewer, by the area of the Gaussian's square.
    scatter *= (2 * np.pi**0.5 * _SMOOTHING) ** len(free)
    covariance = np.linalg.pinv(normal) * scatter
    for index, axis in enumerate(free):
        if gain:
            step[axis] = full[index] / gain
            error[axis] = max(0.0, float(covariance[index, index])) ** 0.5 / abs(gain) * factor[axis]
    contrast = _centred(fixed, window, taper_too=False)
    power = float((contrast**2 * window).sum())
    residual = (float(left @ left) / power) ** 0.5 if power > 0 else 1.0
    return step, Alignment(tuple(map(float, shift)), tuple(map(float, error)), gain, offset, residual)
