"""Data sets in HDF5 files, named by their path in the file (``file.h5::path/in/file``); Imaris files go to their own.

h5py reads them, an optional package.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import Region, TczyxArray, resolve_axes
from superres.volumes.ngff_reading import axis_letter
from superres.volumes.parts import choose_image
from superres.volumes.units import to_micrometre
from superres.volumes.volume import Calibration, Volume, make_volume


class Hdf5Array:
    """A data set; its file is opened anew in every process.

    Parameters
    ----------
    path : Path
        The file.
    key : str
        The data set's path in it.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self._lock = threading.Lock()
        self._file: Any = None
        with hdf5_damage_is_an_error(path):
            data = self._open()
            self.shape: tuple[int, ...] = tuple(int(size) for size in data.shape)
            self.dtype: np.dtype[Any] = np.dtype(data.dtype)
            self.block: tuple[int, ...] = tuple(int(size) for size in data.chunks or ())

    def __reduce__(self) -> tuple[Any, ...]:
        return Hdf5Array, (self.path, self.key)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        with hdf5_damage_is_an_error(self.path):
            return np.asarray(self._open()[region])

    def _open(self) -> Any:
        with self._lock:
            if self._file is None:
                self._file = open_hdf5_file(self.path)
            return self._file[self.key]


def open_hdf5(
    path: Path, *, part: str | None = None, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open a data set of an HDF5 file, or an Imaris file, lazily.

    Axes come from the labels of its dimensions or ilastik's axistags, the voxel size from ``element_size_um``.

    Raises
    ------
    InputError
        When h5py is missing, the file is damaged, holds several data sets of which none is chosen, or the data set is
        no array of numbers, lies in another file, or does not tell its axes.
    """
    with hdf5_damage_is_an_error(path), open_hdf5_file(path) as file:
        if is_imaris(file):
            from superres.volumes.imaris import open_imaris

            return open_imaris(path, file, part=part, axes=axes, voxel_size=voxel_size)
        key = _chosen(file, part, path)
        data = file[key]
        _check_storage(data, key, path)
        found = _axes_of(data)
        sizes = data.attrs.get("element_size_um")
    array = Hdf5Array(path, key)
    where = Path(f"{path}::{key}")
    letters = resolve_axes(found, array.shape, given=axes, path=where)
    return make_volume(
        [TczyxArray(array, letters)],
        _calibration(sizes),
        axes=letters,
        format="HDF5",
        source=path,
        voxel_size=voxel_size,
        part=key if part is not None else None,
    )


def images_in_hdf5(path: Path) -> tuple[str, ...]:
    """List the data sets of numbers with two axes or more; nothing for an Imaris file, which holds one image."""
    with hdf5_damage_is_an_error(path), open_hdf5_file(path) as file:
        return () if is_imaris(file) else tuple(_data_sets(file))


def open_hdf5_file(path: Path) -> Any:
    """Open the file by h5py, or say that it is not installed."""
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: an HDF5 file, which the package h5py reads (licence: BSD-3-Clause); install it with "
            "'pip install h5py', or export the image as OME-TIFF"
        ) from None
    return h5py.File(path, "r")


@contextmanager
def hdf5_damage_is_an_error(path: Path) -> Iterator[None]:
    """Turn what h5py raises for damaged files into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    # h5py has no class for damage, and hands on what the library reports as any of these
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        advice = "copy it again"
        if "filter" in reason and ("not registered" in reason or "plugin" in reason or "not available" in reason):
            advice = "its compression needs the package hdf5plugin: 'pip install hdf5plugin', and import it first"
        raise InputError(f"{path}: HDF5 that cannot be read ({type(error).__name__}: {reason}); {advice}") from None


def is_imaris(file: Any) -> bool:
    """Whether an HDF5 file has the layout of Imaris 5.5."""
    return "DataSetInfo/Image" in file and "DataSet/ResolutionLevel 0" in file


def _data_sets(file: Any) -> list[str]:
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        dtype = getattr(item, "dtype", None)
        if dtype is not None and dtype.kind in "iuf" and len(item.shape or ()) >= 2 and math.prod(item.shape) > 0:
            found.append(name)

    file.visititems(visit)
    return found


def _chosen(file: Any, part: str | None, path: Path) -> str:
    names = _data_sets(file)
    if part is not None:
        _check_links(file, part, path)
    if part is None or part not in file:
        if not names:
            raise InputError(f"{path}: no image in this HDF5 file (no data set of numbers with two axes or more)")
        return names[choose_image(names, part, path)]
    if hasattr(file[part], "shape"):
        return part
    inside = [name for name in names if name.startswith(f"{part}/")]
    if not inside:
        raise InputError(f"{path}::{part}: a group without an image; give the path of a data set")
    return inside[choose_image(inside, None, path)]


def _check_links(file: Any, part: str, path: Path) -> None:
    """Refuse what leads to another file: such links may name any file of the machine."""
    steps = part.split("/")
    for count in range(1, len(steps) + 1):
        link = file.get("/".join(steps[:count]), getlink=True)
        other = getattr(link, "filename", None)
        if other is not None:
            raise InputError(f"{path}::{part}: a link to another file, {other}, which is not followed; give that file")


def _check_storage(data: Any, key: str, path: Path) -> None:
    """Refuse voxels kept in files outside the folder, and name files of a set that are missing: they'd read as 0."""
    if data.external:
        raise InputError(f"{path}::{key}: its voxels lie in other files ({data.external[0][0]}), which is not followed")
    if not data.is_virtual:
        return
    for name in sorted({str(source.file_name) for source in data.virtual_sources()} - {"."}):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path}::{key}: a part of it lies outside the folder ({name}), which is not followed")
        if not (path.parent / name).is_file():
            raise InputError(f"{path}::{key}: {name} is missing, which holds a part of it; put it beside the file")


def _axes_of(data: Any) -> str:
    """Name the axes by ilastik's axistags, or the labels of the dimensions; two axes are Y and X."""
    names = _axistags(data.attrs) or [dimension.label for dimension in data.dims]
    count = len(data.shape)
    if len(names) == count and any(names):
        return "".join(axis_letter(name) for name in names)
    return "YX" if count == 2 else "Q" * count


def _axistags(attributes: Mapping[str, Any]) -> list[str]:
    try:
        return [str(axis["key"]) for axis in json.loads(attributes["axistags"])["axes"]]
    except (KeyError, TypeError, ValueError):
        return []


def _calibration(sizes: Any) -> Calibration:
    """Read the voxel size that ImageJ's HDF5 plug-in and others write, ZYX in micrometre."""
    values = np.ravel(sizes).tolist() if sizes is not None else []
    if len(values) != 3:
        return Calibration()
    z, y, x = (to_micrometre(value, "um") for value in values)
    return Calibration(voxel_size=(z, y, x))
