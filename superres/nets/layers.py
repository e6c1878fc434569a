"""The layers that a generator net is made of, in two or three dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from superres.nets import resample

# torch convolves a block of few channels by another algorithm, which rounds differently, where channels times Z times Y
# are 20 480 or fewer: with this many even the smallest blocks are above it.
_STEM_CHANNELS = 8
# Voxels along each side of a block that is dropped.
_DROPPED_SIDE = 5


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
    """3x3 convolution, ReLU, 3x3 convolution, plus identity; the second convolution starts at zero.

    Parameters
    ----------
    width : int
        Features in and out.
    dimensions : int
        2 or 3.
    norm : str
        Of the first convolution; the second one, which starts at zero, has no direction to be normalised by.
    dropblock : float
        Share of the change that is dropped while training.
    """

    def __init__(self, width: int, dimensions: int = 2, norm: str = "none", dropblock: float = 0.0) -> None:
        super().__init__()
        convolution = convolution_of(dimensions)
        first, second = (convolution(width, width, 3, padding=1) for _ in range(2))
        nn.init.kaiming_normal_(first.weight, nonlinearity="relu")
        nn.init.zeros_(first.bias)  # type: ignore[arg-type]
        nn.init.zeros_(second.weight)
        nn.init.zeros_(second.bias)  # type: ignore[arg-type]
        self.first = _normed(first, norm)
        self.second = second
        self.dropblock = dropblock

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width, y, x) or (n, width, z, y, x) to the same shape."""
        alone = not torch.is_grad_enabled()  # nobody else needs what is between: it is written over
        change: Tensor = self.second(F.relu(self.first(x), inplace=alone))
        if self.dropblock > 0 and self.training:
            change = drop_blocks(change, self.dropblock)
        return plus(change, x)


def plus(own: Tensor, x: Tensor) -> Tensor:
    """Add `x` to a tensor that nobody else uses; into its memory where no gradient needs it."""
    return own + x if torch.is_grad_enabled() or own.dtype != x.dtype else own.add_(x)


def _normed(convolution: nn.Conv2d | nn.Conv3d, norm: str) -> nn.Module:
    """Normalise the kernels of a convolution, or what comes out of it; none draws no random number."""
    normed: nn.Module = convolution
    if norm == "weight":
        normed = parametrizations.weight_norm(convolution)
    elif norm == "spectral":
        normed = parametrizations.spectral_norm(convolution)
    elif norm == "batch":
        batch_norm = nn.BatchNorm2d if isinstance(convolution, nn.Conv2d) else nn.BatchNorm3d
        normed = nn.Sequential(convolution, batch_norm(convolution.out_channels))
    return normed


def drop_blocks(x: Tensor, share: float) -> Tensor:
    """Set about a share of (n, c, [z,] y, x) to zero, in blocks, and scale up the rest (arXiv 1810.12890)."""
    dims = x.ndim - 2
    rate = 1 - (1 - share) ** (1 / _DROPPED_SIDE**dims)  # blocks overlap
    seeds = (torch.rand(x.shape, device=x.device) < rate).to(x.dtype)
    pool = F.max_pool2d if dims == 2 else F.max_pool3d
    kept = 1 - pool(seeds, _DROPPED_SIDE, stride=1, padding=_DROPPED_SIDE // 2)
    return x * kept * (kept.numel() / kept.sum().clamp_min(1))


class SelfAttention(nn.Module):
    """Every place looks at all others of the tile, and adds what it finds; adds nothing at first (arXiv 1805.08318)."""

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        convolution = convolution_of(dimensions)
        self.query, self.key = convolution(width, width // 8, 1), convolution(width, width // 8, 1)
        self.value = convolution(width, width, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width, [z,] y, x) to the same shape."""
        query, key, value = (part(x).flatten(2).transpose(1, 2) for part in (self.query, self.key, self.value))
        found = F.scaled_dot_product_attention(query, key, value)
        return x + self.gain * found.transpose(1, 2).reshape(x.shape)


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
