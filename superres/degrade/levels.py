"""Grey levels of recordings against the light of sharp images: contrast and offset, by quantiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.degrade.noise import dark_level
from superres.errors import InputError

_SMOOTHING = 2.0
_LEVELS = np.linspace(0.002, 0.998, 400)


def level_line(light: NDArray[np.float64], recorded: NDArray[np.float64]) -> tuple[float, float]:
    """Return contrast and offset, ``recorded = light * contrast + offset``, of images of one field; (n, y, x) both.

    Raises
    ------
    InputError
        When the light is constant.
    """
    x, y = (np.quantile(_smooth(images), _LEVELS) for images in (light, recorded))
    if x[0] == x[-1]:
        raise InputError(
            f"sharp image is constant ({x[0]:g} of its grey range) where it was recorded; give one with structure"
        )
    slope, shift = np.polyfit(x, y, 1)
    return float(slope), float(shift)


def dark_line(light: NDArray[np.float64], recorded: NDArray[np.float64]) -> tuple[float, float]:
    """Match fields of different specimens: their empty areas agree, whatever else is in them."""
    x, y = (np.quantile(_smooth(images), _LEVELS) for images in (light, recorded))
    dark = [dark_level(images) for images in (light, recorded)]
    slope = float((x - dark[0]) @ (y - dark[1]) / np.square(x - dark[0]).sum())
    return slope, dark[1] - slope * dark[0]


def agreed(ends: list[float | None]) -> float | None:
    """Return the mean of the ends at which recordings are clipped; None if most are not."""
    known = [end for end in ends if end is not None]
    return float(np.mean(known)) if 2 * len(known) > len(ends) else None


def _smooth(images: NDArray[np.float64]) -> NDArray[np.float64]:
    planes = (0.0,) * (images.ndim - 2)
    smooth: NDArray[np.float64] = gaussian_filter(images, (*planes, _SMOOTHING, _SMOOTHING))
    return smooth
