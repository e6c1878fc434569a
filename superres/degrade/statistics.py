"""What a recording is recognised by: spectrum, noise against grey level, quantiles, correlation of the noise.

A histogram alone prefers a wrong model to the right one, because it sees neither blur nor how noise is correlated. The
spectrum sees both, and is the first of the four gaps by which a simulated recording is told from a real one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from superres.degrade.noise import NoiseModel, noise_of_image

SHARES = (0.005, 0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.98, 0.99, 0.995)
"""Quantiles that are compared."""

_BANDS = 24
_FIRST_RING = 3  # the rings below it hold a few Fourier pixels and the shape of the window
# Two independent images of one kind: expected variance of the log10 ratio of their power, times Fourier pixels.
_SCATTER = 2 * math.log10(math.e) ** 2
# Squared log10: what a band may be off without its weight falling.
_TOLERANCE = 0.03**2


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Statistics of some images of one size, on one grey scale.

    Parameters
    ----------
    frequency : ndarray
        float64, (bands,), cycles per voxel, up to 0.5; geometrically spaced.
    power : ndarray
        float64, (2, bands), mean power per voxel of the waves that run mostly along Y, and mostly along X. White noise
        of variance v has power v.
    pixels : ndarray
        float64, (bands,), Fourier pixels behind both.
    quantiles : ndarray
        float64, grey levels at `SHARES`.
    noise : NoiseModel
        Variance against grey level, as one image tells it.
    """

    frequency: NDArray[np.float64]
    power: NDArray[np.float64]
    pixels: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    noise: NoiseModel

    @property
    def radial(self) -> NDArray[np.float64]:
        """Power at each frequency, whatever its direction."""
        radial: NDArray[np.float64] = self.power.mean(axis=0)
        return radial


@dataclass(frozen=True, slots=True)
class Gaps:
    """How far simulated recordings are from real ones; 0 is alike.

    Parameters
    ----------
    spectrum : float
        Root mean square over frequencies of the log10 ratio of radial power: 0.3 is a factor of 2.
    noise : float
        Root mean square over grey levels of the log10 ratio of the noise variance.
    quantiles : float
        Root mean square difference of quantiles, as a share of the real recording's range from 1 % to 99 %.
    correlation : float
        Root mean square difference of the noise's correlation between neighbours along Y and X.
    direction : float
        Root mean square over frequencies of the log10 ratio of power along Y to power along X: what line jitter does.
    """

    spectrum: float
    noise: float
    quantiles: float
    correlation: float
    direction: float


def measure(images: NDArray[Any]) -> Statistics:
    """Measure some images.

    Parameters
    ----------
    images : ndarray, (n, y, x)
        Grey levels of one channel, at least 32 voxels along Y and X.

    Raises
    ------
    InputError
        When the images are constant, hold NaN or show too few grey levels.
    """
    values = np.asarray(images, dtype=np.float64)
    noise = noise_of_image(values)
    frequency, power, pixels = spectrum(values)
    return Statistics(frequency, power, pixels, np.quantile(values, SHARES), noise)


def spectrum(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies, power along Y and X, and Fourier pixels, as `Statistics` holds them.

    Means are subtracted and a Hann window applied, so that the borders do not leak into high frequencies.
    """
    n, height, width = values.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    flat = (values - values.mean(axis=(1, 2), keepdims=True)) * window
    power = (np.abs(fft.rfft2(flat)) ** 2).mean(axis=0) / np.sum(window**2)
    qy, qx = np.abs(np.fft.fftfreq(height))[:, None], np.fft.rfftfreq(width)
    q = np.hypot(qy, qx)
    edges = np.geomspace(_FIRST_RING / min(height, width), 0.5, _BANDS + 1)
    band = np.searchsorted(edges, q.ravel(), side="right") - 1
    inside = (band >= 0) & (band < _BANDS)
    # A column of rfft2 stands for two of the whole plane, save the first and, for even sizes, the last.
    weight = np.full(q.shape, 2.0)
    weight[:, 0] = 1.0
    if width % 2 == 0:
        weight[:, -1] = 1.0
    index = np.where(qy > qx, band.reshape(q.shape), band.reshape(q.shape) + _BANDS).ravel()[inside]
    count = np.bincount(index, weights=weight.ravel()[inside], minlength=2 * _BANDS).reshape(2, _BANDS)
    total = np.bincount(index, weights=(weight * power).ravel()[inside], minlength=2 * _BANDS).reshape(2, _BANDS)
    full = (count > 0).all(axis=0)
    centre = np.sqrt(edges[1:] * edges[:-1])
    return centre[full], total[:, full] / count[:, full], n * count.sum(axis=0)[full]


def compare(simulated: Statistics, recorded: Statistics) -> Gaps:
    """Tell how far statistics of simulated recordings are from those of real ones.

    Bands of few Fourier pixels, in which two images of one kind differ by chance, weigh less.
    """
    noise = _noise_gap(simulated.noise, recorded.noise)
    low, high = recorded.quantiles[1], recorded.quantiles[-2]
    quantiles = _rms(simulated.quantiles - recorded.quantiles) / max(float(high - low), 1e-12)
    correlation = _rms(np.subtract(simulated.noise.correlation, recorded.noise.correlation))
    return Gaps(
        spectrum=spectrum_gap(simulated.radial, recorded.radial, recorded.pixels),
        noise=noise,
        quantiles=quantiles,
        correlation=correlation,
        direction=direction_gap(simulated.power, recorded.power, recorded.pixels),
    )


def spectrum_gap(simulated: NDArray[np.float64], recorded: NDArray[np.float64], pixels: NDArray[np.float64]) -> float:
    """Return the weighted root mean square of the log10 ratio of two radial spectra in the same bands."""
    ratio = np.log10(np.maximum(simulated, 1e-300) / np.maximum(recorded, 1e-300))
    return _rms(ratio, 1 / (_TOLERANCE + _SCATTER / pixels))


def direction_gap(simulated: NDArray[np.float64], recorded: NDArray[np.float64], pixels: NDArray[np.float64]) -> float:
    """Return the weighted root mean square by which power along Y over power along X differs, in log10; (2, bands)."""
    tilt = [np.log10(np.maximum(power[0], 1e-300) / np.maximum(power[1], 1e-300)) for power in (simulated, recorded)]
    return _rms(tilt[0] - tilt[1], 1 / (_TOLERANCE + 2 * _SCATTER / pixels))


def _noise_gap(simulated: NoiseModel, recorded: NoiseModel) -> float:
    """Compare two measured curves of variance where both have points; the fitted lines where they do not overlap."""
    shared = (recorded.level >= simulated.level.min()) & (recorded.level <= simulated.level.max())
    if np.count_nonzero(shared) < 2:
        levels = recorded.level
        found = np.array([simulated.variance_at(level) for level in levels])
    else:
        levels = recorded.level[shared]
        found = np.interp(levels, simulated.level, simulated.variance)
    real = np.interp(levels, recorded.level, recorded.variance)
    least = 1e-3 * float(recorded.variance.mean()) + 1e-300
    return _rms(np.log10(np.maximum(found, least) / np.maximum(real, least)))


def _rms(values: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> float:
    return math.sqrt(float(np.average(values**2, weights=weight)))
