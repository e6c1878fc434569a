"""Resolution by Fourier ring and shell correlation: up to which spatial frequency two images tell the same.

What a figure means depends on what is compared:

* two recordings of one object with independent noise: threshold 1/7 or half-bit;
* a prediction against truth that the method never saw: threshold 0.5, since truth counts as free of noise
  (``C_ref = sqrt(2 FRC / (1 + FRC))`` turns 1/7 into 0.5; Rosenthal & Henderson 2003, J Mol Biol 333:721);
* two predictions from two recordings: nothing. A method that always invents the same detail correlates perfectly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import uniform_filter1d
from scipy.signal.windows import tukey

from superres.errors import InputError

Threshold = Literal["1/7", "0.5", "half-bit", "one-bit", "3-sigma"]

FIXED: dict[str, float] = {"1/7": 1 / 7, "0.5": 0.5}
# Bits of information per Fourier pixel to signal-to-noise ratio: 2**(2 bits) = 1 + SNR, shared by two half data sets.
_INFORMATION = {"half-bit": 0.2071, "one-bit": 0.5}
SMALLEST_SIDE = 16
"""Sides that an image must have at least, in voxels."""

# Share of every axis that the window tapers off.
_TAPER = 0.25
# The first rings hold a few Fourier pixels, on which every threshold is passed or failed by chance.
_FIRST_RING = 4
_SMOOTHED = 3
_BELOW = 3


@dataclass(frozen=True, slots=True)
class Correlation:
    """A Fourier ring or shell correlation.

    Parameters
    ----------
    frequency : ndarray
        float64, (n,); centre of each ring in cycles per unit of `spacing` (per voxel by default), up to Nyquist.
    correlation : ndarray
        float64, (n,).
    count : ndarray
        float64, (n,); Fourier pixels in each ring.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    count: NDArray[np.float64]

    def resolution(self, threshold: Threshold = "1/7") -> float:
        """Return the period at which the correlation falls below a threshold, in units of `spacing`.

        The curve is smoothed over 3 rings and searched from ring 4; 3 consecutive rings must lie below. NaN when the
        curve never falls: the resolution is then better than two voxels, or the two images share more than the object.
        """
        smooth = uniform_filter1d(self.correlation, _SMOOTHED, mode="nearest")
        excess = smooth - threshold_curve(threshold, self.count)
        below = excess < 0
        for ring in range(_FIRST_RING, len(below) - _BELOW + 1):
            if below[ring : ring + _BELOW].all():
                return 1 / self._crossing(ring, excess)
        return math.nan

    def _crossing(self, ring: int, excess: NDArray[np.float64]) -> float:
        """Interpolate between the last ring above and the first one below."""
        above, under = float(excess[ring - 1]), float(excess[ring])
        share = above / (above - under) if above > 0 else 1.0
        return float(self.frequency[ring - 1] + share * (self.frequency[ring] - self.frequency[ring - 1]))


