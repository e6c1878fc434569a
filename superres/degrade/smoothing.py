"""What a blur after the noise does to it: denoised, resampled or compressed recordings. Closed forms for a Gaussian."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from superres.degrade.microscope import NEGLIGIBLE

# Correlation of second differences of white noise with their neighbours.
_WHITE_LAG = -2 / 3


def _taps(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian behind second differences, as the noise is measured."""
    distance = np.arange(-20, 21)
    gauss = np.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2)
    return np.convolve(gauss / gauss.sum(), np.array([1.0, -2.0, 1.0]) / math.sqrt(6))


def noise_passed(sigma: float) -> float:
    """Return the share of the measured noise variance that a blur of `sigma` voxels leaves."""
    return float(np.square(_taps(sigma)).sum()) ** 2


def excess_of(sigma: float) -> float:
    """Return by how much more neighbouring white noise correlates behind a blur."""
    taps = _taps(sigma)
    return float(taps[1:] @ taps[:-1] / (taps @ taps)) - _WHITE_LAG


def smoothing_of(excess: float) -> float:
    """Return the blur that makes neighbouring white noise correlate by so much more, in voxels."""

    def missing(sigma: float) -> float:
        return excess_of(sigma) - excess

    return float(brentq(missing, NEGLIGIBLE, 4.0)) if missing(4.0) > 0 > missing(NEGLIGIBLE) else 0.0


def smoothing_transfer(sigma: float, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what a blur multiplies waves of each frequency."""
    transfer: NDArray[np.float64] = np.exp(-2 * (math.pi * sigma * frequency) ** 2)
    return transfer
