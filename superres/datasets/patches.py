"""Training patches, read lazily from volumes and drawn by step number alone.

Which patches a step sees depends on the seed and the number of the step, on nothing that happened before: a resumed
training draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import Augment, IntensityRule
from superres.datasets.manifest import Acquisition
from superres.datasets.pairs import match_intensity, open_pair
from superres.errors import InputError
from superres.volumes import Intensity, Volume, measure_intensity, open_volume

# Crops are chosen from this many candidates, by contrast: empty background teaches little.
_CANDIDATES = 3
_CACHE_BYTES = 2 << 30

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


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches of one step, on the CPU.

    Parameters
    ----------
    high : Tensor
        float32, (n, 1, y, x), shares of the grey range.
    low : Tensor or None
        float32, (n, 1, y / fy, x / fx), the same scale; None where it is to be made from `high`.
    scale, shift : Tensor
        float32, (n, 1, 1, 1): ``scale * share + shift`` is the normalised intensity that the net sees.
    voxel_sizes : list
        ZYX micrometre of each high patch.
    """

    high: Tensor
    low: Tensor | None
    scale: Tensor
    shift: Tensor
    voxel_sizes: list[VoxelSize]


class Drawn(NamedTuple):
    """A high patch, the low patch recorded with it if there is one, where they are from, and how far it was binned."""

    high: NDArray[np.float32]
    low: NDArray[np.float32] | None
    source: Source
    bins: int


def open_sources(
    acquisitions: Sequence[Acquisition], *, factor: Triple, rule: IntensityRule
) -> tuple[list[Source], list[str]]:
    """Open every image of some acquisitions, measure intensities, match pairs.

    Acquisitions get patches in proportion to the square root of their size, so that a large one does not drown the
    others and a small one is not repeated without end.

    Returns
    -------
    tuple
        The sources, and a line for every image or channel that was left out (constant, or nothing but NaN).

    Raises
    ------
    InputError
        When nothing is left, or a pair does not fit the factor.
    """
    sources: list[Source] = []
    skipped: list[str] = []
    for acquisition in acquisitions:
        found: list[Source] = []
        for index in range(len(acquisition.high)):
            try:
                found += _open_image(acquisition, index, factor=factor, rule=rule)
            except _Unusable as reason:
                skipped.append(f"{acquisition.id}: {reason}")
        voxels = sum(math.prod(source.high.shape[-3:]) * source.high.shape[0] for source in found)
        sources += [_weighted(source, voxels) for source in found]
    if not sources:
        raise InputError(
            "no usable image: " + ("; ".join(skipped) or "the manifests hold no acquisition of this split")
        )
    return sources, skipped


class _Unusable(Exception):
    """An image that is left out, with the reason."""


