"""The degradation chain: the steps of a recipe, applied in their order to tensors on the device.

Values are grey levels as shares of the grey range: 0 is black, 1 is the top of the range. Nothing is clipped: values
below black keep their sign, values above 1 stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from superres.config import Blur, DegradeStep, LineJitter, Poisson, ReadNoise, check_degrade
from superres.errors import ConfigError, InputError

# Least-squares fit of a Gaussian to the Airy pattern: Zhang, Zerubia & Olivo-Marin 2007, Appl. Opt. 46:1819.
_SIGMA_PER_WAVELENGTH_OVER_NA = 0.21

VoxelSizes = list[tuple[float | None, float | None, float | None]]


def degrade(
    high: Tensor,
    steps: tuple[DegradeStep, ...],
    *,
    factor: tuple[int, int, int],
    generator: Generator,
    voxel_sizes: VoxelSizes | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Turn sharp planes or volumes into what the microscope would have recorded.

    Every image of the batch draws its own parameters from the ranges of the steps; its channels and planes share them,
    and each has noise of its own.

    Parameters
    ----------
    high : Tensor
        float32, (n, c, y, x) or (n, c, z, y, x), shares of the grey range; z, y and x multiples of the factor.
    steps : tuple of DegradeStep
        In the order in which the microscope does them.
    factor : tuple of int
        Downsampling along Z, Y, X; for planes Z must be 1.
    generator : Generator
        Source of all randomness, on the device of `high`: the same seed gives the same recording.
    voxel_sizes : list of tuple, optional
        ZYX micrometre of each image; needed by blur given as NA and wavelength.
    noise : Tensor, optional
        float32, (n, 1, 1, 1), factor on the standard deviation of each image's shot and read noise; default 1.

    Returns
    -------
    Tensor
        float32, (n, c, y / fy, x / fx) or (n, c, z / fz, y / fy, x / fx).

    Raises
    ------
    ConfigError
        When blur needs a voxel size that is unknown, or planes are to be blurred or made fewer along Z.
    """
    if high.ndim == 4 and (factor[0] != 1 or any(step.blur and step.blur.axial_sigma for step in steps)):
        raise ConfigError(
            f"factor {list(factor)}: single planes are neither made fewer nor blurred along Z; give volumes, or a "
            "factor of 1 along Z and no axial_sigma"
        )
    channels = high.shape[1]
    x = high if high.ndim == 4 else high.flatten(1, 2)  # planes beside each other, as channels are
    for step in steps:
        if step.blur is not None:
            x = _blur(x, step.blur, generator, voxel_sizes)
            if step.blur.axial_sigma is not None:
                x = _blur_along_z(x, channels, _draw(step.blur.axial_sigma, x, generator))
        elif step.downsample is not None:
            x = downsample(x, step.downsample, factor[1:])
            if factor[0] > 1:
                x = _downsample_along_z(x, channels, step.downsample, factor[0])
        elif step.poisson is not None:
            x = _count(x, step.poisson, generator, noise)
        elif step.read_noise is not None:
            x = _detect(x, step.read_noise, generator, noise)
        elif step.line_jitter is not None:
            x = _jitter_lines(x, step.line_jitter, generator)
    return x if high.ndim == 4 else x.reshape(len(x), channels, -1, *x.shape[2:])


