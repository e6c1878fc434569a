"""Convert to OME-TIFF and ImageJ hyperstack: plane after plane, the file named when it is whole."""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from superres.errors import OutputExistsError, OutputWriteError, SuperresError
from superres.progress import Progress
from superres.volumes.conversion import Job, provenance_of
from superres.volumes.dtypes import CastTally
from superres.volumes.hyperstack import check_hyperstack, hyperstack_metadata, write_hyperstack
from superres.volumes.ometiff import OmeTiffLayout, check_ome_type, write_ometiff
from superres.volumes.whole_files import remove_strays

# Planes that are read at once for a TIFF, because a source may keep many planes in one block.
_SLAB_BYTES = 2**27
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class _Slabs:
    """Rows of planes, read as several planes at once and cast; every voxel is read once."""

    def __init__(self, job: Job, *, channels_held: int) -> None:
        volume = job.volume
        self._job = job
        self.tally = CastTally()
        self.planes = math.prod(volume.shape[:3])
        self._plane_bytes = volume.shape[3] * volume.shape[4] * max(volume.dtype.itemsize, job.dtype.itemsize)
        fitting = _SLAB_BYTES // (self._plane_bytes * channels_held)
        self._depth = max(1, min(int(volume.levels[0].chunksize[2]), fitting))
        self._held: dict[int, tuple[int, int, NDArray[Any]]] = {}
        self._channels_held = channels_held
        self._done = 0

    def rows(self, t: int, c: int, z: int, rows: slice) -> NDArray[Any]:
        """Return rows of one plane, (y, x)."""
        if rows.start == 0:
            self._job.progress(Progress("convert", self._done, self.planes, "planes"))
            self._done += 1
        _, _, depth, height, width = self._job.volume.shape
        if self._plane_bytes > _SLAB_BYTES:
            return self._job.read(self.tally, t, c, (slice(z, z + 1), rows, slice(0, width))).squeeze(0)
        first = z // self._depth * self._depth
        if self._held.get(c, (None, None))[:2] != (t, first):
            # Made room for before it is read, so that memory never holds one more.
            self._held = {} if self._channels_held == 1 else {k: v for k, v in self._held.items() if k != c}
            region = (slice(first, min(first + self._depth, depth)), slice(0, height), slice(0, width))
            self._held[c] = (t, first, self._job.read(self.tally, t, c, region))
        plane: NDArray[Any] = self._held[c][2][z - first, rows]
        return plane


def convert_to_ometiff(job: Job) -> tuple[CastTally, int, int]:
    """Write an OME-TIFF; return what changed, the planes in all, and how many of them were there already."""
    volume = job.volume
    check_ome_type(job.dtype, job.out)
    layout = OmeTiffLayout(
        shape=volume.shape,
        dtype=job.dtype,
        voxel_size=volume.voxel_size,
        translation=volume.translation,
        channel_names=volume.channel_names,
        time_step=volume.time_step,
        compression=job.compression,
        description=str(provenance_of(volume).get("note", "")),
        channel_colours=volume.channel_colours,
        software=_software(job),
    )
    slabs = _Slabs(job, channels_held=1)

    def read_rows(plane: int, rows: slice) -> NDArray[Any]:
        t, c, z = (int(index) for index in np.unravel_index(plane, volume.shape[:3]))
        return slabs.rows(t, c, z, rows)

    done_before = _write_tiff(job, slabs.planes, lambda: write_ometiff(job.out, layout, read_rows))
    return slabs.tally, slabs.planes, done_before


def convert_to_hyperstack(job: Job) -> tuple[CastTally, int, int]:
    """Write an ImageJ hyperstack; return what changed, the planes in all, and how many of them were there already."""
    volume = job.volume
    t, c, z, y, _ = volume.shape
    check_hyperstack(job.out, volume.shape, job.dtype)
    slabs = _Slabs(job, channels_held=c)
    metadata = hyperstack_metadata(
        volume.shape,
        voxel_size=volume.voxel_size,
        channel_names=volume.channel_names,
        time_step=volume.time_step,
        channel_colours=volume.channel_colours,
    ) | {"software": _software(job)}
    planes = (
        slabs.rows(time_point, channel, depth, slice(0, y))
        for time_point, depth, channel in itertools.product(range(t), range(z), range(c))
    )
    done_before = _write_tiff(
        job,
        slabs.planes,
        lambda: write_hyperstack(job.out, planes, shape=volume.shape, dtype=job.dtype, metadata=metadata),
    )
    return slabs.tally, slabs.planes, done_before


def _software(job: Job) -> str:
    """Return what is written into the file as its software: by it a finished conversion is known again."""
    from superres import __version__

    return f"superres {__version__} {job.fingerprint(job.compression)}"


def _write_tiff(job: Job, planes: int, write: Callable[[], None]) -> int:
    """Write a file under its final name only when it is whole, and never over anything but an image.

    Returns how many planes need not be written, which is all where the file is there.
    """
    if _is_there(job):
        job.progress(Progress("convert", planes, planes, "planes"))
        return planes
    job.out.parent.mkdir(parents=True, exist_ok=True)
    remove_strays(path for path in job.out.parent.iterdir() if path.name.startswith(f"{job.out.name}."))
    try:
        write()
    except SuperresError:
        raise
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "the disk is full" if full else error.strerror or str(error)
        raise OutputWriteError(
            f"{job.out}: writing failed, {reason}; nothing was left behind, "
            f"{'free some space' if full else 'mend the cause'} and run the same command again"
        ) from None
    job.progress(Progress("convert", planes, planes, "planes"))
    return 0


def _is_there(job: Job) -> bool:
    """Whether the very file is there; refuse what may not be replaced."""
    if not job.out.exists():
        return False
    if job.out.is_dir() or not _is_tiff(job.out):
        kind = "a folder" if job.out.is_dir() else "a file"
        raise OutputExistsError(f"{job.out}: {kind} that is no TIFF; it is never replaced, give another output")
    if _software_of(job.out) == _software(job):
        return True
    if not job.overwrite:
        raise OutputExistsError(
            f"{job.out}: exists already and comes from another input or other settings; give another output, or "
            "--set overwrite=true to replace it"
        )
    return False


def _software_of(path: Path) -> str:
    try:
        with tifffile.TiffFile(path) as file:
            return str(file.pages.first.software)
    # whatever a file that is to be replaced holds
    except (OSError, ValueError, LookupError, TypeError, tifffile.TiffFileError):
        return ""


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF_STARTS
