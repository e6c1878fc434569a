"""A trial on the recording itself: it is recorded once more, coarser, restored by the net, and compared with itself.

What lies finer than the recording nobody can compare with anything. What lies just below its own resolution can be
compared: the recording takes the place of the sharp image. A net that adds the wrong detail there (edges to a specimen
that has none, because all of its training images had them) does so one step finer, too. What is measured is the slope
of the true residual over interpolation on the predicted one, as in `superres.nets.domain`; a net is judged by how far
it falls behind its slope on the training images, since specimens look different when they are seen coarser.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from superres.nets import resample

# Shares of the training images' slope from which on the whole residual is kept, and at which nothing is left of it.
_KEPT, _LOST = 0.75, 0.25
_BORDER = 6  # coarser voxels at which the edge of a window shows; less of small ones, for want of voxels
_SMALLEST = 8
_TINY = 1e-12


def trial_step(factor: tuple[int, int]) -> tuple[int, int]:
    """Return how much coarser the recording is made along Y and X: the smallest part of the factor that is whole."""
    steps = [next(n for n in range(2, f + 1) if f % n == 0) if f > 1 else 1 for f in factor]
    return steps[0], steps[1]


def trial_sums(
    net: Callable[[Tensor], Tensor],
    low: Tensor,
    again: Callable[[Tensor], Tensor],
    variance: Callable[[Tensor], Tensor],
    *,
    share: float,
    factor: tuple[int, int],
    stride: int,
    generator: Generator,
) -> tuple[float, float]:
    """Record images once more, restore them and compare.

    Parameters
    ----------
    net : callable
        (n, 1, y, x) to (n, 1, y * fy, x * fx).
    low : Tensor
        float32, (n, 1, y, x), normalised intensities.
    again : callable
        Gives the expected coarser recording of it, `trial_step` times fewer voxels.
    variance : callable
        Of the noise of the recording, at each level.
    share : float
        Of the recording's variance that is left in the coarser one; the rest is added, so that its noise is alike.
    factor : tuple of int
        Of the net, along Y and X.
    stride : int
        Of the net.
    generator : Generator
        Of the added noise.

    Returns
    -------
    tuple of float
        Predicted times true residual, and predicted residual squared, summed; zeros where the images are too small.
    """
    step = trial_step(factor)
    sizes = [n // s for n, s in zip(low.shape[2:], step, strict=True)]
    if min(sizes) < _SMALLEST:
        return 0.0, 0.0
    low = low[..., : sizes[0] * step[0], : sizes[1] * step[1]]
    mean = again(low)
    added = ((1 - share) * variance(mean)).sqrt() * torch.randn(mean.shape, generator=generator, device=mean.device)
    coarser = mean + added
    rest = (factor[0] // step[0], factor[1] // step[1])
    plain = resample.block_mean(resample.bicubic(coarser, factor), rest)
    pred = net(_mirrored(coarser, stride)).float()[..., : sizes[0] * factor[0], : sizes[1] * factor[1]]
    made = resample.block_mean(pred, rest) - plain
    # The coarser recording holds averages of the recording's own noise, which so looks like structure that the net
    # should have kept. The net's answer to the noise that was added, which is known, tells how much that is: what
    # averages determine of the noise that they are taken of is the averaging turned round.
    true = low - plain - _turned_round(again, low, added) / (1 - share)
    y, x = (slice(min(_BORDER, n // 6) * s, -min(_BORDER, n // 6) * s) for n, s in zip(sizes, step, strict=True))
    made, true = made[..., y, x].double(), true[..., y, x].double()
    return float((made * true).sum()), float((made * made).sum())


def _turned_round(again: Callable[[Tensor], Tensor], low: Tensor, coarser: Tensor) -> Tensor:
    """Apply the transpose of a linear map, whose argument has the shape of `low`."""
    with torch.enable_grad():
        image = torch.zeros_like(low, requires_grad=True)
        # Of a scalar: for gradients that are given torch imports sympy, half a second.
        (found,) = torch.autograd.grad((again(image) * coarser).sum(), image)
    return found


def _mirrored(image: Tensor, stride: int) -> Tensor:
    """Continue images by their reflection to a multiple of `stride`."""
    for axis in (2, 3):
        length = image.shape[axis]
        index = torch.arange(-(-length // stride) * stride, device=image.device) % (2 * length)
        image = image.index_select(axis, torch.minimum(index, 2 * length - 1 - index))
    return image


def trial_slope(right: float, made: float) -> float | None:
    """Return the slope of the true residual on the predicted one; None where the net added nothing."""
    return right / made if made > _TINY and math.isfinite(right) else None


class Trial(NamedTuple):
    """What a trial on a recording found.

    Parameters
    ----------
    found, training : float or None
        Slope on this recording and on the training images.
    """

    found: float | None
    training: float | None

    @property
    def weight(self) -> float:
        """Share of the net's residual that is kept; all of it where nothing is known."""
        if self.found is None or self.training is None or self.training <= 0:
            return 1.0
        return min(1.0, max(0.0, (self.found / self.training - _LOST) / (_KEPT - _LOST)))

    def to_json(self) -> dict[str, float | None]:
        """Return the slopes and the weight, rounded."""
        found, training = (None if value is None else round(value, 3) for value in self)
        return {"found": found, "training": training, "weight": round(self.weight, 3)}
