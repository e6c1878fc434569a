"""Figures of one predicted plane against truth.

Everything is computed in float64 with a data range that the caller states; nothing is inferred from a dtype, and
nothing is rescaled, rounded or clipped before it is scored.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

SSIM_WINDOW = 11
"""Side of the SSIM window in pixels: a Gaussian of sigma 1.5 cut at 3.5 sigma."""

NRMSE_VARIANT: Literal["euclidean"] = "euclidean"
"""The variant of NRMSE that reports give."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How well one prediction, or the mean over several, agrees with truth.

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
    """

    psnr: float
    si_psnr: float
    ssim: float
    nrmse: float
    slope: float
    intercept: float
    r2: float
    intensity_ratio: float


def psnr(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio, 10 log10(R^2 / MSE), in decibel; infinite for identical images."""
    g, x = _pair(truth, prediction)
    return _decibel(data_range, float(np.mean((g - x) ** 2)))


def si_psnr(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float) -> float:
    """Return the PSNR after the best gain and offset of the prediction, in decibel.

    With g = truth - mean, x = prediction - mean and a = <g, x> / <x, x> it is 20 log10(R / rms(g - a x)), the
    range-invariant form of content-aware restoration (Weigert et al. 2018, Nat Methods 15:1090).
    """
    g, x = _pair(truth, prediction)
    g, x = g - g.mean(), x - x.mean()
    power = float(np.vdot(x, x))
    gain = float(np.vdot(g, x)) / power if power > 0 else 0.0
    return _decibel(data_range, float(np.mean((g - gain * x) ** 2)))


def ssim(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float) -> float:
    """Return the mean structural similarity of two planes, (y, x), both sides at least `SSIM_WINDOW` pixels.

    Settings of Wang et al. 2004 (IEEE TIP 13:600): Gaussian window of sigma 1.5, K1 0.01, K2 0.03, population
    covariance; the mean leaves out the 5 pixels at every border, where the window is incomplete.
    """
    g, x = _pair(truth, prediction)
    value = structural_similarity(  # type: ignore[no-untyped-call]
        g, x, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range
    )
    return float(value)


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
    g, x = _pair(truth, prediction)
    rmse = math.sqrt(float(np.mean((g - x) ** 2)))
    if variant == "range":
        if data_range is None:
            raise ValueError("nrmse: variant 'range' needs data_range")
        return _ratio(rmse, data_range)
    return _ratio(rmse, math.sqrt(float(np.mean(g**2))) if variant == "euclidean" else float(g.mean()))


def line_fit(truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[float, float, float]:
    """Return slope, intercept and R^2 of the least-squares line prediction = slope * truth + intercept."""
    g, x = _pair(truth, prediction)
    mean_g, mean_x = float(g.mean()), float(x.mean())
    var_g, var_x = float(np.mean((g - mean_g) ** 2)), float(np.mean((x - mean_x) ** 2))
    covariance = float(np.mean((g - mean_g) * (x - mean_x)))
    slope = _ratio(covariance, var_g)
    return slope, mean_x - slope * mean_g, _ratio(covariance**2, var_g * var_x)


def score(truth: NDArray[Any], prediction: NDArray[Any], *, data_range: float, crop: tuple[int, int]) -> Scores:
    """Score one plane.

    Parameters
    ----------
    truth, prediction : ndarray
        (y, x), the same shape, on the same grey scale.
    data_range : float
        R of PSNR and SSIM, in grey levels.
    crop : tuple of int
        Pixels left out at every border along Y and X.
    """
    g, x = inner(truth, crop), inner(prediction, crop)
    slope, intercept, r2 = line_fit(g, x)
    return Scores(
        psnr=psnr(g, x, data_range=data_range),
        si_psnr=si_psnr(g, x, data_range=data_range),
        ssim=ssim(g, x, data_range=data_range),
        nrmse=nrmse(g, x, variant=NRMSE_VARIANT),
        slope=slope,
        intercept=intercept,
        r2=r2,
        intensity_ratio=_ratio(float(np.sum(x, dtype=np.float64)), float(np.sum(g, dtype=np.float64))),
    )


def inner(plane: NDArray[Any], crop: tuple[int, int]) -> NDArray[Any]:
    """Leave out `crop` pixels at every border of a plane, (..., y, x)."""
    (cy, cx), (y, x) = crop, plane.shape[-2:]
    return plane[..., cy : y - cy, cx : x - cx]


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Average every figure over at least one score."""
    names = [item.name for item in dataclasses.fields(Scores)]
    return Scores(**{name: math.fsum(getattr(s, name) for s in scores) / len(scores) for name in names})


def _pair(truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if truth.shape != prediction.shape:
        raise ValueError(f"truth {truth.shape} and prediction {prediction.shape} differ in shape")
    return truth.astype(np.float64), prediction.astype(np.float64)


def _decibel(data_range: float, squared_error: float) -> float:
    return 10 * math.log10(data_range**2 / squared_error) if squared_error != 0 else math.inf


def _ratio(a: float, b: float) -> float:
    return a / b if b != 0 else math.nan
