"""What a recording is expected to be on the low-resolution grid: all of a degradation's linear steps as one filter.

Blur, sampling and binning of one plane are one filter of the sharp image along each axis. It is written as sums over
shifted views in a fixed order, so that a voxel's value does not depend, in any bit, on the size of the block that it
is computed in; library convolutions choose their algorithm by size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import DegradeStep
from superres.degrade.chain import VoxelSizes, blur_sigmas, blur_taps, middle

Taps = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Transfer:
    """The filter that takes sharp planes to what is expected of their recording, on the recording's grey scale.

    Parameters
    ----------
    factor : tuple of int
        Sharp voxels per recorded voxel along Y and X.
    taps : tuple of tuple of float
        Weights along Y and X; each sums to 1.
    first : tuple of int
        Where the first tap stands, in sharp voxels from the first voxel of the block that is recorded as one.
    """

    factor: tuple[int, int]
    taps: tuple[Taps, Taps]
    first: tuple[int, int]

    @property
    def reach(self) -> int:
        """Recorded voxels beyond its own that a voxel depends on, the larger of Y and X."""
        sides = [
            max(-first, first + len(taps) - f) / f
            for f, taps, first in zip(self.factor, self.taps, self.first, strict=True)
        ]
        return max(0, *(math.ceil(side) for side in sides))

    def record(self, high: Tensor) -> Tensor:
        """Return the expected recording of sharp planes; edge voxels are repeated.

        Parameters
        ----------
        high : Tensor
            float32, (..., y * fy, x * fx).

        Returns
        -------
        Tensor
            float32, (..., y, x).
        """
        for axis, f, taps, first in zip((-2, -1), self.factor, self.taps, self.first, strict=True):
            high = _strided(high, axis, f, taps, first)
        return high

    def coarser(self, step: tuple[int, int]) -> Transfer:
        """Return the filter that makes a recording coarser as if it were sharp, `step` voxels to one.

        The microscope is the same, only the specimen lies `step` times further from it: along an axis on which this
        filter takes f sharp voxels to one, f / `step` of them are one voxel of the recording.
        """
        axes = []
        for f, n, taps, first in zip(self.factor, step, self.taps, self.first, strict=True):
            places = (first + np.arange(len(taps))) // (f // n)
            folded = np.bincount(places - places[0], weights=taps)
            axes.append((tuple(float(tap) for tap in folded), int(places[0])))
        return Transfer(step, (axes[0][0], axes[1][0]), (axes[0][1], axes[1][1]))

    @property
    def white_noise(self) -> float:
        """Share of the variance of white noise in the sharp planes that is left in the recording."""
        return math.prod(math.fsum(tap * tap for tap in taps) for taps in self.taps)


def transfer_of(
    steps: tuple[DegradeStep, ...],
    factor: tuple[int, int, int],
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None),
) -> Transfer:
    """Combine blurs and downsampling of a degradation, every range of the steps at its middle.

    Gain and offset of a detector are left out: predictions are on the grey scale of the recording.

    Parameters
    ----------
    steps : tuple of DegradeStep
        As in `superres.degrade.degrade`.
    factor : tuple of int
        Downsampling along Z, Y, X.
    voxel_size : tuple of float or None
        ZYX micrometre of the sharp planes; needed by blur given as NA and wavelength.

    Raises
    ------
    ConfigError
        When blur needs a voxel size that is unknown.
    """
    axes = []
    for axis in (0, 1):
        taps, first, step = np.ones(1), 0, 1
        for one in middle(steps):
            if one.blur is not None:
                sizes: VoxelSizes = [voxel_size]
                sigmas = blur_sigmas(one.blur, torch.zeros(1, 1, 1, 1), torch.Generator(), sizes)
                kernel = blur_taps(sigmas)[0, axis].double().numpy()
                taps, first = _composed(taps, first, kernel, -(len(kernel) // 2), step)
            elif one.downsample is not None:
                kernel, start = _sampling(one.downsample, factor[1 + axis])
                taps, first, step = *_composed(taps, first, kernel, start, step), factor[1 + axis]
        axes.append((tuple(float(tap) for tap in taps / taps.sum()), first))
    return Transfer((factor[1], factor[2]), (axes[0][0], axes[1][0]), (axes[0][1], axes[1][1]))


def _composed(
    taps: NDArray[np.float64], first: int, kernel: NDArray[np.float64], start: int, step: int
) -> tuple[NDArray[np.float64], int]:
    """Put a kernel, whose taps are `step` sharp voxels apart, behind a filter."""
    spread = np.zeros((len(kernel) - 1) * step + 1)
    spread[::step] = kernel
    return np.convolve(taps, spread), first + start * step


def _sampling(how: str, factor: int) -> tuple[NDArray[np.float64], int]:
    """Return the taps of `superres.degrade.chain.downsample` along one axis, and where the first one stands."""
    if how == "binning":
        return np.full(factor, 1 / factor), 0
    between = 1 + (factor + 1) % 2
    return np.full(between, 1 / between), (factor - 1) // 2


def _strided(image: Tensor, axis: int, factor: int, taps: Taps, first: int) -> Tensor:
    """Filter along one axis and keep one value per block of `factor` voxels."""
    if taps == (1.0,) and first == 0 and factor == 1:
        return image
    count = image.shape[axis] // factor
    before, after = max(0, -first), max(0, first + len(taps) - factor)
    wide = extended(image, axis, before, after)
    total: Tensor | None = None
    for number, tap in enumerate(taps):
        start = number + first + before
        part = wide.narrow(axis, start, factor * (count - 1) + 1)
        part = (part[..., ::factor] if axis == -1 else part[..., ::factor, :]) * tap
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def extended(image: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Repeat the first and last voxel along an axis."""
    if before == after == 0:
        return image
    length = image.shape[axis]
    parts = [image.narrow(axis, 0, 1)] * before + [image] + [image.narrow(axis, length - 1, 1)] * after
    return torch.cat(parts, dim=axis)
