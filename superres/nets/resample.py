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


def bicubic(image: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Upsample as the baseline of that name: Keys' own kernel (a = -0.5), which sharpens noise less than the net's.

    Parameters
    ----------
    image : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x), edge voxels are repeated.
    factor : tuple of int
        Along the last axes.
    """
    return upsample_cubic(image, *(cubic_phases(f, a=-0.5).to(image.device) for f in factor))


def gaussian_taps(sigma: float) -> Tensor:
    """Return a normalised Gaussian, float32, (2 r + 1,), cut at r = ceil(3 sigma)."""
    radius = math.ceil(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (x / sigma) ** 2)
    return (taps / taps.sum()).float()


def separable(image: Tensor, taps_y: Tensor, taps_x: Tensor) -> Tensor:
    """Filter (n, c, y, x) or (n, c, z, y, x) along Y and X with odd-length taps, repeating the edge voxels."""
    radius_y, radius_x = len(taps_y) // 2, len(taps_x) // 2
    y, x = image.shape[-2:]
    planes = F.pad(image.reshape(-1, 1, y, x), (radius_x, radius_x, radius_y, radius_y), mode="replicate")
    planes = F.conv2d(planes, taps_x.view(1, 1, 1, -1))
    return F.conv2d(planes, taps_y.view(1, 1, -1, 1)).reshape(image.shape)


def block_mean(image: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Average (n, c, y * fy, x * fx) over blocks to (n, c, y, x), what binning does; with three factors along Z too."""
    if max(factor) == 1:
        return image
    return F.avg_pool2d(image, factor) if len(factor) == 2 else F.avg_pool3d(image, factor)


def pixel_shuffle(image: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Rearrange (n, c * fy * fx, y, x) to (n, c, y * fy, x * fx); with three factors along Z too."""
    # Not len(image): where a net is traced to be exported, that would be the number of the example.
    dims, n, size = len(factor), image.shape[0], image.shape[2:]
    channels = image.shape[1] // math.prod(factor)
    blocks = image.reshape(n, channels, *factor, *size)
    order = [axis for i in range(dims) for axis in (2 + dims + i, 2 + i)]
    return blocks.permute(0, 1, *order).reshape(n, channels, *(a * f for a, f in zip(size, factor, strict=True)))


def upsample_cubic(image: Tensor, *phases: Tensor) -> Tensor:
    """Upsample (n, c, y, x) to (n, c, y * fy, x * fx) by cubic convolution, repeating the edge voxels.

    Parameters
    ----------
    image : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x).
    *phases : Tensor
        From `cubic_phases`, (fy, 5) and (fx, 5), before them (fz, 5) for an image of three dimensions.
    """
    *along_z, phases_y, phases_x = phases
    y, x = image.shape[-2:]
    fy, fx = len(phases_y), len(phases_x)
    if fy == fx == 1:
        fine = image
    else:
        planes = F.pad(image.reshape(-1, 1, y, x), (2, 2, 2, 2), mode="replicate")
        kernels = phases_y[:, None, :, None] * phases_x[None, :, None, :]
        fine = pixel_shuffle(F.conv2d(planes, kernels.reshape(fy * fx, 1, 5, 5)), (fy, fx))
        fine = fine.reshape(*image.shape[:-2], y * fy, x * fx)
    return _upsample_along_z(fine, along_z[0]) if along_z else fine


def _upsample_along_z(image: Tensor, phases: Tensor) -> Tensor:
    """Upsample (n, c, z, y, x) to (n, c, z * fz, y, x): sums of shifted views, the same bits in a block of any size."""
    if len(phases) == 1:
        return image
    n, c, z, y, x = image.shape
    index = torch.arange(-2, z + 2, device=image.device).clamp_(0, z - 1)
    wide = image.index_select(2, index)
    rows = []
    for taps in phases.tolist():
        total = wide.narrow(2, 0, z) * taps[0]
        for number in range(1, 5):
            total = total.add_(wide.narrow(2, number, z) * taps[number])
        rows.append(total)
    return torch.stack(rows, dim=3).reshape(n, c, z * len(phases), y, x)
