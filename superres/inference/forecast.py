"""What an upscaling will come to, without writing anything: shapes, tiles, shards, disk, memory and time."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from superres.config import UpscaleConfig
from superres.inference.estimate import Outlook, Space, outlook, packed_share, space_needed, space_taken
from superres.inference.plan import SMALLEST_BLOCK, SMALLEST_INPUT
from superres.inference.predictor import Predictor
from superres.volumes import Volume

# Guard, maps, compression and pyramid beside the net, as a share of its time.
_BESIDE = 0.35
# Blocks of a shard that are in the memory at the same time: as predicted, as compressed, and one more for the pyramid.
_COPIES = 3
# Low voxels around a core that the guard wants predicted, too.
_GUARDED = 12


@dataclass(frozen=True, slots=True)
class Forecast:
    """What upscaling one input will come to.

    Parameters
    ----------
    source, out : Path
        Input and store.
    shape, output_shape : tuple of int
        TCZYX voxels.
    dtype, output_dtype : str
        Of the voxels.
    tile, halo : tuple of int
        ZYX voxels of the input: core of a tile, and what is read around it.
    tiles, shards, levels : int
        Tiles to predict, files of the finest level, levels of the pyramid.
    space : Space
        Bytes of the image and of the maps beside it.
    there : int
        Bytes that are on the disk already.
    memory : int
        Bytes of the host's memory at the peak; an estimate.
    seconds : float
        An estimate, from a tile that was tried on this machine.
    """

    source: Path
    out: Path
    shape: tuple[int, ...]
    dtype: str
    output_shape: tuple[int, ...]
    output_dtype: str
    tile: tuple[int, int, int]
    halo: tuple[int, int, int]
    tiles: int
    shards: int
    levels: int
    space: Space
    there: int
    memory: int
    seconds: float


@dataclass(slots=True)
class Pace:
    """How long the net takes for a tile of each shape, tried once on this machine.

    Parameters
    ----------
    predictor : Predictor
        The model.
    """

    predictor: Predictor
    _known: dict[tuple[int, ...], float] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """What the net runs on, as a person would name it."""
        device = self.predictor.device
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        threads = torch.get_num_threads()
        return f"{device.type} with {threads} thread{'s' if threads != 1 else ''}"

    def seconds(self, shape: tuple[int, ...], *, interval: bool) -> float:
        """Return the seconds for an input of (images, y, x), or (channels, z, y, x)."""
        if shape not in self._known:
            block = np.random.default_rng(0).random(shape, np.float32)
            run = self.predictor.predict_interval if interval else self.predictor.predict
            run(block)  # the first pass of a shape also sets up
            started = time.perf_counter()
            run(block)
            self._known[shape] = time.perf_counter() - started
        return self._known[shape]


def forecast(volume: Volume, source: Path, out: Path, config: UpscaleConfig, pace: Pace) -> Forecast:
    """Forecast the upscaling of one input; a tile is predicted for it, and nothing is written.

    Raises
    ------
    InputError, ModelFileError
        When the input cannot be used.
    """
    predictor = pace.predictor
    ahead = outlook(volume, predictor, config)
    plan, image = ahead.plan, ahead.image
    tiles = _tiles(ahead, predictor)
    each = pace.seconds(_given(ahead, predictor), interval="interval" in ahead.layouts)
    return Forecast(
        source=source,
        out=out,
        shape=volume.shape,
        dtype=str(volume.dtype),
        output_shape=image.shape,
        output_dtype=image.dtype,
        tile=plan.tile,
        halo=plan.halo,
        tiles=tiles,
        shards=image.shape[0] * image.shape[1] * _counted(image.shape[2:], image.shard),
        levels=len(image.level_factors()),
        space=space_needed(ahead.layouts, packed_share(volume, predictor, ahead)),
        there=space_taken(out),
        memory=_peak_memory() + _of_shard(ahead) + _of_tile(ahead),
        seconds=tiles * each * (1 + _BESIDE),
    )


def _tiles(ahead: Outlook, predictor: Predictor) -> int:
    t, c, *_ = ahead.image.shape
    at_once = predictor.header.channels > 1
    return t * (1 if at_once else c) * _counted(ahead.plan.low_shape(ahead.image.shape[2:]), ahead.plan.tile)


def _counted(shape: tuple[int, ...], step: tuple[int, ...]) -> int:
    return math.prod(-(-n // s) for n, s in zip(shape, step, strict=True))


def _given(ahead: Outlook, predictor: Predictor) -> tuple[int, ...]:
    """Return the shape of what the net is given for a tile inside the volume."""
    plan, header = ahead.plan, predictor.header
    images = len(ahead.channels) if header.channels > 1 or header.context.get("axis") == "c" else 1
    images = header.context.get("frames", images) if header.context.get("axis") != "c" else images
    if predictor.is_deep:
        sides = [
            max(core + 2 * halo, least) for core, halo, least in zip(plan.tile, plan.halo, SMALLEST_BLOCK, strict=True)
        ]
        return (images, *(_rounded(side, step) for side, step in zip(sides, header.stride, strict=True)))
    guarded = 2 * _GUARDED if ahead.is_examined else 0
    sides = [
        max(min(core + guarded, n) + 2 * halo, SMALLEST_INPUT)
        for core, halo, n in zip(plan.tile[1:], plan.halo[1:], plan.shape[1:], strict=True)
    ]
    return (images, *(_rounded(side, step) for side, step in zip(sides, header.stride[1:], strict=True)))


def _rounded(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _peak_memory() -> int:
    """Return the largest memory that this process has had, which the tried tile is part of."""
    if sys.platform == "win32":
        return 0  # not told there
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _of_shard(ahead: Outlook) -> int:
    """Return the bytes of what is held of one shard of the output and of the maps beside it."""
    beside: Mapping[str, int] = {"image": 1, "interval": 2, "trust": 3}
    total = 0
    for kind, layout in ahead.layouts.items():
        voxels = math.prod(min(n, s) for n, s in zip(layout.shape[2:], layout.shard, strict=True))
        total += beside[kind] * voxels * np.dtype(layout.dtype).itemsize
    return _COPIES * total


def _of_tile(ahead: Outlook) -> int:
    """Return the bytes of what the net made of a tile, before it is converted: float32, with the halo along Y."""
    plan, parts = ahead.plan, 3 if "interval" in ahead.layouts else 1
    (deep, rows, columns), (fz, fy, fx) = plan.tile, plan.factor
    return 4 * parts * deep * fz * (rows + 2 * plan.halo[1]) * fy * columns * fx
