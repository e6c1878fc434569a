"""Training patches, read lazily from volumes and drawn by step number alone.

Which patches a step sees depends on the seed and the number of the step, on nothing that happened before: a resumed
training draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import Augment, Context
from superres.datasets.sources import Source, VoxelSize, read_plane
from superres.errors import InputError
from superres.volumes.edges import around, mirrored

# Crops are chosen from this many candidates, by contrast: empty background teaches little.
_CANDIDATES = 3
_CACHE_BYTES = 2 << 30

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches of one step, on the CPU.

    Parameters
    ----------
    high : Tensor
        float32, (n, images, y, x), shares of the grey range; images are channels, or the frames around one that is
        predicted. For nets of three dimensions (n, channels, z, y, x).
    low : Tensor or None
        float32, (n, images, y / fy, x / fx) or (n, channels, z / fz, y / fy, x / fx), the same scale; None where it is
        to be made from `high`.
    scale, shift : Tensor
        float32, (n, channels, 1, 1) or one axis more: ``scale * share + shift`` is the normalised intensity that the
        net sees.
    voxel_sizes : list
        ZYX micrometre of each high patch.
    """

    high: Tensor
    low: Tensor | None
    scale: Tensor
    shift: Tensor
    voxel_sizes: list[VoxelSize]


class Drawn(NamedTuple):
    """A high patch, the low patch recorded with it if there is one, the sources of its channels, and its binning."""

    high: NDArray[np.float32]
    low: NDArray[np.float32] | None
    sources: tuple[Source, ...]
    bins: int


