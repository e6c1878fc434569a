"""Maps of how far to believe an output, written shard by shard beside it, and what they say in short.

The maps are on the grid of the input: all of them are made there, so that finer voxels would say nothing more and take
as many times the space as the output has voxels for one of the input. Voxel size and translation are those of the
input, by which viewers lay them over the output. Their pyramid keeps the worst of what a coarser voxel covers: the
deviation of the largest size, the smallest weight, every flag. A mean would hide small faults.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from superres.errors import OutputWriteError
from superres.inference.consistency import BORDER, SUSPICIOUS
from superres.inference.guard import Evidence
from superres.inference.guarded import noise_windows
from superres.inference.plan import Region, TilePlan, largest_divisor
from superres.inference.unit import Channel
from superres.progress import ProgressCallback
from superres.volumes import OutputStore, StoreLayout, Unit
from superres.volumes.pyramid import Reduction
from superres.volumes.whole_files import write_whole

FLAGS: Mapping[str, int] = {
    "saturated": 1,
    "out of range": 2,
    "inconsistent": 4,
    "unlike the training data": 8,
    "edge": 16,
    "no value": 32,
}
"""Bits of the flags, by what they say of a voxel of the input."""

# Voxels at the edge are known less of, but are in every volume: they do not count as flagged.
_WARNINGS = sum(bit for name, bit in FLAGS.items() if name != "edge")
# Shares of what the net adds that the guard took back: from where on it is said, and from where on it is nearly all.
_WORTH_SAYING, _MOST = 0.05, 0.5
# Full scale of cameras with 10 to 16 bits: what the brightest voxels stand at when the light was too much.
_FULL_SCALES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))


class _Map(NamedTuple):
    """One map: its name in the store, and what its pyramid keeps."""

    name: str
    reduction: Reduction


MAPS = (_Map("consistency z", "largest"), _Map("guard weight", "lowest"), _Map("flags", "bits"))
"""The channels of a trust store for every channel of the output."""


@dataclass(slots=True)
class _Counts:
    """Sums over voxels of the input."""

    voxels: int = 0
    compared: int = 0
    squares: float = 0.0
    largest: float = 0.0
    kept: float = 0.0
    flagged: int = 0
    flags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FLAGS, 0))

    def add(self, other: _Counts) -> None:
        """Add the sums of other voxels."""
        for name in ("voxels", "compared", "squares", "kept", "flagged"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest = max(self.largest, other.largest)
        self.flags = {name: count + other.flags[name] for name, count in self.flags.items()}


@dataclass(frozen=True, slots=True)
class TrustSummary:
    """What the maps of one output say in short.

    Parameters
    ----------
    path : Path
        The store of the maps.
    voxels : int
        Of the input.
    chi2 : float or None
        Mean square of the deviations of single voxels from the net's own prediction, in variances of the noise, edges
        left out: 1 where the prediction explains the input, below it where it follows its noise. None where they
        could not be compared.
    largest : float or None
        Largest absolute deviation averaged over neighbours, in standard deviations, edges left out.
    flagged : float
        Share of the voxels with any flag but that of the edge.
    flags : mapping
        Share of the voxels per flag.
    guarded : float
        Share of the net's residual over interpolation that the guard took back, averaged over voxels.
    without : tuple of str
        What could not be examined, and why.
    """

    path: Path
    voxels: int
    chi2: float | None
    largest: float | None
    flagged: float
    flags: Mapping[str, float]
    guarded: float
    without: tuple[str, ...]

    def sentence(self) -> str:
        """Say it to a person."""
        return "; ".join(filter(None, (self._flagged(), self._taken_back(), f"see {self.path}")))

    def _flagged(self) -> str:
        unseen = "" if self.chi2 is not None else "; the output was not compared with the input"
        if self.flagged == 0:
            return f"no voxel flagged{unseen}"
        named = {name: share for name, share in self.flags.items() if name != "edge" and share > 0}
        ordered = sorted(named.items(), key=lambda item: -item[1])
        reasons = ", ".join(f"{name} {_percent(share)}" for name, share in ordered)
        return f"{_percent(self.flagged)} of voxels flagged ({reasons}){unseen}; do not measure there"

    def _taken_back(self) -> str:
        if self.guarded < _WORTH_SAYING:
            return ""
        said = f"the guard took back {_percent(self.guarded)} of what the net adds to interpolation"
        return f"{said}: this input is hardly what the model was trained for" if self.guarded > _MOST else said


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
    """

    def __init__(self, region: Region, plan: TilePlan, saturation: float) -> None:
        low = [slice(part.start // f, part.stop // f) for part, f in zip(region, plan.factor, strict=True)]
        shape = [part.stop - part.start for part in low]
        self._start = [part.start for part in low]
        self._plan, self._saturation = plan, saturation
        self.z = np.full(shape, np.nan, np.float32)
        self.weight = np.full(shape, np.nan, np.float32)
        self.flags = np.zeros(shape, np.uint8)
        self.counts = _Counts()

    def add(self, plane: int, rows: slice, columns: slice, found: Evidence, recorded: NDArray[Any]) -> None:
        """Fill in one tile."""
        missing = ~np.isfinite(recorded)
        z, square = (np.where(missing, np.float32(np.nan), part) for part in (found.z, found.square))
        flags = (
            FLAGS["saturated"] * (recorded >= self._saturation)
            | FLAGS["out of range"] * found.out_of_range
            | FLAGS["inconsistent"] * (np.abs(np.nan_to_num(z)) > SUSPICIOUS)
            | FLAGS["unlike the training data"] * found.unfamiliar
            | FLAGS["edge"] * _edge(rows, columns, self._plan)
            | FLAGS["no value"] * missing
        ).astype(np.uint8)
        _, y, x = self._start
        where = (
            plane - self._start[0],
            slice(rows.start - y, rows.stop - y),
            slice(columns.start - x, columns.stop - x),
        )
        self.z[where], self.weight[where], self.flags[where] = z, found.weight, flags
        self.counts.add(_counted(z, found.weight, square, flags))


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
    """

    def __init__(self, store: OutputStore, plan: TilePlan, channels: Sequence[Channel]) -> None:
        self._store = store
        self._plan = plan
        self._channels = channels
        self._saturation = [_saturation(channel) for channel in channels]

    @classmethod
    def open(
        cls, out: Path, layout: StoreLayout, plan: TilePlan, channels: Sequence[Channel], *, overwrite: bool
    ) -> Self:
        """Create the store of the maps beside `out`, or go on with it; errors as `OutputStore.open`."""
        path = trust_path(out)
        return cls(OutputStore.open(path, _layout(layout, plan, channels), overwrite=overwrite), plan, channels)

    def is_done(self, unit: Unit) -> bool:
        """Whether all maps of a shard of the output are there."""
        return self._counts(unit) is not None and all(self._store.is_done(one) for one in _units(unit))

    def maps(self, unit: Unit, region: Region) -> Maps:
        """Return the empty maps of one shard of the output."""
        return Maps(region, self._plan, self._saturation[unit.c])

    def write(self, unit: Unit, maps: Maps) -> None:
        """Write the maps of one shard of the output.

        Raises
        ------
        OutputWriteError
            When the disk is full or cannot be written to.
        """
        try:
            write_whole(self._tally(unit), [json.dumps(asdict(maps.counts), allow_nan=False).encode()])
        except OSError as error:
            raise OutputWriteError(
                f"{self._tally(unit)}: writing failed, {error}; mend the cause and run the same command again"
            ) from None
        blocks: tuple[NDArray[Any], ...] = (maps.z, maps.weight, maps.flags)
        for one, block in zip(_units(unit), blocks, strict=True):
            self._store.write(one, block.astype(np.float32, copy=False))

    def finish(self, units: Sequence[Unit], progress: ProgressCallback) -> TrustSummary:
        """Write pyramid, metadata and, beside the store, the summary."""
        self._store.finish(progress)
        total = _Counts()
        for unit in units:
            counts = self._counts(unit)
            assert counts is not None  # all units are done
            total.add(counts)
        path, compared = self._store.path, total.compared > 0
        summary = TrustSummary(
            path=path,
            voxels=total.voxels,
            chi2=total.squares / total.compared if compared else None,
            largest=total.largest if compared else None,
            flagged=total.flagged / total.voxels,
            flags={name: count / total.voxels for name, count in total.flags.items()},
            guarded=1 - total.kept / total.voxels,
            without=tuple(dict.fromkeys(line for channel in self._channels for line in channel.without)),
        )
        content = asdict(summary) | {"path": path.name}
        name = path.name.removesuffix(".zarr").removesuffix(".ome") + ".json"
        write_whole(path.with_name(name), [json.dumps(content, indent=2, allow_nan=False).encode()])
        return summary

    def _tally(self, unit: Unit) -> Path:
        return self._store.records.folder / "tally" / (".".join(map(str, unit)) + ".json")

    def _counts(self, unit: Unit) -> _Counts | None:
        try:
            return _Counts(**json.loads(self._tally(unit).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def _units(unit: Unit) -> list[Unit]:
    """Return the shards of the maps that belong to a shard of the output."""
    return [unit._replace(c=unit.c * len(MAPS) + number) for number in range(len(MAPS))]


def _layout(image: StoreLayout, plan: TilePlan, channels: Sequence[Channel]) -> StoreLayout:
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
        shape=(volume.shape[0], len(channels) * len(MAPS), *plan.shape),
        dtype="float32",
        shard=(nz, ny, nx),
        chunk=(nz, largest_divisor(ny), largest_divisor(nx)),
        voxel_size=volume.voxel_size,
        translation=volume.translation,
        channel_names=tuple(f"{name}: {one.name}" if name else one.name for name in names for one in MAPS),
        time_step=volume.time_step,
        fingerprint=hashlib.sha256(f"trust 1 {image.fingerprint}".encode()).hexdigest()[:32],
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
) -> _Counts:
    compared = np.isfinite(z) & ((flags & FLAGS["edge"]) == 0)
    return _Counts(
        voxels=int(flags.size),
        compared=int(compared.sum()),
        squares=float(square[compared].sum(dtype=np.float64)),
        largest=float(np.abs(z[compared]).max(initial=0)),
        kept=float(weight.sum(dtype=np.float64)),
        flagged=int(((flags & _WARNINGS) != 0).sum()),
        flags={name: int(((flags & bit) != 0).sum()) for name, bit in FLAGS.items()},
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 1e-3 else "less than 0.1 %"
