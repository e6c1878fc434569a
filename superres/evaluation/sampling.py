"""Which planes of an acquisition are scored, and the low images and truth that belong to them.

Real pairs are brought to one grey scale; where only sharp images exist, low ones are made from them. Nothing is scored
here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from superres.config import DegradeStep, IntensityRule
from superres.datasets import Acquisition
from superres.datasets.pairs import match_intensity, open_pair
from superres.degrade import degrade_image
from superres.errors import InputError
from superres.evaluation.metrics import inner
from superres.evaluation.similarity import SSIM_WINDOW
from superres.volumes import Volume, measure_intensity, measure_intensity_of, open_volume

Triple = tuple[int, int, int]
VoxelSize = tuple[float | None, float | None, float | None]
ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Setup:
    """What low images are and how many planes are scored.

    Parameters
    ----------
    factor : tuple of int
        Along Z, Y, X.
    degrade : tuple of DegradeStep
        How low images are made where none were recorded.
    rule : IntensityRule
        How black and white are measured where the manifest does not give them.
    planes : int
        Planes scored per acquisition.
    crop : int
        Low voxels left out at every border along Y and X.
    seed : int
        Of the noise.
    whole_stacks : bool
        Whether the method looks along Z, so that it needs all planes of a stack and not only the scored ones.
    whole_series : bool
        The same along T: all time points of a plane lie behind each other where planes do otherwise.
    """

    factor: Triple
    degrade: tuple[DegradeStep, ...]
    rule: IntensityRule
    planes: int
    crop: int
    seed: int
    whole_stacks: bool
    whole_series: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether a sample is one stack or one series, of which not all planes are scored."""
        return self.whole_stacks or self.whole_series

    @property
    def high_crop(self) -> tuple[int, int]:
        """High voxels left out at every border along Y and X."""
        return self.crop * self.factor[1], self.crop * self.factor[2]


class Place(NamedTuple):
    """One low plane: which file, time point and plane."""

    file: int
    t: int
    z: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Low image and truth of one file, on one grey scale.

    Parameters
    ----------
    low : ndarray
        float32, (c, z, y, x).
    truth : ndarray
        float32, (c, z * fz, y * fy, x * fx).
    scored : tuple of int
        The planes of `truth` that are scored.
    labels : tuple of str
        Their names.
    black : tuple of float
        Grey level without light, per channel.
    voxel_size : tuple of float or None
        ZYX of `truth` in micrometre.
    grey_ranges : tuple of (tuple of float)
        Black and top of the range of each channel, to which the noise of low images that were made refers; empty for
        real pairs.
    dtype : str
        Of truth in its file.
    places : tuple of Place
        Where the scored planes are from.
    """

    low: NDArray[np.float32]
    truth: NDArray[np.float32]
    scored: tuple[int, ...]
    labels: tuple[str, ...]
    black: tuple[float, ...]
    voxel_size: VoxelSize
    grey_ranges: tuple[tuple[float, float], ...]
    dtype: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class _Recording:
    """One opened file of an acquisition; `low` is None where it is to be made from `high`."""

    high: Volume
    low: Volume | None
    path: Path


@dataclass(frozen=True, slots=True)
class _Planes:
    """Planes of one recording as they were read, `low` None where it is to be made; (c, z, y, x)."""

    low: NDArray[Any] | None
    truth: NDArray[Any]
    scored: tuple[int, ...]
    labels: tuple[str, ...]
    places: tuple[Place, ...]


def draw_samples(
    acquisition: Acquisition, setup: Setup, *, chosen: Sequence[Place] | None = None
) -> tuple[list[Sample], list[str]]:
    """Read the scored planes of an acquisition, spread evenly over its files, time points and depth.

    Parameters
    ----------
    acquisition : Acquisition
        What is read.
    setup : Setup
        What low images are, and how many planes are scored.
    chosen : sequence of Place, optional
        The planes that are scored, instead.

    Returns
    -------
    tuple
        The samples (none when nothing can be scored), and a line for everything that was left out.

    Raises
    ------
    InputError
        When a file cannot be read, or a pair does not fit the factor.
    """
    recordings = [_open(acquisition, index, setup.factor) for index in range(len(acquisition.high))]
    if chosen is None:
        places = _places([recording.high for recording in recordings], setup)
        chosen = [places[i] for i in evenly(len(places), setup.planes)]
    samples, left_out = [], []
    for group in _grouped(chosen, setup):
        recording = recordings[group[0].file]
        planes, faults = _usable(_read(recording, group, setup), setup)
        left_out += faults
        if planes is None:
            continue
        try:
            samples.append(_sample(acquisition, recording, planes, place=group[0], setup=setup))
        except _Unmeasurable as reason:
            left_out.append(f"{recording.path.name}: {reason}")
    return samples, left_out


def places_of(acquisition: Acquisition, setup: Setup) -> list[Place]:
    """List the low planes of an acquisition, file by file, in the order in which they were recorded."""
    return _places([open_volume(path, axes=acquisition.axes) for path in acquisition.high], setup)


def evenly(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` of `count` positions, evenly spread and away from the ends."""
    wanted = min(count, wanted)
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


