"""Coarse levels of planes too large to be shown whole, whose file has none: averaged while they are looked at.

Nothing is read before somebody looks. Then a thread averages the plane, and tells as parts of it are there.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.volumes.axes import TczyxArray
from superres.volumes.pyramid import mean_pooled

_FACTOR = 8
_PLANE_BYTES = 128 * 2**20
_HELD_BYTES = 256 * 2**20
_BAND_BYTES = 16 * 2**20
# Seconds between two calls that tell of new parts.
_PAUSE = 0.25
Plane = tuple[int, int, int]


@dataclass(slots=True)
class _Held:
    """A plane of the overview, and how many of its rows are there."""

    values: NDArray[Any]
    rows: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class PooledArray:
    """Averages of cells of an array, made when they are read.

    Parameters
    ----------
    inner : TczyxArray or Overview
        TCZYX.
    factor : int
        Voxels per cell along Y and X.
    """

    inner: TczyxArray | Overview
    factor: int

    @property
    def shape(self) -> tuple[int, ...]:
        """TCZYX; cells at an odd end count."""
        return (*self.inner.shape[:3], *(-(-n // self.factor) for n in self.inner.shape[3:]))

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the array."""
        return self.inner.dtype

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        f = self.factor
        finer = (
            slice(item.start * f, min(item.stop * f, n))
            for item, n in zip(region[3:], self.inner.shape[3:], strict=True)
        )
        block = self.inner[(*region[:3], *finer)]
        planes = mean_pooled(block.reshape(-1, *block.shape[3:]), (1, f, f))
        return planes.reshape(*block.shape[:3], *planes.shape[1:])


class Overview:
    """Planes of an array, averaged over square cells by a thread, from the first look at them on.

    What is not there yet reads as 0. Planes looked at long ago are forgotten, and averaged again when they are needed.

    Parameters
    ----------
    array : TczyxArray
        What is averaged.

    Attributes
    ----------
    factor : int
        Voxels per cell along Y and X.
    changed : callable
        Called without arguments, from the thread, when more is there; at most a few times a second.
    """

    def __init__(self, array: TczyxArray) -> None:
        self.array = array
        self.factor = _FACTOR
        while self._plane_bytes() > _PLANE_BYTES:
            self.factor *= 2
        self.dtype = array.dtype
        self.changed: Callable[[], None] = _nothing
        self._lock = threading.Condition()
        self._held: OrderedDict[Plane, _Held] = OrderedDict()
        self._waiting: list[Plane] = []
        self._thread: threading.Thread | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Overview:
        return self  # a layer that is duplicated shows the same

    def __reduce__(self) -> tuple[Any, ...]:
        return Overview, (self.array,)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """TCZYX; cells at an odd end count."""
        t, c, z, y, x = self.array.shape
        return t, c, z, -(-y // self.factor), -(-x // self.factor)

    def _plane_bytes(self) -> int:
        return math.prod(self.shape[3:]) * self.array.dtype.itemsize

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        t, c, z, y, x = region
        out = np.zeros([item.stop - item.start for item in region], self.dtype)
        places = [
            (i, j, k) for i in range(t.start, t.stop) for j in range(c.start, c.stop) for k in range(z.start, z.stop)
        ]
        most = max(1, _HELD_BYTES // self._plane_bytes())
        with self._lock:
            for plane in places[:most]:
                held = self._wanted(plane)
                out[plane[0] - t.start, plane[1] - c.start, plane[2] - z.start] = held.values[y, x]
            while len(self._held) > max(most, 1):
                self._held.popitem(last=False)
            # What is looked at now goes before what was looked at.
            unfinished = [plane for plane in places[:most] if self._unfinished(plane)]
            self._waiting = unfinished + [p for p in self._waiting if p not in unfinished and p in self._held]
            self._start()
        return out

    def wait(self, timeout: float) -> bool:
        """Wait until all that was looked at is there; False when `timeout` seconds were not enough."""
        with self._lock:
            return self._lock.wait_for(lambda: self._thread is None, timeout)

    def error(self) -> str:
        """Say why a part could not be read; empty if all could."""
        with self._lock:
            return next((held.error for held in self._held.values() if held.error), "")

    def _wanted(self, plane: Plane) -> _Held:
        if plane not in self._held:
            self._held[plane] = _Held(np.zeros(self.shape[3:], self.dtype))
        self._held.move_to_end(plane)
        return self._held[plane]

    def _unfinished(self, plane: Plane) -> bool:
        held = self._held.get(plane)
        return held is not None and held.rows < self.shape[3] and not held.error

    def _start(self) -> None:
        if self._waiting and self._thread is None:
            self._thread = threading.Thread(target=_average, args=(weakref.ref(self),), daemon=True, name="overview")
            self._thread.start()

    def _next(self) -> tuple[Plane, int] | None:
        """Return the plane that is looked at and its first row that is missing; None ends the thread."""
        with self._lock:
            self._waiting = [plane for plane in self._waiting if self._unfinished(plane)]
            if self._waiting:
                plane = self._waiting[0]
                return plane, self._held[plane].rows
            self._thread = None
            self._lock.notify_all()
            return None

    def _add(self, plane: Plane, first: int) -> None:
        """Average one band of rows of a plane."""
        rows = self._band()
        last = min(first + rows, self.shape[3])
        y = slice(first * self.factor, min(last * self.factor, self.array.shape[3]))
        t, c, z = plane
        error, values = "", None
        try:
            block = self.array[t, c, z : z + 1, y, :]
            values = mean_pooled(block, (1, self.factor, self.factor))[0]
        except (InputError, OSError, MemoryError, RuntimeError) as failure:  # the last one where Python is ending
            error = str(failure)
        with self._lock:
            held = self._held.get(plane)
            if held is not None:
                held.error = error
                if values is not None:
                    held.values[first:last] = values
                    held.rows = last

    def _band(self) -> int:
        """Rows of the overview that are made at a time: whole blocks of the file."""
        width, height = self.array.shape[4], (self.array.block or (1,) * 5)[3]
        cells = max(1, _BAND_BYTES // (width * self.dtype.itemsize * self.factor))
        block = math.lcm(height, self.factor) // self.factor
        return max(1, cells // block) * block if block <= 4 * cells else cells


def _average(reference: weakref.ref[Overview]) -> None:
    """Work for an overview as long as somebody has it."""
    told = time.monotonic()
    while True:
        overview = reference()
        if overview is None:
            return
        task = overview._next()
        if task is not None:
            overview._add(*task)
        if task is None or time.monotonic() - told > _PAUSE:
            told = time.monotonic()
            overview.changed()
        if task is None:
            return
        del overview


def _nothing() -> None:
    """Tell nobody."""
