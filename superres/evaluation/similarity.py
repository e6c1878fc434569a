"""Structural similarity of a prediction and truth: SSIM, its multi-scale form, and MicroSSIM.

All three are made of the same five windowed moments, so that they share one window (a Gaussian of sigma 1.5, cut to
11 x 11), one covariance (of the population) and one rule for borders (only complete windows count).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize_scalar

from superres.errors import InputError
from superres.evaluation.metrics import inner
from superres.evaluation.planes import paired, require_range

SSIM_WINDOW = 11
"""Side of the SSIM window in voxels: a Gaussian of sigma 1.5 cut at 3.5 sigma."""

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales of MS-SSIM, finest first (Wang et al. 2003)."""

MS_SSIM_SIDE = SSIM_WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
"""Smallest side of a plane for MS-SSIM, in voxels: one complete window at the coarsest scale."""

BLACK_PERCENTILE = 3.0
"""The percentile that MicroSSIM takes for black."""

# Half octaves. The similarity is smooth in the logarithm of the factor: a spline through them is right to 2e-5, and to
# 2e-4 in the outermost octaves.
FACTORS: NDArray[np.float64] = 2.0 ** np.arange(-8, 8.25, 0.5)
"""Factors at which MicroSSIM is computed; it is interpolated in between and not searched beyond."""

FACTOR_REACH = 2.0
"""By how much the factor of MicroSSIM may differ from the one of equal power, up or down."""

_SIGMA, _TRUNCATE = 1.5, 3.5
_K1, _K2 = 0.01, 0.03
_BLOCK = 16384  # voxels whose moments fit into the cache of a core


@dataclass(frozen=True, slots=True)
class WindowMoments:
    """Means, variances and covariance in the window around every voxel where it is complete; float64, (y, x) each."""

    mean_truth: NDArray[np.float64]
    mean_pred: NDArray[np.float64]
    var_truth: NDArray[np.float64]
    var_pred: NDArray[np.float64]
    covariance: NDArray[np.float64]


def window_moments(truth: NDArray[Any], prediction: NDArray[Any]) -> WindowMoments:
    """Measure the moments of two planes, (y, x), both sides at least `SSIM_WINDOW` voxels.

    Raises
    ------
    InputError
        When the planes are too small, differ in shape or hold NaN.
    """
    g, x = paired(truth, prediction)
    if min(g.shape) < SSIM_WINDOW:
        raise InputError(
            f"plane of {g.shape[0]} x {g.shape[1]} voxels found, at least {SSIM_WINDOW} a side expected for SSIM; "
            "leave out less at the borders, or give a larger plane"
        )
    # Variances are differences of squares: around the mean they lose no digits to a large offset.
    level_g, level_x = float(g.mean()), float(x.mean())
    g, x = g - level_g, x - level_x
    mean_g, mean_x = _windowed(g), _windowed(x)
    return WindowMoments(
        mean_truth=mean_g + level_g,
        mean_pred=mean_x + level_x,
        var_truth=_windowed(g * g) - mean_g * mean_g,
        var_pred=_windowed(x * x) - mean_x * mean_x,
        covariance=_windowed(g * x) - mean_g * mean_x,
    )


def ssim(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float) -> float:
    """Return the mean structural similarity of two planes, (y, x), both sides at least `SSIM_WINDOW` voxels.

    Settings of Wang et al. 2004 (IEEE TIP 13:600): Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population
    covariance; the mean leaves out the 5 voxels at every border, where the window is incomplete. The same to rounding
    as scikit-image's, whose moments cannot be shared with the other two figures.
    """
    return ssim_of(window_moments(truth, prediction), data_range=data_range)


def ssim_of(moments: WindowMoments, *, data_range: float) -> float:
    """Return SSIM from moments; see `ssim`."""
    return float(np.mean(_luminance(moments, data_range) * _structure(moments, data_range)))


