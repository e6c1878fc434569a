"""What a fit is made on: windows of sharp images and of recordings, all of one size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from superres.degrade.microscope import Triple


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """Sharp and recorded windows of one size.

    Parameters
    ----------
    sharp : ndarray
        float32, (n, y * fy, x * fx), shares of the grey range.
    recorded : ndarray
        float64, (m, y, x), grey levels.
    again : ndarray or None
        float64, (m, y, x), the same fields recorded once more.
    files : ndarray
        int, (m,), which recorded file each window is from.
    paired : bool
        Whether the i-th sharp window shows the i-th recorded field (then n = m).
    factor : tuple of int
        Along Z, Y, X; Z is 1.
    """

    sharp: NDArray[np.float32]
    recorded: NDArray[np.float64]
    again: NDArray[np.float64] | None
    files: NDArray[np.intp]
    paired: bool
    factor: Triple

    def of_file(self, number: int) -> Fields:
        """Return what is known of one recorded file; sharp windows that belong to none stay."""
        own = self.files == number
        again = None if self.again is None else self.again[own]
        sharp = self.sharp[own] if self.paired else self.sharp
        return replace(self, sharp=sharp, recorded=self.recorded[own], again=again, files=self.files[own])
