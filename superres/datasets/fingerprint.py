"""What the images of a folder are like, as far as a recipe depends on it: sizes, grey range, noise, empty area, and how
much neighbouring planes and time points have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from superres.config import IntensityRule
from superres.datasets.alignment import bin_voxels
from superres.degrade.noise import noise_of_image
from superres.errors import InputError
from superres.volumes import Intensity, Volume, measure_intensity

Triple = tuple[int, int, int]
VoxelSize = tuple[float | None, float | None, float | None]

EMPTY_BELOW = 0.15
"""Share of the range from black to white; areas of low voxels that are darker count as empty."""
NOISE_LEVEL = 0.3
"""Share of the range at which the noise is told as one number."""

_WINDOW = 512  # voxels along Y and X that are looked at, in the middle of a plane
_PLANES = 4  # per channel, for noise and empty area
_NEIGHBOURS = 4  # pairs of frames along an axis
_DETAIL = 9  # low voxels; what is wider than that is the same in every frame
_FEWEST_FRAMES = 3
_LEAST_DETAIL = 0.1  # of the variance of detail must be structure, or nothing can be said of it
_CLEAN = 1e-4  # standard deviation below which there is no noise, as a share of the range


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """One channel of one image; shares are of the range from black to white.

    Parameters
    ----------
    channel : int
        Counted from 0.
    black, white : float
        Grey levels that the net sees as 0 and 1.
    noise : float
        Standard deviation at `NOISE_LEVEL`; texture as fine as the voxels counts as noise.
    photons : float or None
        Counted at white, by how the variance grows with the level; None where it does not.
    read_noise : float
        Standard deviation at black.
    empty : float
        Share of the area that is darker than `EMPTY_BELOW`.
    median : float
        Level of half of the area.
    """

    channel: int
    black: float
    white: float
    noise: float
    photons: float | None
    read_noise: float
    empty: float
    median: float


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """One image, which may be a stack or a time series.

    Parameters
    ----------
    shape : tuple of int
        TCZYX.
    voxel_size : tuple of float or None
        ZYX, micrometre.
    channels : tuple of ChannelFacts
        Those that hold structure.
    without_structure : tuple of str
        A line for each of the others.
    planes_alike, times_alike : float or None
        Correlation of the detail of neighbouring planes and time points on the low grid, 1 where only noise differs;
        None where there are fewer than three, or no detail stands out of the noise.
    """

    shape: tuple[int, int, int, int, int]
    voxel_size: VoxelSize
    channels: tuple[ChannelFacts, ...]
    without_structure: tuple[str, ...]
    planes_alike: float | None
    times_alike: float | None


def measure_image(volume: Volume, factor: Triple, rule: IntensityRule) -> ImageFacts:
    """Look at a sample of an image: a few windows of a few planes of every channel.

    Parameters
    ----------
    volume : Volume
        A sharp image.
    factor : tuple of int
        ZYX, from the low grid to that of the image.
    rule : IntensityRule
        How black and white are measured.

    Raises
    ------
    InputError
        When the file turns out damaged.
    """
    found: list[ChannelFacts] = []
    without: list[str] = []
    for channel in range(volume.shape[1]):
        try:
            (intensity,) = measure_intensity(volume, rule, factor=factor, channels=(channel,))
        except InputError as error:
            if "is constant" not in str(error) and "no finite value" not in str(error):
                raise
            without.append(str(error))
            continue
        found.append(_channel(volume, channel, intensity, factor))
    alike = {axis: _alike(volume, found, axis, factor) for axis in "zt"}
    return ImageFacts(volume.shape, volume.voxel_size, tuple(found), tuple(without), alike["z"], alike["t"])


def _channel(volume: Volume, channel: int, intensity: Intensity, factor: Triple) -> ChannelFacts:
    black, white = intensity.black, intensity.white
    planes = np.stack([_shares(volume, t, channel, z, intensity) for t, z in _places(volume)])
    levels = _low(planes, factor)
    gain, constant = _noise_line(planes)
    read_noise = math.sqrt(max(constant, 0.0))
    photons = 1 / gain if gain > _CLEAN**2 else None
    return ChannelFacts(
        channel=channel,
        black=black,
        white=white,
        noise=math.sqrt(max(gain * NOISE_LEVEL + constant, 0.0)),
        photons=photons,
        read_noise=read_noise,
        empty=float(np.mean(levels < EMPTY_BELOW)),
        median=float(np.median(levels)),
    )


def _noise_line(planes: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and constant of the variance against the level; zeros where it cannot be told."""
    try:
        found = noise_of_image(planes)
    except InputError:  # too small, nearly empty or clipped
        return 0.0, 0.0
    if found.gain > 0:
        return found.gain, found.constant
    return 0.0, float(np.median(found.variance))


