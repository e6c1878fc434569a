"""The lattice that upscaling nets can lay over an image: a pattern that repeats with every voxel of the low grid.

A net that ends in a pixel shuffle makes each of the sub-voxels of a low voxel by weights of their own, and can brighten
some of them everywhere (Odena, Dumoulin & Olah 2016, doi:10.23915/distill.00003). To a critic, and to a power spectrum,
such a pattern passes for fine detail.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lattice_of(pred: Tensor, high: Tensor, factor: tuple[int, int]) -> Tensor:
    """Return the part of the error that is the same in all low voxels of all images, less its mean.

    Structure of the images cancels in the error, and what does not repeat in the mean.

    Parameters
    ----------
    pred, high : Tensor
        float32, (n, c, y, x), y and x multiples of the factor.
    factor : tuple of int
        Upscaling along Y and X.

    Returns
    -------
    Tensor
        float32, (c, fy, fx); 0 where the grids are the same.
    """
    (n, c, y, x), (fy, fx) = pred.shape, factor
    places = (pred.float() - high.float()).reshape(n, c, y // fy, fy, x // fx, fx)
    mean = places.mean(dim=(0, 2, 4))
    return mean - mean.mean(dim=(1, 2), keepdim=True)


def without_lattice(pred: Tensor, high: Tensor, factor: tuple[int, int]) -> Tensor:
    """Return predictions less their lattice (see `lattice_of`), in the shape and the type of `pred`."""
    if factor == (1, 1):
        return pred
    lattice = lattice_of(pred, high, factor).to(pred.dtype)
    return pred - torch.tile(lattice, (pred.shape[2] // factor[0], pred.shape[3] // factor[1]))
