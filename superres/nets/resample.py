"""Linear, shift-equivariant resampling by integer factors, written as convolutions.

Library resizers compute sample positions in floating point from the size of the image, so a tile and the whole image
get weights that differ in the last bit. With one fixed kernel per sub-voxel phase they are equal bit for bit.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cubic_weights(distance: float, a: float = -0.75) -> float:
    """Return the cubic convolution kernel at `distance` (Keys 1981, IEEE TASSP 29:1153)."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * (x**3 - 5 * x**2 + 8 * x - 4)
    return 0.0


def cubic_phases(factor: int, a: float = -0.75) -> Tensor:
    """Return the taps that give each of the `factor` sub-voxels of a voxel.

    Returns
    -------
    Tensor
        float32, (factor, 5): row p weighs the voxels at -2 ... +2 around the voxel that sub-voxel p lies in. Sub-voxel
        centres follow the half-voxel convention: sub-voxel p sits at (p + 0.5) / factor - 0.5.
    """
    rows = []
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        taps = [cubic_weights(position - k, a) for k in range(-2, 3)]
        rows.append([tap / math.fsum(taps) for tap in taps])
    return torch.tensor(rows, dtype=torch.float64).float()


def bicubic(image: Tensor, factor: tuple[int, int]) -> Tensor:
    """Upsample as the baseline of that name: Keys' own kernel (a = -0.5), which sharpens noise less than the net's.

    Parameters
    ----------
    image : Tensor
        float32, (n, c, y, x), edge voxels are repeated.
    """
    phases = [cubic_phases(f, a=-0.5).to(image.device) for f in factor]
    return upsample_cubic(image, phases[0], phases[1])


def gaussian_taps(sigma: float) -> Tensor:
    """Return a normalised Gaussian, float32, (2 r + 1,), cut at r = ceil(3 sigma)."""
    radius = math.ceil(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (x / sigma) ** 2)
    return (taps / taps.sum()).float()


def separable(image: Tensor, taps_y: Tensor, taps_x: Tensor) -> Tensor:
    """Filter (n, c, y, x) along Y and X with odd-length taps, repeating the edge voxels."""
    radius_y, radius_x = len(taps_y) // 2, len(taps_x) // 2
    n, c, y, x = image.shape
    planes = F.pad(image.reshape(n * c, 1, y, x), (radius_x, radius_x, radius_y, radius_y), mode="replicate")
    planes = F.conv2d(planes, taps_x.view(1, 1, 1, -1))
    return F.conv2d(planes, taps_y.view(1, 1, -1, 1)).reshape(n, c, y, x)


def block_mean(image: Tensor, factor: tuple[int, int]) -> Tensor:
    """Average (n, c, y * fy, x * fx) over blocks to (n, c, y, x): what binning does."""
    return F.avg_pool2d(image, factor) if max(factor) > 1 else image


def pixel_shuffle(image: Tensor, factor: tuple[int, int]) -> Tensor:
    """Rearrange (n, c * fy * fx, y, x) to (n, c, y * fy, x * fx); the factors may differ."""
    fy, fx = factor
    n, channels, y, x = image.shape
    blocks = image.reshape(n, channels // (fy * fx), fy, fx, y, x)
    return blocks.permute(0, 1, 4, 2, 5, 3).reshape(n, channels // (fy * fx), y * fy, x * fx)


def upsample_cubic(image: Tensor, phases_y: Tensor, phases_x: Tensor) -> Tensor:
    """Upsample (n, c, y, x) to (n, c, y * fy, x * fx) by cubic convolution, repeating the edge voxels.

    Parameters
    ----------
    image : Tensor
        float32, (n, c, y, x).
    phases_y, phases_x : Tensor
        From `cubic_phases`, (fy, 5) and (fx, 5).
    """
    n, c, y, x = image.shape
    fy, fx = len(phases_y), len(phases_x)
    if fy == fx == 1:
        return image
    planes = F.pad(image.reshape(n * c, 1, y, x), (2, 2, 2, 2), mode="replicate")
    kernels = phases_y[:, None, :, None] * phases_x[None, :, None, :]
    fine = F.conv2d(planes, kernels.reshape(fy * fx, 1, 5, 5))
    return pixel_shuffle(fine, (fy, fx)).reshape(n, c, y * fy, x * fx)
