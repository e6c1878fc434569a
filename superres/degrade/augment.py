"""Augmentation: contrast, offset, empty and saturated areas, softness and noise that the training images lack.

A net that never saw a bright empty area can be wrong there by 10 dB; one that saw such patches is not.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from superres.config import Augment, TrainConfig
from superres.degrade.chain import blur_taps, filter_separably


def augment_range(
    high: Tensor,
    low: Tensor | None,
    config: Augment,
    generator: Generator,
    *,
    black: Tensor | float = 0.0,
    white: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor | None]:
    """Change contrast and offset of some images, and paste constant rectangles into some of those.

    With `low` None (it will be made from `high`), values are clipped to the grey range as a detector would, or to the
    image's own extremes where they lie outside. A recorded `low` gets the same change, keeps its noise, and is not
    clipped.

    Parameters
    ----------
    high : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x), shares of the grey range.
    low : Tensor or None
        float32, (n, c, y / fy, x / fx) or (n, c, z / fz, y / fy, x / fx), the recording of it, on the same scale.
    config : Augment
        Probabilities and ranges.
    generator : Generator
        On the device of `high`.
    black, white : Tensor or float
        (n, 1 or c, 1, 1) or one axis more, what the net sees as 0 and 1. A faint channel fills a small part of the
        grey range; shifted and filled over all of it, its patches would be nothing but outliers.

    Returns
    -------
    tuple
        The changed `high` and `low`; new tensors.
    """
    n, ones = len(high), (1,) * (high.ndim - 1)

    def draw(lowest: float, highest: float) -> Tensor:
        return lowest + (highest - lowest) * torch.rand(n, *ones, generator=generator, device=high.device)

    chosen = draw(0, 1) < config.probability
    contrast = torch.where(chosen, draw(*config.contrast), 1.0)
    offset = torch.where(chosen, draw(-config.offset, config.offset), 0.0)
    width = torch.as_tensor(white - black, device=high.device)
    offset = torch.minimum(torch.maximum(offset, -0.5 * width), 0.5 * width)
    axes = _of_one_range(high, width)
    mean = high.mean(dim=axes, keepdim=True)
    mask = _rectangles(high, chosen & (draw(0, 1) < config.rectangle), generator)
    # A third each: black, saturated, any grey level.
    kind = torch.randint(0, 3, (n, *ones), generator=generator, device=high.device)
    fill = torch.where(kind == 0, 0.0, torch.where(kind == 1, 1.0, draw(0, 1)))
    fill = torch.minimum(torch.maximum(fill, black - 0.5 * width), white + 0.5 * width)

    changed = torch.where(mask, fill, (high - mean) * contrast + mean + offset)
    if low is None:
        lowest = high.amin(dim=axes, keepdim=True).clamp_max(0)
        highest = high.amax(dim=axes, keepdim=True).clamp_min(1)
        return torch.maximum(torch.minimum(changed, highest), lowest), None
    factor = [a // b for a, b in zip(high.shape[2:], low.shape[2:], strict=True)]
    clean = _pooled(high, factor, largest=False)
    coarse = _pooled(mask.float(), factor, largest=True) > 0
    covered = mask | torch.nn.functional.interpolate(coarse.float(), size=high.shape[2:]).bool()
    changed = torch.where(covered, fill, changed)
    return changed, torch.where(coarse, fill + (low - clean), (low - mean) * contrast + mean + offset)


def own_range(
    high: Tensor, scale: Tensor, shift: Tensor, config: TrainConfig, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Give some patches black and white of their own.

    Black and white of a volume depend on what else is in it: the same cells have a quarter of the contrast beside a
    bright one. A net that knows one scale only mistakes the noise of a faint volume for structure.

    Parameters
    ----------
    high : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x), shares of the grey range.
    scale, shift : Tensor
        (n, 1 or c, 1, 1) or one axis more: ``scale * share + shift`` is the normalised intensity by the volume's black
        and white.
    config : TrainConfig
        Share of such patches, and how intensities are averaged before black and white are measured.
    generator : Generator
        On the device of `high`.

    Returns
    -------
    tuple of Tensor
        Scale and shift to use; at most 10 times the volume's scale.
    """
    lateral = high.shape[-2:]
    area = [min(n, config.intensity.average * f) for n, f in zip(lateral, config.factor[1:], strict=True)]
    means = _pooled(high, [1] * (high.ndim - 4) + area, largest=False)
    axes = _of_one_range(high, scale)
    black, white = means.amin(dim=axes, keepdim=True), means.amax(dim=axes, keepdim=True)
    steepest = 10 * scale
    own = 1 / torch.maximum(white - black, 1 / steepest)
    ones = (1,) * (high.ndim - 1)
    chosen = torch.rand(len(high), *ones, generator=generator, device=high.device) < config.augment.own_range
    return torch.where(chosen, own, scale), torch.where(chosen, -black * own, shift)


