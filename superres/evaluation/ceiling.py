"""How far noise in truth alone limits a score: a perfect prediction still differs from a noisy truth by its noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.degrade.noise import noise_of_image
from superres.errors import InputError

# Noise of a plain detector is white. Where it is not, the estimate holds texture or misses noise that was filtered.
_WHITE = 0.1


def psnr_ceiling(truth: NDArray[Any], *, data_range: float) -> float:
    """Return the PSNR of a perfect prediction of what truth shows without its noise, in decibel.

    The noise is measured in the flattest parts of the image (`noise_of_image`), as variance against grey level.

    Parameters
    ----------
    truth : ndarray
        (y, x), grey levels.
    data_range : float
        R, in grey levels.

    Returns
    -------
    float
        NaN when the noise cannot be told from structure: too few grey levels, or neighbours share it.
    """
    try:
        noise = noise_of_image(truth)
    except InputError:
        return math.nan
    if max(abs(lag) for lag in noise.correlation) > _WHITE:
        return math.nan
    levels = np.maximum(noise.gain * truth.astype(np.float64) + noise.constant, 0.0)
    variance = float(levels.mean())
    return 10 * math.log10(data_range**2 / variance) if variance > 0 else math.nan
