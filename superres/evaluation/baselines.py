"""Baselines beside which a model is scored, by name: interpolation, denoising, smoothing and deconvolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter
from skimage import restoration

from superres.evaluation.deconvolution import richardson_lucy, wiener
from superres.evaluation.psf import Optics, Triple, VoxelSize, tuned_sigmas
from superres.evaluation.settings import Baseline
from superres.evaluation.upsampling import Interpolation, upsample

DESCRIPTIONS = {
    "input": "the low image as it was recorded",
    "nlm": "non-local means of the low image, plane by plane (scikit-image, patches of 5 x 5 in windows of 13 x 13, "
    "cut off at strength times the noise measured in the plane), then bicubic; strength tuned",
    "gaussian": "bicubic, then a Gaussian blur; sigma tuned",
    "wiener": "bicubic, then a Wiener filter with a Gaussian point spread function and the Laplacian as regularisation "
    "(scikit-image); balance tuned, and sigma where psf is not given",
    "richardson-lucy": "bicubic, black level subtracted, negative values set to 0, Richardson-Lucy with a Gaussian "
    "point spread function (scikit-image), black level added; iterations tuned, and sigma where psf is not given; "
    "sigma 0 is bicubic",
}
"""What each baseline besides the interpolations is, in words, for reports."""

_REACH = 4.0  # sigmas at which a Gaussian is cut
_PATCH, _DISTANCE = 5, 6  # voxels of non-local means
_MAD_TO_SD = 1.4826


@dataclass(frozen=True, slots=True)
class Recording:
    """One channel of a low image, and what is known of it.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    black : float
        Grey level without light.
    voxel_size : tuple of float or None
        ZYX of the high grid in micrometre.
    """

    low: NDArray[Any]
    black: float = 0.0
    voxel_size: VoxelSize = (None, None, None)


def methods_for(baselines: Sequence[str], factor: Triple) -> tuple[str, ...]:
    """Return the baselines that make sense for a factor, weakest first; names of models are left out.

    Without upscaling every interpolation is the identity: the input itself stands for all of them, and the tuned
    Gaussian is always beside it. With upscaling bicubic is always there, because gains refer to it.
    """
    order = get_args(Baseline)
    if max(factor) > 1:
        return tuple(name for name in order if name in baselines or name == "bicubic")
    others = (name for name in order if name not in get_args(Interpolation))
    return ("input", *(name for name in others if name in baselines or name == "gaussian"))


def gaussian(low: NDArray[Any], factor: Triple, *, sigma: float) -> NDArray[np.float64]:
    """Upsample bicubically and smooth.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    sigma : float
        In low voxels, along every upscaled axis (Y and X where the factor is 1).

    Returns
    -------
    ndarray
        float64, (z * fz, y * fy, x * fx).
    """
    high = upsample(low, factor, how="bicubic")
    smooth: NDArray[np.float64] = gaussian_filter(high, tuned_sigmas(sigma, factor), mode="reflect", truncate=_REACH)
    return smooth


def non_local_means(low: NDArray[Any], factor: Triple, *, strength: float) -> NDArray[np.float64]:
    """Denoise plane by plane, then upsample bicubically.

    Source: Buades, Coll & Morel 2005 (CVPR 2:60), in scikit-image's fast form.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    strength : float
        Cut-off of the distance between patches, in standard deviations of the noise of each plane. 0 is bicubic.
    """
    planes = [_denoised(plane.astype(np.float64), strength) for plane in low]
    return upsample(np.stack(planes), factor, how="bicubic")


def noise_level(plane: NDArray[np.float64]) -> float:
    """Estimate the standard deviation of white noise, (y, x), from second differences, by their median.

    The mask [1, -2, 1] along both axes leaves nothing of planes and edges along an axis (Immerkaer 1996, Comput. Vis.
    Image Underst. 64:300); the median leaves out what texture there is.
    """
    difference = correlate1d(correlate1d(plane, [1.0, -2.0, 1.0], axis=0), [1.0, -2.0, 1.0], axis=1)
    return _MAD_TO_SD * float(np.median(np.abs(difference))) / 6


def _denoised(plane: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    cutoff = strength * noise_level(plane)
    if cutoff == 0:
        return plane
    smooth: NDArray[np.float64] = restoration.denoise_nl_means(
        plane, patch_size=_PATCH, patch_distance=_DISTANCE, h=cutoff, fast_mode=True
    )
    return smooth


def restore(name: str, recording: Recording, optics: Optics, values: Mapping[str, float]) -> NDArray[np.float64]:
    """Run a baseline on one channel.

    Parameters
    ----------
    name : str
        One of `methods_for`.
    recording : Recording
        The low image.
    optics : Optics
        Factor, and the point spread function where it is known.
    values : mapping
        Tuned settings, see `superres.evaluation.tuning.GRIDS`; empty for the interpolations.

    Returns
    -------
    ndarray
        float64, (z * fz, y * fy, x * fx).
    """
    low, factor = recording.low, optics.factor
    if name == "input":
        return low.astype(np.float64)
    if name in get_args(Interpolation):
        return upsample(low, factor, how=name)  # type: ignore[arg-type]
    if name == "gaussian":
        return gaussian(low, factor, sigma=values["sigma"])
    if name == "nlm":
        return non_local_means(low, factor, strength=values["strength"])
    sigmas = optics.sigmas(values.get("sigma"), recording.voxel_size, depth=len(low) * factor[0])
    if name == "wiener":
        return wiener(low, factor, sigmas=sigmas, balance=values["balance"])
    iterations = int(values["iterations"])
    return richardson_lucy(low, factor, sigmas=sigmas, iterations=iterations, black=recording.black)