class _Place(NamedTuple):
    """Where a patch is: the sources of its channels, the time point, and its (first, in three dimensions) plane."""

    channels: tuple[int, ...]
    t: int
    z: int


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
    depth : int, optional
        Low voxels along Z of a patch in three dimensions; default planes.
    context : Context, optional
        Which images stand beside the one that is predicted.
    together : bool
        Whether a patch holds all channels of its image that were opened.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        factor: Triple,
        size: int,
        seed: int,
        augment: Augment | None = None,
        depth: int | None = None,
        context: Context | None = None,
        together: bool = False,
    ) -> None:
        if len({source.low is None for source in sources}) > 1:
            raise InputError(
                "some acquisitions have recorded low images and some have none; train on one kind at a time"
            )
        self._sources = sources
        self._factor = factor
        self._size = size
        self._depth = depth
        self._context = context
        self._seed = seed
        self._flips = augment is not None and augment.flips
        self._coarser = 0.0 if augment is None else augment.coarser
        together = together or (context is not None and context.axis == "c")
        self._groups = _images(sources) if together else [(index,) for index in range(len(sources))]
        weights = np.array([sources[group[0]].weight for group in self._groups])
        self._shares = weights / weights.sum()
        self._planes: OrderedDict[tuple[int, bool, int, int], NDArray[np.float32]] = OrderedDict()
        self._bytes = 0

    def draw(self, step: int, batch: int) -> Batch:
        """Return the patches of a step."""
        random = np.random.default_rng([self._seed, step])
        drawn = [self._patch(random) for _ in range(batch)]
        return _batch(drawn)

    def crops(self, per_acquisition: int) -> tuple[Batch, list[str]]:
        """Return the central crops of evenly spread images: the same ones every time, for validation.

        Returns
        -------
        tuple
            The crops, and the acquisition of each.
        """
        drawn = []
        for name in dict.fromkeys(source.acquisition for source in self._sources):
            places = [place for place in self._central_places() if self._first(place).acquisition == name]
            chosen = np.linspace(0, len(places) - 1, min(per_acquisition, len(places))).round().astype(int)
            drawn += [self._central(places[i]) for i in chosen]
        return _batch(drawn), [one.sources[0].acquisition for one in drawn]

    def _first(self, place: _Place) -> Source:
        return self._sources[place.channels[0]]

    def _central_places(self) -> Iterator[_Place]:
        for group in self._groups:
            times, _, planes = self._sources[group[0]].high.shape[:3]
            # Volumes beside each other along Z, of which the last may reach beyond the end.
            step = 1 if self._depth is None else self._depth * self._factor[0]
            for t in range(times):
                for z in range(0, max(1, planes - step + 1), step):
                    yield _Place(group, t, z)

    def _patch(self, random: np.random.Generator) -> Drawn:
        group = self._groups[int(random.choice(len(self._groups), p=self._shares))]
        source = self._sources[group[0]]
        place = _Place(group, int(random.integers(source.high.shape[0])), self._first_plane(source, random))
        seen = self._chosen_by(place)
        high = self._plane(seen, low=False)
        fy, fx = self._factor[1:]
        # The corner lies on the low grid where there is one, anywhere where low is made from high.
        unit = (fy, fx) if source.low is not None else (1, 1)
        coarse = bool(random.random() < self._coarser) and source.low is None
        bins = 2 if coarse and min(high.shape) >= 2 * self._size * max(fy, fx) else 1
        room = [max(0, (n - self._size * f * bins) // u) for n, f, u in zip(high.shape, (fy, fx), unit, strict=True)]
        corners = [(int(random.integers(room[0] + 1)), int(random.integers(room[1] + 1))) for _ in range(_CANDIDATES)]

        def cut(plane: _Place, corner: tuple[int, int]) -> NDArray[np.float32]:
            values = self._plane(plane, low=False)
            return _binned(self._cut(values, corner[0] * unit[0], corner[1] * unit[1], fy * bins, fx * bins), bins)

        crops = [cut(seen, corner) for corner in corners]
        contrast = np.array([float(crop.std()) for crop in crops]) + 1e-3
        chosen = int(random.choice(_CANDIDATES, p=contrast / contrast.sum()))
        turn, mirror = (int(random.integers(4)), bool(random.integers(2))) if self._flips else (0, False)
        if fy != fx:
            turn = 2 * (turn // 2)
        planes = self._seen(place, low=False)
        found = [crops[chosen] if plane == seen else cut(plane, corners[chosen]) for plane in planes]
        patch = self._shaped([_turned(crop, turn, mirror) for crop in found], place)
        if source.low is None:
            return Drawn(patch, None, self._sources_of(place), bins)
        recorded = [
            _turned(self._cut(self._plane(plane, low=True), *corners[chosen], 1, 1), turn, mirror)
            for plane in self._seen(place, low=True)
        ]
        return Drawn(patch, self._shaped(recorded, place), self._sources_of(place), bins)

    def _central(self, place: _Place) -> Drawn:
        source = self._first(place)
        fy, fx = self._factor[1:]
        y, x = (max(0, (n // f - self._size) // 2) for n, f in zip(source.high.shape[3:], (fy, fx), strict=True))
        high = [self._cut(self._plane(one, low=False), y * fy, x * fx, fy, fx) for one in self._seen(place, low=False)]
        low = None
        if source.low is not None:
            low = [self._cut(self._plane(one, low=True), y, x, 1, 1) for one in self._seen(place, low=True)]
        return Drawn(
            self._shaped(high, place), None if low is None else self._shaped(low, place), self._sources_of(place), 1
        )

    def _first_plane(self, source: Source, random: np.random.Generator) -> int:
        """Draw the plane, or the first one of a volume; on the low grid where there is one."""
        planes = source.high.shape[2]
        if self._depth is None:
            return int(random.integers(planes))
        unit = 1 if source.low is None else self._factor[0]
        return unit * int(random.integers(max(0, planes - self._depth * self._factor[0]) // unit + 1))

    def _chosen_by(self, place: _Place) -> _Place:
        """Return the one plane by whose contrast the place of a patch is chosen."""
        if self._context is not None and self._context.axis == "c":
            predicted = [i for i in place.channels if self._sources[i].channel == self._context.predict]
            return place._replace(channels=(predicted[0],))
        deeper = 0 if self._depth is None else self._depth * self._factor[0] // 2
        z = min(place.z + deeper, self._first(place).high.shape[2] - 1)
        return _Place(place.channels[:1], place.t, z)

    def _seen(self, place: _Place, *, low: bool) -> list[_Place]:
        """Return all planes of a patch, channel by channel; beyond the ends of an axis they are mirrored."""
        source = self._first(place)
        times, _, planes = (source.low if low and source.low is not None else source.high).shape[:3]
        ts, zs = [place.t], [place.z]
        if self._depth is not None:
            fz = 1 if low else self._factor[0]
            start = place.z // self._factor[0] if low else place.z
            zs = [int(z) for z in mirrored(start, start + self._depth * fz, planes)]
        elif self._context is not None and self._context.axis == "z":
            zs = around(place.z, self._context.frames, planes)
        elif self._context is not None and self._context.axis == "t":
            ts = around(place.t, self._context.frames, times)
        return [_Place((channel,), t, z) for channel in place.channels for t in ts for z in zs]

    def _shaped(self, planes: list[NDArray[np.float32]], place: _Place) -> NDArray[np.float32]:
        """Put planes together to (images, y, x), or in three dimensions to (channels, z, y, x)."""
        stacked = np.stack(planes)
        return stacked if self._depth is None else stacked.reshape(len(place.channels), -1, *stacked.shape[1:])

    def _sources_of(self, place: _Place) -> tuple[Source, ...]:
        return tuple(self._sources[index] for index in place.channels)

    def _cut(self, plane: NDArray[np.float32], y: int, x: int, fy: int, fx: int) -> NDArray[np.float32]:
        """Cut a patch; where the image is smaller than a patch it is continued by mirroring."""
        patch = plane[y : y + self._size * fy, x : x + self._size * fx]
        missing = (self._size * fy - patch.shape[0], self._size * fx - patch.shape[1])
        return np.pad(patch, ((0, missing[0]), (0, missing[1])), mode="symmetric") if any(missing) else patch

    def _plane(self, place: _Place, *, low: bool) -> NDArray[np.float32]:
        """Return one plane as shares of the grey range, from a cache of bounded size."""
        (index,), t, z = place
        key = (index, low, t, z)
        if key in self._planes:
            self._planes.move_to_end(key)
            return self._planes[key]
        source = self._sources[index]
        volume = source.low if low and source.low is not None else source.high
        plane = read_plane(volume, t, source.channel, z).astype(np.float32)
        if not low:
            plane = plane * np.float32(source.high_gain) + np.float32(source.high_offset)
        black, white = source.grey_range
        plane = (np.nan_to_num(plane, nan=black) - np.float32(black)) / np.float32(white - black)
        self._planes[key] = plane
        self._bytes += plane.nbytes
        while self._bytes > _CACHE_BYTES and len(self._planes) > 1:
            self._bytes -= self._planes.popitem(last=False)[1].nbytes
        return plane


def _images(sources: Sequence[Source]) -> list[tuple[int, ...]]:
    """Bring the channels of each image together."""
    groups: dict[int, list[int]] = {}
    for index, source in enumerate(sources):
        groups.setdefault(id(source.high), []).append(index)
    return [tuple(group) for group in groups.values()]


def _batch(drawn: list[Drawn]) -> Batch:
    lows = [one.low for one in drawn if one.low is not None]
    scales = torch.tensor([[_net_scale(source) for source in one.sources] for one in drawn], dtype=torch.float32)
    ones = (1,) * (drawn[0].high.ndim - 1)
    return Batch(
        high=torch.from_numpy(np.stack([one.high for one in drawn])),
        low=torch.from_numpy(np.stack(lows)) if lows else None,
        scale=scales[..., 0].reshape(*scales.shape[:2], *ones),
        shift=scales[..., 1].reshape(*scales.shape[:2], *ones),
        voxel_sizes=[_binned_size(one.sources[0].voxel_size, one.bins) for one in drawn],
    )


def _binned(patch: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Average blocks of bins x bins voxels, 1 or 2."""
    if bins == 1:
        return patch
    # The order in which np.mean adds, bit for bit, in an eighth of its time.
    pairs = patch[:, ::2] + patch[:, 1::2]
    means: NDArray[np.float32] = (pairs[::2] + pairs[1::2]) * np.float32(0.25)
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
