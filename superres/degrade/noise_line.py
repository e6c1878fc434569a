"""The noise of one channel as the guard and the trust maps need it: variance against level, also where it is hard to
measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, uniform_filter
from torch import Tensor

from superres.degrade.noise import noise_of_image
from superres.errors import InputError

# Variance that everything has: half a grey level of 8 bits, as a share of the range from black to white.
LEAST_VARIANCE = (0.5 / 255) ** 2 / 12

_SMALLEST_SIDE = 16
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0]) / np.sqrt(6.0)
_WINDOW = 5
# Of local variances at one level those of the flattest places are noise; this quantile of them is below their mean.
_FLATTEST = 0.25
_BRIGHT = 0.95


@dataclass(frozen=True, slots=True)
class NoiseLine:
    """Variance of the noise against level; constant below the levels at which it was measured, growing above them.

    Parameters
    ----------
    gain, constant : float
        ``variance = gain * level + constant``.
    lowest, highest : float
        Levels between which it was measured.
    least : float
        Variance that everything has: that of rounding.
    """

    gain: float
    constant: float
    lowest: float
    highest: float
    least: float

    def variance(self, level: Tensor) -> Tensor:
        """Return the variance at each level."""
        highest = None if self.gain > 0 else self.highest
        return (level.clamp(self.lowest, highest) * self.gain + self.constant).clamp_min_(self.least)


def measure_noise_line(windows: Sequence[NDArray[Any]], *, least: float) -> NoiseLine | None:
    """Measure the noise of one channel in windows of it, on whatever scale they are.

    Texture as fine as the voxels counts as noise (see `superres.degrade.noise`): deviations are then taken to be
    smaller than they are.

    Parameters
    ----------
    windows : sequence of ndarray
        (y, x) each, finite, of one size.
    least : float
        Smallest variance, on the same scale.

    Returns
    -------
    NoiseLine or None
        None where the windows are too small or constant.
    """
    image = np.stack([np.asarray(window, np.float64) for window in windows])
    if min(image.shape[1:]) < _SMALLEST_SIDE or np.ptp(image) == 0:
        return None
    try:
        found = noise_of_image(image)
    except InputError:
        return _two_points(image, least)
    return NoiseLine(found.gain, found.constant, float(found.level.min()), float(found.level.max()), least)


def _two_points(image: NDArray[np.float64], least: float) -> NoiseLine:
    """Measure the dark half and the brightest parts only: nearly empty images have too few voxels of each level."""
    residual = convolve1d(convolve1d(image, _SECOND_DIFFERENCE, axis=-1), _SECOND_DIFFERENCE, axis=-2)
    local = uniform_filter(residual**2, (0, _WINDOW, _WINDOW))
    level = uniform_filter(image, (0, _WINDOW, _WINDOW))
    dark, bright = level <= np.median(level), level >= np.quantile(level, _BRIGHT)
    levels = float(level[dark].mean()), float(level[bright].mean())
    variances = float(np.median(local[dark])), float(np.quantile(local[bright], _FLATTEST))
    rise = max(0.0, variances[1] - variances[0])
    gain = rise / (levels[1] - levels[0]) if levels[1] > levels[0] else 0.0
    return NoiseLine(gain, variances[0] - gain * levels[0], *levels, least)