def degrade_image(
    high: NDArray[Any],
    steps: tuple[DegradeStep, ...],
    *,
    factor: tuple[int, int, int],
    grey_range: tuple[float, float],
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None),
    seed: int = 0,
) -> NDArray[np.float32]:
    """Degrade one image on its own grey scale, with every range of the steps at its middle.

    Parameters
    ----------
    high : ndarray
        (c, z, y, x), any dtype, grey levels; z, y and x multiples of the factor.
    grey_range : tuple of float
        Black and the top of the range, to which photons and read noise refer.
    seed : int
        The same seed gives the same noise.

    Returns
    -------
    ndarray
        float32, (c, z / fz, y / fy, x / fx), grey levels on the same scale, not clipped and not rounded.

    Raises
    ------
    InputError
        When the image is not a multiple of the factor.
    """
    try:
        check_degrade(steps, factor)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if any(n % f for n, f in zip(high.shape[1:], factor, strict=True)):
        raise InputError(f"image of {high.shape[1:]} voxels (Z, Y, X) is not a multiple of the factor {factor}")
    black, white = grey_range
    c, z, y, x = high.shape
    is_deep = factor[0] > 1 or any(step.blur and step.blur.axial_sigma for step in steps)
    # One channel per image, so that planes and channels draw independent noise but share the (middle) parameters.
    batch = high.reshape((c, 1, z, y, x) if is_deep else (c * z, 1, y, x))
    shares = torch.from_numpy((batch.astype(np.float64) - black) / (white - black)).float()
    generator, sizes = torch.Generator().manual_seed(seed), [voxel_size] * len(shares)
    low = degrade(shares, middle(steps), factor=factor, generator=generator, voxel_sizes=sizes).numpy()
    grey = low * np.float32(white - black) + np.float32(black)
    return grey.reshape(c, z // factor[0], *low.shape[-2:]).astype(np.float32)


def middle(steps: tuple[DegradeStep, ...]) -> tuple[DegradeStep, ...]:
    """Return the same steps with every range narrowed to its middle."""

    def narrow(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 2:
            return sum(value) / 2
        if isinstance(value, dict):
            return {key: narrow(item) for key, item in value.items()}
        return value

    return tuple(DegradeStep.model_validate(narrow(step.model_dump(mode="json"))) for step in steps)


def _draw(limits: tuple[float, float], x: Tensor, generator: Generator) -> Tensor:
    """Draw one value per image, (n, 1, 1, 1)."""
    share = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device)
    return limits[0] + (limits[1] - limits[0]) * share


def blur_sigmas(blur: Blur, x: Tensor, generator: Generator, voxel_sizes: VoxelSizes | None) -> Tensor:
    """Return sigma in voxels along Y and X for each image, (n, 2)."""
    if blur.sigma is not None:
        return _draw(blur.sigma, x, generator).view(-1, 1).expand(-1, 2)
    if blur.wavelength is None or blur.na is None:
        raise ConfigError("blur needs sigma, or na and wavelength")
    micrometre = _SIGMA_PER_WAVELENGTH_OVER_NA * _draw(blur.wavelength, x, generator).view(-1, 1) / blur.na
    sizes = [size[1:] for size in voxel_sizes or []]
    if len(sizes) != len(x) or any(value is None for size in sizes for value in size):
        raise ConfigError(
            "blur by na and wavelength needs the voxel size of every image, and one is unknown; state voxel_size in "
            "the manifest, or give the blur as sigma in voxels"
        )
    return micrometre / torch.tensor(sizes, dtype=torch.float32, device=x.device)


def _blur(x: Tensor, blur: Blur, generator: Generator, voxel_sizes: VoxelSizes | None) -> Tensor:
    """Blur each image by its own Gaussian, and its light out of focus by a wider one; edge voxels are repeated."""
    sharp = filter_separably(x, blur_taps(blur_sigmas(blur, x, generator, voxel_sizes)))
    if blur.haze[1] == 0:  # draws nothing, so that a blur without haze makes of a seed what it always made
        return sharp
    share, sigmas = haze_of(blur, x, generator)
    return (1 - share) * sharp + share * filter_separably(x, blur_taps(sigmas))


def haze_of(blur: Blur, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return the share of the light out of focus, (n, 1, 1, 1), and its sigma in voxels along Y and X, (n, 2)."""
    return _draw(blur.haze, x, generator), _draw(blur.haze_sigma, x, generator).view(-1, 1).expand(-1, 2)


def blur_taps(sigmas: Tensor) -> Tensor:
    """Return the taps (n, 2, k) of Gaussians of (n, 2) voxels along Y and X, each summing to 1."""
    radius = max(1, int(torch.ceil(3 * sigmas.max()).item()))
    distance = torch.arange(-radius, radius + 1, device=sigmas.device, dtype=torch.float32)
    taps = torch.exp(-0.5 * (distance / sigmas.clamp_min(1e-3)[..., None]) ** 2)
    return taps / taps.sum(dim=-1, keepdim=True)


def filter_separably(x: Tensor, taps: Tensor) -> Tensor:
    """Filter each image by its own taps, (n, 2, k) along Y and X; edge voxels are repeated."""
    n, c = x.shape[:2]
    radius = taps.shape[-1] // 2
    planes = F.pad(x, (radius,) * 4, mode="replicate").transpose(0, 1)  # each image is a group of the convolution
    planes = F.conv2d(planes, taps[:, 0, None, :, None], groups=n)
    return F.conv2d(planes, taps[:, 1, None, None, :], groups=n).transpose(0, 1).reshape(n, c, *x.shape[2:])


def downsample(x: Tensor, how: str, factor: tuple[int, int]) -> Tensor:
    """Average blocks, or take the value at the block's centre.

    The centre of an even block lies between two voxels, whose mean is taken: picking one of them would shift the
    low grid by half a voxel against the grid that is written into every output.
    """
    if how == "binning":
        return F.avg_pool2d(x, factor)
    for axis, f in ((2, factor[0]), (3, factor[1])):
        length = x.shape[axis] // f
        before = torch.arange(length, device=x.device) * f + (f - 1) // 2
        x = (x.index_select(axis, before) + x.index_select(axis, before + (f + 1) % 2)) / 2
    return x


def _blur_along_z(x: Tensor, channels: int, sigmas: Tensor) -> Tensor:
    """Blur (n, c * z, y, x) along Z, each image by its own sigma, (n, 1, 1, 1); the end planes are repeated."""
    taps = blur_taps(sigmas.view(-1, 1).expand(-1, 2))[:, 0]
    planes = x.reshape(len(x), channels, -1, *x.shape[2:])
    depth, radius = planes.shape[2], taps.shape[1] // 2
    index = torch.arange(-radius, depth + radius, device=x.device).clamp_(0, depth - 1)
    wide = planes.index_select(2, index)
    total = torch.zeros_like(planes)
    for number in range(taps.shape[1]):
        total += wide.narrow(2, number, depth) * taps[:, number].view(-1, 1, 1, 1, 1)
    return total.flatten(1, 2)


def _downsample_along_z(x: Tensor, channels: int, how: str, factor: int) -> Tensor:
    """Average or pick planes of (n, c * z, y, x), as `downsample` does within them."""
    layers = x.reshape(len(x), channels, -1, factor, *x.shape[2:])
    middle_two = ((factor - 1) // 2, factor // 2)
    kept = layers if how == "binning" else layers[:, :, :, list(middle_two)]
    return kept.mean(dim=3).flatten(1, 2)


def _count(x: Tensor, poisson: Poisson, generator: Generator, noise: Tensor | None) -> Tensor:
    """Count photons: Poisson of the light above black; what lies below black is offset, not light."""
    photons = _draw(poisson.photons, x, generator)
    if noise is not None:
        photons = photons / noise**2
    return torch.poisson(x.clamp_min(0) * photons, generator=generator) / photons + x.clamp_max(0)


def _detect(x: Tensor, detector: ReadNoise, generator: Generator, noise: Tensor | None) -> Tensor:
    """Apply the detector's gain, offset and Gaussian read noise."""
    gain, offset = _draw(detector.gain, x, generator), _draw(detector.offset, x, generator)
    sd = _draw(detector.sd, x, generator)
    if noise is not None:
        sd = sd * noise
    return x * gain + offset + sd * torch.randn(x.shape, generator=generator, device=x.device)


def _jitter_lines(x: Tensor, jitter: LineJitter, generator: Generator) -> Tensor:
    """Shift every line along X by its own Gaussian distance, by linear interpolation; edge voxels are repeated."""
    n, planes, lines, width = x.shape
    shift = _draw(jitter.sd, x, generator) * torch.randn(n, planes, lines, 1, generator=generator, device=x.device)
    position = (torch.arange(width, device=x.device) + shift).clamp(0, width - 1).expand_as(x)
    left = position.floor().long().clamp_max(max(width - 2, 0))
    share = position - left
    right = (left + 1).clamp_max(width - 1)
    return torch.gather(x, 3, left) * (1 - share) + torch.gather(x, 3, right) * share
