"""Resolution of one raw recording by decorrelation analysis (Descloux et al. 2019, Nat Methods 16:918).

Only for recordings. The analysis finds the highest frequency with structure, whoever put it there: nearest-neighbour
upsampling and invented detail both read as better than truth, so no figure of it is given for a prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from superres.errors import InputError

_RADII = 50
_HIGH_PASSES = 10
_ROUNDS = 2
_EDGE = 20  # voxels, tapered so that the borders of the image are no structure
_LOWEST_PEAK = 0.05


@dataclass(frozen=True, slots=True)
class Decorrelation:
    """Outcome of the analysis.

    Parameters
    ----------
    cutoff : float
        Highest frequency with structure, as a share of Nyquist; NaN when no structure was found.
    amplitude : float
        Height of its peak, between 0 and 1; a weak one is not to be trusted.
    """

    cutoff: float
    amplitude: float

    @property
    def resolution(self) -> float:
        """Period of the cut-off frequency, in voxels."""
        return 2 / self.cutoff


def decorrelation(recording: NDArray[Any]) -> Decorrelation:
    """Analyse one raw plane.

    The image is correlated with itself after all amplitudes within a radius were set to one; the correlation peaks
    where signal ends and noise begins. Ten high-pass filters look for ever finer structure, the best peaks are then
    searched once more on a finer grid.

    Parameters
    ----------
    recording : ndarray
        (y, x), raw grey levels; cut to an odd square.

    Raises
    ------
    InputError
        When the plane is smaller than 64 voxels, constant or holds NaN.
    """
    if recording.ndim != 2 or min(recording.shape) < 64:
        raise InputError(f"image of shape {recording.shape} found, a plane of at least 64 x 64 voxels expected")
    if not np.isfinite(recording).all() or np.ptp(recording) == 0:
        raise InputError("a constant image, or one with NaN, found; structure is expected where resolution is measured")
    spectrum = _Spectrum.of(recording)
    first = spectrum.peak(0.0, np.linspace(0, 1, _RADII))
    if first.amplitude < _LOWEST_PEAK:
        return Decorrelation(math.nan, first.amplitude)
    side = spectrum.side
    sigmas = np.exp(np.linspace(math.log(side / 4), math.log(0.15), _HIGH_PASSES))
    radii = np.linspace(0, 1, _RADII)
    best = [first]
    for _ in range(_ROUNDS):
        found = [spectrum.peak(float(sigma), radii) for sigma in sigmas]
        best += [peak for peak in found if peak.amplitude >= _LOWEST_PEAK]
        winner = max(best, key=lambda peak: peak.cutoff)
        near = int(np.argmax([peak.cutoff if peak.amplitude >= _LOWEST_PEAK else -1 for peak in found]))
        sigmas = np.exp(
            np.linspace(
                math.log(sigmas[max(0, near - 1)]), math.log(sigmas[min(near + 1, len(sigmas) - 1)]), _HIGH_PASSES
            )
        )
        step = 2 / _RADII
        radii = np.linspace(max(0.0, winner.cutoff - step), min(1.0, winner.cutoff + 2 * step), _RADII)
    return max(best, key=lambda peak: peak.cutoff)


@dataclass(frozen=True, slots=True)
class _Spectrum:
    """Fourier elements within Nyquist, sorted by radius, so that every disc is the beginning of the list."""

    side: int
    radius: NDArray[np.float64]
    modulus: NDArray[np.float64]

    @classmethod
    def of(cls, recording: NDArray[Any]) -> _Spectrum:
        side = min(recording.shape)
        side -= 1 - side % 2
        image = recording[:side, :side].astype(np.float64)
        image -= image.mean()
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_EDGE) + 0.5) / _EDGE)
        window = np.concatenate([ramp, np.ones(side - 2 * _EDGE), ramp[::-1]])
        spectrum = fft.fft2(image * window[:, None] * window)
        frequency = fft.fftfreq(side) * 2
        radius = np.hypot(frequency[:, None], frequency).ravel()
        inside = np.flatnonzero((radius <= 1) & (radius > 0))
        order = inside[np.argsort(radius[inside], kind="stable")]
        return cls(side, radius[order], np.abs(spectrum).ravel()[order])

    def peak(self, sigma: float, radii: NDArray[np.float64]) -> Decorrelation:
        """Return the last local maximum of the decorrelation curve after a high-pass of `sigma` voxels; 0 for none."""
        modulus = self.modulus
        if sigma > 0:
            modulus = modulus * (1 - np.exp(-2 * sigma**2 * (np.pi * self.radius / 2) ** 2))
        total = math.sqrt(float(modulus @ modulus))
        if total == 0:
            return Decorrelation(0.0, 0.0)
        sums = np.concatenate([[0.0], np.cumsum(modulus)])
        counts = np.searchsorted(self.radius, radii, side="right")
        curve = sums[counts] / (total * np.sqrt(np.maximum(counts, 1)))
        return _last_peak(curve, radii)


def _last_peak(curve: NDArray[np.float64], radii: NDArray[np.float64]) -> Decorrelation:
    """Find the maximum; while it lies at the very end (noise to the last ring), look before it."""
    end = len(curve)
    while end > 1:
        top = int(np.argmax(curve[:end]))
        if top < end - 1 and curve[top] - curve[top : len(curve)].min() > 0.0005:
            return Decorrelation(float(radii[top]), float(curve[top]))
        end = top if top == end - 1 else end - 1
    return Decorrelation(0.0, 0.0)
