"""Windows of a patch on which dear networks look, so that small generators are not outweighed by what judges them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from superres.nets import UNet

# A window of a quarter of a patch, another one at every step, says as much about its texture as the whole.
_LARGEST = 96


def window_of(
    net: UNet,
    judge: Callable[[Tensor], object],
    patch: int,
    depth: int = 1,
    *,
    channels: int | None = None,
    smallest: int = 32,
) -> int:
    """Return the side of the window on which a network judges predictions, so that it costs what the generator does.

    Parameters
    ----------
    net : UNet
        The generator.
    judge : callable
        The network, of an image (1, channels, y, x).
    patch : int
        Side of a low patch in voxels.
    depth : int
        Its voxels along Z, for nets of three dimensions.
    channels : int, optional
        Of the images that are judged; default all that the generator predicts.
    smallest : int
        High-resolution voxels that the window has at least, a multiple of 16.

    Returns
    -------
    int
        High-resolution voxels, a multiple of 16, at most 96.
    """
    device, of = next(net.parameters()).device, net.architecture
    sides = [-(-n // step) * step for n, step in zip((depth, patch, patch), of.strides, strict=True)]
    training = net.training
    net.eval()  # norms would otherwise learn from the empty image
    own = _operations(net, torch.zeros(1, of.inputs, *sides[-of.dimensions :], device=device))
    net.train(training)
    probe = torch.zeros(1, channels or of.channels, smallest, smallest, device=device)
    theirs = _operations(judge, probe) / smallest**2
    # Both run forwards and backwards equally often, or nearly so.
    side = int(math.sqrt(own / theirs)) // 16 * 16
    return min(max(side, smallest), _LARGEST)


def cut(image: Tensor, side: int, place: tuple[int, int]) -> Tensor:
    """Cut a window, (n, channels, y, x), out of images, or out of one plane of volumes; seed and step say which."""
    random = np.random.default_rng([*place, 1])
    y, x = (int(random.integers(max(1, n - side + 1))) for n in image.shape[-2:])
    if image.ndim == 5:
        image = image[:, :, int(random.integers(image.shape[2]))]
    return image[..., y : y + side, x : x + side]


@torch.no_grad()
def _operations(function: Callable[[Tensor], object], image: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        function(image)
    return float(counter.get_total_flops())
