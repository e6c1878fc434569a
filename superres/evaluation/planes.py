"""What every metric asks of its two planes: the same grid, finite values, a range above 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets.pairs import factor_between
from superres.errors import InputError


def paired(truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two images as float64.

    Raises
    ------
    InputError
        When they lie on different grids (naming the factor between them, where there is one), are empty, or hold NaN
        or infinite values.
    """
    if truth.shape != prediction.shape:
        raise InputError(grid_message(truth.shape, prediction.shape))
    if truth.size == 0:
        raise InputError(f"empty images of shape {truth.shape} found; leave out less at the borders")
    g, x = truth.astype(np.float64), prediction.astype(np.float64)
    for name, values in (("truth", g), ("prediction", x)):
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise InputError(
                f"{name} holds {bad} NaN or infinite values of {values.size}; cut the region without them, no figure "
                "is defined where values are missing"
            )
    return g, x


def require_range(data_range: float) -> None:
    """Refuse a data range that is no range.

    Raises
    ------
    InputError
        When it is not a number above 0, as for a constant truth.
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise InputError(
            f"data range {data_range:g} found, more than 0 grey levels expected; a constant truth has none: leave the "
            "plane out, or give the range of the detector"
        )


def grid_message(truth: tuple[int, ...], prediction: tuple[int, ...]) -> str:
    """Say that a prediction lies on another grid than truth, and which factor would fit."""
    found = f"prediction of shape {_times(prediction)} found for truth of shape {_times(truth)}"
    missing = factor_between(prediction, truth)
    if missing is not None:
        return f"{found}: truth is {_times(missing)} times as large, so a factor of {list(missing)} is missing"
    surplus = factor_between(truth, prediction)
    if surplus is not None:
        return f"{found}: the prediction is {_times(surplus)} times as large, so its factor is too large by that much"
    return f"{found}: no whole factor lies between them; crop both to the same field"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
