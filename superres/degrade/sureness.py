"""How sure a fit is: by how much the quarters of its windows disagree when each is fitted by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from superres.degrade.fields import Fields
from superres.degrade.fit import Fit, fit_again
from superres.degrade.microscope import NEGLIGIBLE
from superres.errors import InputError

LEVEL = 0.9
"""Share of intervals that hold the true value, if the quarters err independently."""

_SMALLEST = 48  # low voxels along Y and X of a quarter
_FEWEST = 3  # quarters that could be fitted


@dataclass(frozen=True, slots=True)
class Sureness:
    """Half-widths of intervals around fitted numbers; what errs alike in all quarters is not in them.

    Parameters
    ----------
    blur : float
        High voxels.
    photons : float
        At the top of the grey range.
    gain, offset, read_noise : float
        Grey levels.
    """

    blur: float
    photons: float
    gain: float
    offset: float
    read_noise: float


def sureness(fields: Fields, fit: Fit, *, seed: int = 0) -> Sureness | None:
    """Fit the four quarters of all windows, and return half-widths of intervals for the mean of four (Student's t).

    Returns
    -------
    Sureness or None
        None where windows are too small to be quartered, or fewer than three quarters can be fitted.
    """
    if min(fields.recorded.shape[1:]) < 2 * _SMALLEST:
        return None
    found = []
    for quarter in _quarters(fields):
        try:
            found.append(_numbers(fit_again(quarter, fit.microscope, seed=seed)))
        except InputError:  # nothing but background there
            continue
    if len(found) < _FEWEST:
        return None
    error = np.std(found, axis=0, ddof=1) / math.sqrt(len(found))
    blur, *others = (float(t.ppf(0.5 + LEVEL / 2, len(found) - 1) * one) for one in error)
    return Sureness(max(blur, NEGLIGIBLE) if fit.microscope.blur < NEGLIGIBLE else blur, *others)


def _numbers(fit: Fit) -> NDArray[np.float64]:
    detector = (fit.grey_levels_per_photon, fit.offset, fit.read_noise)
    return np.array([fit.microscope.blur, fit.microscope.photons, *(float(one.mean()) for one in detector)])


def _quarters(fields: Fields) -> Iterator[Fields]:
    height, width = (side // 2 for side in fields.recorded.shape[1:])
    _, fy, fx = fields.factor
    for y in (0, height):
        for x in (0, width):
            low = (slice(None), slice(y, y + height), slice(x, x + width))
            high = (slice(None), slice(y * fy, (y + height) * fy), slice(x * fx, (x + width) * fx))
            again = None if fields.again is None else fields.again[low]
            yield replace(fields, sharp=fields.sharp[high], recorded=fields.recorded[low], again=again)
