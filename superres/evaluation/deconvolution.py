"""Baselines that undo a known blur: Wiener filter and Richardson-Lucy, on planes or, where the blur crosses, stacks.

Both start from bicubic interpolation, both are scikit-image's, and both continue images at their borders by mirroring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import restoration

from superres.evaluation.psf import Sigmas, Triple, gaussian_psf, reach
from superres.evaluation.upsampling import upsample

# Below this share of the brightest voxel a blurred estimate counts as dark, so that nothing is divided by rounding.
_DARK = 1e-6
# Voxels by which planes are mirrored at least: the regularisation reaches as far even where there is no blur.
_MARGIN = 16


def richardson_lucy(
    low: NDArray[Any], factor: Triple, *, sigmas: Sigmas, iterations: int, black: float
) -> NDArray[np.float64]:
    """Upsample bicubically, then deconvolve by Richardson-Lucy with a Gaussian point spread function.

    The method knows light only, so `black` is subtracted first and added again at the end; what lies below it counts
    as no light. Without blur it returns the bicubic image. Sources: Richardson 1972 (J. Opt. Soc. Am. 62:55), Lucy
    1974 (Astron. J. 79:745); the iteration is scikit-image's, in float32.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    sigmas : tuple of float
        ZYX in high voxels. Planes are deconvolved one by one where the first is 0 or there is only one.
    iterations : int
        At least 1.
    black : float
        Grey level without light.

    Returns
    -------
    ndarray
        float64, (z * fz, y * fy, x * fx).
    """
    high = upsample(low, factor, how="bicubic")
    light = np.maximum(high - black, 0.0)
    peak = float(light.max())
    if peak == 0 or max(sigmas) == 0:
        return high
    if not np.isfinite(peak):  # the transforms would spread it over all voxels
        return np.full_like(high, np.nan)

    def deconvolve(image: NDArray[Any], psf: NDArray[np.float64]) -> NDArray[Any]:
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 in the dark, replaced by filter_epsilon
            sharp: NDArray[Any] = restoration.richardson_lucy(  # type: ignore[no-untyped-call]
                image, psf, num_iter=iterations, clip=False, filter_epsilon=_DARK
            )
        return sharp

    return _mirrored((light / peak).astype(np.float32), sigmas, deconvolve) * peak + black


def wiener(low: NDArray[Any], factor: Triple, *, sigmas: Sigmas, balance: float) -> NDArray[np.float64]:
    """Upsample bicubically, then deconvolve by a Wiener filter with a Gaussian point spread function.

    The filter is conj(H) / (|H|^2 + balance |L|^2), H the spectrum of the point spread function and L that of the
    Laplacian (Hunt 1971, IEEE Trans. Audio Electroacoust. 19:285); scikit-image's, in float64.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    sigmas : tuple of float
        ZYX in high voxels; as for `richardson_lucy`.
    balance : float
        Larger suppresses more noise. 0 without blur is the bicubic image; 0 with blur divides by next to nothing.
    """
    high = upsample(low, factor, how="bicubic")
    if max(sigmas) == 0 and balance == 0:
        return high
    # The filter keeps the mean; without it the borders of what is transformed are small.
    mean = float(high.mean())

    def deconvolve(image: NDArray[Any], psf: NDArray[np.float64]) -> NDArray[Any]:
        sharp: NDArray[Any] = restoration.wiener(image, psf, balance, clip=False)  # type: ignore[no-untyped-call]
        return sharp

    return _mirrored(high - mean, sigmas, deconvolve) + mean


def _mirrored(
    image: NDArray[Any], sigmas: Sigmas, deconvolve: Callable[[NDArray[Any], NDArray[np.float64]], NDArray[Any]]
) -> NDArray[np.float64]:
    """Deconvolve (z, y, x), continued at its borders by twice the reach of the point spread function.

    A single plane, continued along Z, is the same everywhere, so that blur across it changes nothing.
    """
    if sigmas[0] > 0 and len(image) > 1:
        psf = gaussian_psf(sigmas)
        parts = [image]
        margin = tuple(max(2 * reach(sigma), _MARGIN if axis else 0) for axis, sigma in enumerate(sigmas))
    else:
        psf = gaussian_psf((0.0, *sigmas[1:]))[0]
        parts = list(image)
        margin = tuple(max(2 * reach(sigma), _MARGIN) for sigma in sigmas[1:])
    inside = tuple(slice(m, m + n) for m, n in zip(margin, parts[0].shape, strict=True))
    pads = [(m, m) for m in margin]
    sharp = [deconvolve(np.pad(part, pads, mode="symmetric"), psf)[inside] for part in parts]
    return np.asarray(sharp, dtype=np.float64).reshape(image.shape)