class _Unmeasurable(Exception):
    """Black and white of a recording cannot be measured."""


def _places(volumes: Sequence[Volume], setup: Setup) -> list[Place]:
    return [
        Place(file, t, z)
        for file, volume in enumerate(volumes)
        for t in range(volume.shape[0])
        for z in range(volume.shape[2] // setup.factor[0])
    ]


def _open(acquisition: Acquisition, index: int, factor: Triple) -> _Recording:
    if not acquisition.low:
        high = open_volume(acquisition.high[index], axes=acquisition.axes)
        return _Recording(high, None, acquisition.high[index])
    low, high = open_pair(acquisition, index, factor=factor)
    return _Recording(high, low, acquisition.high[index])


def _grouped(places: Sequence[Place], setup: Setup) -> list[list[Place]]:
    """Bring together what is read and predicted at once: a file's planes, or those of one stack or series."""
    groups: dict[tuple[int, int], list[Place]] = {}
    for place in places:
        of_series = place.z if setup.whole_series else 0
        groups.setdefault((place.file, place.t if setup.whole_stacks else of_series), []).append(place)
    return list(groups.values())


def _read(recording: _Recording, group: list[Place], setup: Setup) -> _Planes:
    """Read the planes of a group, cut at the far end to a multiple of the factor."""
    fz, fy, fx = setup.factor
    volume = recording.high
    nz, ny, nx = (n // f for n, f in zip(volume.shape[2:], setup.factor, strict=True))
    if setup.whole_stacks:
        low_parts = [(group[0].t, slice(0, nz))]
        scored = tuple(place.z * fz + fz // 2 for place in group)
    elif setup.whole_series:
        low_parts = [(t, slice(group[0].z, group[0].z + 1)) for t in range(volume.shape[0])]
        scored = tuple(place.t for place in group)
    else:
        low_parts = [(place.t, slice(place.z, place.z + 1)) for place in group]
        scored = tuple(range(len(group)))
    high_parts = [(t, slice(z.start * fz, z.stop * fz)) for t, z in low_parts]
    return _Planes(
        low=None if recording.low is None else _stack(recording.low, low_parts, (ny, nx)),
        truth=_stack(volume, high_parts, (ny * fy, nx * fx)),
        scored=scored,
        labels=tuple(_label(recording, place) for place in group),
        places=tuple(group),
    )


def _stack(volume: Volume, parts: list[tuple[int, slice]], size: tuple[int, int]) -> NDArray[Any]:
    """Read (c, z, y, x) from several places along T and Z."""
    y, x = slice(0, size[0]), slice(0, size[1])
    channels = range(volume.shape[1])
    return np.stack([np.concatenate([volume.read(t=t, c=c, z=z, y=y, x=x) for t, z in parts]) for c in channels])


def _label(recording: _Recording, place: Place) -> str:
    t, _, z, _, _ = recording.high.shape
    return recording.path.name + (f", t {place.t}" if t > 1 else "") + (f", z {place.z}" if z > 1 else "")


def _usable(planes: _Planes, setup: Setup) -> tuple[_Planes | None, list[str]]:
    """Leave out planes that cannot be scored, saying why; a stack or series is left out whole."""
    smallest = min(inner(planes.truth, setup.high_crop).shape[-2:])
    if smallest < SSIM_WINDOW:
        size = " x ".join(str(n) for n in planes.truth.shape[-2:])
        reason = (
            f"{planes.labels[0]}: {size} voxels (Y, X) leave {smallest} after a crop of {setup.crop} low voxels, "
            f"and {SSIM_WINDOW} are needed; give a smaller crop, for example --set crop=0"
        )
        return None, [reason]
    if setup.is_whole:
        inside = inner(planes.truth[:, list(planes.scored)], setup.high_crop)
        fault = (
            _fault(planes.truth, "truth") or _fault(inside, "scored part of truth") or _fault(planes.low, "low image")
        )
        return (None, [f"{planes.labels[0]}: {fault}"]) if fault else (planes, [])
    kept, faults = [], []
    for i, label in enumerate(planes.labels):
        low = None if planes.low is None else planes.low[:, i]
        truth = planes.truth[:, i]
        inside = inner(truth, setup.high_crop)
        fault = _fault(truth, "truth") or _fault(inside, "scored part of truth") or _fault(low, "low image")
        if fault:
            faults.append(f"{label}: {fault}")
        else:
            kept.append(i)
    if not kept:
        return None, faults
    low = None if planes.low is None else planes.low[:, kept]
    labels, places = tuple(planes.labels[i] for i in kept), tuple(planes.places[i] for i in kept)
    return _Planes(low, planes.truth[:, kept], tuple(range(len(kept))), labels, places), faults


def _fault(image: NDArray[Any] | None, name: str) -> str:
    """Say why an image, (c, ...), cannot be scored; empty when it can."""
    if image is None:
        return ""
    for channel, values in enumerate(image):
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            return (
                f"{name} channel {channel} holds {bad} NaN or infinite values, by which no figure has a value; cut the "
                "image to where it is known, or leave the plane out"
            )
        if values.min() == values.max():
            return f"{name} channel {channel} is constant ({values.flat[0]}), with nothing to tell methods apart by"
    return ""


def _sample(acquisition: Acquisition, recording: _Recording, planes: _Planes, *, place: Place, setup: Setup) -> Sample:
    voxel_size = acquisition.voxel_size if any(acquisition.voxel_size) else recording.high.voxel_size
    ranges: list[tuple[float, float]] = []
    if planes.low is None:
        truth = planes.truth.astype(np.float32)
        ranges = _grey_ranges(acquisition, recording.high, setup)
        seed = zlib.crc32(f"{setup.seed}/{acquisition.id}/{place.file}/{place.t}".encode())
        low = _degraded(planes.truth, ranges, voxel_size, setup, seed=seed)
    else:
        low = planes.low.astype(np.float32)
        truth = planes.truth.astype(np.float32)
        if acquisition.whole is not None:  # a piece of a larger pair, on which the scales were matched
            truth = truth * np.float32(acquisition.whole.gain) + np.float32(acquisition.whole.offset)
        else:
            truth = _measured(_on_scale_of, low, truth, setup.factor, planes.scored)
    black = tuple(intensity.black for intensity in _measured(measure_intensity_of, low, setup.rule))
    dtype = str(recording.high.dtype)
    return Sample(low, truth, planes.scored, planes.labels, black, voxel_size, tuple(ranges), dtype, planes.places)


def _grey_ranges(acquisition: Acquisition, high: Volume, setup: Setup) -> list[tuple[float, float]]:
    """Return black and the top of the range of each channel: the manifest's, or else measured."""
    if acquisition.grey_range is not None:
        return [acquisition.grey_range] * high.shape[1]
    measured = _measured(partial(measure_intensity, factor=setup.factor), high, setup.rule)
    return [(intensity.black, intensity.white) for intensity in measured]


def _measured(measure: Callable[ArgumentsT, ResultT], *args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> ResultT:
    """Measure an image; one that cannot be measured is left out of the report, not an end to it."""
    try:
        return measure(*args, **kwargs)
    except InputError as error:
        raise _Unmeasurable(str(error)) from None


def _degraded(
    truth: NDArray[Any], ranges: list[tuple[float, float]], voxel_size: VoxelSize, setup: Setup, *, seed: int
) -> NDArray[np.float32]:
    return np.concatenate(
        [
            degrade_image(
                truth[channel : channel + 1],
                setup.degrade,
                factor=setup.factor,
                grey_range=grey_range,
                voxel_size=voxel_size,
                seed=seed + channel,
            )
            for channel, grey_range in enumerate(ranges)
        ]
    )


def _on_scale_of(
    low: NDArray[np.float32], truth: NDArray[np.float32], factor: Triple, scored: tuple[int, ...]
) -> NDArray[np.float32]:
    """Bring truth to the grey scale of low: one gain and offset per file and channel, from its scored planes.

    Planes of a stack that are read only as context have no say, so that figures do not depend on whether a method
    looks at them.
    """
    fz = factor[0]
    layers = sorted({z // fz for z in scored})
    planes = [z * fz + i for z in layers for i in range(fz)]
    mapped = np.empty_like(truth)
    for channel, (recorded, sharp) in enumerate(zip(low, truth, strict=True)):
        gain, offset = match_intensity(recorded[layers], sharp[planes], factor)
        mapped[channel] = sharp * np.float32(gain) + np.float32(offset)
    return mapped
