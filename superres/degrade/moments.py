"""What a recording is expected to be, and how much it scatters: mean and variance of the degradation chain.

The same steps as `superres.degrade.degrade`, with expectation in the place of chance. It is what a prediction is held
against the recording by.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from superres.config import Blur, DegradeStep, LineJitter, Poisson, ReadNoise
from superres.degrade.chain import VoxelSizes, blur_sigmas, blur_taps, downsample, filter_separably, haze_of, middle
from superres.errors import ConfigError


def moments(
    high: Tensor,
    steps: tuple[DegradeStep, ...],
    *,
    factor: tuple[int, int, int],
    voxel_sizes: VoxelSizes | None = None,
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of what `degrade` makes of sharp planes, every range of the steps at its middle.

    Noise of neighbouring voxels counts as independent, also behind a blur; line jitter counts to first order.

    Parameters
    ----------
    high : Tensor
        float32, (n, c, y, x), shares of the grey range; y and x multiples of the factor.
    steps : tuple of DegradeStep
        As in `superres.degrade.degrade`.
    factor : tuple of int
        Downsampling along Z, Y, X; Z must be 1.
    voxel_sizes : list of tuple, optional
        ZYX micrometre of each image; needed by blur given as NA and wavelength.

    Returns
    -------
    tuple of Tensor
        float32, (n, c, y / fy, x / fx) each.

    Raises
    ------
    ConfigError
        As `superres.degrade.degrade`.
    """
    if factor[0] != 1:
        raise ConfigError(f"factor {list(factor)}: planes are degraded one by one, so the factor along Z must be 1")
    mean, variance = high, torch.zeros_like(high)
    for step in middle(steps):
        if step.blur is not None:
            mean, variance = _blurred(mean, variance, step.blur, voxel_sizes)
        elif step.downsample is not None:
            mean, variance = _downsampled(mean, variance, step.downsample, factor[1:])
        elif step.poisson is not None:
            variance = variance + _shot_variance(mean, step.poisson)
        elif step.read_noise is not None:
            mean, variance = _detected(mean, variance, step.read_noise)
        elif step.line_jitter is not None:
            variance = variance + _jitter_variance(mean, step.line_jitter)
    return mean, variance


def _blurred(mean: Tensor, variance: Tensor, blur: Blur, voxel_sizes: VoxelSizes | None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(mean.device)  # the ranges are single values: nothing is drawn from it
    taps = blur_taps(blur_sigmas(blur, mean, generator, voxel_sizes))
    if blur.haze[1] == 0:
        return filter_separably(mean, taps), filter_separably(variance, taps**2)
    share, sigmas = haze_of(blur, mean, generator)
    wide = blur_taps(sigmas)
    both = _cut(taps, wide) * _cut(wide, taps)
    # The square of a sum of two filters is the sum of their squares and twice their product, each of them separable.
    parts = ((1 - share) ** 2, taps**2), (share**2, wide**2), (2 * share * (1 - share), both)
    spread = torch.stack([weight * filter_separably(variance, squared) for weight, squared in parts]).sum(dim=0)
    return (1 - share) * filter_separably(mean, taps) + share * filter_separably(mean, wide), spread


def _cut(taps: Tensor, other: Tensor) -> Tensor:
    """Return the middle of taps, as long as the shorter of two filters."""
    length = min(taps.shape[-1], other.shape[-1])
    start = (taps.shape[-1] - length) // 2
    return taps[..., start : start + length]


def _downsampled(mean: Tensor, variance: Tensor, how: str, factor: tuple[int, int]) -> tuple[Tensor, Tensor]:
    averaged = factor[0] * factor[1]
    if how != "binning":
        averaged = (1 + (factor[0] + 1) % 2) * (1 + (factor[1] + 1) % 2)
    return downsample(mean, how, factor), downsample(variance, how, factor) / averaged


def _shot_variance(mean: Tensor, poisson: Poisson) -> Tensor:
    return mean.clamp_min(0) / poisson.photons[0]


def _detected(mean: Tensor, variance: Tensor, noise: ReadNoise) -> tuple[Tensor, Tensor]:
    gain, offset, sd = noise.gain[0], noise.offset[0], noise.sd[0]
    return mean * gain + offset, variance * gain**2 + sd**2


def _jitter_variance(mean: Tensor, jitter: LineJitter) -> Tensor:
    wide = F.pad(mean, (1, 1, 0, 0), mode="replicate")
    slope = (wide[..., 2:] - wide[..., :-2]) / 2
    return (jitter.sd[0] * slope) ** 2
