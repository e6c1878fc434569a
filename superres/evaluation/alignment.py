"""The score of a prediction that lies a little off truth.

A perfect output that is half a voxel off scores below interpolation, so where images were registered, or a method moves
them, a plain score measures the shift. The tolerant score stands beside it, never instead of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import shift as move

from superres.evaluation.metrics import inner, psnr
from superres.evaluation.planes import paired
from superres.evaluation.resolution import windowed_spectrum

REACH = 1.0
"""Largest shift along Y and X that is tried, in voxels of truth."""

_STEPS = (0.1, 0.01)  # voxels; each search is on a grid around the best place of the one before


def tolerant_psnr(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    *,
    data_range: float,
    crop: tuple[int, int] = (0, 0),
    spectra: tuple[NDArray[np.complex128], NDArray[np.complex128]] | None = None,
) -> tuple[float, tuple[float, float]]:
    """Return the PSNR after the best shift of up to a voxel along Y and X, and that shift.

    The shift maximises the correlation with truth, in steps of 0.01 voxel; the prediction is moved by a cubic spline
    with its edges repeated. No shift is the answer where moving does not help.

    Parameters
    ----------
    truth, prediction : ndarray
        (y, x), with their borders.
    data_range : float
        R, in grey levels.
    crop : tuple of int
        Voxels left out at every border, after the prediction was moved.
    spectra : tuple of ndarray, optional
        `windowed_spectrum` of both planes without `crop`, when known.

    Returns
    -------
    tuple
        Decibel, at least the plain PSNR; (y, x) in voxels of truth by which the prediction was moved.
    """
    g, x = paired(truth, prediction)
    target = inner(g, crop)
    first, second = spectra or (windowed_spectrum(target), windowed_spectrum(inner(x, crop)))
    plain = psnr(target, inner(x, crop), data_range=data_range)
    shift = best_shift(first, second, target.shape)
    if shift == (0.0, 0.0) or math.isinf(plain):
        return plain, (0.0, 0.0)
    # The window, which stays where it is, draws the shift towards 0: what is left is measured on the moved prediction.
    rest = best_shift(first, windowed_spectrum(inner(_moved(x, shift), crop)), target.shape)
    shift = _within_reach(shift[0] + rest[0]), _within_reach(shift[1] + rest[1])
    moved = psnr(target, inner(_moved(x, shift), crop), data_range=data_range)
    return (moved, shift) if moved > plain else (plain, (0.0, 0.0))


def best_shift(
    truth: NDArray[np.complex128], prediction: NDArray[np.complex128], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Return by how much a prediction must be moved, along Y and X, to correlate best with truth.

    Parameters
    ----------
    truth, prediction : ndarray
        `windowed_spectrum` of planes of one shape.

    Returns
    -------
    tuple of float
        Voxels, at most `REACH` each, in steps of 0.01.
    """
    y, x = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
    cross = truth * prediction.conj() * np.where((x == 0) | (x == 0.5), 1.0, 2.0)
    centre, reach = np.zeros(2), REACH
    for step in _STEPS:
        count = round(reach / step)
        offsets = np.arange(-count, count + 1) * step
        rows, columns = (np.clip(middle + offsets, -REACH, REACH) for middle in centre)
        # The correlation at a shift is one value of an inverse transform: two small matrix products give a grid.
        along_y = np.exp(2j * np.pi * rows[:, None] * y)
        along_x = np.exp(2j * np.pi * x[:, None] * columns)
        values = (along_y @ cross @ along_x).real
        row, column = np.unravel_index(int(np.argmax(values)), values.shape)
        centre, reach = np.array([rows[row], columns[column]]), step
    return round(float(centre[0]), 2) + 0.0, round(float(centre[1]), 2) + 0.0


def _moved(plane: NDArray[np.float64], shift: tuple[float, float]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = move(plane, shift, order=3, mode="nearest")
    return moved


def _within_reach(shift: float) -> float:
    return round(min(max(shift, -REACH), REACH), 2) + 0.0
