"""Tiles of nets whose output depends on the tile: predicted wider than they are, and blended where they overlap."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from superres.inference.plan import TilePlan

Part = tuple[slice, ...]


def blend_tiles(
    predict: Callable[[Part], NDArray[np.float32]], plan: TilePlan, region: Part, stride: Sequence[int]
) -> NDArray[np.float32]:
    """Predict a region from all tiles of the plan that reach into it, with weights that fall linearly at their edges.

    What comes out depends on the tiles of the plan, not on the region that is asked for. A tile is predicted again for
    every region that it reaches into.

    Parameters
    ----------
    predict : callable
        Gives the prediction of low-resolution voxels, (c, ...) times the factor.
    plan : TilePlan
        Where tiles begin.
    region : tuple of slice
        Rows and columns, or planes, rows and columns, of low-resolution voxels.
    stride : sequence of int
        Of the net, along the same axes.
    """
    axes = len(region)
    factors = plan.factor[-axes:]
    along = [
        _reaching(part, size, length, step)
        for part, size, length, step in zip(region, plan.tile[-axes:], plan.shape[-axes:], stride, strict=True)
    ]
    sides = [(part.stop - part.start) * f for part, f in zip(region, factors, strict=True)]
    total, weights = np.zeros((1, *sides), np.float32), np.zeros(sides, np.float32)
    for tiles in itertools.product(*along):
        pred = predict(tuple(wide for wide, _ in tiles))
        weight = np.ones((1,) * axes, np.float32)
        here: list[slice] = []
        there: list[slice] = []
        for axis, ((wide, core), part, f, length) in enumerate(
            zip(tiles, region, factors, plan.shape[-axes:], strict=True)
        ):
            start, stop = max(wide.start, part.start), min(wide.stop, part.stop)
            here.append(slice((start - part.start) * f, (stop - part.start) * f))
            there.append(slice((start - wide.start) * f, (stop - wide.start) * f))
            ramp = _ramp(wide, core, f, length)[there[-1]]
            weight = weight * ramp.reshape([-1 if a == axis else 1 for a in range(axes)])
        if len(total) != len(pred):
            total = np.zeros((len(pred), *sides), np.float32)
        total[(slice(None), *here)] += pred[(slice(None), *there)] * weight
        weights[tuple(here)] += weight
    blended: NDArray[np.float32] = np.divide(total, weights, dtype=np.float32)
    return blended


def _reaching(part: slice, size: int, length: int, step: int) -> list[tuple[slice, slice]]:
    """Return the tiles along one axis that reach into a part: each wider by a quarter at either end, and as it is."""
    margin = max(step, size // 4 // step * step)
    found = []
    for start in range(0, length, size):
        core = slice(start, min(start + size, length))
        wide = slice(max(0, core.start - margin), min(length, core.stop + margin))
        if wide.start < part.stop and wide.stop > part.start:
            found.append((wide, core))
    return found


def _ramp(wide: slice, core: slice, factor: int, length: int) -> NDArray[np.float32]:
    """Return the weight of each output voxel of a wide tile along one axis: a half at the ends of its core."""
    position = (np.arange((wide.stop - wide.start) * factor) + 0.5) / factor + wide.start
    weight = np.ones(len(position))
    if core.start > 0:
        weight = np.minimum(weight, (position - wide.start) / (2 * (core.start - wide.start)))
    if core.stop < length:
        weight = np.minimum(weight, (wide.stop - position) / (2 * (wide.stop - core.stop)))
    return np.clip(weight, 1e-6, 1).astype(np.float32)
