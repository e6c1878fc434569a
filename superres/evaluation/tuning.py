"""Settings of baselines, chosen by mean PSNR on a few images."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from superres.evaluation.baselines import Recording, restore
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.psf import Optics

DECONVOLUTIONS = ("wiener", "richardson-lucy")
"""The baselines that have a point spread function."""

_BLURS = (0.0, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)

GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "gaussian": {"sigma": (0.0, *(round(0.125 * 2 ** (i / 4), 3) for i in range(25)))},
    "nlm": {"strength": (0.0, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)},
    "wiener": {"sigma": _BLURS, "balance": tuple(10.0**i for i in range(-6, 5))},
    "richardson-lucy": {"sigma": _BLURS, "iterations": tuple(float(2**i) for i in range(9))},
}
"""Candidates of every tuned setting: sigma in low voxels; strength in standard deviations of the noise; balance and
iterations as in `superres.evaluation.deconvolution`."""

_WORTHWHILE = 0.01  # decibel; more iterations that gain less end the search
_ROUNDS = 3  # of halving the step around the best; sigma and balance make up for each other, so one is not enough
_WIDE = 1.0  # low voxels; from here on two sigmas in a row that are worse end the search
# No end of the grid: there is nothing beyond it.
_NATURAL_ENDS = {("sigma", 0.0), ("strength", 0.0), ("iterations", 1.0)}

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings of a tuned baseline.

    Parameters
    ----------
    values : mapping
        The settings, as in `GRIDS`.
    psnr : float
        Mean over the images that it was tuned on, in decibel; NaN when not tuned.
    grid : mapping
        What was tried: smallest and largest candidate of each setting, and how many.
    at_edge : tuple of str
        Settings whose best value is the end of the grid: better ones may lie beyond.
    seconds : float
        That the tuning took.
    """

    values: Mapping[str, float]
    psnr: float = math.nan
    grid: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)
    at_edge: tuple[str, ...] = ()
    seconds: float = math.nan


@dataclass(frozen=True, slots=True)
class TuningImage:
    """One channel of a low image with its truth.

    Parameters
    ----------
    recording : Recording
        The low image.
    truth : ndarray
        (z * fz, y * fy, x * fx), on the same grey scale.
    data_range : float
        R of the PSNR.
    """

    recording: Recording
    truth: NDArray[Any]
    data_range: float


def tune(name: str, images: Sequence[TuningImage], optics: Optics, *, crop: int) -> Tuning:
    """Find the settings of `GRIDS` with the best mean PSNR: on a grid, then in ever smaller steps around its best.

    With iterations the error first falls and then rises as noise is fitted, so for each sigma the search ends with
    the first number of iterations that gains nothing over those before.

    Parameters
    ----------
    name : str
        A key of `GRIDS`.
    images : sequence of TuningImage
        At least one.
    optics : Optics
        Factor; where it holds a point spread function, sigma of the deconvolutions is not tuned.
    crop : int
        Low voxels left out at the borders along Y and X.
    """
    started = time.perf_counter()
    grid = {key: values for key, values in GRIDS[name].items() if not _is_known(name, key, optics)}
    border = crop * optics.factor[1], crop * optics.factor[2]
    scores: dict[Point, float] = {}

    def score(point: Point) -> float:
        if point not in scores:
            settings = dict(zip(grid, point, strict=True))
            runs = (restore(name, image.recording, optics, settings) for image in images)
            scores[point] = _mean_psnr(images, runs, border)
        return scores[point]

    *outer, inmost = grid.values()
    patience = _WORTHWHILE if name == "richardson-lucy" else -math.inf
    best = _best_outer(outer[0], inmost, score, patience) if outer else _best_along((), inmost, score, patience)
    tried = {key: set(values) for key, values in grid.items()}
    for _ in range(_ROUNDS):
        around = [_around(value, key, tried[key]) for key, value in zip(grid, best, strict=True)]
        best = max((best, *itertools.product(*around)), key=score)
    return Tuning(
        dict(zip(grid, best, strict=True)),
        scores[best],
        {key: (values[0], values[-1], len(values)) for key, values in grid.items()},
        tuple(key for key, value in zip(grid, best, strict=True) if _is_end(key, value, grid[key])),
        round(time.perf_counter() - started, 2),
    )


def _is_known(name: str, key: str, optics: Optics) -> bool:
    return key == "sigma" and name in DECONVOLUTIONS and optics.psf is not None


def _mean_psnr(images: Sequence[TuningImage], runs: Any, border: tuple[int, int]) -> float:
    values = [
        psnr(inner(image.truth, border), inner(run, border), data_range=image.data_range)
        for image, run in zip(images, runs, strict=True)
    ]
    return math.fsum(values) / len(values)


def _best_along(before: Point, values: Sequence[float], score: Callable[[Point], float], patience: float) -> Point:
    """Return the best point along the last setting; one that gains less than `patience` ends the search."""
    best = (*before, values[0])
    for value in values[1:]:
        gain = score((*before, value)) - score(best)
        best = (*before, value) if gain > 0 else best
        if gain < patience:
            break
    return best


def _best_outer(
    sigmas: Sequence[float], values: Sequence[float], score: Callable[[Point], float], patience: float
) -> Point:
    best = _best_along((sigmas[0],), values, score, patience)
    worse = 0
    for sigma in sigmas[1:]:
        found = _best_along((sigma,), values, score, patience)
        worse = 0 if score(found) > score(best) else worse + 1
        best = found if worse == 0 else best
        if sigma > _WIDE and worse >= 2:
            break
    return best


def _around(value: float, key: str, tried: set[float]) -> list[float]:
    """Return a value and those half way to the nearest ones that were tried, which are added to them."""
    grid = sorted(tried)
    place = grid.index(value)
    neighbours = grid[max(0, place - 1) : place] + grid[place + 1 : place + 2]
    found = [math.sqrt(value * other) if min(value, other) > 0 else (value + other) / 2 for other in neighbours]
    between = {float(round(v)) if key == "iterations" else float(f"{v:.4g}") for v in found}
    tried |= between
    return sorted({value, *between})


def _is_end(key: str, value: float, grid: Sequence[float]) -> bool:
    return len(grid) > 1 and value in (grid[0], grid[-1]) and (key, value) not in _NATURAL_ENDS
