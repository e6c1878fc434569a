"""How far off each voxel of an output may be, written beside it on its own grid, with its own pyramid and grey scale.

The net tells how far below and above its prediction truth may lie; times the factor of the calibration that is an
interval. What is written are the distances of its ends from the voxel *as it was written*: below and above, never
negative, and rounded up. Where the guard damps the prediction, or it is rounded or clipped, the interval stays around
the net's prediction, which is what was calibrated, and is stretched as far as the written voxel. So the guard may make
an interval lopsided and longer, and never shorter; whatever was promised of the net's intervals is true of those
written. Coarser levels keep the largest half-width that they cover.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from superres.errors import OutputExistsError
from superres.inference.claim import Claim
from superres.inference.tallies import Tallies
from superres.progress import ProgressCallback
from superres.volumes import OutputStore, StoreLayout, Unit
from superres.volumes.beside import beside
from superres.volumes.dtypes import CastTally, cast
from superres.volumes.pyramid import Reduction

SIDES = ("half-width below", "half-width above")
"""The channels of the store for every channel of the output."""

# Integers of so many bytes, and their differences, are exact in float32, which is several times as fast as float64.
_EXACT_BYTES = 2
# Half-widths are counted in steps of 1 %, so that their median needs no second pass.
_BINS = 100
# Rows that are counted at once, few enough for the cache.
_ROWS = 16


@dataclass(frozen=True, slots=True)
class Widths:
    """Half the lengths of the intervals of one channel, in grey levels of the output.

    Parameters
    ----------
    channel : str
        Its name, or its number where it has none.
    median : float or None
        To within 1 %; None where no voxel has an interval.
    largest : float or None
        Over all voxels.
    share : float or None
        The median as a share of the range from black to white.
    """

    channel: str
    median: float | None
    largest: float | None
    share: float | None


@dataclass(frozen=True, slots=True)
class IntervalSummary:
    """What the intervals of one output are, and what they promise.

    Parameters
    ----------
    path : Path
        The store of the half-widths.
    claim : Claim
        What is promised.
    checked : mapping or None
        What `superres calibrate --check` found on others, as the model file tells: ``n`` units, of which ``covered``
        had enough voxels inside, and whether that ``holds``.
    widths : tuple of Widths
        One per channel.
    """

    path: Path
    claim: Claim
    checked: Mapping[str, Any] | None
    widths: tuple[Widths, ...]

    def sentence(self) -> str:
        """Say it to a person."""
        shares = [one.share for one in self.widths if one.share is not None]
        median = f", median {100 * max(shares):.2g} % of the grey range" if shares else ""
        return f"intervals in {self.path.name}{median}, {self.claim.sentence()}"

    def to_json(self) -> dict[str, Any]:
        """Return all of it for JSON, with the name of the store in place of its path."""
        return asdict(self) | {"path": self.path.name}


def interval_path(out: Path) -> Path:
    """Return where the half-widths of an output go: ``sharp.interval.ome.zarr`` beside ``sharp.ome.zarr``."""
    return beside(out, "interval")


def width_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the half-widths of an output: unsigned integers as wide as its own, or float32."""
    return np.dtype(np.float32 if dtype.kind == "f" else f"uint{8 * dtype.itemsize}")


def half_widths(written: NDArray[Any], lowest: NDArray[np.float32], highest: NDArray[np.float32]) -> NDArray[Any]:
    """Return how far below and above a written voxel its interval reaches.

    Parameters
    ----------
    written : ndarray
        (y, x), in the dtype of the output.
    lowest, highest : ndarray
        float32, the same shape, grey levels: the ends of the interval.

    Returns
    -------
    ndarray
        (2, y, x), below and above, in `width_dtype`; rounded up, 0 where the end lies on the other side, NaN where the
        voxel is NaN or infinite. Those beyond the largest integer are set to it, which reaches every other grey level.
    """
    dtype = width_dtype(written.dtype)
    if written.dtype.kind != "f" and dtype.itemsize <= _EXACT_BYTES:
        value, short = written.astype(np.float32), np.empty((2, *written.shape), np.float32)
        np.subtract(value, np.floor(lowest, out=short[0]), out=short[0])
        np.subtract(np.ceil(highest, out=short[1]), value, out=short[1])
        return np.clip(short, 0, np.iinfo(dtype).max, out=short).astype(dtype)
    value = written.astype(np.float64)
    found = np.maximum(np.stack([value - lowest, highest - value]), 0.0)
    if dtype.kind != "f":
        return cast(np.ceil(found), dtype, CastTally())
    found[:, ~np.isfinite(value)] = np.nan
    result = found.astype(dtype)
    return np.where(result < found, np.nextafter(result, np.float32(np.inf)), result)


