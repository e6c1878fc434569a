"""Every figure of one predicted plane, and what is kept of it for the figures of a whole acquisition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.evaluation.alignment import tolerant_psnr
from superres.evaluation.metrics import NRMSE_VARIANT, Scores, inner, line_fit, nrmse, psnr, si_psnr, total_ratio
from superres.evaluation.resolution import SMALLEST_SIDE, Correlation, windowed_spectrum
from superres.evaluation.similarity import (
    MS_SSIM_SIDE,
    MicroCurve,
    WindowMoments,
    micro_curve,
    ms_ssim,
    ssim_of,
    window_moments,
)
from superres.evaluation.spectral import band_errors_of, truth_correlation, truth_resolution


@dataclass(frozen=True, slots=True)
class Frame:
    """How the planes of one channel are scored.

    Parameters
    ----------
    data_range : float
        R, in grey levels.
    crop : tuple of int
        Voxels of truth left out at every border along Y and X.
    factor : tuple of int
        Along Y and X.
    voxel_size : tuple of float or None
        Y and X of truth in micrometre.
    """

    data_range: float
    crop: tuple[int, int]
    factor: tuple[int, int]
    voxel_size: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, slots=True)
class PlaneScore:
    """Figures of one plane.

    Parameters
    ----------
    scores : Scores
        All but `micro_ssim`, which is defined for a set of images only.
    correlation : Correlation or None
        With truth; None for planes too small for one.
    micro : MicroCurve or None
        Of the plane; None when it has no scores.
    """

    scores: Scores
    correlation: Correlation | None
    micro: MicroCurve | None


def score_plane(
    truth: NDArray[Any], prediction: NDArray[Any], frame: Frame, *, black: tuple[float, float] = (0.0, 0.0)
) -> PlaneScore:
    """Score one plane.

    Parameters
    ----------
    truth, prediction : ndarray
        (y, x) with their borders, on the same grid and grey scale.
    frame : Frame
        Range, borders, factor and voxel size.
    black : tuple of float
        `black_level` of truth and of the prediction, for MicroSSIM.

    Raises
    ------
    InputError
        When the planes differ in shape, hold NaN or are too small for SSIM, truth is constant, or R is not above 0.
    """
    g, x = (inner(plane, frame.crop).astype(np.float64) for plane in (truth, prediction))
    moments = window_moments(g, x)
    slope, intercept, r2 = line_fit(g, x)
    spectra = _spectrum(g), _spectrum(x)
    shifted, shift = tolerant_psnr(truth, prediction, data_range=frame.data_range, crop=frame.crop, spectra=spectra)
    below, above = band_errors_of(*spectra, g.shape, factor=frame.factor)
    correlation = None
    if min(g.shape) >= SMALLEST_SIDE:
        correlation = truth_correlation(*spectra, g.shape, voxel_size=frame.voxel_size)
    scores = Scores(
        psnr=psnr(g, x, data_range=frame.data_range),
        si_psnr=si_psnr(g, x, data_range=frame.data_range),
        ssim=ssim_of(moments, data_range=frame.data_range),
        nrmse=nrmse(g, x, variant=NRMSE_VARIANT),
        slope=slope,
        intercept=intercept,
        r2=r2,
        intensity_ratio=total_ratio(g, x),
        ms_ssim=_ms_ssim(g, x, frame, moments),
        resolution=math.nan if correlation is None else truth_resolution(correlation),
        error_below=below,
        error_above=above,
        psnr_shifted=shifted,
        shift_y=shift[0],
        shift_x=shift[1],
    )
    return PlaneScore(scores, correlation, micro_curve(moments, black=black, data_range=frame.data_range))


def _spectrum(plane: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Transform a plane; a constant one has no spectrum, not that of its rounding errors."""
    spectrum = windowed_spectrum(plane)
    return spectrum if np.ptp(plane) > 0 else np.zeros_like(spectrum)


def _ms_ssim(g: NDArray[np.float64], x: NDArray[np.float64], frame: Frame, moments: WindowMoments) -> float:
    if min(g.shape) < MS_SSIM_SIDE:
        return math.nan
    return ms_ssim(g, x, data_range=frame.data_range, moments=moments)
