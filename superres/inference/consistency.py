"""Does a prediction explain its recording? The prediction is degraded again and compared with what was recorded.

A large deviation proves that something was added or erased. The reverse does not hold: detail finer than the microscope
passes on leaves no trace in the recording, so invention there is invisible to this test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import DegradeStep
from superres.degrade.chain import VoxelSizes
from superres.degrade.moments import moments
from superres.degrade.noise_line import LEAST_VARIANCE
from superres.nets import resample

SMOOTHING = 1.5
"""Sigma, in low-resolution voxels, over which deviations are averaged: faults are wider than single voxels of noise."""

SUSPICIOUS = 5.0
"""Standard deviations; beyond them a place is called inconsistent. Noise alone reaches it in 1 of 2 million voxels."""

BORDER = 8
"""Low-resolution voxels at every border that are left out of the summary: nothing is known beyond the edge."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """Deviations of a degraded prediction from the recording, in standard deviations of the recording's noise.

    Parameters
    ----------
    z : ndarray
        float32, (n, y, x), low-resolution voxels; averaged over neighbours, scaled so that noise alone has variance 1.
    chi2 : float
        Mean square of the deviations of single voxels; 1 where the noise model holds, above it where the prediction
        disagrees with the recording, below it where the prediction follows the noise.
    largest : float
        Largest absolute value of `z`.
    suspicious : float
        Share of the voxels with ``|z| > SUSPICIOUS``.
    """

    z: NDArray[np.float32]
    chi2: float
    largest: float
    suspicious: float


@torch.inference_mode()
def deviations(
    low: Tensor,
    pred: Tensor,
    steps: tuple[DegradeStep, ...],
    *,
    factor: tuple[int, int, int],
    voxel_sizes: VoxelSizes | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the deviation of every low-resolution voxel, and the same averaged over its neighbours.

    Parameters
    ----------
    low : Tensor
        float32, (n, 1, y, x), the recording in shares of the grey range.
    pred : Tensor
        float32, (n, 1, y * fy, x * fx), the prediction on the same scale.
    steps : tuple of DegradeStep
        How recordings of this kind come about; ranges count with their middle.
    factor : tuple of int
        Along Z, Y, X.

    Returns
    -------
    tuple of Tensor
        float32, (n, 1, y, x) each, in standard deviations of the noise.
    """
    mean, variance = moments(pred, steps, factor=factor, voxel_sizes=voxel_sizes)
    single = (mean - low) / variance.clamp_min(LEAST_VARIANCE).sqrt()
    taps = resample.gaussian_taps(SMOOTHING).to(single.device)
    scale = 1 / float((taps**2).sum())  # of white noise, along both axes
    return single, resample.separable(single, taps, taps) * scale


def consistency(
    low: NDArray[np.float32],
    pred: NDArray[np.float32],
    steps: tuple[DegradeStep, ...],
    *,
    factor: tuple[int, int, int],
    grey_range: tuple[float, float],
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None),
) -> Consistency:
    """Compare predicted planes with their recording.

    Parameters
    ----------
    low : ndarray
        (n, y, x), grey levels.
    pred : ndarray
        (n, y * fy, x * fx), grey levels on the same scale.
    steps : tuple of DegradeStep
        How recordings of this kind come about.
    factor : tuple of int
        Along Z, Y, X.
    grey_range : tuple of float
        Black and the top of the range, to which photons and read noise of the steps refer.
    voxel_size : tuple of float or None
        ZYX micrometre of `pred`; needed by blur given as NA and wavelength.
    """
    black, white = grey_range
    shares = [
        torch.from_numpy((image.astype(np.float64) - black) / (white - black)).float()[:, None] for image in (low, pred)
    ]
    sizes = [voxel_size] * len(low)
    single, smooth = deviations(shares[0], shares[1], steps, factor=factor, voxel_sizes=sizes)
    inside = _inside(single)
    z = smooth[:, 0].numpy()
    inner = smooth[inside]
    return Consistency(
        z=z,
        chi2=float((single[inside] ** 2).mean()),
        largest=float(inner.abs().max()),
        suspicious=float((inner.abs() > SUSPICIOUS).float().mean()),
    )


def _inside(image: Tensor) -> tuple[slice, ...]:
    """Leave out the border, but never more than a quarter of a side."""
    cut = [min(BORDER, math.floor(n / 4)) for n in image.shape[2:]]
    return (slice(None), slice(None), *(slice(c, n - c) for c, n in zip(cut, image.shape[2:], strict=True)))