class IntervalWriter:
    """Writes the half-widths of one output; made by `IntervalWriter.open`.

    Parameters
    ----------
    store : OutputStore
        Of the half-widths.
    claim : Claim
        What they promise.
    """

    def __init__(self, store: OutputStore, claim: Claim) -> None:
        self._store, self._claim, self._tallies = store, claim, Tallies(store)

    @classmethod
    def open(cls, out: Path, image: StoreLayout, claim: Claim, *, overwrite: bool) -> Self:
        """Create the store of the half-widths beside `out`, or go on with it; errors as `OutputStore.open`."""
        return cls(open_beside(interval_path(out), _layout(image, claim), overwrite=overwrite), claim)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the half-widths."""
        return np.dtype(self._store.layout.dtype)

    def is_done(self, unit: Unit) -> bool:
        """Whether the half-widths of a shard of the output are there."""
        return self._tallies.read(unit) is not None and all(self._store.is_done(one) for one in _units(unit))

    def write(self, unit: Unit, block: NDArray[Any]) -> None:
        """Write the half-widths of one shard of the output, (2, z, y, x); errors as `OutputStore.write`."""
        self._tallies.write(unit, _counted(block))
        for one, part in zip(_units(unit), block, strict=True):
            self._store.write(one, part)

    def finish(
        self,
        units: Sequence[Unit],
        spans: Sequence[float],
        checked: Mapping[str, Any] | None,
        progress: ProgressCallback,
    ) -> IntervalSummary:
        """Write pyramid and metadata; `spans` are white minus black of the channels."""
        self._store.finish(progress)
        names = self._store.layout.channel_names[:: len(SIDES)]
        found = []
        for c, span in enumerate(spans):
            name = names[c].removesuffix(SIDES[0]).removesuffix(": ") or str(c)
            found.append(_widths(name, [self._tallies.read(unit) or {} for unit in units if unit.c == c], span))
        return IntervalSummary(self._store.path, self._claim, checked, tuple(found))


def open_beside(path: Path, layout: StoreLayout, *, overwrite: bool) -> OutputStore:
    """Open a store that stands beside an output, as `OutputStore.open` does; say what a calibration changes."""
    try:
        return OutputStore.open(path, layout, overwrite=overwrite)
    except OutputExistsError as error:
        raise OutputExistsError(
            f"{error}. Where the model was calibrated since, this is why: the maps depend on that and are then made "
            "anew, and the output itself stays as it is"
        ) from None


def fingerprint(name: str, image: StoreLayout, claim: Claim | None) -> str:
    """Digest what decides the bytes of maps beside an image: all that decides the image, and the calibration."""
    facts = [name, image.fingerprint, None if claim is None else asdict(claim)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _units(unit: Unit) -> list[Unit]:
    return [unit._replace(c=unit.c * len(SIDES) + number) for number in range(len(SIDES))]


def _layout(image: StoreLayout, claim: Claim) -> StoreLayout:
    names = image.channel_names or ("",) * image.shape[1]
    nt, channels, *space = image.shape
    largest: Reduction = "largest"
    return replace(
        image,
        shape=(nt, channels * len(SIDES), space[0], space[1], space[2]),
        dtype=str(width_dtype(np.dtype(image.dtype))),
        channel_names=tuple(f"{name}: {side}" if name else side for name in names for side in SIDES),
        channel_colours=(),
        fingerprint=fingerprint("interval 1", image, claim),
        provenance={
            "note": "how far below and above each voxel of the output beside it truth may lie, in its grey levels",
            "claim": asdict(claim),
            "of": image.provenance,
        },
        reductions=(largest,) * (channels * len(SIDES)),
    )


def _counted(block: NDArray[Any]) -> dict[str, Any]:
    """Count half the lengths of the intervals by size, (2, z, y, x)."""
    counts: Counter[int] = Counter()
    zero, largest = 0, None
    for below, above in zip(*block, strict=True):
        half, times = _half_lengths(below, above)
        zero += int(times[half == 0].sum())
        largest = max(float(half.max()), largest or 0.0) if half.size else largest
        steps = np.floor(_BINS * np.log(half[half > 0])).astype(np.int64)
        first = int(steps.min(initial=0))
        counted = np.bincount(steps - first, weights=times[half > 0])
        counts.update({first + int(i): int(counted[i]) for i in np.flatnonzero(counted)})
    return {"zero": zero, "largest": largest, "counts": {str(step): counts[step] for step in sorted(counts)}}


def _half_lengths(below: NDArray[Any], above: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return half the lengths of the intervals of a plane that are finite, and how often each occurs."""
    if below.dtype.kind == "u" and below.dtype.itemsize <= _EXACT_BYTES:
        # The logarithm of all voxels would take several times as long as counting them.
        levels = 2 * np.iinfo(below.dtype).max + 1
        times = np.zeros(levels, np.int64)
        for start in range(0, len(below), _ROWS):
            rows = slice(start, start + _ROWS)
            whole = np.add(below[rows], above[rows], dtype=np.intp)
            counted = np.bincount(whole.ravel())
            times[: len(counted)] += counted
        found = np.flatnonzero(times)
        return (found / 2).astype(np.float32), times[found]
    half = (below.astype(np.float32) + above) / 2
    half = half[np.isfinite(half)]
    return half, np.ones(half.size, np.int64)


def _widths(channel: str, parts: Sequence[Mapping[str, Any]], span: float) -> Widths:
    counts: Counter[int] = Counter()
    for part in parts:
        counts.update({int(step): count for step, count in part["counts"].items()})
    zero = sum(part["zero"] for part in parts)
    total = zero + counts.total()
    if total == 0:
        return Widths(channel, None, None, None)
    median, seen = 0.0, zero
    for step in sorted(counts):
        if 2 * seen >= total:
            break
        seen += counts[step]
        median = math.exp((step + 0.5) / _BINS)
    return Widths(channel, median, max(part["largest"] or 0.0 for part in parts), median / span)
