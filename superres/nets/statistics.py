"""Local statistics of a recording: grey level, finest detail and coarser detail around every voxel.

White noise has as much of the one as of the other; structure that a microscope passes has more of the coarser. Written
as sums over shifted views in a fixed order, so that a voxel's figures do not depend, in any bit, on the block that
they are computed in.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

RADIUS = 10
"""Voxels on every side that the statistics of a voxel depend on."""

WINDOW_RADIUS = 7
"""Of the neighbourhood that is averaged over."""

_BINOMIAL = (0.25, 0.5, 0.25)
_SECOND_DIFFERENCE = tuple(tap / math.sqrt(6) for tap in (1.0, -2.0, 1.0))  # unit variance of white noise is kept
_WINDOW = (1, 2, 4)  # dilations; together a bell of sigma 3.2 voxels
# Variance of unit white noise after one binomial filter less two: what brings coarser detail to the scale of finest.
_BAND = 0.074462890625


class Statistics(NamedTuple):
    """Around every voxel, float32, of the shape of the image.

    Parameters
    ----------
    level : Tensor
        Mean.
    fine : Tensor
        Mean square of second differences along both axes: the variance where there is white noise alone.
    coarse : Tensor
        The same of detail about three times as wide, on the same scale: equal to `fine` for white noise.
    """

    level: Tensor
    fine: Tensor
    coarse: Tensor


def local_statistics(low: Tensor) -> Statistics:
    """Measure an image around every voxel; edge voxels are repeated.

    Parameters
    ----------
    low : Tensor
        float32, (..., y, x), normalised intensities.
    """
    smooth = _filtered(low, _BINOMIAL, 1)
    band = smooth - _filtered(smooth, _BINOMIAL, 2)
    fine = _filtered(low, _SECOND_DIFFERENCE, 1)
    return Statistics(spread(low), spread(fine * fine), spread(band * band) / _BAND)


def spread(image: Tensor) -> Tensor:
    """Average over the neighbourhood that the statistics are taken over."""
    for dilation in _WINDOW:
        image = _filtered(image, _BINOMIAL, dilation)
    return image


def _filtered(image: Tensor, taps: tuple[float, ...], dilation: int) -> Tensor:
    """Filter along Y and X with three taps, `dilation` voxels apart."""
    for axis in (-2, -1):
        length = image.shape[axis]
        index = torch.arange(-dilation, length + dilation, device=image.device).clamp_(0, length - 1)
        wide = image.index_select(axis % image.ndim, index)
        total = wide.narrow(axis, 0, length) * taps[0]
        for number in (1, 2):
            total = total.add_(wide.narrow(axis, number * dilation, length) * taps[number])
        image = total
    return image
