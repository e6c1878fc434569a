"""What a generator net is: widths, depths, factor, and from these what it sees and where its tiles may begin."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # widths per level, residual blocks per level (encoder and decoder each), blocks in the middle
    "XS": {"widths": (32, 48, 64), "blocks": 1, "middle_blocks": 2},
    "S": {"widths": (48, 72, 96), "blocks": 2, "middle_blocks": 2},
    "M": {"widths": (64, 96, 128), "blocks": 2, "middle_blocks": 4},
    "L": {"widths": (64, 128, 256), "blocks": 4, "middle_blocks": 6},
}


SMALL_INPUT = 20480
"""torch gives convolutions over so many values or fewer to another algorithm, which rounds differently."""
SMALLEST_INPUT = 144
"""Smallest side of what a net is given: it is above that, so that small tiles and large ones agree in every bit."""
SMALLEST_BLOCK = (40, 80, 80)
"""The same along Z, Y and X for nets of three dimensions."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that rebuilds the net; stands in the model file.

    Parameters
    ----------
    factor : tuple of int
        Upscaling along Z, Y, X; in two dimensions Z must be 1.
    channels : int
        Image channels that are predicted, and taken where `frames` is 1.
    widths : tuple of int
        Feature channels per level, finest first; the last one is the middle.
    blocks, middle_blocks : int
        Residual blocks per level in encoder and in decoder, and in the middle.
    consistency_sigma : float
        Low-resolution voxels; sigma of the low-pass in which the prediction follows the input; 0 for none.
    interval : bool
        Whether a second head predicts how far off each voxel may be (`IntervalHead`).
    dimensions : int
        2, or 3 for layers that look along Z too. The first pooling leaves Z alone: planes lie far apart.
    frames : int
        Images that the net takes to predict one of them: planes, time points or channels.
    target : int
        Which of the frames is predicted.
    norm : str
        ``"none"``, or what the first convolution of every residual block is normalised by: ``"weight"`` (arXiv
        1602.07868) or ``"spectral"`` (arXiv 1802.05957), which act on the kernels, or ``"batch"`` (arXiv 1502.03167),
        which predicts with the statistics of the training.
    dropblock : float
        Share of the features that residual blocks drop while they are trained.
    attention : bool
        Whether the coarsest level attends to all places of the tile.
    grid : str
        ``"low"``: all layers work on the grid of the input, and a pixel shuffle comes last. ``"high"``: they work on
        that of the output, on the input interpolated first, as before Shi et al. 2016, arXiv 1609.05158. For study,
        in two dimensions: at 4x it is 16 times the work.
    """

    factor: tuple[int, int, int]
    channels: int
    widths: tuple[int, ...]
    blocks: int
    middle_blocks: int
    consistency_sigma: float
    interval: bool = False
    dimensions: int = 2
    frames: int = 1
    target: int = 0
    norm: str = "none"
    dropblock: float = 0.0
    attention: bool = False
    grid: str = "low"

    @classmethod
    def of_preset(
        cls,
        preset: str,
        *,
        factor: tuple[int, int, int],
        channels: int = 1,
        consistency_sigma: float = 2.5,
        **others: Any,
    ) -> Architecture:
        """Return the architecture of preset XS, S, M or L; `others` are fields of it."""
        return cls(factor=factor, channels=channels, consistency_sigma=consistency_sigma, **PRESETS[preset], **others)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Architecture:
        """Rebuild from the model file's header, where tuples are lists."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        known.pop("exact_tiling", None)  # follows from the rest
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads; what is as in the oldest models is left out, so that old versions read it."""
        later = {name: default for name, default in _LATER.items() if getattr(self, name) == default}
        inexact = {} if self.exact_tiling else {"exact_tiling": False}
        return {name: value for name, value in asdict(self).items() if name not in later} | inexact

    @property
    def exact_tiling(self) -> bool:
        """Whether the output does not depend on the tiles: not where every place sees the whole tile."""
        return not self.attention

    @property
    def inputs(self) -> int:
        """Images that the net takes: its channels, or the frames of one of them."""
        return self.frames if self.frames > 1 else self.channels

    @property
    def predicted(self) -> slice:
        """Which of the images that the net takes it predicts."""
        return slice(self.target, self.target + 1) if self.frames > 1 else slice(None)

    @property
    def poolings(self) -> tuple[tuple[int, ...], ...]:
        """Stride of each pooling, finest first, along Y and X or along Z, Y and X."""
        steps = len(self.widths) - 1
        if self.dimensions == 2:
            return ((2, 2),) * steps
        return tuple((1 if level == 0 else 2, 2, 2) for level in range(steps))

    @property
    def scales(self) -> list[tuple[int, ...]]:
        """Voxels of the finest level to one of each level, finest first, along Y and X or Z, Y and X."""
        found: list[tuple[int, ...]] = [(1,) * self.dimensions]
        for step in self.poolings:
            found.append(tuple(a * b for a, b in zip(found[-1], step, strict=True)))
        return found

    @property
    def following(self) -> tuple[int, ...]:
        """Low-resolution voxels that the consistency layer looks around itself, along Y and X or Z, Y and X."""
        if self.consistency_sigma == 0:
            return (0,) * self.dimensions
        plane = math.ceil(3 * self.consistency_sigma) + 2
        return (2, plane, plane)[-self.dimensions :]

    @property
    def stride(self) -> int:
        """Low-resolution voxels along Y and X that tile origins must be multiples of."""
        own = 1 << (len(self.widths) - 1)  # voxels of the grid that the layers work on
        return own if self.grid == "low" else max(own // math.gcd(own, f) for f in self.factor[1:])

    @property
    def strides(self) -> tuple[int, int, int]:
        """Low-resolution voxels along Z, Y, X that tile origins must be multiples of."""
        deep = self.stride // 2 if self.dimensions == 3 and len(self.widths) > 1 else 1
        return deep, self.stride, self.stride

    @property
    def receptive_radius(self) -> int:
        """Low-resolution voxels along Y and X that one output voxel sees to either side, rounded up to the stride.

        Each residual block reaches two voxels of its level, stem and tail one; pooling by 2 adds up to ``2**level``.
        Layers on the high grid see the input through an interpolation, which reaches two voxels. The consistency layer
        compares a low-pass of the prediction with the input, so its reach adds up. The interval head reaches as far as
        the tail and is not shifted by that layer.
        """
        reach = self._reach(2**level for level in range(len(self.widths)))
        if self.grid == "high":
            reach = math.ceil(reach / min(self.factor[1:])) + 2
        if self.consistency_sigma > 0:
            reach += math.ceil(3 * self.consistency_sigma) + 2
        return math.ceil(reach / self.stride) * self.stride

    @property
    def receptive_radii(self) -> tuple[int, int, int]:
        """Low-resolution voxels along Z, Y, X that one output voxel sees to either side, rounded up to the strides.

        Neighbouring planes that stand beside each other as frames are not counted. Along Z the consistency layer
        filters nothing and interpolates only.
        """
        plane = self.receptive_radius
        if self.dimensions == 2:
            return 0, plane, plane
        reach = self._reach([1, *(2**level for level in range(len(self.widths) - 1))])
        reach += 2 if self.consistency_sigma > 0 else 0
        deep = self.strides[0]
        return math.ceil(reach / deep) * deep, plane, plane

    def tile_bytes(self) -> int:
        """Return how much memory the net takes for each voxel of its input: its widest layers, or what it ends in."""
        finest = 4 * self.widths[0]  # what a residual block takes and makes, and what was kept for it
        ending = self.widths[0] + 9 * self.channels * math.prod(self.factor)
        grid = math.prod(self.factor) if self.grid == "high" else 1
        return 4 * max(finest * grid, ending)

    def _reach(self, scales: Iterable[int]) -> int:
        """Return the reach of all layers along one axis, from the voxels that one voxel of each level spans."""
        *levels, middle = scales
        reach: int = 2 + sum(2 * scale * 2 * self.blocks for scale in levels) + 2 * middle * self.middle_blocks
        return reach + sum(below - scale for scale, below in itertools.pairwise((*levels, middle)))


# Fields that came later, with what older models are.
_LATER: dict[str, Any] = {
    "dimensions": 2,
    "frames": 1,
    "target": 0,
    "norm": "none",
    "dropblock": 0.0,
    "attention": False,
    "grid": "low",
}