def ms_ssim(
    truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float, moments: WindowMoments | None = None
) -> float:
    """Return the multi-scale structural similarity of two planes, (y, x), both sides at least `MS_SSIM_SIDE` voxels.

    Wang, Simoncelli & Bovik 2003 (Asilomar, p. 1398): contrast and structure at five scales, luminance at the coarsest
    only, as a product with the exponents `SCALE_WEIGHTS`; each scale is the 2 x 2 mean of the one before, an odd row
    or column at the far end left out. A scale whose mean is negative counts as 0.

    Parameters
    ----------
    moments : WindowMoments, optional
        Of the two planes, when they are known already.

    Raises
    ------
    InputError
        When the planes are too small, differ in shape or hold NaN, or the range is not positive.
    """
    g, x = paired(truth, prediction)
    if min(g.shape) < MS_SSIM_SIDE:
        raise InputError(
            f"plane of {g.shape[0]} x {g.shape[1]} voxels found, at least {MS_SSIM_SIDE} a side expected for MS-SSIM; "
            "use SSIM, or give a larger plane"
        )
    product = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        found = moments if moments is not None and scale == 0 else window_moments(g, x)
        values = _structure(found, data_range)
        if scale == len(SCALE_WEIGHTS) - 1:
            values = values * _luminance(found, data_range)
        product *= max(float(values.mean()), 0.0) ** weight
        g, x = _halved(g), _halved(x)
    return product


@dataclass(frozen=True, slots=True)
class MicroCurve:
    """The SSIM of truth and the prediction times each of `FACTORS`, after black is subtracted from both.

    Parameters
    ----------
    values : ndarray
        float64, as long as `FACTORS`.
    power_truth, power_pred : float
        Mean square of both after black is subtracted, in units of R^2: their ratio tells the scale of the prediction.
    """

    values: NDArray[np.float64]
    power_truth: float
    power_pred: float

    @property
    def scale(self) -> float:
        """The factor that brings the prediction to the power of truth; 1 for a prediction that is black throughout."""
        return math.sqrt(self.power_truth / self.power_pred) if self.power_pred > 0 else 1.0


def micro_ssim(
    truths: Sequence[NDArray[Any]], predictions: Sequence[NDArray[Any]], *, data_range: float
) -> tuple[list[float], float]:
    """Return the MicroSSIM of every image of one set, and the factor that they share.

    Ashesh et al. 2024 (arXiv 2408.08747): SSIM between truth - black and a * (prediction - black), where black is the
    3rd percentile of all truths and of all predictions, and the factor a is the one, within bounds, that makes the mean
    over the set largest (see `best_factor`). Truth's maximum, by which the paper divides both, cancels, as `data_range`
    is in grey levels.

    Parameters
    ----------
    truths, predictions : sequence of ndarray
        Planes, (y, x).
    data_range : float
        R of truth, in grey levels.
    """
    black = black_level(truths), black_level(predictions)
    curves = [
        micro_curve(window_moments(g, x), black=black, data_range=data_range)
        for g, x in zip(truths, predictions, strict=True)
    ]
    factor = best_factor(curves)
    return [at_factor(curve, factor) for curve in curves], factor


def black_level(planes: Sequence[NDArray[Any]]) -> float:
    """Return the grey level that MicroSSIM takes for black in a set of planes: their 3rd percentile."""
    return float(np.percentile(np.concatenate([plane.ravel() for plane in planes]), BLACK_PERCENTILE))


