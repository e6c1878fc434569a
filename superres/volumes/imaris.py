"""Imaris files (.ims): HDF5 of one 3-D data set per level, time point and channel, padded to whole chunks.

Layout: ``DataSet/ResolutionLevel L/TimePoint T/Channel C/Data``, its size without padding in the channel's attributes
``ImageSizeX``, ``Y`` and ``Z``; calibration in ``DataSetInfo``. All attributes are texts, kept as arrays of letters.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import TCZYX, Region, TczyxArray, resolve_axes
from superres.volumes.hdf5 import hdf5_damage_is_an_error, open_hdf5_file
from superres.volumes.units import micrometres_per
from superres.volumes.volume import Calibration, Volume, make_volume


class ImarisArray:
    """One resolution level, TCZYX, without the padding; its file is opened anew in every process.

    Parameters
    ----------
    path : Path
        The file.
    level : int
        0 is the finest.
    """

    def __init__(self, path: Path, level: int) -> None:
        self.path = path
        self.level = level
        self._lock = threading.Lock()
        self._file: Any = None
        with hdf5_damage_is_an_error(path):
            group = self._group()
            first = group["TimePoint 0/Channel 0"]
            self.shape = (_count(group, "TimePoint"), _count(group["TimePoint 0"], "Channel"), *_size(first))
            self.dtype: np.dtype[Any] = np.dtype(first["Data"].dtype)
            chunks = first["Data"].chunks
            self.block: tuple[int, ...] = (1, 1, *map(int, chunks)) if chunks else ()
            self._check(group)

    def _check(self, group: Any) -> None:
        """Every time point must have every channel, of the same size and type."""
        for t in range(self.shape[0]):
            for c in range(self.shape[1]):
                name = f"TimePoint {t}/Channel {c}"
                if f"{name}/Data" not in group:
                    raise InputError(f"{self.path}: {name} of level {self.level} is missing; the file is incomplete")
                channel = group[name]
                if _size(channel) != self.shape[2:] or np.dtype(channel["Data"].dtype) != self.dtype:
                    raise InputError(
                        f"{self.path}: {name} has size {_size(channel)}, the first has {self.shape[2:]} (ZYX); "
                        "export the image again"
                    )

    def __reduce__(self) -> tuple[Any, ...]:
        return ImarisArray, (self.path, self.level)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        t, c, *space = region
        out = np.empty([item.stop - item.start for item in region], dtype=self.dtype)
        with hdf5_damage_is_an_error(self.path):
            group = self._group()
            for i in range(t.start, t.stop):
                for j in range(c.start, c.stop):
                    data = group[f"TimePoint {i}/Channel {j}/Data"]
                    out[i - t.start, j - c.start] = data[tuple(space)]
        return out

    def _group(self) -> Any:
        with self._lock:
            if self._file is None:
                self._file = open_hdf5_file(self.path)
            return self._file[f"DataSet/ResolutionLevel {self.level}"]


def open_imaris(
    path: Path,
    file: Any,
    *,
    part: str | None = None,
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Volume:
    """Open the image of an Imaris file lazily; `file` is the same, opened by h5py.

    Raises
    ------
    InputError
        When a channel is missing, or `part` is given: such a file holds one image.
    """
    if part is not None:
        raise InputError(f"{path}: an Imaris file holds one image, {part!r} is not in it; leave out '::{part}'")
    finest = ImarisArray(path, 0)
    arrays = [finest]
    for level in range(1, _count(file["DataSet"], "ResolutionLevel")):
        if "ImageSizeX" in file[f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0"].attrs:
            arrays.append(ImarisArray(path, level))
    letters = resolve_axes(TCZYX, finest.shape, given=axes, path=path)
    return make_volume(
        [TczyxArray(array, letters) for array in arrays],
        _calibration(file, finest.shape),
        axes=letters,
        format="Imaris",
        source=path,
        voxel_size=voxel_size,
    )


def _count(group: Any, name: str) -> int:
    count = 0
    while f"{name} {count}" in group:
        count += 1
    return count


def _size(channel: Any) -> tuple[int, int, int]:
    """Return ZYX without padding; of the oldest files, which do not say it, with padding."""
    data = channel["Data"].shape
    given = [_text(channel.attrs, f"ImageSize{axis}") for axis in "ZYX"]
    sizes = [int(text) if text else int(size) for text, size in zip(given, data, strict=True)]
    if any(size > held or size < 1 for size, held in zip(sizes, data, strict=True)):
        raise ValueError(f"image size {sizes} (ZYX) declared, {list(data)} voxels found")
    return sizes[0], sizes[1], sizes[2]


def _text(attributes: Any, name: str) -> str:
    value = attributes.get(name)
    if value is None:
        return ""
    if isinstance(value, bytes | str):
        return value.decode(errors="replace") if isinstance(value, bytes) else value
    return b"".join(np.ravel(np.asarray(value, dtype="S")).tolist()).decode(errors="replace")


def _calibration(file: Any, shape: Sequence[int]) -> Calibration:
    image = file["DataSetInfo/Image"].attrs
    per = micrometres_per(_text(image, "Unit") or "um")
    pairs = [_extent(image, number, count, per) for number, count in zip((2, 1, 0), shape[2:], strict=True)]
    sizes, shifts = zip(*pairs, strict=True)
    info = file["DataSetInfo"]
    groups = [f"Channel {channel}" for channel in range(shape[1])]
    names = [_text(info[group].attrs, "Name") if group in info else "" for group in groups]
    return Calibration(
        voxel_size=(sizes[0], sizes[1], sizes[2]),
        translation=(shifts[0], shifts[1], shifts[2]),
        channel_names=tuple(names) if all(name and name != "(name not specified)" for name in names) else (),
        time_step=_time_step(info["TimeInfo"].attrs if "TimeInfo" in info else {}, shape[0]),
    )


def _extent(image: Any, number: int, count: int, per: float | None) -> tuple[float | None, float]:
    """Return voxel size and centre of the first voxel along an axis; the extent goes from edge to edge."""
    low, high = (_number(_text(image, f"Ext{end}{number}")) for end in ("Min", "Max"))
    if per is None or low is None or high is None or high <= low:
        return None, 0.0
    size = (high - low) / count * per
    return size, low * per + size / 2


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _time_step(info: Any, count: int) -> float | None:
    """Return the mean step between the first and the last time point."""
    try:
        times = [datetime.fromisoformat(_text(info, f"TimePoint{number}").strip()) for number in (1, count)]
    except ValueError:
        return None
    seconds = (times[1] - times[0]).total_seconds() / (count - 1) if count > 1 else 0.0
    return seconds if seconds > 0 else None
