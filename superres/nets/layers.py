"""The layers that a generator net is made of, in two or three dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superres.nets import resample

# torch convolves a block of few channels by another algorithm, which rounds differently, where channels times Z times Y
# are 20 480 or fewer: with this many even the smallest blocks are above it.
_STEM_CHANNELS = 8


def convolution_of(dimensions: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return the convolution of two or three dimensions."""
    return nn.Conv2d if dimensions == 2 else nn.Conv3d


def pooling(width_in: int, width_out: int, step: tuple[int, ...]) -> nn.Conv2d | nn.Conv3d:
    """Return the convolution that makes a level coarser by `step`, each coarse voxel from the fine ones it covers."""
    if len(step) == 2:
        return nn.Conv2d(width_in, width_out, (step[0], step[1]), stride=(step[0], step[1]))
    deep = (step[0], step[1], step[2])
    return nn.Conv3d(width_in, width_out, deep, stride=deep)


class ResidualBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution, plus identity; the second convolution starts at zero."""

    def __init__(self, width: int, dimensions: int = 2) -> None:
        super().__init__()
        convolution = convolution_of(dimensions)
        self.first = convolution(width, width, 3, padding=1)
        self.second = convolution(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width, y, x) or (n, width, z, y, x) to the same shape."""
        change: Tensor = self.second(F.relu(self.first(x)))
        return x + change


class Up(nn.Module):
    """1x1 convolution and pixel shuffle, initialised so that sub-voxels start equal (ICNR, arXiv 1707.02937)."""

    def __init__(self, width_in: int, width_out: int, scale: tuple[int, ...] = (2, 2)) -> None:
        super().__init__()
        self.scale = scale
        parts, ones = math.prod(scale), (1,) * len(scale)
        self.conv = convolution_of(len(scale))(width_in, parts * width_out, 1)
        kernel = torch.empty(width_out, width_in, *ones)
        nn.init.kaiming_normal_(kernel, nonlinearity="linear")
        with torch.no_grad():
            self.conv.weight.copy_(kernel.repeat_interleave(parts, dim=0))
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width_in, [z,] y, x) to (n, width_out, ...), every axis times its scale."""
        fine: Tensor = self.conv(x)
        return F.pixel_shuffle(fine, 2) if self.scale == (2, 2) else resample.pixel_shuffle(fine, self.scale)


class DeepStem(nn.Conv3d):
    """The first convolution in three dimensions: rounds alike in blocks of every size, see `_STEM_CHANNELS`."""

    def forward(self, low: Tensor) -> Tensor:
        """Map (n, inputs, z, y, x) to (n, width, z, y, x)."""
        missing = (0,) * 6 + (0, max(0, _STEM_CHANNELS - self.in_channels))
        return F.conv3d(F.pad(low, missing), F.pad(self.weight, missing), self.bias, padding=1)
