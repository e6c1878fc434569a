"""Real pairs of low and high: whether they fit, on which grey scale they are, how far they are shifted.

Images of a pair are usually stretched differently, and a shift of half a voxel costs more than any net gains. Both are
measured here, and nothing is warped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as move
from scipy.signal.windows import tukey
from skimage.registration import phase_cross_correlation

from superres.errors import InputError
from superres.volumes import Volume

Triple = tuple[int, int, int]

# Pixels. Averages enough noise away that the fit sees structure, and blurs both images alike.
_SMOOTHING = 2.0
# Share of the pixels, those that fit worst, that the second fit leaves out: hot pixels, dust. More would leave out the
# structure of sparse images.
_OUTLIERS = 1e-3
# Registration to a hundredth of a voxel, and the share of every axis that the window tapers off.
_UPSAMPLING = 100
_TAPER = 0.5
# The window draws the measured shift towards 0, so high is moved and measured again until this is left, or so often.
_SHIFT_LEFT = 0.02
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class PairFit:
    """How the middle plane of `high` lies on `low`.

    Parameters
    ----------
    gain, offset : float
        ``high * gain + offset`` is on the grey scale of `low`.
    shift : tuple of float
        Y, X in high-resolution voxels by which `high` must be moved to lie on `low`.
    """

    gain: float
    offset: float
    shift: tuple[float, float]


def fit_intensity(low: NDArray[Any], high: NDArray[Any]) -> tuple[float, float]:
    """Find the gain and offset that bring `high` to the grey scale of `low`.

    Least squares of smoothed `low` on smoothed `high`: noise in the dependent image does not bias the line, and `high`
    is the less noisy of the two. A second fit leaves out the thousandth that fits worst (hot pixels, dust).

    Parameters
    ----------
    low, high : ndarray, (..., y, x)
        One channel of a pair on the same grid; a finer `high` is binned to the grid of `low` first. NaN is left out.

    Returns
    -------
    tuple of float
        ``(gain, offset)`` with ``high * gain + offset`` close to `low`.

    Raises
    ------
    InputError
        When the shapes differ, or `high` is constant.
    """
    _require_same_shape(low, high)
    valid = np.isfinite(low) & np.isfinite(high)
    y, x = (_smooth(image, valid)[valid] for image in (low, high))
    if x.size < 2 or float(np.ptp(x)) <= 1e-9 * float(np.abs(x).max()):
        found = f"constant ({x[0]:g})" if x.size else "all NaN"
        raise InputError(
            f"high image of a pair is {found}; expected structure to match the low image by: leave this pair out of "
            "the manifest"
        )
    gain, offset = _line(x, y)
    residual = np.abs(x * gain + offset - y)
    fitting = residual <= np.quantile(residual, 1 - _OUTLIERS)
    if float(np.ptp(x[fitting])) > 0:
        gain, offset = _line(x[fitting], y[fitting])
    return gain, offset


def measure_shift(low: NDArray[Any], high: NDArray[Any]) -> tuple[float, ...]:
    """Measure by how much `high` must be moved to lie on `low`, to about a fiftieth of a voxel.

    Cross-correlation under a Tukey window, without phase normalisation, which noise would defeat. Content that moves by
    more than about a quarter of the image is not found.

    Parameters
    ----------
    low, high : ndarray, (y, x) or (z, y, x)
        One channel of a pair on the same grid: a finer `high` is binned to the grid of `low` first.

    Returns
    -------
    tuple of float
        One number per axis, in voxels; 0 along axes of length 1. ``scipy.ndimage.shift(high, shift)`` lies on `low`.

    Raises
    ------
    InputError
        When the shapes differ, or an image is constant or holds NaN.
    """
    _require_same_shape(low, high)
    fixed, moving = (_registrable(image, name) for image, name in ((low, "low"), (high, "high")))
    window = _window(fixed.shape)
    shift = np.zeros(fixed.ndim)
    for _ in range(_ROUNDS):
        moved = move(moving, shift, order=3, mode="nearest") if shift.any() else moving
        left = _correlate((fixed - fixed.mean()) * window, (moved - moved.mean()) * window)
        shift += left
        if np.abs(left).max() <= _SHIFT_LEFT:
            break
    found = iter(shift)
    return tuple(float(next(found)) if size > 1 else 0.0 for size in low.shape)


def check_pair(low: Volume, high: Volume, *, factor: Triple) -> None:
    """Refuse a pair whose volumes cannot show the same field at this factor; only shapes are looked at.

    Raises
    ------
    InputError
        When T or C differ, or Z, Y, X of `high` are not those of `low` times the factor.
    """
    expected = (*low.shape[:2], *(size * f for size, f in zip(low.shape[2:], factor, strict=True)))
    if high.shape != expected:
        raise InputError(
            f"{high.source}: shape {_times(high.shape)} (TCZYX) does not go with {low.source}, shape "
            f"{_times(low.shape)}; at factor {list(factor)} it must be {_times(expected)}: crop the images, or give "
            "the factor of this pair"
        )


def fit_pair(low: Volume, high: Volume, *, factor: Triple, channel: int = 0) -> PairFit:
    """Fit grey scale and shift of a pair on its middle plane at the first time point.

    Parameters
    ----------
    low, high : Volume
        A real pair, checked as by `check_pair`.
    factor : tuple of int
        Upscaling along Z, Y, X.
    channel : int
        Which channel.

    Raises
    ------
    InputError
        When the shapes do not fit the factor, or the plane is constant or holds NaN.
    """
    check_pair(low, high, factor=factor)
    fz, fy, fx = factor
    z = low.shape[2] // 2
    everything = slice(None)
    recorded = low.read(t=0, c=channel, z=slice(z, z + 1), y=everything, x=everything)[0]
    sharp = high.read(t=0, c=channel, z=slice(z * fz, (z + 1) * fz), y=everything, x=everything)
    y, x = recorded.shape
    binned = sharp.astype(np.float64).reshape(fz, y, fy, x, fx).mean(axis=(0, 2, 4))
    gain, offset = fit_intensity(recorded, binned)
    down, right = measure_shift(recorded, binned)
    return PairFit(gain, offset, (down * fy, right * fx))


def _require_same_shape(low: NDArray[Any], high: NDArray[Any]) -> None:
    if low.shape != high.shape:
        raise InputError(
            f"low image of shape {_times(low.shape)} and high image of shape {_times(high.shape)}; expected the same "
            "grid: bin the high image by the factor first"
        )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _smooth(image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average over neighbours that are valid, within YX planes."""
    sigma = (0.0,) * (image.ndim - 2) + (_SMOOTHING, _SMOOTHING)
    values = np.where(valid, image, 0).astype(np.float64)
    smooth: NDArray[np.float64] = gaussian_filter(values, sigma)
    if valid.all():
        return smooth
    share = gaussian_filter(valid.astype(np.float64), sigma)
    return np.divide(smooth, share, out=np.zeros_like(smooth), where=share > 0)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    middle = x - x.mean()
    gain = float(middle @ (y - y.mean()) / (middle @ middle))
    return gain, float(y.mean() - gain * x.mean())


def _registrable(image: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Drop axes of length 1, along which nothing can be registered."""
    values = np.squeeze(image).astype(np.float64)
    if values.size == 0 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise InputError(
            f"{name} image of a pair is empty, constant or holds NaN; expected structure to register by: leave this "
            "pair out of the manifest"
        )
    return values


def _window(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Taper the borders off; the images' means must be subtracted first, else the window were their main structure."""
    window = np.ones(shape)
    for axis, size in enumerate(shape):
        along = [1] * len(shape)
        along[axis] = size
        window *= tukey(size, _TAPER).reshape(along)
    return window


def _correlate(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    found, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        fixed, moving, normalization=None, upsample_factor=_UPSAMPLING
    )
    return np.asarray(found, dtype=np.float64)
