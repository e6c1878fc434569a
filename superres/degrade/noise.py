"""How noisy recorded images are: variance against grey level, from repeats, from a pair or from a single image.

The model is ``variance = gain * level + constant``: photons counted with `gain` grey levels each, on top of an
offset and read noise (``constant = read_noise**2 - gain * offset``). Gain and constant can be measured in any image;
offset and read noise apart only where a dark frame or an empty area shows one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter

from superres.errors import InputError

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0]) / math.sqrt(6.0)  # unit variance of white noise is kept
# Correlation of second differences of white noise at lags 1 and 2: what filtered noise is recognised by.
_WHITE_LAGS = np.array([-2 / 3, 1 / 6])
_SMOOTHING = 1.5  # voxels; local level
_FLAT_SHARE = 0.6
_BINS = 40
_STRATA = 12
_FEWEST = 100  # pixels in a bin
_MAD_TO_SD = 1.4826
# Pixels at the very ends of the scale: more than this share of a bin, and the bin has lost variance by clipping.
_CLIPPED_SHARE = 5e-3
# Correlation of neighbouring noise from which on a warning is given.
_CORRELATED = 0.08
_ROUNDS = 8
_SMALLEST_SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class NoiseModel:
    """Variance of the noise against grey level.

    Parameters
    ----------
    gain : float
        Grey levels per photon: the slope.
    constant : float
        Grey levels squared: the variance at level 0, ``read_noise**2 - gain * offset``; negative with most offsets.
    level, variance : ndarray
        float64, (n,); the measured points of the line.
    correlation : tuple of float
        Of the noise of neighbouring voxels along Y and X; 0 for a plain detector.
    warnings : tuple of str
        Why the figures may not be what they seem.
    """

    gain: float
    constant: float
    level: NDArray[np.float64]
    variance: NDArray[np.float64]
    correlation: tuple[float, float]
    warnings: tuple[str, ...] = ()

    def variance_at(self, level: float) -> float:
        """Return the variance at a grey level; 0 where the line is below it."""
        return max(0.0, self.gain * level + self.constant)

    def read_noise(self, offset: float) -> float:
        """Return the read noise (standard deviation, grey levels) that goes with a known offset."""
        return math.sqrt(self.variance_at(offset))

    def offset(self, read_noise: float) -> float:
        """Return the offset in grey levels that goes with a known read noise; NaN without a slope."""
        return (read_noise**2 - self.constant) / self.gain if self.gain > 0 else math.nan


def noise_of_repeats(first: NDArray[Any], second: NDArray[Any]) -> NoiseModel:
    """Measure noise from two recordings of one field, by photon transfer: half the variance of their difference.

    Parameters
    ----------
    first, second : ndarray, (..., y, x)
        Recorded one after the other with the same settings; bleaching and drift between them count as noise.

    Raises
    ------
    InputError
        When the shapes differ, or the images are too small, constant or hold NaN.
    """
    if first.shape != second.shape:
        raise InputError(f"repeats of shapes {first.shape} and {second.shape}; expected two recordings of one field")
    one, two = _checked(first), _checked(second)
    level, difference = _local_level((one + two) / 2), (one - two) / math.sqrt(2)
    clipped = _clipped(one) | _clipped(two)
    bins = _bins(level.ravel())
    points = _points(level.ravel(), difference.ravel(), clipped.ravel(), bins, robust=False)
    lags = tuple(_lag(difference - difference.mean(), axis, 1) for axis in (-2, -1))
    warnings = [*_clipping_warning(clipped), *_correlation_warning(max(map(abs, lags)), "difference of the repeats")]
    return _model(points, (lags[0], lags[1]), warnings)


def noise_of_image(image: NDArray[Any]) -> NoiseModel:
    """Measure noise from one image: second differences in its flattest parts, per grey level.

    Texture finer than about three voxels counts as noise; two repeats (`noise_of_repeats`) do not have that fault.

    Parameters
    ----------
    image : ndarray, (..., y, x)
        Grey levels, one channel.

    Raises
    ------
    InputError
        When the image is too small, constant or holds NaN.
    """
    values = _checked(image)
    level, residual, flat = _flat_residual(values)
    clipped = _clipped(values)
    bins = _bins(level[flat])
    points = _points(level[flat], residual[flat], clipped[flat], bins, robust=True)
    correlation = noise_correlation(residual, flat)
    warnings = [*_clipping_warning(clipped), *_correlation_warning(max(map(abs, correlation)), "image")]
    return _model(points, correlation, warnings)


def noise_of_pair(light: NDArray[np.float64], recorded: NDArray[Any]) -> NoiseModel:
    """Measure noise as what recordings differ by from the light that they show, in second differences.

    Texture drops out, as far as the light is known: where it is not (images that are not registered, another blur), the
    difference holds more of it than the recording itself, and `noise_of_image` is the better measure.

    Parameters
    ----------
    light, recorded : ndarray, (..., y, x)
        On one grey scale.

    Raises
    ------
    InputError
        When the shapes differ, or the recording is too small, constant or holds NaN.
    """
    if light.shape != recorded.shape:
        raise InputError(f"light of shape {light.shape} and recording of {recorded.shape}; expected one field")
    values = _checked(recorded)
    residual, clipped = _second_differences(values - light), _clipped(values)
    points = _points(light.ravel(), residual.ravel(), clipped.ravel(), _bins(light.ravel()), robust=True)
    correlation = noise_correlation(residual, np.ones(residual.shape, dtype=bool))
    warnings = [*_clipping_warning(clipped), *_correlation_warning(max(map(abs, correlation)), "recording")]
    return _model(points, correlation, warnings)


def noise_correlation(residual: NDArray[np.float64], flat: NDArray[np.bool_]) -> tuple[float, float]:
    """Return by how much more than white noise second differences correlate with their neighbours, along Y and X."""
    excess = []
    for axis in (-2, -1):
        lags = np.array([_lag(residual, axis, step, flat) for step in (1, 2)])
        excess.append(float((lags - _WHITE_LAGS)[0]))
    return excess[0], excess[1]


def noise_autocorrelation(image: NDArray[Any], lags: int = 6) -> NDArray[np.float64]:
    """Return how noise correlates with that of voxels further on, beyond white noise: 0 for a plain detector.

    Parameters
    ----------
    image : ndarray, (..., y, x)
        Grey levels, one channel.

    Returns
    -------
    ndarray
        float64, (2, lags), along Y and X, at 1, 2, ... voxels; of second differences in the flattest parts.
    """
    _, residual, flat = _flat_residual(_checked(image))
    white = np.zeros(max(lags, 2))
    white[:2] = _WHITE_LAGS
    found = [[_lag(residual, axis, step, flat) for step in range(1, lags + 1)] for axis in (-2, -1)]
    return np.array(found) - white[:lags]


def dark_level(image: NDArray[Any]) -> float:
    """Return the grey level of the emptiest areas: the offset, where those get no light.

    The lowest frequent level of the smoothed image (half-sample mode of its lower half). Where nothing is dark, it is
    above the offset.
    """
    values = _checked(image)
    level = np.sort(_local_level(values), axis=None)
    return _half_sample_mode(level[: max(2, level.size // 2)])


def noise_of_dark(frame: NDArray[Any]) -> tuple[float, float]:
    """Return offset and read noise of a frame recorded without light; hot pixels are left out."""
    values = np.asarray(frame, dtype=np.float64)
    centre = float(np.median(values))
    spread = _MAD_TO_SD * float(np.median(np.abs(values - centre))) or float(values.std())
    kept = values[np.abs(values - centre) <= max(6 * spread, 1.0)]
    return float(kept.mean()), float(kept.std())


def _checked(image: NDArray[Any]) -> NDArray[np.float64]:
    if image.ndim < 2 or min(image.shape[-2:]) < _SMALLEST_SIDE:
        raise InputError(
            f"image of shape {image.shape} is too small to measure noise in; expected at least {_SMALLEST_SIDE} x "
            f"{_SMALLEST_SIDE} voxels: give a larger part of it"
        )
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        raise InputError("image is constant or holds NaN; expected a recording with noise: give another one")
    return values


def _flat_residual(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return local level, second differences along both axes, and where the level is flattest."""
    level = _local_level(values)
    flat = _flat(level)
    return level, _second_differences(values), flat


