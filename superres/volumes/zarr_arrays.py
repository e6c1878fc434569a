"""Voxels of Zarr arrays, versions 2 and 3, read by tensorstore, or by zarr-python where tensorstore cannot."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import Region


class ZarrArray:
    """A Zarr array that is opened anew in every process.

    Parameters
    ----------
    path : Path
        The array's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._handle: Any = None
        self._tensorstore = True
        handle = self._open()
        self.shape: tuple[int, ...] = tuple(int(size) for size in handle.shape)
        self.dtype: np.dtype[Any] = handle.dtype.numpy_dtype if self._tensorstore else np.dtype(handle.dtype)
        self.block: tuple[int, ...] = tuple(
            handle.chunk_layout.read_chunk.shape if self._tensorstore else handle.chunks
        )

    @classmethod
    def open(cls, path: Path) -> ZarrArray:
        """Read the metadata of an array.

        Raises
        ------
        InputError
            When there is no array, or neither library can read it.
        """
        if not any((path / name).is_file() for name in ("zarr.json", ".zarray")):
            raise InputError(f"{path}: the metadata name this array, but it is not there; the store is incomplete")
        return cls(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrArray, (self.path,)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        handle = self._open()
        try:
            return np.asarray(handle[region].read().result() if self._tensorstore else handle[region])
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"{self.path}: a chunk cannot be read ({reason}); the store is damaged, copy it again"
            ) from None

    def _open(self) -> Any:
        with self._lock:
            if self._handle is None:
                self._handle = self._by_tensorstore()
            return self._handle

    def _by_tensorstore(self) -> Any:
        driver = "zarr3" if (self.path / "zarr.json").is_file() else "zarr"
        specification = {"driver": driver, "kvstore": {"driver": "file", "path": str(self.path.absolute())}}
        try:
            return ts.open(specification, open=True, read=True).result()
        except (OSError, ValueError) as error:
            return self._by_zarr(" ".join(str(error).split())[:200])

    def _by_zarr(self, refusal: str) -> Any:
        import zarr

        self._tensorstore = False
        try:
            # What zarr-python finds unusual about a foreign store is nothing that the user could mend.
            with warnings.catch_warnings(action="ignore"):
                return zarr.open_array(self.path, mode="r")
        # zarr-python and numcodecs have no common error for what they do not know
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self.path}: not a readable Zarr array (tensorstore: {refusal}; zarr: {reason}); copy the store again"
            ) from None