def _open_image(acquisition: Acquisition, index: int, *, factor: Triple, rule: IntensityRule) -> list[Source]:
    low: Volume | None
    if not acquisition.low:
        path = acquisition.high[index]
        high = open_volume(path, axes=acquisition.axes)
        if min(high.shape[-2] // factor[1], high.shape[-1] // factor[2]) < 1:
            raise InputError(
                f"{path}: {high.shape[-2]} x {high.shape[-1]} voxels (Y, X) are fewer than the factor {list(factor)}; "
                "leave it out of the manifest or choose a smaller factor"
            )
        low = None
        intensities = _measure(high, rule, factor)
    else:
        low, high = open_pair(acquisition, index, factor=factor)
        intensities = _measure(low, rule, (1, 1, 1))
    voxel_size = acquisition.voxel_size if any(acquisition.voxel_size) else high.voxel_size
    sources = []
    for channel, intensity in enumerate(intensities):
        gain, offset = (1.0, 0.0) if low is None else _match(low, high, channel, factor)
        measured = (intensity.black, intensity.white)
        sources.append(
            Source(
                acquisition=acquisition.id,
                high=high,
                low=low,
                channel=channel,
                intensity=intensity,
                grey_range=measured if acquisition.grey_range is None or low is not None else acquisition.grey_range,
                high_gain=gain,
                high_offset=offset,
                voxel_size=voxel_size,
                weight=1.0,
            )
        )
    return sources


def _measure(volume: Volume, rule: IntensityRule, factor: Triple) -> tuple[Intensity, ...]:
    try:
        return measure_intensity(volume, rule, factor=factor)
    except InputError as error:
        raise _Unusable(str(error)) from None


def _match(low: Volume, high: Volume, channel: int, factor: Triple) -> tuple[float, float]:
    """Fit gain and offset that bring the middle plane of `high` to the grey scale of `low`."""
    z = low.shape[2] // 2
    fz = factor[0]
    everything = slice(None)
    sharp = high.read(t=0, c=channel, z=slice(z * fz, (z + 1) * fz), y=everything, x=everything)
    return match_intensity(_read(low, 0, channel, z)[None], sharp, factor)


def _weighted(source: Source, voxels: int) -> Source:
    """Give a source its share of its acquisition's square root of size."""
    t, _, z, y, x = source.high.shape
    values = {name: getattr(source, name) for name in Source.__slots__}
    return Source(**values | {"weight": math.sqrt(voxels) * (t * z * y * x) / voxels})


def _read(volume: Volume, t: int, c: int, z: int) -> NDArray[Any]:
    plane: NDArray[Any] = volume.read(t=t, c=c, z=slice(z, z + 1), y=slice(None), x=slice(None))[0]
    return plane


class PatchSampler:
    """Draws batches of patches by step number.

    Parameters
    ----------
    sources : sequence of Source
        All with a recorded low image, or all without.
    factor : tuple of int
        Upscaling along Z, Y, X.
    size : int
        Side of a low patch in voxels.
    seed : int
        Of the training.
    augment : Augment or None
        Whether patches are flipped and (for equal factors along Y and X) turned by 90 degrees, and how many are drawn
        at half the magnification; None for neither.
    """

    def __init__(
        self, sources: Sequence[Source], *, factor: Triple, size: int, seed: int, augment: Augment | None = None
    ) -> None:
        if len({source.low is None for source in sources}) > 1:
            raise InputError(
                "some acquisitions have recorded low images and some have none; train on one kind at a time"
            )
        self._sources = sources
        self._factor = factor
        self._size = size
        self._seed = seed
        self._flips = augment is not None and augment.flips
        self._coarser = 0.0 if augment is None else augment.coarser
        weights = np.array([source.weight for source in sources])
        self._shares = weights / weights.sum()
        self._planes: OrderedDict[tuple[int, bool, int, int], NDArray[np.float32]] = OrderedDict()
        self._bytes = 0

    def draw(self, step: int, batch: int) -> Batch:
        """Return the patches of a step."""
        random = np.random.default_rng([self._seed, step])
        drawn = [self._patch(random) for _ in range(batch)]
        return _batch(drawn)

    def crops(self, per_acquisition: int) -> Batch:
        """Return the central crops of evenly spread images: the same ones every time, for validation."""
        drawn = []
        for name in dict.fromkeys(source.acquisition for source in self._sources):
            places = [
                (index, t, z)
                for index, source in enumerate(self._sources)
                if source.acquisition == name
                for t in range(source.high.shape[0])
                for z in range(source.high.shape[2])
            ]
            chosen = np.linspace(0, len(places) - 1, min(per_acquisition, len(places))).round().astype(int)
            drawn += [self._central(*places[i]) for i in chosen]
        return _batch(drawn)

    def _patch(self, random: np.random.Generator) -> Drawn:
        index = int(random.choice(len(self._sources), p=self._shares))
        source = self._sources[index]
        t, z = int(random.integers(source.high.shape[0])), int(random.integers(source.high.shape[2]))
        high = self._plane(index, t, z, low=False)
        low = self._plane(index, t, z, low=True) if source.low is not None else None
        fy, fx = self._factor[1:]
        # The corner lies on the low grid where there is one, anywhere where low is made from high.
        unit = (fy, fx) if low is not None else (1, 1)
        coarse = bool(random.random() < self._coarser) and low is None
        bins = 2 if coarse and min(high.shape) >= 2 * self._size * max(fy, fx) else 1
        room = [max(0, (n - self._size * f * bins) // u) for n, f, u in zip(high.shape, (fy, fx), unit, strict=True)]
        corners = [(int(random.integers(room[0] + 1)), int(random.integers(room[1] + 1))) for _ in range(_CANDIDATES)]
        crops = [_binned(self._cut(high, y * unit[0], x * unit[1], fy * bins, fx * bins), bins) for y, x in corners]
        contrast = np.array([float(crop.std()) for crop in crops]) + 1e-3
        chosen = int(random.choice(_CANDIDATES, p=contrast / contrast.sum()))
        turn, mirror = (int(random.integers(4)), bool(random.integers(2))) if self._flips else (0, False)
        if fy != fx:
            turn = 2 * (turn // 2)
        low_crop = None if low is None else _turned(self._cut(low, *corners[chosen], 1, 1), turn, mirror)
        return Drawn(_turned(crops[chosen], turn, mirror), low_crop, source, bins)

    def _central(self, index: int, t: int, z: int) -> Drawn:
        source = self._sources[index]
        high = self._plane(index, t, z, low=False)
        fy, fx = self._factor[1:]
        y, x = (max(0, (n // f - self._size) // 2) for n, f in zip(high.shape, (fy, fx), strict=True))
        low = self._cut(self._plane(index, t, z, low=True), y, x, 1, 1) if source.low is not None else None
        return Drawn(self._cut(high, y * fy, x * fx, fy, fx), low, source, 1)

    def _cut(self, plane: NDArray[np.float32], y: int, x: int, fy: int, fx: int) -> NDArray[np.float32]:
        """Cut a patch; where the image is smaller than a patch it is continued by mirroring."""
        patch = plane[y : y + self._size * fy, x : x + self._size * fx]
        missing = (self._size * fy - patch.shape[0], self._size * fx - patch.shape[1])
        return np.pad(patch, ((0, missing[0]), (0, missing[1])), mode="symmetric") if any(missing) else patch

    def _plane(self, index: int, t: int, z: int, *, low: bool) -> NDArray[np.float32]:
        """Return one plane as shares of the grey range, from a cache of bounded size."""
        key = (index, low, t, z)
        if key in self._planes:
            self._planes.move_to_end(key)
            return self._planes[key]
        source = self._sources[index]
        volume = source.low if low and source.low is not None else source.high
        plane = _read(volume, t, source.channel, z).astype(np.float32)
        if not low:
            plane = plane * np.float32(source.high_gain) + np.float32(source.high_offset)
        black, white = source.grey_range
        plane = (np.nan_to_num(plane, nan=black) - np.float32(black)) / np.float32(white - black)
        self._planes[key] = plane
        self._bytes += plane.nbytes
        while self._bytes > _CACHE_BYTES and len(self._planes) > 1:
            self._bytes -= self._planes.popitem(last=False)[1].nbytes
        return plane


def _batch(drawn: list[Drawn]) -> Batch:
    lows = [one.low for one in drawn if one.low is not None]
    scales = [_net_scale(one.source) for one in drawn]
    return Batch(
        high=_stack([one.high for one in drawn]),
        low=_stack(lows) if lows else None,
        scale=torch.tensor([scale for scale, _ in scales], dtype=torch.float32).view(-1, 1, 1, 1),
        shift=torch.tensor([shift for _, shift in scales], dtype=torch.float32).view(-1, 1, 1, 1),
        voxel_sizes=[_binned_size(one.source.voxel_size, one.bins) for one in drawn],
    )


def _binned(patch: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Average blocks of bins x bins voxels."""
    y, x = patch.shape
    means: NDArray[np.float32] = patch.reshape(y // bins, bins, x // bins, bins).mean(axis=(1, 3))
    return means


def _binned_size(voxel_size: VoxelSize, bins: int) -> VoxelSize:
    z, y, x = voxel_size
    return z, y and y * bins, x and x * bins


def _net_scale(source: Source) -> tuple[float, float]:
    """Return scale and shift from shares of the grey range to the net's normalised intensity."""
    black, white = source.grey_range
    width = source.intensity.white - source.intensity.black
    return (white - black) / width, (black - source.intensity.black) / width


def _turned(patch: NDArray[np.float32], turn: int, mirror: bool) -> NDArray[np.float32]:
    turned = np.rot90(patch, turn)
    return turned[:, ::-1] if mirror else turned


def _stack(patches: list[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.stack(patches)[:, None])