def inverted(
    high: Tensor,
    low: Tensor | None,
    config: Augment,
    generator: Generator,
    *,
    black: Tensor | float = 0.0,
    white: Tensor | float = 1.0,
) -> tuple[Tensor, Tensor | None]:
    """Exchange bright and dark in some images: what was at `black` comes to lie at `white`.

    Back-scattered and secondary electrons show the same specimen with opposite contrast; fluorescence never does.
    Nothing is clipped.

    Parameters
    ----------
    high : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x), shares of the grey range.
    low : Tensor or None
        The recording of it, on the same scale, which is inverted with it; None where it will be made from `high`.
    config : Augment
        Says how many.
    generator : Generator
        On the device of `high`.
    black, white : Tensor or float
        As in `augment_range`.

    Returns
    -------
    tuple
        `high` and `low`, new tensors.
    """
    chosen = _chosen(high, config.inversion, generator)
    both = black + white
    changed = torch.where(chosen, both - high, high)
    return changed, None if low is None else torch.where(chosen, both - low, low)


def softened(high: Tensor, config: Augment, generator: Generator) -> Tensor:
    """Blur some images along Y and X by Gaussians of their own.

    Not every image is as sharp as the best: thick specimens, other optics, a plane just out of focus. A net that never
    saw soft edges sharpens them into something else.

    Parameters
    ----------
    high : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x), shares of the grey range.
    config : Augment
        Share of such images, and the range of their sigma in voxels.
    generator : Generator
        On the device of `high`.

    Returns
    -------
    Tensor
        The changed images; those that are not chosen keep every bit.
    """
    chosen = _chosen(high, config.softer, generator)
    lowest, highest = config.softer_sigma
    sigma = lowest + (highest - lowest) * torch.rand(len(high), 1, generator=generator, device=high.device)
    planes = high if high.ndim == 4 else high.flatten(1, 2)
    blurred = filter_separably(planes, blur_taps(sigma.expand(-1, 2))).reshape(high.shape)
    return torch.where(chosen, blurred, high)


def noise_factors(high: Tensor, config: Augment, generator: Generator) -> Tensor:
    """Return the factor on the standard deviation of each image's noise, (n, 1, 1, 1); half and double are as likely.

    Parameters
    ----------
    high : Tensor
        float32, (n, ...), the images.
    config : Augment
        The range of the factor.
    generator : Generator
        On the device of `high`.
    """
    lowest, highest = (math.log(value) for value in config.noise)
    share = torch.rand(len(high), 1, 1, 1, generator=generator, device=high.device)
    return torch.exp(lowest + (highest - lowest) * share)


def _chosen(high: Tensor, share: float, generator: Generator) -> Tensor:
    """Choose images, (n, 1, ...)."""
    return torch.rand(len(high), *(1,) * (high.ndim - 1), generator=generator, device=high.device) < share


def _of_one_range(high: Tensor, scale: Tensor) -> tuple[int, ...]:
    """Return the axes over which an image has one black and white: its channels share them unless `scale` has more."""
    own_channels = scale.ndim == high.ndim and scale.shape[1] > 1
    return tuple(range(2 if own_channels else 1, high.ndim))


def _pooled(image: Tensor, area: list[int], *, largest: bool) -> Tensor:
    """Return the mean or the largest of blocks of the last axes."""
    if image.ndim == 4:
        pool = torch.nn.functional.max_pool2d if largest else torch.nn.functional.avg_pool2d
    else:
        pool = torch.nn.functional.max_pool3d if largest else torch.nn.functional.avg_pool3d
    pooled: Tensor = pool(image, tuple(area))
    return pooled


def _rectangles(high: Tensor, chosen: Tensor, generator: Generator) -> Tensor:
    """Return a mask (n, 1, [z,] y, x) with one random rectangle, through all planes, in each chosen image."""
    n, height, width = len(high), *high.shape[-2:]
    ones = (1,) * (high.ndim - 1)
    corners = torch.rand(4, n, *ones, generator=generator, device=high.device)
    rows = torch.arange(height, device=high.device).view(-1, 1) / height
    columns = torch.arange(width, device=high.device).view(1, -1) / width
    top, left = corners[0] * 0.75, corners[1] * 0.75
    bottom, right = top + 0.1 + 0.9 * corners[2], left + 0.1 + 0.9 * corners[3]
    mask = chosen & (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    return mask.expand(n, 1, *high.shape[2:])
