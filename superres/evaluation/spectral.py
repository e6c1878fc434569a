"""How much of a prediction's detail is right, by spatial frequency.

Two bands are told apart: what the low image can hold (up to its Nyquist frequency along Y and X), and what lies beyond,
which a method must supply from what it has learnt. Both are compared with truth, so that invented detail counts as
error and not as sharpness.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from superres.evaluation.planes import paired
from superres.evaluation.resolution import Correlation, correlate_spectra, windowed_spectrum


def band_errors(truth: NDArray[Any], prediction: NDArray[Any], *, factor: tuple[int, int]) -> tuple[float, float]:
    """Return the relative spectral error below and above the Nyquist frequency of the low image.

    With the transforms G of truth and X of the prediction it is ``sqrt(sum |X - G|^2 / sum |G|^2)`` over a band: 0 for
    a perfect prediction, 1 for one that holds nothing there, more for one that invents. Means are subtracted and the
    borders tapered; gains are not removed.

    Parameters
    ----------
    truth, prediction : ndarray
        (y, x).
    factor : tuple of int
        Along Y and X.

    Returns
    -------
    tuple of float
        Below (or at) and above. NaN where truth holds nothing in a band, as above Nyquist without upscaling.
    """
    g, x = paired(truth, prediction)
    return band_errors_of(windowed_spectrum(g), windowed_spectrum(x), g.shape, factor=factor)


def band_errors_of(
    truth: NDArray[np.complex128],
    prediction: NDArray[np.complex128],
    shape: tuple[int, ...],
    *,
    factor: tuple[int, int],
) -> tuple[float, float]:
    """Return the errors of `band_errors` from the two spectra of planes of one shape."""
    y, x = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
    below = (np.abs(y)[:, None] <= 0.5 / factor[0]) & (x <= 0.5 / factor[1])
    # A column of the half transform stands for two of the whole, save the first and, for even sizes, the last.
    weight = np.where((x == 0) | (x == 0.5), 1.0, 2.0)
    error, power = ((s.real**2 + s.imag**2) * weight for s in (prediction - truth, truth))
    return _share(error, power, below), _share(error, power, ~below)


def truth_correlation(
    truth: NDArray[np.complex128],
    prediction: NDArray[np.complex128],
    shape: tuple[int, ...],
    *,
    voxel_size: tuple[float | None, float | None],
) -> Correlation:
    """Correlate the spectra of a prediction and of truth ring by ring.

    Parameters
    ----------
    voxel_size : tuple of float or None
        Y and X of truth. Rings are round in space where it is known, and on the grid where it is not.

    Returns
    -------
    Correlation
        Its frequencies are in cycles per voxel along X.
    """
    y, x = voxel_size
    spacing = (1.0, 1.0) if y is None or x is None else (y / x, 1.0)
    return correlate_spectra(truth, prediction, shape, spacing=spacing)


def truth_resolution(correlation: Correlation) -> float:
    """Return down to which period a prediction tells the same as truth, in voxels (along X).

    The period at which the correlation falls below 0.5 (see `Correlation.resolution`); two voxels, the finest that the
    grid can hold, where it never does.
    """
    found = correlation.resolution("0.5")
    return 1 / float(correlation.frequency[-1]) if math.isnan(found) else found


def _share(error: NDArray[np.float64], power: NDArray[np.float64], band: NDArray[np.bool_]) -> float:
    total = float(power[band].sum())
    return math.sqrt(float(error[band].sum()) / total) if total > 0 else math.nan
