"""Coarser levels of a store: streaming averages, chunk by chunk, so that memory stays bounded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

Reduction = Literal["mean", "largest", "lowest", "bits"]
"""What a coarser voxel says of those it covers: the mean, the value of the largest size, the lowest, every bit set."""


def pooled(block: NDArray[Any], steps: Sequence[int], reduction: Reduction) -> NDArray[Any]:
    """Reduce a block over cells of `steps` voxels; NaN is left out, but by the mean.

    Parameters
    ----------
    block : ndarray, (z, y, x)
        Integers or floating-point numbers; for ``"bits"`` whole numbers below 2 ** 24, in whatever dtype.
    steps : sequence of int
        Voxels per cell, ZYX; cells at an odd end reduce what there is of them.
    reduction : str
        See `Reduction`.
    """
    if reduction == "mean":
        return mean_pooled(block, steps)
    if reduction == "largest" and block.dtype.kind == "u":
        return _largest(block, steps)
    shape = [-(-n // s) for n, s in zip(block.shape, steps, strict=True)]
    # Repeating the last voxel adds nothing to an extreme or to a set of bits.
    wide = np.pad(block, [(0, n * s - size) for n, s, size in zip(shape, steps, block.shape, strict=True)], mode="edge")
    parts = [wide[tuple(slice(o, None, s) for o, s in zip(offset, steps, strict=True))] for offset in _offsets(steps)]
    result: NDArray[Any] = parts[0].copy()
    for part in parts[1:]:
        if reduction == "bits":
            result = (result.astype(np.int64) | part.astype(np.int64)).astype(block.dtype)
        elif reduction == "lowest":
            result = np.fmin(result, part)
        else:
            better = (np.abs(part) > np.abs(result)) | (np.isnan(result) & ~np.isnan(part))
            result = np.where(better, part, result)
    return result


def _largest(block: NDArray[Any], steps: Sequence[int]) -> NDArray[Any]:
    """Keep the largest of each cell, axis by axis: half of the time that shifted views along all at once take."""
    for axis, step in enumerate(steps):
        before = (slice(None),) * axis
        kept = block[(*before, slice(0, None, step))].copy() if step > 1 else block
        for offset in range(1, step):
            part = block[(*before, slice(offset, None, step))]
            there = (*before, slice(0, part.shape[axis]))
            np.maximum(kept[there], part, out=kept[there])
        block = kept
    return block


def _offsets(steps: Sequence[int]) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, steps)))


def mean_pooled(block: NDArray[Any], steps: Sequence[int]) -> NDArray[Any]:
    """Average a block over cells of `steps` voxels, in its own dtype.

    Integers are summed exactly and rounded half to even, which shifts no mean. Cells at an odd end average what there
    is of them. NaN spreads to the whole cell.

    Parameters
    ----------
    block : ndarray, (z, y, x)
        Integers or floating-point numbers.
    steps : sequence of int
        Voxels per cell, ZYX.
    """
    # From an array, not lazily from the store, whose chunks would be added up in any order.
    return np.asarray(ts.downsample(ts.array(block), list(steps), "mean").read().result())


def reduce_region(
    below: Any,
    region: Sequence[slice],
    steps: Sequence[int],
    chunk: tuple[int, int, int],
    reduction: Reduction = "mean",
) -> NDArray[Any]:
    """Compute a region of one level from the level below it.

    Parameters
    ----------
    below : tensorstore.TensorStore or ndarray, (z, y, x)
        The finer level, on the disk or in memory; the result is the same.
    region : sequence of slice
        ZYX voxels of the coarser level.
    steps : sequence of int
        Voxels of `below` per voxel of the coarser level, ZYX.
    chunk : tuple of int
        ZYX voxels computed at a time; the memory taken beyond the result is that of ``prod(steps)`` chunks.
    reduction : str
        See `Reduction`.

    Returns
    -------
    ndarray, (z, y, x)
        In the dtype of `below`.
    """
    dtype = below.dtype if isinstance(below, np.ndarray) else below.dtype.numpy_dtype
    result = np.empty([item.stop - item.start for item in region], dtype)
    starts = [range(item.start, item.stop, size) for item, size in zip(region, chunk, strict=True)]
    for start in itertools.product(*starts):
        stop = [min(s + size, item.stop) for s, size, item in zip(start, chunk, region, strict=True)]
        source = tuple(
            slice(a * f, min(b * f, end)) for a, b, f, end in zip(start, stop, steps, below.shape, strict=True)
        )
        target = tuple(slice(a - item.start, b - item.start) for a, b, item in zip(start, stop, region, strict=True))
        # Clipped above, because tensorstore raises where NumPy clips.
        block = below[source] if isinstance(below, np.ndarray) else below[source].read().result()
        result[target] = pooled(block, steps, reduction)
    return result


def display_window(level: NDArray[Any]) -> tuple[float, float, float, float]:
    """Choose what a viewer shows of one channel: lowest, highest, first and last grey level of the window."""
    finite = level[np.isfinite(level)] if level.dtype.kind == "f" else level.ravel()
    if finite.size == 0:
        return (0.0, 1.0, 0.0, 1.0)
    lowest, start, end, highest = (float(v) for v in np.percentile(finite, (0, 0.1, 99.9, 100)))
    return (lowest, highest, start, end) if end > start else (lowest, highest, lowest, max(highest, lowest + 1.0))
