"""The store that results are written to: sharded OME-Zarr 0.5, resumable shard by shard.

One unit of work is one shard of level 0, which is one file with exactly one writer; writers need no locks. The
pyramid is a second pass over finished shards, and the group's metadata come last, so that a half-done store does not
open as an image.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from superres.errors import OutputExistsError, OutputWriteError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import ngff
from superres.volumes.pyramid import display_window, reduce_region
from superres.volumes.records import Records, file_crc32c, records_folder, write_whole

GROUP_FILE = "zarr.json"


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

    def __post_init__(self) -> None:
        if any(s % c for s, c in zip(self.shard, self.chunk, strict=True)):
            raise ValueError(f"chunk {self.chunk} does not divide shard {self.shard}")
        if min(self.shape) < 1:
            raise ValueError(f"shape {self.shape} is empty")
        if self.channel_names and len(self.channel_names) != self.shape[1]:
            raise ValueError(f"{len(self.channel_names)} channel names for {self.shape[1]} channels")
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
        self._arrays = [self._open_array(level) for level in range(len(self._factors))]

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
                occupied = _refuse(path, layout.fingerprint, overwrite=overwrite)
                _make_room(path, layout.fingerprint, occupied=occupied)
                records.folder.mkdir(parents=True, exist_ok=True)
                path.mkdir(parents=True, exist_ok=True)
        except OutputExistsError:
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

    def write(self, unit: Unit, block: NDArray[Any]) -> None:
        """Write one shard of level 0, then its record.

        Parameters
        ----------
        unit : Unit
            Which one; no other process may write the same unit.
        block : ndarray, (z, y, x)
            Exactly the voxels of `region(unit)`, in the layout's dtype.

        Raises
        ------
        OutputWriteError
            When the disk is full or cannot be written to; shards already recorded stay valid.
        """
        # While a shard is rewritten the store is not finished and must not open as if it were.
        (self.path / GROUP_FILE).unlink(missing_ok=True)
        self._write(0, unit, block)

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
        work = [(level, unit) for level in range(1, len(self._factors)) for unit in self._level_units(level)]
        for done, (level, unit) in enumerate(work):
            progress(Progress("pyramid", done, len(work), "shards"))
            if not self._is_done(level, unit):
                self._write(level, unit, self._reduced(level, unit))
        progress(Progress("pyramid", len(work), len(work), "shards"))
        try:
            write_whole(self.path / GROUP_FILE, _json_bytes(self._group()))
        except OSError as error:
            raise _write_error(self.path, error) from None

    def verify(self) -> list[str]:
        """Check every shard of every level against its record, and the metadata; return the problems found."""
        problems = []
        for level in range(len(self._factors)):
            for unit in self._level_units(level):
                problem = self._problem(level, unit)
                if problem is not None:
                    problems.append(f"{self._shard_path(level, unit)}: {problem}")
        group = self.path / GROUP_FILE
        if not group.is_file():
            problems.append(f"{group}: missing; the store is not finished")
        elif not problems and group.read_bytes() != _json_bytes(self._group()):
            problems.append(f"{group}: differs from what was written")
        return problems

    def _problem(self, level: int, unit: Unit) -> str | None:
        record, shard = self.records.load(level, unit), self._shard_path(level, unit)
        if record is None:
            return "has no done-record"
        if not shard.is_file():
            return "missing"
        if shard.stat().st_size != record.size:
            return f"{shard.stat().st_size} bytes found, {record.size} recorded"
        if file_crc32c(shard) != record.crc32c:
            return "its checksum differs from the recorded one"
        return None

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

    def _shard_path(self, level: int, unit: Unit) -> Path:
        return self.path / str(level) / "c" / Path(*map(str, unit))

    def _is_done(self, level: int, unit: Unit) -> bool:
        record = self.records.load(level, unit)
        if record is None:
            return False
        try:
            return self._shard_path(level, unit).stat().st_size == record.size
        except FileNotFoundError:
            return False

    def _write(self, level: int, unit: Unit, block: NDArray[Any]) -> None:
        region = self._level_region(level, unit)
        shape = tuple(item.stop - item.start for item in region)
        if block.shape != shape or block.dtype != np.dtype(self.layout.dtype):
            raise ValueError(f"unit {unit} takes {shape} {self.layout.dtype}, got {block.shape} {block.dtype}")
        shard = self._shard_path(level, unit)
        try:
            # Writing over a torn shard fails in every engine, and a 0-byte one reads as zeros: start clean.
            _remove_shard(shard)
            self._arrays[level][(unit.t, unit.c, *region)].write(block).result()
            self.records.store(level, unit, shard)
        # tensorstore raises ValueError for a full disk
        except (OSError, ValueError) as error:
            raise _write_error(shard, error) from None

    def _reduced(self, level: int, unit: Unit) -> NDArray[Any]:
        steps = [f // g for f, g in zip(self._factors[level], self._factors[level - 1], strict=True)]
        below = self._arrays[level - 1][unit.t, unit.c]
        return reduce_region(below, self._level_region(level, unit), steps, self.layout.chunk)

    def _group(self) -> dict[str, Any]:
        layout = self.layout
        coarsest = self._arrays[-1]
        windows = [display_window(coarsest[0, c].read().result()) for c in range(layout.shape[1])]
        return ngff.group_metadata(
            name=self.path.name.split(".")[0],
            voxel_size=layout.voxel_size,
            translation=layout.translation,
            time_step=layout.time_step,
            level_factors=self._factors,
            channels=ngff.channel_display(layout.channel_names, layout.shape[1], windows),
            extra={**layout.provenance, "fingerprint": layout.fingerprint},
        )

    def _open_array(self, level: int) -> Any:
        layout = self.layout
        metadata = ngff.array_metadata(
            layout.level_shape(self._factors[level]), layout.dtype, shard=layout.shard, chunk=layout.chunk
        )
        specification = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str((self.path / str(level)).absolute())},
            "metadata": metadata,
            # Without it a shard that is all fill value would leave no file, and never count as done.
            "store_data_equal_to_fill_value": True,
        }
        try:
            return ts.open(specification, open=True, create=True).result()
        except (OSError, ValueError) as error:
            raise _write_error(self.path, error) from None


def _json_bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False).encode()


def _remove_shard(shard: Path) -> None:
    """Delete a shard's file and what a killed writer left of it (``.__lock``, ``.partial``)."""
    if shard.parent.is_dir():
        for stray in shard.parent.glob(f"{shard.name}.*"):
            stray.unlink()
    shard.unlink(missing_ok=True)


