"""The loss around the final weights of a training: what was measured, and its figures as plain values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.evaluation.loss_surface import Measured, Place

FORMAT = "superres-landscape-1"


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One of the two directions of a map.

    Parameters
    ----------
    name, unit : str
        What it is, and what its numbers count.
    explained : float or None
        Its share of the variance of the path; None for a random direction.
    values : ndarray
        float64, the positions of the map along it; 0 are the final weights.
    """

    name: str
    unit: str
    explained: float | None
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stop:
    """A snapshot on the path of a training.

    Parameters
    ----------
    step : int
        Steps that were done.
    place : tuple of float
        Where it lies on the map, along the first and the second axis.
    loss, psnr : float
        Of the snapshot itself.
    below : float
        Loss on the map at its place; the snapshot lies off the plane of the map.
    inside : float
        How much of its squared distance to the final weights lies in the plane, 0 to 1.
    """

    step: int
    place: Place
    loss: float
    psnr: float
    below: float
    inside: float


@dataclass(frozen=True, slots=True, eq=False)
class Landscape:
    """The loss around the final weights of a training.

    Parameters
    ----------
    name : str
        The model's.
    run : Path
        The run folder.
    axes : tuple of Axis
        First and second direction.
    loss, psnr : ndarray
        float64, (second, first), of the nets of the map; PSNR in dB, mean of the patches.
    final : Measured
        Of the final weights.
    path : tuple of Stop
        The snapshots in their order; empty without.
    explained : tuple of float
        Shares that all directions have of the variance of the path, falling; empty without.
    patches : str
        What the loss was measured on.
    seed : int
        Of the random directions.
    notes : tuple of str
        What a person should know.
    page, data : Path
        Where it is drawn, and where the figures lie.
    """

    name: str
    run: Path
    axes: tuple[Axis, Axis]
    loss: NDArray[np.float64]
    psnr: NDArray[np.float64]
    final: Measured
    path: tuple[Stop, ...]
    explained: tuple[float, ...]
    patches: str
    seed: int
    notes: tuple[str, ...]
    page: Path
    data: Path


def to_json(found: Landscape) -> dict[str, Any]:
    """Return all figures as plain values; what is not finite is null."""
    axes = [
        {"name": one.name, "unit": one.unit, "explained": one.explained, "values": one.values.tolist()}
        for one in found.axes
    ]
    plain: dict[str, Any] = {
        "format": FORMAT,
        "name": found.name,
        "run": str(found.run),
        "axes": axes,
        "final": found.final._asdict(),
        "path": [asdict(stop) for stop in found.path],
        "explained": list(found.explained),
        "patches": found.patches,
        "seed": found.seed,
        "notes": list(found.notes),
        "loss": found.loss.tolist(),
        "psnr": found.psnr.tolist(),
    }
    whole: dict[str, Any] = _finite(plain)
    return whole


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
