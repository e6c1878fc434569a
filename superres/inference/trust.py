"""Maps of how far to believe an output, written shard by shard beside it, and what they say in short.

The maps are on the grid of the input: all of them are made there, so that finer voxels would say nothing more and take
as many times the space as the output has voxels for one of the input. Voxel size and translation are those of the
input, by which viewers lay them over the output. Their pyramid keeps the worst of what a coarser voxel covers: the
deviation of the largest size, the smallest weight, every flag. A mean would hide small faults. Half-widths differ from
voxel to voxel of the output and have a store of their own on its grid (`superres.inference.interval`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from superres.inference.consistency import BORDER, SUSPICIOUS
from superres.inference.guard import Evidence
from superres.inference.guarded import noise_windows
from superres.inference.interval import IntervalWriter, fingerprint, open_beside
from superres.inference.mapped import mapped_zeros
from superres.inference.plan import Region, TilePlan, largest_divisor
from superres.inference.tallies import Tallies
from superres.inference.trust_summary import FLAGS as FLAGS
from superres.inference.trust_summary import NO_WARNINGS, TrustSummary
from superres.inference.unit import Channel
from superres.progress import ProgressCallback
from superres.volumes import OutputStore, StoreLayout, Unit
from superres.volumes.pyramid import Reduction
from superres.volumes.whole_files import write_whole

_WARNINGS = sum(bit for name, bit in FLAGS.items() if name not in NO_WARNINGS)
# Full scale of cameras with 10 to 16 bits: what the brightest voxels stand at when the light was too much.
_FULL_SCALES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))


class _Map(NamedTuple):
    """One map: its name in the store, and what its pyramid keeps."""

    name: str
    reduction: Reduction


MAPS = (_Map("consistency z", "largest"), _Map("guard weight", "lowest"), _Map("flags", "bits"))
"""The channels of a trust store for every channel of the output."""


@dataclass(slots=True)
class Counts:
    """Sums over voxels of the input."""

    voxels: int = 0
    compared: int = 0
    squares: float = 0.0
    largest: float = 0.0
    kept: float = 0.0
    flagged: int = 0
    flags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLAGS, 0))

    def add(self, other: Counts) -> None:
        """Add the sums of other voxels."""
        for name in ("voxels", "compared", "squares", "kept", "flagged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest = max(self.largest, other.largest)
        self.flags = {name: count + other.flags[name] for name, count in self.flags.items()}


def trust_path(out: Path) -> Path:
    """Return where the maps of an output go: ``sharp.trust.ome.zarr`` beside ``sharp.ome.zarr``."""
    stem = out.name.removesuffix(".zarr").removesuffix(".ome")
    return out.with_name(f"{stem}.trust{out.name.removeprefix(stem)}")


class Maps:
    """The maps of one shard of the output, filled in tile by tile.

    Parameters
    ----------
    region : tuple of slice
        ZYX voxels of the output.
    plan : TilePlan
        Of the output.
    saturation : float
        Grey level from which on a voxel is saturated.
    widths : dtype or None
        Of the half-widths; None where there are none.
    always : int
        Flags that every voxel has.
    """

    def __init__(
        self, region: Region, plan: TilePlan, saturation: float, widths: np.dtype[Any] | None, always: int
    ) -> None:
        low = [slice(part.start // f, part.stop // f) for part, f in zip(region, plan.factor, strict=True)]
        shape = [part.stop - part.start for part in low]
        self._start = [part.start for part in low]
        self._region, self._plan, self._saturation, self._always = region, plan, saturation, always
        self.z = np.full(shape, np.nan, np.float32)
        self.weight = np.full(shape, np.nan, np.float32)
        self.flags = np.zeros(shape, np.uint8)
        fine = [part.stop - part.start for part in region]
        self.widths = None if widths is None else mapped_zeros((2, *fine), widths)
        self.counts = Counts()

    def add(
        self,
        plane: int,
        rows: slice,
        columns: slice,
        found: Evidence,
        recorded: NDArray[Any],
        widths: NDArray[Any] | None,
    ) -> Counts:
        """Fill in one tile, or a strip of it, and return what is to be added to `counts`."""
        missing = ~np.isfinite(recorded)
        z, square = (np.where(missing, np.float32(np.nan), part) for part in (found.z, found.square))
        flags = np.full(z.shape, self._always, np.uint8)
        for name, where_so in (
            ("saturated", recorded >= self._saturation),
            ("out of range", found.out_of_range),
            ("inconsistent", np.abs(np.nan_to_num(z)) > SUSPICIOUS),
            ("unlike the training data", found.unfamiliar),
            ("edge", _edge(rows, columns, self._plan)),
            ("no value", missing),
        ):
            flags |= where_so * np.uint8(FLAGS[name])
        _, y, x = self._start
        where = (
            plane - self._start[0],
            slice(rows.start - y, rows.stop - y),
            slice(columns.start - x, columns.stop - x),
        )
        self.z[where], self.weight[where], self.flags[where] = z, found.weight, flags
        if self.widths is not None and widths is not None:
            fz, fy, fx = self._plan.factor
            first = [part.start for part in self._region]
            fine = [
                slice(part.start * f - at, part.stop * f - at)
                for part, f, at in zip((rows, columns), (fy, fx), first[1:], strict=True)
            ]
            self.widths[:, plane * fz - first[0], *fine] = widths
        return _counted(z, found.weight, square, flags)


class TrustWriter:
    """Writes the maps of one output; made by `TrustWriter.open`.

    Parameters
    ----------
    store : OutputStore
        Of the maps.
    plan : TilePlan
        Of the output.
    channels : sequence of Channel
        Those of the output.
    interval : IntervalWriter or None
        Of the half-widths; None where the model gives none.
    """

    def __init__(
        self, store: OutputStore, plan: TilePlan, channels: Sequence[Channel], interval: IntervalWriter | None
    ) -> None:
        self._store, self._tallies, self._interval = store, Tallies(store), interval
        self._plan = plan
        self._channels = channels
        self._saturation = [_saturation(channel) for channel in channels]

    @classmethod
    def open(
        cls,
        out: Path,
        layout: StoreLayout,
        plan: TilePlan,
        channels: Sequence[Channel],
        *,
        translation: tuple[float, float, float],
        overwrite: bool,
    ) -> Self:
        """Create the store of the maps beside `out`, or go on with it; errors as `OutputStore.open`.

        `translation` is that of what is upscaled.
        """
        store = open_beside(trust_path(out), _layout(layout, plan, channels, translation), overwrite=overwrite)
        claim = channels[0].claim
        interval = None if claim is None else IntervalWriter.open(out, layout, claim, overwrite=overwrite)
        return cls(store, plan, channels, interval)

    def is_done(self, unit: Unit) -> bool:
        """Whether all maps of a shard of the output are there."""
        maps = self._counts(unit) is not None and all(self._store.is_done(one) for one in _units(unit))
        return maps and (self._interval is None or self._interval.is_done(unit))

    def maps(self, unit: Unit, region: Region) -> Maps:
        """Return the empty maps of one shard of the output."""
        claim = self._channels[unit.c].claim
        always = FLAGS["uncalibrated"] if claim is not None and not claim.calibrated else 0
        widths = None if self._interval is None else self._interval.dtype
        return Maps(region, self._plan, self._saturation[unit.c], widths, always)

    def write(self, unit: Unit, maps: Maps) -> None:
        """Write the maps of one shard of the output.

        Raises
        ------
        OutputWriteError
            When the disk is full or cannot be written to.
        """
        if self._interval is not None and maps.widths is not None:
            self._interval.write(unit, maps.widths)
        self._tallies.write(unit, asdict(maps.counts))
        blocks: tuple[NDArray[Any], ...] = (maps.z, maps.weight, maps.flags)
        for one, block in zip(_units(unit), blocks, strict=True):
            self._store.write(one, block.astype(np.float32, copy=False))

    def finish(self, units: Sequence[Unit], progress: ProgressCallback) -> TrustSummary:
        """Write pyramid, metadata and, beside the store, the summary."""
        self._store.finish(progress)
        total = Counts()
        for unit in units:
            counts = self._counts(unit)
            assert counts is not None  # all units are done
            total.add(counts)
        path, compared, first = self._store.path, total.compared > 0, self._channels[0]
        interval = None
        if self._interval is not None:
            spans = [channel.intensity.white - channel.intensity.black for channel in self._channels]
            checked = first.predictor.header.calibration.get("checked")
            interval = self._interval.finish(units, spans, checked, progress)
        summary = TrustSummary(
            path=path,
            voxels=total.voxels,
            chi2=total.squares / total.compared if compared else None,
            largest=total.largest if compared else None,
            flagged=total.flagged / total.voxels,
            flags={name: count / total.voxels for name, count in total.flags.items()},
            guarded=1 - total.kept / total.voxels,
            without=tuple(dict.fromkeys(line for channel in self._channels for line in channel.without)),
            model=first.predictor.identity,
            interval=interval,
        )
        content = asdict(summary) | {"path": path.name, "interval": None if interval is None else interval.to_json()}
        name = path.name.removesuffix(".zarr").removesuffix(".ome") + ".json"
        write_whole(path.with_name(name), [json.dumps(content, indent=2, allow_nan=False).encode()])
        return summary

    def _counts(self, unit: Unit) -> Counts | None:
        content = self._tallies.read(unit)
        return None if content is None else Counts(**content)


def _units(unit: Unit) -> list[Unit]:
    """Return the shards of the maps that belong to a shard of the output."""
    return [unit._replace(c=unit.c * len(MAPS) + number) for number in range(len(MAPS))]


def _layout(
    image: StoreLayout, plan: TilePlan, channels: Sequence[Channel], translation: tuple[float, float, float]
) -> StoreLayout:
    """Say what the store of the maps is to be."""
    volume = channels[0].volume
    nz, ny, nx = (size // f for size, f in zip(plan.shard, plan.factor, strict=True))
    names = image.channel_names or ("",) * len(channels)
    provenance = {
        "note": "how far the output beside it can be believed; maps on the grid of the input",
        "of": image.provenance,
        "flags": dict(FLAGS),
    }
    return StoreLayout(
        shape=(image.shape[0], len(channels) * len(MAPS), *plan.low_shape(image.shape[2:])),
        dtype="float32",
        shard=(nz, ny, nx),
        chunk=(nz, largest_divisor(ny), largest_divisor(nx)),
        voxel_size=volume.voxel_size,
        translation=translation,
        channel_names=tuple(f"{name}: {one.name}" if name else one.name for name in names for one in MAPS),
        time_step=volume.time_step,
        fingerprint=fingerprint("trust 2", image, channels[0].claim),
        provenance=provenance,
        reductions=tuple(one.reduction for _ in channels for one in MAPS),
    )


def _saturation(channel: Channel) -> float:
    """Return the grey level from which on a voxel is saturated: the full scale that the channel reaches."""
    volume = channel.volume
    if volume.dtype.kind not in "ui":
        return float("inf")
    nt, _, nz, height, width = volume.shape
    brightest = max(
        int(channel.recorded(place // nz, place % nz, y, x).max())
        for place, y, x in noise_windows(nt * nz, (height, width))
    )
    full = int(np.iinfo(volume.dtype).max)
    return float(brightest if brightest in _FULL_SCALES and brightest < full else full)


def _edge(rows: slice, columns: slice, plan: TilePlan) -> NDArray[np.bool_]:
    """Mark voxels near the edge of the plane; never more than a quarter of a side at either end."""
    near = []
    for part, length in zip((rows, columns), plan.shape[1:], strict=True):
        position, cut = np.arange(part.start, part.stop), min(BORDER, length // 4)
        near.append((position < cut) | (position >= length - cut))
    return near[0][:, None] | near[1][None, :]


def _counted(
    z: NDArray[np.float32], weight: NDArray[np.float32], square: NDArray[np.float32], flags: NDArray[np.uint8]
) -> Counts:
    compared = np.isfinite(z) & ((flags & FLAGS["edge"]) == 0)
    kinds = np.bincount(flags.ravel(), minlength=256)
    values = np.arange(256)
    return Counts(
        voxels=int(flags.size),
        compared=int(compared.sum()),
        squares=float(square[compared].sum(dtype=np.float64)),
        largest=float(np.abs(z[compared]).max(initial=0)),
        kept=float(weight.sum(dtype=np.float64)),
        flagged=int(kinds[(values & _WARNINGS) != 0].sum()),
        flags={name: int(kinds[(values & bit) != 0].sum()) for name, bit in FLAGS.items()},
    )