def _alike(volume: Volume, channels: list[ChannelFacts], axis: str, factor: Triple) -> float | None:
    """Return how the detail of neighbours along an axis correlates, noise taken off; the median over pairs."""
    frames = volume.shape[0 if axis == "t" else 2]
    if frames < _FEWEST_FRAMES:
        return None
    values = [
        value
        for channel in channels
        for first, second in _pairs(volume, axis)
        if (value := _likeness(volume, channel, first, second, factor)) is not None
    ]
    return float(np.median(values)) if values else None


def _likeness(
    volume: Volume, channel: ChannelFacts, first: tuple[int, int], second: tuple[int, int], factor: Triple
) -> float | None:
    intensity = Intensity(channel.black, channel.white)
    one, two = (_low(_shares(volume, t, channel.channel, z, intensity)[None], factor)[0] for t, z in (first, second))
    noise = channel.noise**2 / (factor[1] * factor[2])
    details = [part - uniform_filter(part, _DETAIL) for part in (one, two)]
    structure = [float(part.var()) - noise for part in details]
    if min(structure) <= _LEAST_DETAIL * (min(structure) + noise) or min(structure) <= 0:
        return None
    covariance = float(np.mean(details[0] * details[1]))
    return float(np.clip(covariance / math.sqrt(structure[0] * structure[1]), -1, 1))


def _pairs(volume: Volume, axis: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield pairs of neighbouring frames, evenly spread, each (t, z)."""
    times, _, planes = volume.shape[:3]
    frames, others = (times, planes) if axis == "t" else (planes, times)
    for i in _spread(frames - 1, _NEIGHBOURS):
        pair = [(i, others // 2), (i + 1, others // 2)]
        yield (pair[0], pair[1]) if axis == "t" else (pair[0][::-1], pair[1][::-1])


def _places(volume: Volume) -> list[tuple[int, int]]:
    times, _, planes = volume.shape[:3]
    return [(index // planes, index % planes) for index in _spread(times * planes, _PLANES)]


def _spread(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` numbers, evenly, each in the middle of its share."""
    most = min(count, most)
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]


def _shares(volume: Volume, t: int, c: int, z: int, intensity: Intensity) -> NDArray[np.float64]:
    """Read the middle of a plane as shares of the range; what is no number becomes black."""
    y, x = (slice((n - side) // 2, (n + side) // 2) for n in volume.shape[3:] for side in (min(n, _WINDOW),))
    values: NDArray[Any] = volume.read(t=t, c=c, z=slice(z, z + 1), y=y, x=x)[0].astype(np.float64)
    shares = (values - intensity.black) / (intensity.white - intensity.black)
    return np.where(np.isfinite(shares), shares, 0.0)


def _low(planes: NDArray[np.float64], factor: Triple) -> NDArray[np.float64]:
    """Average planes, (n, y, x), to the low grid; what is left over at the edges is cut off."""
    y, x = (n // f * f for n, f in zip(planes.shape[1:], factor[1:], strict=True))
    return bin_voxels(planes[:, :y, :x], (1, *factor[1:]))