def threshold_curve(threshold: Threshold, count: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the threshold at rings of `count` Fourier pixels.

    "1/7" and "0.5" are constants; the information thresholds and 3-sigma follow van Heel & Schatz 2005 (J Struct Biol
    151:250), with half the Fourier pixels of a ring independent.
    """
    if threshold in FIXED:
        return np.full(len(count), FIXED[threshold])
    root = np.sqrt(np.maximum(count, 1.0))
    if threshold == "3-sigma":
        return 3 * math.sqrt(2) / root
    snr = _INFORMATION[threshold]
    both = 2 * math.sqrt(snr)
    curve: NDArray[np.float64] = (snr + (both + 1) / root) / (snr + 1 + both / root)
    return curve


def fourier_correlation(
    first: NDArray[Any], second: NDArray[Any], *, spacing: Sequence[float] | None = None
) -> Correlation:
    """Correlate two images ring by ring (planes) or shell by shell (volumes) in Fourier space.

    Parameters
    ----------
    first, second : ndarray
        (y, x) or (z, y, x) of one shape, each side at least 16; on the same grid, the gain may differ.
    spacing : sequence of float, optional
        Voxel size along the axes, in any unit; 1 by default.

    Returns
    -------
    Correlation
        Rings are as wide as the Fourier pixel of the shortest extent and end at the lowest Nyquist frequency.

    Raises
    ------
    InputError
        When shapes differ, or an image is too small, constant or holds NaN.
    """
    _check(first, second)
    return correlate_spectra(windowed_spectrum(first), windowed_spectrum(second), first.shape, spacing=spacing)


def correlate_spectra(
    first: NDArray[np.complex128],
    second: NDArray[np.complex128],
    shape: tuple[int, ...],
    *,
    spacing: Sequence[float] | None = None,
) -> Correlation:
    """Correlate two images of one shape whose `windowed_spectrum` is known; see `fourier_correlation`."""
    steps = np.ones(len(shape)) if spacing is None else np.asarray(spacing, dtype=np.float64)
    width = 1 / min(n * step for n, step in zip(shape, steps, strict=True))
    rings, weight = _rings(shape, steps, width)
    inside = round(0.5 / float(steps.max()) / width)
    cross = _sums((first * second.conj()).real, rings, weight, inside)
    power = _sums(_power(first), rings, weight, inside) * _sums(_power(second), rings, weight, inside)
    count = _sums(None, rings, weight, inside)
    # Signal-free spectra (a bandlimited image beyond its band) have no correlation to speak of.
    correlation = np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)
    return Correlation(np.arange(inside + 1) * width, correlation, count)


def mean_correlation(correlations: Sequence[Correlation]) -> Correlation:
    """Average curves, at least one, ring by ring on the rings of the one that has the fewest."""
    coarsest = min(correlations, key=lambda one: len(one.frequency))
    curves = [np.interp(coarsest.frequency, one.frequency, one.correlation) for one in correlations]
    return Correlation(coarsest.frequency, np.mean(curves, axis=0), coarsest.count * len(correlations))


def reference_correlation(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the average of two noisy images would correlate with truth: ``sqrt(2 FRC / (1 + FRC))``."""
    positive = np.clip(correlation, 0.0, 1.0)
    return np.sqrt(2 * positive / (1 + positive))


def split_counts(
    image: NDArray[Any], *, gain: float, offset: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Divide the photons of one raw recording at random into two images with independent noise.

    Their correlation is that of two recordings of half the dose (Rieger & Stallinga 2024, Opt Express 32; doi
    10.1364/OE.524683). Only for raw counts: in interpolated, filtered or predicted images neighbouring voxels share
    their noise.

    Parameters
    ----------
    image : ndarray
        Grey levels.
    gain, offset : float
        Grey levels per photon, and the grey level without light.
    seed : int
        Of the division.

    Returns
    -------
    tuple of ndarray
        float64, photons.
    """
    if not gain > 0:
        raise InputError(f"gain {gain:g} found, more than 0 grey levels per photon expected; measure it with repeats")
    photons = np.maximum(np.rint((image.astype(np.float64) - offset) / gain), 0).astype(np.int64)
    half = np.random.default_rng(seed).binomial(photons, 0.5)
    return half.astype(np.float64), (photons - half).astype(np.float64)


def rolling_resolution(
    first: NDArray[Any],
    second: NDArray[Any],
    *,
    block: int = 64,
    step: int = 32,
    threshold: Threshold = "1/7",
) -> NDArray[np.float64]:
    """Return a map of the local resolution in voxels, NaN where the correlation says nothing.

    Parameters
    ----------
    first, second : ndarray
        (y, x), as in `fourier_correlation`.
    block, step : int
        Side of the squares that are correlated, and the distance of their centres, in voxels.

    Returns
    -------
    ndarray
        float64, (rows, columns) of squares; element (i, j) covers ``[i * step : i * step + block]`` along Y.
    """
    _check(first, second)
    if first.ndim != 2 or min(first.shape) < block:
        raise InputError(f"image of shape {first.shape} found, a plane of at least {block} x {block} voxels expected")
    rows, columns = ((n - block) // step + 1 for n in first.shape)
    found = np.full((rows, columns), np.nan)
    for i, j in np.ndindex(rows, columns):
        place = (slice(i * step, i * step + block), slice(j * step, j * step + block))
        a, b = first[place], second[place]
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            found[i, j] = fourier_correlation(a, b).resolution(threshold)
    return found


def _check(first: NDArray[Any], second: NDArray[Any]) -> None:
    if first.shape != second.shape:
        raise InputError(f"images of shape {first.shape} and {second.shape} found, the same grid expected")
    if first.ndim not in (2, 3) or min(first.shape) < SMALLEST_SIDE:
        raise InputError(f"image of shape {first.shape} found, a plane or volume of at least 16 voxels a side expected")
    for image in (first, second):
        if not np.isfinite(image).all():
            raise InputError("NaN or infinite values found; fill or cut them off before the correlation is measured")
        if np.ptp(image) == 0:
            raise InputError("a constant image found; there is no structure whose resolution could be measured")


def windowed_spectrum(image: NDArray[Any]) -> NDArray[np.complex128]:
    """Return the transform, as of ``rfftn``, of an image without its mean, its borders tapered (Tukey, 0.25)."""
    values = image.astype(np.float64)
    values -= values.mean()
    for axis, size in enumerate(image.shape):
        window = tukey(size, _TAPER)
        values *= window.reshape([size if other == axis else 1 for other in range(image.ndim)])
    spectrum: NDArray[np.complex128] = fft.rfftn(values)
    return spectrum


def _power(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
    return spectrum.real**2 + spectrum.imag**2


def _rings(
    shape: tuple[int, ...], steps: NDArray[np.float64], width: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ring of every element of an rfftn, and for how many elements of the full transform it stands."""
    axes = [fft.fftfreq(n, step) for n, step in zip(shape[:-1], steps[:-1], strict=True)]
    axes.append(fft.rfftfreq(shape[-1], steps[-1]))
    squares = np.zeros([len(axis) for axis in axes])
    for number, axis in enumerate(axes):
        squares += (axis**2).reshape([-1 if other == number else 1 for other in range(len(axes))])
    rings = np.rint(np.sqrt(squares) / width).astype(np.int64)
    weight = np.full(len(axes[-1]), 2.0)
    weight[0] = 1.0
    if shape[-1] % 2 == 0:
        weight[-1] = 1.0
    return rings, np.broadcast_to(weight, rings.shape)


def _sums(
    values: NDArray[np.float64] | None, rings: NDArray[np.int64], weight: NDArray[np.float64], inside: int
) -> NDArray[np.float64]:
    weights = weight if values is None else values * weight
    sums = np.bincount(rings.ravel(), weights.ravel(), minlength=inside + 1)
    return sums[: inside + 1].astype(np.float64)