def _second_differences(values: NDArray[np.float64]) -> NDArray[np.float64]:
    differences: NDArray[np.float64] = convolve1d(
        convolve1d(values, _SECOND_DIFFERENCE, axis=-1), _SECOND_DIFFERENCE, axis=-2
    )
    return differences


def _flat(level: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the flattest parts; of every grey level, where those of the whole image are nothing but background."""
    steepness = np.hypot(np.gradient(level, axis=-1), np.gradient(level, axis=-2))
    flat = steepness <= np.quantile(steepness, _FLAT_SHARE)
    (low, high), (flat_low, flat_high) = (np.quantile(part, [0.001, 0.999]) for part in (level, level[flat]))
    if flat_high - flat_low >= (high - low) / 2:
        return np.asarray(flat)
    stratum = np.clip((level - low) / (high - low) * _STRATA, 0, _STRATA - 1).astype(np.intp)
    limits = np.zeros(_STRATA)
    for number in np.unique(stratum):
        limits[number] = np.quantile(steepness[stratum == number], _FLAT_SHARE)
    return np.asarray(steepness <= limits[stratum])


def _local_level(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the noise away without flattening peaks: a Gaussian whose error of second order is taken back.

    A level that keeps noise, or that is flatter than the object, would make the line of variance against it too flat or
    too steep; a plain Gaussian of this width by 10 %.
    """
    planes = (0.0,) * (values.ndim - 2)
    narrow = gaussian_filter(values, (*planes, _SMOOTHING, _SMOOTHING))
    level: NDArray[np.float64] = 2 * narrow - gaussian_filter(narrow, (*planes, _SMOOTHING, _SMOOTHING))
    return level


def clipped_ends(values: NDArray[Any]) -> tuple[float | None, float | None]:
    """Return the lowest and the highest grey level where they were reached too often to be chance, None elsewhere."""
    ends = []
    for end in (float(values.min()), float(values.max())):
        reached = int(np.count_nonzero(values == end))
        ends.append(end if reached > max(10, 1e-4 * values.size) else None)
    return ends[0], ends[1]


def _clipped(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark voxels at the ends of the scale that were reached too often to be chance."""
    marked = np.zeros(values.shape, dtype=bool)
    for end in clipped_ends(values):
        if end is not None:
            marked |= values == end
    return marked


def _bins(level: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.quantile(level, [0.001, 0.999])
    return np.linspace(low, high, _BINS + 1)


def _points(
    level: NDArray[np.float64],
    residual: NDArray[np.float64],
    clipped: NDArray[np.bool_],
    bins: NDArray[np.float64],
    *,
    robust: bool,
) -> NDArray[np.float64]:
    """Return (n, 3): mean level, variance and number of voxels of each bin that can be used."""
    order = np.argsort(level, kind="stable")
    edges = np.searchsorted(level[order], bins)
    points = []
    first = int(edges[0])
    for stop in edges[1:].tolist():
        chosen = order[first:stop]
        if len(chosen) < _FEWEST:  # sparse levels are taken together with their neighbours
            continue
        first = stop
        if clipped[chosen].mean() > _CLIPPED_SHARE:
            continue
        values = residual[chosen]
        spread = _MAD_TO_SD * float(np.median(np.abs(values))) if robust else float(values.std())
        points.append((float(level[chosen].mean()), spread**2, float(len(chosen))))
    if len(points) < 2:
        raise InputError(
            "image shows too few grey levels to measure noise against them (clipped, or nearly empty); give a "
            "recording with more signal"
        )
    return np.array(points)


def _model(points: NDArray[np.float64], correlation: tuple[float, float], warnings: list[str]) -> NoiseModel:
    """Fit the line; the variance of a measured variance is its square over the number of voxels."""
    level, variance, count = points.T
    expected = np.full_like(variance, np.average(variance, weights=count))
    for _ in range(_ROUNDS):
        weight = np.sqrt(count) / expected
        design = np.stack([level, np.ones_like(level)], axis=1)
        (gain, constant), *_ = np.linalg.lstsq(design * weight[:, None], variance * weight)
        expected = np.maximum(gain * level + constant, 0.05 * np.median(variance) + 1e-12)
    if gain <= 0:
        warnings = [*warnings, "noise does not grow with the grey level: no photon noise was found"]
    return NoiseModel(float(gain), float(constant), level, variance, correlation, tuple(warnings))


def _lag(values: NDArray[np.float64], axis: int, step: int, where: NDArray[np.bool_] | None = None) -> float:
    """Return the correlation of values with those `step` voxels on."""
    near = [slice(None)] * values.ndim
    far = [slice(None)] * values.ndim
    near[axis], far[axis] = slice(None, -step), slice(step, None)
    product = values[tuple(near)] * values[tuple(far)]
    if where is None:
        return float(product.mean() / np.square(values).mean())
    both = where[tuple(near)] & where[tuple(far)]
    return float(product[both].mean() / np.square(values[where]).mean())


def _half_sample_mode(ordered: NDArray[np.float64]) -> float:
    """Narrow down to the densest half until few values are left (Robertson & Cryer 1974)."""
    while len(ordered) > 64:
        half = (len(ordered) + 1) // 2
        widths = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(np.argmin(widths))
        ordered = ordered[start : start + half]
    return float(ordered.mean())


def _clipping_warning(clipped: NDArray[np.bool_]) -> list[str]:
    share = float(clipped.mean())
    return [f"{share:.1%} of the voxels are at an end of the scale (clipped); they are left out"] if share else []


def _correlation_warning(correlation: float, what: str) -> list[str]:
    if correlation <= _CORRELATED:
        return []
    return [
        f"noise of neighbouring voxels in the {what} is correlated ({correlation:.2f} more than white noise): the data "
        "were filtered, resampled, denoised or compressed, or hold texture as fine as the voxels; gain and read noise "
        "are those of the processed image"
    ]
