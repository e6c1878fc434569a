"""NumPy's .npy files, memory-mapped; Python objects in them are never unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import Region, TczyxArray, resolve_axes
from superres.volumes.volume import Calibration, Volume, make_volume


class NumpyFile:
    """The array of a .npy file; mapped anew in every process.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        mapped = self._map()
        self.shape: tuple[int, ...] = mapped.shape
        self.dtype: np.dtype[Any] = mapped.dtype

    def __reduce__(self) -> tuple[Any, ...]:
        return NumpyFile, (self.path,)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        return np.array(self._map()[region])

    def _map(self) -> NDArray[Any]:
        try:
            mapped: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.path}: not a usable NumPy file ({reason}); expected an array of numbers as numpy.save writes "
                "it, not cut short; write or copy it again"
            ) from None
        return mapped


def open_numpy(path: Path, *, axes: str | None = None, voxel_size: Sequence[float] | None = None) -> Volume:
    """Open a .npy file lazily; of more than two axes it does not say what they are.

    Raises
    ------
    InputError
        When it is damaged, holds anything but numbers, or its axes are not given.
    """
    array = NumpyFile(path)
    found = "YX" if len(array.shape) == 2 else "Q" * len(array.shape)
    letters = resolve_axes(found, array.shape, given=axes, path=path)
    return make_volume(
        [TczyxArray(array, letters)], Calibration(), axes=letters, format="NumPy", source=path, voxel_size=voxel_size
    )