def _refuse(path: Path, fingerprint: str, *, overwrite: bool) -> bool:
    """Refuse a path that holds anything but a store that may be replaced; return whether it holds one."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return False
    if not _looks_like_store(path):
        raise OutputExistsError(
            f"{path}: {'a folder' if path.is_dir() else 'a file'} that is no Zarr store; it is never replaced, "
            "give another --out"
        )
    if not overwrite:
        raise OutputExistsError(
            f"{path}: holds {_what_store(path, fingerprint)}; give another --out, or --set overwrite=true to replace it"
        )
    return True


def _make_room(path: Path, fingerprint: str, *, occupied: bool) -> None:
    """Delete the store that is to be replaced, and records of other fingerprints."""
    # Renamed first, so that a kill while deleting leaves nothing that looks like a store.
    doomed = path.with_name(path.name + ".deleted")
    if doomed.is_dir() and _looks_like_store(doomed):
        shutil.rmtree(doomed)
    if occupied:
        path.rename(doomed)
        shutil.rmtree(doomed)
    if records_folder(path).is_dir():
        # Records of the same fingerprint may be those of another process that starts at this moment.
        for other in records_folder(path).iterdir():
            if other.name != fingerprint:
                shutil.rmtree(other)


def _what_store(path: Path, fingerprint: str) -> str:
    try:
        attributes = json.loads((path / GROUP_FILE).read_text())["attributes"]
        same = attributes["superres"]["fingerprint"] == fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        return "a store of another input, model or settings"
    if same:
        return f"the finished result of these very settings, but its records ({records_folder(path).name}) are gone"
    return "a finished store of another input, model or settings"


def _looks_like_store(path: Path) -> bool:
    markers = ("zarr.json", ".zgroup", ".zattrs", ".zarray", "0/zarr.json", "0/.zarray")
    return path.is_dir() and any((path / name).exists() for name in markers)


def _write_error(path: Path, error: BaseException) -> OutputWriteError:
    full = "No space left on device" in str(error)
    reason = "the disk is full" if full else " ".join(str(error).split())[:300]
    action = "free some space" if full else "mend the cause"
    return OutputWriteError(
        f"{path}: writing failed, {reason}; {action} and run the same command again, finished shards are kept"
    )
