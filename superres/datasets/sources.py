"""The images that patches are cut from: opened, their intensities measured, pairs brought to one grey scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from superres.config import IntensityRule
from superres.datasets.manifest import Acquisition
from superres.datasets.pairs import match_intensity, open_pair
from superres.errors import InputError
from superres.volumes import Intensity, Volume, measure_intensity, open_volume

Triple = tuple[int, int, int]
VoxelSize = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Source:
    """One channel of one opened image of an acquisition.

    Parameters
    ----------
    acquisition : str
        Id of the acquisition.
    high, low : Volume
        The sharp volume, and the recording that belongs to it; None where it is made by degradation.
    channel : int
        Which channel of them.
    intensity : Intensity
        Black and white that the net sees as 0 and 1.
    grey_range : tuple of float
        Black and the top of the range that noise refers to.
    high_gain, high_offset : float
        What brings `high` to the grey scale of `low`.
    voxel_size : tuple
        ZYX micrometre of `high`.
    weight : float
        Share of the patches, before normalisation.
    """

    acquisition: str
    high: Volume
    low: Volume | None
    channel: int
    intensity: Intensity
    grey_range: tuple[float, float]
    high_gain: float
    high_offset: float
    voxel_size: VoxelSize
    weight: float


def open_sources(
    acquisitions: Sequence[Acquisition],
    *,
    factor: Triple,
    rule: IntensityRule,
    channels: tuple[int, ...] | None = None,
    together: bool = False,
) -> tuple[list[Source], list[str]]:
    """Open every image of some acquisitions, measure intensities, match pairs.

    Acquisitions get patches in proportion to the square root of their size, so that a large one does not drown the
    others and a small one is not repeated without end; or to the weights that the manifest gives them.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        Of one split.
    factor : tuple of int
        Upscaling along Z, Y, X.
    rule : IntensityRule
        How black and white are measured.
    channels : tuple of int, optional
        Channels to open, in this order; default all.
    together : bool
        Whether an image of which one channel cannot be used is left out whole.

    Returns
    -------
    tuple
        The sources, and a line for every image or channel that was left out (constant, or nothing but NaN).

    Raises
    ------
    InputError
        When nothing is left, a channel is asked for that an image does not have, a pair does not fit the factor, or
        some acquisitions have weights and some have none.
    """
    _require_weights(acquisitions)
    sources: list[Source] = []
    skipped: list[str] = []
    for acquisition in acquisitions:
        found: list[Source] = []
        for index in range(len(acquisition.high)):
            opened, reasons = _open_image(acquisition, index, factor=factor, rule=rule, channels=channels)
            found += [] if reasons and together else opened
            skipped += [f"{acquisition.id}: {reason}" for reason in reasons]
        voxels = sum(math.prod(source.high.shape[-3:]) * source.high.shape[0] for source in found)
        share = math.sqrt(voxels) if acquisition.weight is None else acquisition.weight
        sources += [_weighted(source, share, voxels) for source in found]
    if not sources:
        raise InputError(
            "no usable image: " + ("; ".join(skipped) or "the manifests hold no acquisition of this split")
        )
    return sources, skipped


def _open_image(
    acquisition: Acquisition, index: int, *, factor: Triple, rule: IntensityRule, channels: tuple[int, ...] | None
) -> tuple[list[Source], list[str]]:
    """Return the usable channels of an image, and why the others are not."""
    low: Volume | None = None
    if acquisition.low:
        low, high = open_pair(acquisition, index, factor=factor)
    else:
        high = open_volume(acquisition.high[index], axes=acquisition.axes)
        _require_factor(high, acquisition.high[index], factor)
    sources, reasons = [], []
    for channel in range(high.shape[1]) if channels is None else channels:
        if channel >= high.shape[1]:
            raise InputError(
                f"{acquisition.high[index]}: channel {channel} is asked for, it has 0 to {high.shape[1] - 1}; change "
                "channels in the recipe, or leave the image out of the manifest"
            )
        try:
            sources.append(_open_channel(acquisition, (low, high), channel, factor=factor, rule=rule))
        except _Unusable as reason:
            reasons.append(str(reason))
    return sources, reasons


class _Unusable(Exception):
    """A channel that is left out, with the reason."""


def _require_factor(high: Volume, path: Path, factor: Triple) -> None:
    """Refuse an image that has not even one low voxel."""
    if any(n < f for n, f in zip(high.shape[2:], factor, strict=True)):
        z, y, x = high.shape[2:]
        size = f"{y} x {x} voxels (Y, X) are" if z >= factor[0] else f"{z} planes are"
        raise InputError(
            f"{path}: {size} fewer than the factor {list(factor)}; leave it out of the manifest or choose a smaller "
            "factor"
        )


def _open_channel(
    acquisition: Acquisition,
    volumes: tuple[Volume | None, Volume],
    channel: int,
    *,
    factor: Triple,
    rule: IntensityRule,
) -> Source:
    low, high = volumes
    whole = acquisition.whole
    if whole is not None:
        intensity, (gain, offset) = Intensity(whole.black, whole.white), (whole.gain, whole.offset)
    else:
        try:
            measured_on, area = (high, factor) if low is None else (low, (1, 1, 1))
            (intensity,) = measure_intensity(measured_on, rule, factor=area, channels=(channel,))
        except InputError as error:
            raise _Unusable(str(error)) from None
        gain, offset = (1.0, 0.0) if low is None else _match(low, high, channel, factor)
    measured = (intensity.black, intensity.white)
    return Source(
        acquisition=acquisition.id,
        high=high,
        low=low,
        channel=channel,
        intensity=intensity,
        grey_range=measured if acquisition.grey_range is None or low is not None else acquisition.grey_range,
        high_gain=gain,
        high_offset=offset,
        voxel_size=acquisition.voxel_size if any(acquisition.voxel_size) else high.voxel_size,
        weight=1.0,
    )


def _match(low: Volume, high: Volume, channel: int, factor: Triple) -> tuple[float, float]:
    """Fit gain and offset that bring the middle plane of `high` to the grey scale of `low`."""
    z = low.shape[2] // 2
    fz = factor[0]
    everything = slice(None)
    sharp = high.read(t=0, c=channel, z=slice(z * fz, (z + 1) * fz), y=everything, x=everything)
    return match_intensity(read_plane(low, 0, channel, z)[None], sharp, factor)


def _weighted(source: Source, share: float, voxels: int) -> Source:
    """Give a source, of its acquisition's share, what its part of the voxels is."""
    t, _, z, y, x = source.high.shape
    return replace(source, weight=share * (t * z * y * x) / voxels)


def _require_weights(acquisitions: Sequence[Acquisition]) -> None:
    without = [one.id for one in acquisitions if one.weight is None]
    if without and len(without) < len(acquisitions):
        raise InputError(
            f"{without[0]} has no weight in its manifest, and {next(o.id for o in acquisitions if o.weight)} has one; "
            "give weights to all acquisitions that are used together, or to none"
        )


def read_plane(volume: Volume, t: int, c: int, z: int) -> NDArray[Any]:
    """Read one plane, (y, x)."""
    plane: NDArray[Any] = volume.read(t=t, c=c, z=slice(z, z + 1), y=slice(None), x=slice(None))[0]
    return plane
