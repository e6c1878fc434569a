"""Baselines beside which a model is scored: interpolation, Gaussian smoothing and Richardson-Lucy deconvolution.

The last two have settings, which are tuned by mean PSNR on the very images that are scored. That favours them: a model
that beats them has beaten the best they can do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import restoration

from superres.evaluation.metrics import inner, psnr
from superres.evaluation.upsampling import Interpolation, upsample

Triple = tuple[int, int, int]

GAUSSIAN_SIGMAS = tuple(round(0.125 * 2 ** (i / 4), 3) for i in range(21))
"""Candidate sigmas of the Gaussian, 0.125 to 4 low voxels."""

DECONVOLUTION_SIGMAS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Candidate sigmas of the point spread function, in low voxels."""

DECONVOLUTION_ITERATIONS = (1, 2, 4, 8, 16, 32, 64)
"""Candidate numbers of iterations."""

_WORTHWHILE = 0.01  # decibel; more iterations that gain less end the search

_REACH = 4.0  # sigmas at which a Gaussian is cut
# Below this share of the brightest voxel a blurred estimate counts as dark, so that nothing is divided by rounding.
_DARK = 1e-6


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings of a tuned baseline.

    Parameters
    ----------
    sigma : float
        In low voxels, along every upscaled axis (Y and X where the factor is 1).
    iterations : int
        Of Richardson-Lucy; 0 for the Gaussian.
    psnr : float
        Mean over the images that it was tuned on, in decibel; NaN when not tuned.
    """

    sigma: float
    iterations: int = 0
    psnr: float = math.nan


@dataclass(frozen=True, slots=True)
class TuningImage:
    """One channel of a low image with its truth.

    Parameters
    ----------
    low, truth : ndarray
        (z, y, x) and (z * fz, y * fy, x * fx), on one grey scale.
    black : float
        Grey level without light.
    data_range : float
        R of the PSNR.
    """

    low: NDArray[Any]
    truth: NDArray[Any]
    black: float
    data_range: float


def methods_for(baselines: Sequence[str], factor: Triple) -> tuple[str, ...]:
    """Return the baselines that make sense for a factor, weakest first.

    Without upscaling every interpolation is the identity: the input itself stands for all of them, and the tuned
    Gaussian is always beside it. With upscaling bicubic is always there, because gains refer to it.
    """
    if max(factor) == 1:
        return ("input", "gaussian", *(name for name in baselines if name == "richardson-lucy"))
    order = ("nearest", "bicubic", "lanczos", "gaussian", "richardson-lucy")
    return tuple(name for name in order if name in baselines or name == "bicubic")


def gaussian(low: NDArray[Any], factor: Triple, *, sigma: float) -> NDArray[np.float64]:
    """Upsample bicubically and smooth.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    sigma : float
        In low voxels; see `Tuning`.

    Returns
    -------
    ndarray
        float64, (z * fz, y * fy, x * fx).
    """
    high = upsample(low, factor, how="bicubic")
    smooth: NDArray[np.float64] = gaussian_filter(high, _high_sigmas(sigma, factor), mode="reflect", truncate=_REACH)
    return smooth


def richardson_lucy(
    low: NDArray[Any], factor: Triple, *, sigma: float, iterations: int, black: float
) -> NDArray[np.float64]:
    """Upsample bicubically, then deconvolve by Richardson-Lucy with a Gaussian point spread function.

    The method knows light only, so `black` is subtracted first and added again at the end, and what lies below it
    counts as no light. Borders are continued by mirroring. Sources: Richardson 1972 (J. Opt. Soc. Am. 62:55), Lucy
    1974 (Astron. J. 79:745); the iteration is scikit-image's, in float32.

    Parameters
    ----------
    low : ndarray
        (z, y, x), grey levels.
    sigma, iterations
        See `Tuning`.
    black : float
        Grey level without light.
    """
    light = np.maximum(upsample(low, factor, how="bicubic") - black, 0.0)
    peak = float(light.max())
    if peak == 0:
        return light + black
    sigmas = _high_sigmas(sigma, factor)
    volumes = (light / peak).astype(np.float32)
    # Planes are independent unless the blur goes across them.
    parts = [volumes] if sigmas[0] > 0 else [plane[None] for plane in volumes]
    sharp = np.concatenate([_deconvolve(part, sigmas, iterations) for part in parts])
    return sharp.astype(np.float64) * peak + black


def apply_baseline(
    name: str, low: NDArray[Any], *, factor: Triple, tuned: dict[str, Tuning], black: Sequence[float]
) -> NDArray[np.float64]:
    """Run a baseline on every channel.

    Parameters
    ----------
    name : str
        One of `methods_for`.
    low : ndarray
        (c, z, y, x), grey levels.
    tuned : dict
        Settings of ``"gaussian"`` and ``"richardson-lucy"``.
    black : sequence of float
        Grey level without light, per channel.

    Returns
    -------
    ndarray
        float64, (c, z * fz, y * fy, x * fx).
    """
    if name == "input":
        return low.astype(np.float64)
    if name in get_args(Interpolation):
        return upsample(low, factor, how=name)  # type: ignore[arg-type]
    settings = tuned[name]
    if name == "gaussian":
        return np.stack([gaussian(channel, factor, sigma=settings.sigma) for channel in low])
    return np.stack(
        [
            richardson_lucy(channel, factor, sigma=settings.sigma, iterations=settings.iterations, black=level)
            for channel, level in zip(low, black, strict=True)
        ]
    )


def tune_gaussian(images: Sequence[TuningImage], factor: Triple, *, crop: int) -> Tuning:
    """Find the sigma of `GAUSSIAN_SIGMAS` with the best mean PSNR; `crop` low voxels are left out at the borders."""

    def run(image: TuningImage, tuning: Tuning) -> NDArray[np.float64]:
        return gaussian(image.low, factor, sigma=tuning.sigma)

    candidates = (Tuning(sigma) for sigma in GAUSSIAN_SIGMAS)
    return _best_of(candidates, run, images, _high_crop(crop, factor))


def tune_richardson_lucy(images: Sequence[TuningImage], factor: Triple, *, crop: int) -> Tuning:
    """Find sigma and iterations with the best mean PSNR: on a coarse grid first, then half a step around its best.

    With iterations the error first falls and then rises as noise is fitted, so for each sigma the search ends with
    the first number of iterations that gains nothing over the one before.
    """

    def run(image: TuningImage, tuning: Tuning) -> NDArray[np.float64]:
        return richardson_lucy(image.low, factor, sigma=tuning.sigma, iterations=tuning.iterations, black=image.black)

    best = []
    for sigma in DECONVOLUTION_SIGMAS:
        candidates = (Tuning(sigma, iterations) for iterations in DECONVOLUTION_ITERATIONS)
        best.append(_best_of(candidates, run, images, _high_crop(crop, factor), worthwhile=_WORTHWHILE))
    coarse = max(best, key=lambda tuning: tuning.psnr)
    step = 2**0.25
    near = itertools.product(
        (coarse.sigma / step, coarse.sigma, coarse.sigma * step),
        sorted({max(1, round(coarse.iterations * share)) for share in (0.75, 1.0, 1.5)}),
    )
    candidates = (Tuning(round(sigma, 3), iterations) for sigma, iterations in near)
    return _best_of(candidates, run, images, _high_crop(crop, factor))


def _best_of(
    candidates: Iterable[Tuning],
    run: Callable[[TuningImage, Tuning], NDArray[np.float64]],
    images: Sequence[TuningImage],
    crop: tuple[int, int],
    *,
    worthwhile: float = -math.inf,
) -> Tuning:
    """Return the best candidate; one that is not better than all before by `worthwhile` decibel ends the search."""
    best = Tuning(math.nan, psnr=-math.inf)
    for candidate in candidates:
        values = [_psnr(image, run(image, candidate), crop) for image in images]
        scored = Tuning(candidate.sigma, candidate.iterations, math.fsum(values) / len(values))
        gain = scored.psnr - best.psnr
        best = scored if gain > 0 else best
        if gain < worthwhile:
            break
    return best


def _psnr(image: TuningImage, prediction: NDArray[np.float64], crop: tuple[int, int]) -> float:
    return psnr(inner(image.truth, crop), inner(prediction, crop), data_range=image.data_range)


def _high_crop(crop: int, factor: Triple) -> tuple[int, int]:
    return crop * factor[1], crop * factor[2]


def _high_sigmas(sigma: float, factor: Triple) -> tuple[float, float, float]:
    """Return sigma in high voxels along Z, Y, X; an axis that is not upscaled is not blurred."""
    if max(factor) == 1:
        return 0.0, sigma, sigma
    z, y, x = (sigma * f if f > 1 else 0.0 for f in factor)
    return z, y, x


def _deconvolve(light: NDArray[np.float32], sigmas: tuple[float, float, float], iterations: int) -> NDArray[np.float32]:
    """Deconvolve (z, y, x), mirrored at the borders by twice the reach of the point spread function."""
    psf = _gaussian_psf(sigmas)
    margin = [2 * (side // 2) for side in psf.shape]
    padded = np.pad(light, [(m, m) for m in margin], mode="symmetric")
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 in the dark, replaced by filter_epsilon
        sharp = restoration.richardson_lucy(  # type: ignore[no-untyped-call]
            padded, psf, num_iter=iterations, clip=False, filter_epsilon=_DARK
        )
    z, y, x = (slice(m, m + n) for m, n in zip(margin, light.shape, strict=True))
    result: NDArray[np.float32] = sharp[z, y, x]
    return result


def _gaussian_psf(sigmas: tuple[float, float, float]) -> NDArray[np.float32]:
    taps = []
    for sigma in sigmas:
        radius = math.ceil(_REACH * sigma)
        distance = np.arange(-radius, radius + 1)
        weights = np.exp(-0.5 * (distance / sigma) ** 2) if sigma > 0 else np.ones(1)
        taps.append(weights / weights.sum())
    psf: NDArray[np.float64] = taps[0][:, None, None] * taps[1][:, None] * taps[2]
    return psf.astype(np.float32)
