"""The core of a tile from what stands around it: mirrored at the edges, halved where memory is short."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from superres.errors import SuperresError
from superres.inference.blending import blend_tiles
from superres.inference.plan import SMALLEST_BLOCK, SMALLEST_INPUT, TilePlan
from superres.volumes.edges import mirrored

if TYPE_CHECKING:
    from superres.inference.predictor import Predictor

# Rows and columns of one plane to their voxels, normalised, (images, y, x).
ReadNormalised = Callable[[slice, slice], NDArray[np.float32]]
# Planes, rows and columns to their voxels, normalised, (channels, z, y, x).
ReadBlock = Callable[[slice, slice, slice], NDArray[np.float32]]
# Either of them.
Read = Callable[..., NDArray[np.float32]]
Core = tuple[slice, ...]

_SMALLEST_TILE = 16


def predict_core(
    predictor: Predictor, read: Read, plan: TilePlan, core: Core, *, interval: bool
) -> NDArray[np.float32]:
    """Predict a core; of a net whose output depends on the tile, from all tiles that reach into it.

    See `Predictor.predict_tile` and `Predictor.predict_block`.
    """
    if predictor.exact_tiling:
        return _predict_part(predictor, read, plan, core, interval)
    stride = predictor.header.stride[-len(core) :]
    return blend_tiles(lambda part: _predict_part(predictor, read, plan, part, interval), plan, core, stride)


def _predict_part(predictor: Predictor, read: Read, plan: TilePlan, core: Core, interval: bool) -> NDArray[np.float32]:
    """Predict a core, (rows, columns) or (planes, rows, columns); what is too large for the memory in halves."""
    try:
        return _predict_whole(predictor, read, plan, core, interval)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            if predictor.device.type == "cpu":
                raise
            raise SuperresError(
                f"{predictor.device} stopped working ({' '.join(str(error).split())[:200]}); finished shards are kept: "
                "run the same command again, on another device if need be: --set device=cpu"
            ) from error
    sides = [part.stop - part.start for part in core]
    axis = sides.index(max(sides))
    if sides[axis] <= _SMALLEST_TILE:
        raise SuperresError(
            f"{predictor.device} has too little memory even for a tile of {_SMALLEST_TILE} voxels; free some of it, or "
            "run on the CPU: --set device=cpu"
        )
    halves = _halves(core[axis], predictor.header.stride[-len(core) :][axis])
    parts = [_predict_part(predictor, read, plan, (*core[:axis], half, *core[axis + 1 :]), interval) for half in halves]
    return np.concatenate(parts, axis=1 + axis)


def _predict_whole(predictor: Predictor, read: Read, plan: TilePlan, core: Core, interval: bool) -> NDArray[np.float32]:
    axes = len(core)
    halos, lengths = plan.halo[-axes:], plan.shape[-axes:]
    smallest = SMALLEST_BLOCK if axes == 3 else (SMALLEST_INPUT,) * 2
    indices = []
    for part, halo, least, step, length in zip(
        core, halos, smallest, predictor.header.stride[-axes:], lengths, strict=True
    ):
        # What lies beyond the core is cut off again.
        extent = _round_up(max(part.stop - part.start, least - 2 * halo), step)
        indices.append(mirrored(part.start - halo, part.start + extent + halo, length))
    block = read(*(slice(int(index.min()), int(index.max()) + 1) for index in indices))
    for axis, index in enumerate(indices, start=1):
        block = block.take(index - index.min(), axis=axis)
    inner = tuple(slice(halo, halo + part.stop - part.start) for part, halo in zip(core, halos, strict=True))
    return predictor.predict_inner(block, inner, interval=interval)


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _halves(part: slice, stride: int) -> tuple[slice, slice]:
    middle = part.start + _round_up((part.stop - part.start) // 2, stride)
    return slice(part.start, middle), slice(middle, part.stop)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