def micro_curve(moments: WindowMoments, *, black: tuple[float, float], data_range: float) -> MicroCurve:
    """Measure one plane for MicroSSIM; `black` is that of truth and of the prediction, in grey levels."""
    c1, c2 = _constants(data_range)
    fields = (moments.mean_truth, moments.mean_pred, moments.var_truth, moments.var_pred, moments.covariance)
    flat = [field.ravel() for field in fields]
    sums, power_g, power_x = np.zeros(len(FACTORS)), 0.0, 0.0
    for start in range(0, flat[0].size, _BLOCK):
        g, x, var_g, var_x, covariance = (field[start : start + _BLOCK] for field in flat)
        g, x = g - black[0], x - black[1]
        power_g, power_x = power_g + float(np.vdot(g, g)), power_x + float(np.vdot(x, x))
        both, rest_g, rest_x = 2 * g * x, g * g + c1, x * x
        twice, rest_var = 2 * covariance, var_g + c2
        for number, a in enumerate(FACTORS):
            above = (a * both + c1) * (a * twice + c2)
            sums[number] += np.sum(above / ((rest_g + a * a * rest_x) * (rest_var + a * a * var_x)))
    scale = flat[0].size * data_range**2
    return MicroCurve(sums / flat[0].size, power_g / scale, power_x / scale)


def mean_curve(curves: Sequence[MicroCurve]) -> MicroCurve:
    """Average the curves of several planes or acquisitions, at least one, each counting once."""
    return MicroCurve(
        np.mean([curve.values for curve in curves], axis=0),
        math.fsum(curve.power_truth for curve in curves) / len(curves),
        math.fsum(curve.power_pred for curve in curves) / len(curves),
    )


def best_factor(curves: Sequence[MicroCurve]) -> float:
    """Return the factor at which the mean of some curves is largest; those that hold NaN do not count.

    Searched within `FACTOR_REACH` of the factor that gives the prediction the power of truth. The paper searches
    without bounds, and in images that are mostly background may end near 0: a prediction of nothing is right nearly
    everywhere, and a blurred or an invented image then scores alike.
    """
    usable = [curve for curve in curves if np.isfinite(curve.values).all()]
    if not usable:
        return math.nan
    mean = mean_curve(usable)
    ends = np.clip([mean.scale / FACTOR_REACH, mean.scale * FACTOR_REACH], FACTORS[0], FACTORS[-1])
    places, spline = np.linspace(math.log2(ends[0]), math.log2(ends[1]), 33), _spline(mean)
    top = int(np.argmax(spline(places)))
    low, high = places[max(top - 1, 0)], places[min(top + 1, len(places) - 1)]
    found = minimize_scalar(lambda t: -float(spline(t)), bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(2.0**found.x)


def at_factor(curve: MicroCurve, factor: float) -> float:
    """Return the MicroSSIM that belongs to a curve at the factor of its set."""
    if not (math.isfinite(factor) and np.isfinite(curve.values).all()):
        return math.nan
    return float(_spline(curve)(math.log2(factor)))


def _spline(curve: MicroCurve) -> BSpline:
    return make_interp_spline(np.log2(FACTORS), curve.values, k=5)


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    edge = SSIM_WINDOW // 2
    smooth: NDArray[np.float64] = gaussian_filter(values, _SIGMA, truncate=_TRUNCATE)
    return inner(smooth, (edge, edge))


def _constants(data_range: float) -> tuple[float, float]:
    require_range(data_range)
    return (_K1 * data_range) ** 2, (_K2 * data_range) ** 2


def _luminance(moments: WindowMoments, data_range: float) -> NDArray[np.float64]:
    c1, _ = _constants(data_range)
    g, x = moments.mean_truth, moments.mean_pred
    return (2 * g * x + c1) / (g * g + x * x + c1)


def _structure(moments: WindowMoments, data_range: float) -> NDArray[np.float64]:
    """Contrast and structure, which Wang et al. write as one term when C3 = C2 / 2."""
    _, c2 = _constants(data_range)
    return (2 * moments.covariance + c2) / (moments.var_truth + moments.var_pred + c2)


def _halved(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    y, x = (n // 2 for n in plane.shape)
    half: NDArray[np.float64] = plane[: 2 * y, : 2 * x].reshape(y, 2, x, 2).mean(axis=(1, 3))
    return half
