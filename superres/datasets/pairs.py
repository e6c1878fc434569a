"""Real pairs of low and high: how they are opened, whether they fit, on which grey scale they are.

Images of a pair are usually stretched differently, and a shift of half a voxel costs more than any net gains. The grey
scale is fitted here; the shift is measured by `superres.datasets.registration`, stated in the manifest, and applied
whenever a pair is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.datasets.acquisition import Acquisition
from superres.datasets.alignment import bin_voxels
from superres.datasets.channels import open_channels
from superres.datasets.moved import move_pair
from superres.errors import InputError
from superres.volumes import Volume

Triple = tuple[int, int, int]

# Pixels. Averages enough noise away that the fit sees structure, and blurs both images alike.
_SMOOTHING = 2.0
# Share of the pixels, those that fit worst, that the second fit leaves out: hot pixels, dust. More would leave out the
# structure of sparse images.
_OUTLIERS = 1e-3


def open_pair(acquisition: Acquisition, index: int, *, factor: Triple) -> tuple[Volume, Volume]:
    """Open a real pair of an acquisition as it is used: moved by the shift that the manifest states, if it states one.

    Parameters
    ----------
    acquisition : Acquisition
        With low images.
    index : int
        Which of its files.
    factor : tuple of int
        Upscaling along Z, Y, X.

    Returns
    -------
    tuple of Volume
        `low` and `high`, `high` exactly `factor` times as large.

    Raises
    ------
    InputError
        When a file cannot be read, lacks a channel, or the two do not fit.
    """
    channels = acquisition.channels_of(index)
    files = acquisition.low[index], acquisition.high[index]
    low, high = (open_channels(file, acquisition.axes, which) for file, which in zip(files, channels, strict=True))
    shift = acquisition.shift_of(index)
    if shift is not None:
        return move_pair(low, high, factor=factor, shift=shift)
    check_pair(low, high, factor=factor)
    return low, high


def match_intensity(low: NDArray[Any], high: NDArray[Any], factor: Sequence[int]) -> tuple[float, float]:
    """Find the gain and offset that bring a finer `high` to the grey scale of `low`.

    The one way in which pairs are matched, in training and in evaluation: one gain and offset per file and channel, as
    files may have been stretched separately.

    Parameters
    ----------
    low : ndarray, (z, y, x)
        One channel.
    high : ndarray, (z * fz, y * fy, x * fx)
        The same field.
    factor : sequence of int
        Upscaling along Z, Y, X.

    Returns
    -------
    tuple of float
        ``(gain, offset)``, as `fit_intensity`.

    Raises
    ------
    InputError
        When the shapes do not fit, or `high` is constant.
    """
    expected = tuple(n * f for n, f in zip(low.shape, factor, strict=True))
    if high.shape != expected:
        raise InputError(
            f"high image of shape {_times(high.shape)} for a low image of shape {_times(low.shape)}; at factor "
            f"{list(factor)} it must be {_times(expected)}"
        )
    return fit_intensity(low, bin_voxels(high, factor))


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


def check_pair(low: Volume, high: Volume, *, factor: Triple) -> None:
    """Refuse a pair whose volumes cannot show the same field at this factor; only shapes are looked at.

    Raises
    ------
    InputError
        When T or C differ, or Z, Y, X of `high` are not those of `low` times the factor.
    """
    expected = (*low.shape[:2], *(size * f for size, f in zip(low.shape[2:], factor, strict=True)))
    if high.shape != expected:
        fitting = factor_between(low.shape[2:], high.shape[2:])
        if fitting is not None and fitting != tuple(factor):
            wanted = ",".join(str(f) for f in fitting)
            raise InputError(
                f"{high.source}: [{wanted}] times as large along Z, Y, X as {low.source}, but factor is "
                f"{list(factor)}; give --set factor=[{wanted}], or a model of that factor"
            )
        if factor_between(high.shape[2:], low.shape[2:]) not in (None, (1, 1, 1)):
            raise InputError(
                f"{high.source}: {_times(high.shape[2:])} voxels (ZYX), fewer than the {_times(low.shape[2:])} of "
                f"{low.source}; expected high to be the finer one: exchange low and high in the manifest"
            )
        if high.shape[:2] != low.shape[:2]:
            raise InputError(
                f"{high.source}: {high.shape[0]} time points and {high.shape[1]} channels, but {low.source} has "
                f"{low.shape[0]} and {low.shape[1]}; expected as many in both: name the channels of the pair with "
                "'channels' in the manifest, or split the files"
            )
        raise InputError(
            f"{high.source}: shape {_times(high.shape)} (TCZYX) does not go with {low.source}, shape "
            f"{_times(low.shape)}; at factor {list(factor)} it must be {_times(expected)}: crop the images, or give "
            "the factor of this pair, or have the overlap measured with 'superres data register'"
        )


def factor_between(small: tuple[int, ...], large: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return by which whole factors one shape is larger than another, axis by axis; None when there are none."""
    if len(small) != len(large) or any(a == 0 or b % a for a, b in zip(small, large, strict=True)):
        return None
    return tuple(b // a for a, b in zip(small, large, strict=True))


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
