"""Interpolation baselines: nearest, bilinear, bicubic and Lanczos upsampling by integer factors.

Samples sit at pixel centres: high voxel i lies at (i + 0.5) / factor - 0.5 in low voxels, so that a low voxel covers
exactly its block of high voxels and nothing shifts. Edge voxels are repeated.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

RESAMPLERS = {
    "nearest": "each low voxel repeated over its block",
    "bilinear": "linear, separable, pixel centres aligned, edge voxels repeated",
    "bicubic": "cubic convolution, a = -0.5 (Keys 1981), separable, pixel centres aligned, edge voxels repeated",
    "lanczos": "Lanczos-3, taps normalised to sum 1, separable, pixel centres aligned, edge voxels repeated",
}
"""What each interpolation is, in words, for reports."""

_RADIUS = {"bilinear": 1, "bicubic": 2, "lanczos": 3}


def upsample(low: NDArray[Any], factor: tuple[int, int, int], *, how: Interpolation) -> NDArray[np.float64]:
    """Upsample along Z, Y and X.

    Parameters
    ----------
    low : ndarray
        (..., z, y, x), any real dtype.
    factor : tuple of int
        Along Z, Y, X; an axis of factor 1 is left as it is.

    Returns
    -------
    ndarray
        float64, (..., z * fz, y * fy, x * fx), on the grey scale of `low`; cubic and Lanczos may overshoot it.
    """
    high = low.astype(np.float64)
    for axis, f in zip((-3, -2, -1), factor, strict=True):
        if f > 1:
            high = np.repeat(high, f, axis=axis) if how == "nearest" else _along(high, axis, interpolation_taps(f, how))
    return high


def interpolation_taps(factor: int, how: Literal["bilinear", "bicubic", "lanczos"]) -> NDArray[np.float64]:
    """Return the weights that give each sub-voxel.

    Returns
    -------
    ndarray
        float64, (factor, 2 r + 1): row p weighs the voxels at -r ... +r around the voxel that sub-voxel p lies in.
    """
    radius = _RADIUS[how]
    positions = (np.arange(factor) + 0.5) / factor - 0.5
    distance = positions[:, None] - np.arange(-radius, radius + 1)
    taps = _KERNELS[how](distance)
    normalised: NDArray[np.float64] = taps / taps.sum(axis=1, keepdims=True)
    return normalised


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = np.maximum(1 - np.abs(distance), 0.0)
    return weights


def _cubic(distance: NDArray[np.float64], a: float = -0.5) -> NDArray[np.float64]:
    """Cubic convolution kernel (Keys 1981, IEEE TASSP 29:1153); a = -0.5 reproduces parabolas."""
    x = np.abs(distance)
    centre = (a + 2) * x**3 - (a + 3) * x**2 + 1
    flank = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, centre, np.where(x < 2, flank, 0.0))


def _lanczos(distance: NDArray[np.float64], lobes: int = 3) -> NDArray[np.float64]:
    """Sinc windowed by its own main lobe, `lobes` wide (Duchon 1979, J. Appl. Meteorol. 18:1016)."""
    return np.where(np.abs(distance) < lobes, np.sinc(distance) * np.sinc(distance / lobes), 0.0)


_KERNELS = {"bilinear": _linear, "bicubic": _cubic, "lanczos": _lanczos}


def _along(image: NDArray[np.float64], axis: int, taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upsample one axis, polyphase: sub-voxel p of every voxel has the same weights."""
    factor, width = taps.shape
    radius = width // 2
    source = np.moveaxis(image, axis, -1)
    length = source.shape[-1]
    padded = np.pad(source, [(0, 0)] * (source.ndim - 1) + [(radius, radius)], mode="edge")
    out = np.zeros((*source.shape, factor))
    for k in range(width):
        out += padded[..., k : k + length, None] * taps[:, k]
    return np.moveaxis(out.reshape(*source.shape[:-1], length * factor), -1, axis)
