"""The store that results are written to: sharded OME-Zarr 0.5 (or 0.4), resumable shard by shard.

One unit of work is one shard of level 0, which is one file with exactly one writer; writers need no locks. The
pyramid is a second pass over finished shards; where a shard holds all voxels of a channel, its coarser levels are made
of it while it is in memory, with the same bytes. The group's metadata come last, so that a half-done store does not
open as an image.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superres.errors import DiskFullError, OutputExistsError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import ngff
from superres.volumes.pyramid import Reduction, display_window, reduce_region
from superres.volumes.records import Records, records_folder
from superres.volumes.shards import StoredLevel
from superres.volumes.store_place import make_room, refuse
from superres.volumes.whole_files import remove_strays, write_whole

_PLANES_SAMPLED = 64
# Shards of the pyramid written at the same time; two keep two cores busy.
_WORKERS = 2
# Rows and columns that are reduced at once of what is in memory: larger steps than from the disk, of fewer calls.
_SIDE = 512


class Unit(NamedTuple):
    """One shard: time point, channel, and position along Z, Y, X counted in shards."""

    t: int
    c: int
    iz: int
    iy: int
    ix: int


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """What an output store is to be.

    Parameters
    ----------
    shape : tuple of int
        TCZYX voxels of level 0.
    dtype : str
        Any integer or floating-point type of NumPy, e.g. ``"uint16"``.
    shard, chunk : tuple of int
        ZYX voxels of one file, and of what is compressed and read as a whole; `chunk` divides `shard`.
    voxel_size : tuple of float or None
        ZYX, micrometre; None where unknown.
    translation : tuple of float
        ZYX, micrometre; the centre of voxel 0.
    channel_names : tuple of str
        One per channel, or empty when unknown.
    time_step : float or None
        Seconds.
    fingerprint : str
        Digest of input, model and settings; a store is resumed only under the same one.
    provenance : mapping
        What can be written as JSON; goes into the root attributes under ``superres``.
    channel_colours : tuple of str
        One per channel, ``"RRGGBB"``, or empty for the usual ones.
    version : str
        Of OME-Zarr; ``"0.4"`` is for older viewers and has no shards, so that its `shard` equals its `chunk`.
    reductions : tuple of str
        One per channel, what its coarser levels keep (see `superres.volumes.pyramid`); empty for means.
    """

    shape: tuple[int, int, int, int, int]
    dtype: str
    shard: tuple[int, int, int]
    chunk: tuple[int, int, int]
    voxel_size: ngff.VoxelSize = (None, None, None)
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channel_names: tuple[str, ...] = ()
    time_step: float | None = None
    fingerprint: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    channel_colours: tuple[str, ...] = ()
    version: ngff.Version = "0.5"
    reductions: tuple[Reduction, ...] = ()

    def __post_init__(self) -> None:
        if any(s % c for s, c in zip(self.shard, self.chunk, strict=True)):
            raise ValueError(f"chunk {self.chunk} does not divide shard {self.shard}")
        if self.version == "0.4" and self.shard != self.chunk:
            raise ValueError(f"OME-Zarr 0.4 has no shards, got shard {self.shard} and chunk {self.chunk}")
        if min(self.shape) < 1:
            raise ValueError(f"shape {self.shape} is empty")
        for what in ("names", "colours", "reductions"):
            given = self.reductions if what == "reductions" else getattr(self, f"channel_{what}")
            if given and len(given) != self.shape[1]:
                raise ValueError(f"{len(given)} channel {what} for {self.shape[1]} channels")
        if not self.fingerprint or not self.fingerprint.isalnum():
            raise ValueError(f"fingerprint {self.fingerprint!r} is not usable as a folder name; use a hex digest")
        json.dumps(dict(self.provenance), allow_nan=False)  # fails now rather than after hours, when it is written

    def level_factors(self) -> list[tuple[int, int, int]]:
        """Return the voxels of level 0 per voxel of each pyramid level, ZYX."""
        return ngff.pyramid_factors(self.shape[2:], self.voxel_size)

    def level_shape(self, factor: tuple[int, int, int]) -> tuple[int, int, int, int, int]:
        """Return the TCZYX shape of a pyramid level; odd edges are kept, as averages over what there is."""
        t, c, *space = self.shape
        z, y, x = (-(-n // f) for n, f in zip(space, factor, strict=True))
        return (t, c, z, y, x)


class OutputStore:
    """A store being written; see `StoreLayout`. Made by `OutputStore.open`.

    Parameters
    ----------
    path : Path
        The store's folder.
    layout : StoreLayout
        What the store is to be.
    """

    def __init__(self, path: Path, layout: StoreLayout) -> None:
        self.path = path
        self.layout = layout
        self.records = Records(records_folder(path) / layout.fingerprint)
        self._factors = layout.level_factors()
        self._levels = [self._open_level(level) for level in range(len(self._factors))]

    @classmethod
    def open(cls, path: Path, layout: StoreLayout, *, overwrite: bool = False) -> OutputStore:
        """Create a store, or resume the one that was begun under the same fingerprint.

        Parameters
        ----------
        path : Path
            The store's folder, e.g. ``sharp.ome.zarr``.
        layout : StoreLayout
            What the store is to be.
        overwrite : bool
            Replace a store that was made by other settings. A store of the same fingerprint is resumed all the same.
            Of several processes that start together only one may be the first to replace.

        Raises
        ------
        OutputExistsError
            When the path holds anything else.
        OutputWriteError
            When the disk is full or cannot be written to.
        """
        if path.name in ("", ".."):
            path = path.resolve()
        records = Records(records_folder(path) / layout.fingerprint)
        try:
            if not records.folder.is_dir() or not path.is_dir():
                occupied = refuse(path, layout.fingerprint, overwrite=overwrite)
                make_room(path, layout.fingerprint, occupied=occupied)
                records.folder.mkdir(parents=True, exist_ok=True)
                path.mkdir(parents=True, exist_ok=True)
        except OutputExistsError:
            # Another process may have begun this very store since it was looked for.
            if not (records.folder.is_dir() and path.is_dir()):
                raise
        except OSError as error:
            raise _write_error(path, error) from None
        return cls(path, layout)

    def __reduce__(self) -> tuple[Any, ...]:
        return OutputStore, (self.path, self.layout)

    def units(self) -> list[Unit]:
        """List every shard of level 0, in storage order."""
        return self._level_units(0)

    def region(self, unit: Unit) -> tuple[slice, slice, slice]:
        """Return the ZYX voxels of level 0 that a unit holds, clipped to the array."""
        return self._level_region(0, unit)

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit's shard is there, with a record of its size."""
        return self._is_done(0, unit)

    def counts(self, unit: Unit) -> Mapping[str, int]:
        """Return what was counted of a unit when it was written; empty where it is not done."""
        record = self.records.load(0, unit)
        return {} if record is None else record.counts

    def write(self, unit: Unit, block: NDArray[Any], counts: Mapping[str, int] | None = None) -> None:
        """Write one shard of level 0, then its record; where it is all of a channel, its coarser levels, too.

        Parameters
        ----------
        unit : Unit
            Which one. Should another process write the same unit at the same time, the later one's file stays, whole.
        block : ndarray, (z, y, x)
            Exactly the voxels of `region(unit)`, in the layout's dtype.
        counts : mapping, optional
            What the writer counted in it; kept in its record.

        Raises
        ------
        OutputWriteError
            When the disk is full or cannot be written to; shards already recorded stay valid.
        """
        # While a shard is rewritten the store is not finished and must not open as if it were.
        (self.path / self._group_file).unlink(missing_ok=True)
        self._write(0, unit, block, counts or {})
        if all(size <= side for size, side in zip(self.layout.shape[2:], self.layout.shard, strict=True)):
            self._write_coarser(unit, block)

    def finish(self, progress: ProgressCallback = silent) -> None:
        """Write the pyramid, resuming from its records, and the group's metadata last.

        Raises
        ------
        OutputWriteError
            When a unit of level 0 is missing, or the disk is full.
        """
        missing = sum(not self.is_done(unit) for unit in self.units())
        if missing:
            raise OutputWriteError(
                f"{self.path}: {missing} of {len(self.units())} shards are not written; run the same command again"
            )
        self._write_pyramid(progress)
        try:
            remove_strays(self.path.rglob("*.*"))
            for name, content in self._group().items():
                write_whole(self.path / name, [_json_bytes(content)])
        except OSError as error:
            raise _write_error(self.path, error) from None

    def _write_pyramid(self, progress: ProgressCallback) -> None:
        """Write one level after the other from the one below it, some shards side by side."""
        levels = {level: self._level_units(level) for level in range(1, len(self._factors))}
        total = sum(map(len, levels.values()))
        todo = {level: [unit for unit in units if not self._is_done(level, unit)] for level, units in levels.items()}
        done = total - sum(map(len, todo.values()))
        progress(Progress("pyramid", done, total, "shards"))
        if done == total:
            return
        with ThreadPoolExecutor(_WORKERS) as pool:
            try:
                for level, units in todo.items():
                    for _ in pool.map(partial(self._write_reduced, level), units):
                        done += 1
                        progress(Progress("pyramid", done, total, "shards"))
            finally:
                pool.shutdown(cancel_futures=True)

    def _write_reduced(self, level: int, unit: Unit) -> None:
        below = self._levels[level - 1].array[unit.t, unit.c]
        self._write(level, unit, self._reduced(level, unit, below, self.layout.chunk), {})

    def _write_coarser(self, unit: Unit, block: NDArray[Any]) -> None:
        """Write the pyramid of a channel from all of its voxels."""
        depth, *sides = self.layout.chunk
        at_once = (depth, max(sides[0], _SIDE), max(sides[1], _SIDE))
        for level in range(1, len(self._factors)):
            block = self._reduced(level, unit, block, at_once)
            self._write(level, unit, block, {})

    def verify(self) -> list[str]:
        """Check every shard of every level against its record, and the metadata; return the problems found."""
        problems = []
        for level in range(len(self._factors)):
            for unit in self._level_units(level):
                shard = self._levels[level].shard_path(unit)
                problem = self.records.problem(level, unit, shard)
                if problem is not None:
                    problems.append(f"{shard}: {problem}")
        group = self.path / self._group_file
        if not group.is_file():
            problems.append(f"{group}: missing; the store is not finished")
        elif not problems and group.read_bytes() != _json_bytes(self._group()[group.name]):
            problems.append(f"{group}: differs from what was written")
        return problems

    def _level_units(self, level: int) -> list[Unit]:
        t, c, *space = self.layout.level_shape(self._factors[level])
        counts = [-(-n // s) for n, s in zip(space, self.layout.shard, strict=True)]
        return [Unit(*position) for position in itertools.product(*map(range, (t, c, *counts)))]

    def _level_region(self, level: int, unit: Unit) -> tuple[slice, slice, slice]:
        space = self.layout.level_shape(self._factors[level])[2:]
        z, y, x = (
            slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(unit[2:], self.layout.shard, space, strict=True)
        )
        return z, y, x

    def _is_done(self, level: int, unit: Unit) -> bool:
        return self.records.is_done(level, unit, self._levels[level].shard_path(unit))

    def _write(self, level: int, unit: Unit, block: NDArray[Any], counts: Mapping[str, int]) -> None:
        region = self._level_region(level, unit)
        shape = tuple(item.stop - item.start for item in region)
        if block.shape != shape or block.dtype != np.dtype(self.layout.dtype):
            raise ValueError(f"unit {unit} takes {shape} {self.layout.dtype}, got {block.shape} {block.dtype}")
        try:
            record = self._levels[level].write(unit, block)
            self.records.store(level, unit, replace(record, counts=counts))
        except OSError as error:
            raise _write_error(self._levels[level].shard_path(unit), error) from None

    def _reduced(self, level: int, unit: Unit, below: Any, at_once: tuple[int, int, int]) -> NDArray[Any]:
        """Reduce a channel of the level below, on the disk or in memory, to a shard of a level."""
        steps = [f // g for f, g in zip(self._factors[level], self._factors[level - 1], strict=True)]
        reduction = self.layout.reductions[unit.c] if self.layout.reductions else "mean"
        return reduce_region(below, self._level_region(level, unit), steps, at_once, reduction)

    @property
    def _group_file(self) -> str:
        return list(ngff.group_files({}, self.layout.version))[-1]

    def _group(self) -> dict[str, dict[str, Any]]:
        layout, coarsest = self.layout, self._levels[-1].array
        # Of a deep stack whose planes stay apart, some planes tell as much as all.
        every = -(-coarsest.shape[2] // _PLANES_SAMPLED)
        windows = [display_window(coarsest[0, c, ::every].read().result()) for c in range(layout.shape[1])]
        attributes = ngff.group_metadata(
            name=self.path.name.split(".")[0],
            voxel_size=layout.voxel_size,
            translation=layout.translation,
            time_step=layout.time_step,
            level_factors=self._factors,
            channels=ngff.channel_display(
                layout.channel_names, layout.shape[1], windows, colours=layout.channel_colours
            ),
            extra={**layout.provenance, "fingerprint": layout.fingerprint},
            version=layout.version,
            reductions=layout.reductions,
        )
        return ngff.group_files(attributes, layout.version)

    def _open_level(self, level: int) -> StoredLevel:
        layout = self.layout
        metadata = ngff.array_metadata(
            layout.level_shape(self._factors[level]),
            layout.dtype,
            shard=layout.shard,
            chunk=layout.chunk,
            version=layout.version,
        )
        try:
            return StoredLevel(
                self.path / str(level),
                metadata,
                shard=layout.shard,
                chunk=layout.chunk,
                zarr_format=2 if layout.version == "0.4" else 3,
            )
        # tensorstore raises ValueError for a full disk
        except (OSError, ValueError) as error:
            raise _write_error(self.path, error) from None


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False).encode()


def _write_error(path: Path, error: BaseException) -> OutputWriteError:
    full = "No space left on device" in str(error)
    reason = "the disk is full" if full else " ".join(str(error).split())[:300]
    action = "free some space" if full else "mend the cause"
    return (DiskFullError if full else OutputWriteError)(
        f"{path}: writing failed, {reason}; {action} and run the same command again, finished shards are kept"
    )
