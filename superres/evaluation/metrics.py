"""Figures of one predicted plane against truth.

Everything is computed in float64 with a data range that the caller states; nothing is inferred from a dtype, and
nothing is rescaled, rounded or clipped before it is scored. Planes on different grids, NaN and infinite values are
refused by name. Similarity, spectra and shifts have files of their own beside this one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.evaluation.planes import paired, require_range

NRMSE_VARIANT: Literal["euclidean"] = "euclidean"
"""The variant of NRMSE that reports give."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How well one prediction, or the mean over several, agrees with truth; NaN where a figure has no value.

    Parameters
    ----------
    psnr, si_psnr : float
        Decibel; see `psnr` and `si_psnr`.
    ssim : float
        1 for identical planes.
    nrmse : float
        Root mean squared error over the root mean square of truth (variant "euclidean").
    slope, intercept, r2 : float
        Least-squares line prediction = slope * truth + intercept (grey levels), and its share of explained variance.
        A quantitative method has slope 1 and intercept 0, which scale-invariant figures do not show.
    intensity_ratio : float
        Total intensity of the prediction over that of truth.
    ms_ssim : float
        Multi-scale SSIM; no value for planes of less than 176 voxels a side.
    micro_ssim : float
        SSIM after black is subtracted and one factor per method, fitted on all images of an evaluation.
    resolution : float
        Period in voxels down to which prediction and truth correlate by more than 0.5; 2 is the finest.
    error_below, error_above : float
        Relative spectral error below and above the Nyquist frequency of the low image.
    psnr_shifted, shift_y, shift_x : float
        PSNR after the best shift of up to a voxel, and that shift of the prediction in voxels.
    """

    psnr: float
    si_psnr: float
    ssim: float
    nrmse: float
    slope: float
    intercept: float
    r2: float
    intensity_ratio: float
    ms_ssim: float = math.nan
    micro_ssim: float = math.nan
    resolution: float = math.nan
    error_below: float = math.nan
    error_above: float = math.nan
    psnr_shifted: float = math.nan
    shift_y: float = math.nan
    shift_x: float = math.nan


def psnr(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio, 10 log10(R^2 / MSE), in decibel; infinite for identical images."""
    require_range(data_range)
    g, x = paired(truth, prediction)
    return _decibel(data_range, float(np.mean((g - x) ** 2)))


def si_psnr(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float) -> float:
    """Return the PSNR after the best gain and offset of the prediction, in decibel.

    With g = truth - mean, x = prediction - mean and a = <g, x> / <x, x> it is 20 log10(R / rms(g - a x)), the
    range-invariant form of content-aware restoration (Weigert et al. 2018, Nat Methods 15:1090). A constant prediction
    scores as the mean of truth does.

    Raises
    ------
    InputError
        When truth is constant: any prediction times 0 would fit it.
    """
    require_range(data_range)
    g, x = paired(truth, prediction)
    if np.ptp(g) == 0:
        raise InputError(f"truth is constant ({g.flat[0]:g}), structure expected; leave the plane out")
    g, x = g - g.mean(), x - x.mean()
    power = float(np.vdot(x, x))
    gain = float(np.vdot(g, x)) / power if power > 0 else 0.0
    return _decibel(data_range, float(np.mean((g - gain * x) ** 2)))


def nrmse(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    variant: Literal["euclidean", "mean", "range"],
    data_range: float | None = None,
) -> float:
    """Return the root mean squared error over a norm of truth.

    Parameters
    ----------
    variant : str
        The norm: "euclidean" the root mean square of truth, "mean" its mean, "range" the data range given.
    """
    g, x = paired(truth, prediction)
    rmse = math.sqrt(float(np.mean((g - x) ** 2)))
    if variant == "range":
        if data_range is None:
            raise ValueError("nrmse: variant 'range' needs data_range")
        require_range(data_range)
        return _ratio(rmse, data_range)
    return _ratio(rmse, math.sqrt(float(np.mean(g**2))) if variant == "euclidean" else float(g.mean()))


def line_fit(truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[float, float, float]:
    """Return slope, intercept and R^2 of the least-squares line prediction = slope * truth + intercept.

    NaN where it has none: all three for a constant truth, R^2 for a constant prediction.
    """
    g, x = paired(truth, prediction)
    mean_g, mean_x = float(g.mean()), float(x.mean())
    var_g, var_x = float(np.mean((g - mean_g) ** 2)), float(np.mean((x - mean_x) ** 2))
    covariance = float(np.mean((g - mean_g) * (x - mean_x)))
    slope = _ratio(covariance, var_g)
    return slope, mean_x - slope * mean_g, _ratio(covariance**2, var_g * var_x)


def total_ratio(truth: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Return the total intensity of the prediction over that of truth; NaN when truth sums to 0."""
    g, x = paired(truth, prediction)
    return _ratio(float(x.sum()), float(g.sum()))


def inner(plane: NDArray[Any], crop: tuple[int, int]) -> NDArray[Any]:
    """Leave out `crop` voxels at every border of a plane, (..., y, x)."""
    (cy, cx), (y, x) = crop, plane.shape[-2:]
    return plane[..., cy : y - cy, cx : x - cx]


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Average every figure over at least one score; one without a value leaves the mean without."""
    names = [item.name for item in dataclasses.fields(Scores)]
    return Scores(**{name: math.fsum(getattr(s, name) for s in scores) / len(scores) for name in names})


def _decibel(data_range: float, squared_error: float) -> float:
    return 10 * math.log10(data_range**2 / squared_error) if squared_error != 0 else math.inf


def _ratio(a: float, b: float) -> float:
    return a / b if b != 0 else math.nan
