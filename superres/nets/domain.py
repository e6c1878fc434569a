"""Where a net is worth trusting more than interpolation, measured at the end of its training.

For every kind of place (how fine, how coarse its detail) it is known how much of the net's residual over bicubic
interpolation was right: the slope of the true residual on the predicted one. A weight of that size makes the smallest
squared error, and none below twice the slope makes one larger than interpolation's. Kinds that did not occur get the
weight of the nearest that did, and are named as unknown: damping them by themselves would cost several decibel in
empty areas, which are unlike any training image and easy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from superres.errors import ModelFileError
from superres.nets.statistics import Statistics

# Octaves of the standard deviation of the finest detail, in normalised intensity, and of coarser over finest detail.
_FINE = (-8.0, 0.5, 21)
_RATIO = (-1.5, 0.5, 12)
_FEWEST = 200  # voxels of a kind
# The slope from which on the whole residual is kept. Weights stay below twice the slope, so that they do not harm
# where a measured slope is somewhat too large.
_KEPT = 0.75
_TINY = 1e-12
# Shares of the training's local grey levels outside its range at either end, and the width, in normalised
# intensity, in which the weight falls to 0 beyond.
_OUTSIDE = 1e-3
_RAMP = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What a net was trained on, as far as the guard needs it.

    Parameters
    ----------
    weights : ndarray
        float32, (fine, ratio); share of the residual that is kept, NaN for kinds that did not occur.
    level : tuple of float
        Lowest and highest local mean, normalised intensity.
    trial : float or None
        Slope that trials on the training images themselves gave (`superres.nets.trial`); None where there were none.
    """

    weights: NDArray[np.float32]
    level: tuple[float, float]
    trial: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads; kinds that did not occur are null."""
        rows = [[None if np.isnan(w) else round(float(w), 2) for w in row] for row in self.weights]
        return {
            "fine": list(_FINE),
            "ratio": list(_RATIO),
            "weights": rows,
            "level": [round(value, 4) for value in self.level],
            "trial": None if self.trial is None else round(self.trial, 3),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Domain | None:
        """Rebuild from a model file's header; None where it says nothing.

        Raises
        ------
        ModelFileError
            When it was written by a version with other kinds.
        """
        if not content:
            return None
        if content.get("fine") != list(_FINE) or content.get("ratio") != list(_RATIO):
            raise ModelFileError("the model's record of its training data is of another version; update superres")
        rows = [[np.nan if w is None else w for w in row] for row in content["weights"]]
        if all(np.isnan(w) for row in rows for w in row):
            return None
        level = (float(content["level"][0]), float(content["level"][1]))
        return cls(np.array(rows, np.float32), level, content.get("trial"))

    def weigh(self, found: Statistics) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for every voxel, the weight, how far its kind is known (0 to 1), and whether its level is.

        Returns
        -------
        tuple of Tensor
            float32 of the shape of the statistics; the weight holds the last one.
        """
        missing = np.isnan(self.weights)
        known = torch.from_numpy(~missing).float().to(found.level.device)
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        table = torch.from_numpy(self.weights[tuple(nearest)]).to(found.level.device)
        places = _places(found)
        weight, familiar = _between(table, *places), _between(known, *places)
        beyond = torch.maximum(self.level[0] - found.level, found.level - self.level[1]).clamp_min_(0)
        inside = (1 - beyond / _RAMP).clamp_min_(0)
        return weight * inside, familiar, inside


class DomainTally:
    """Sums from which a `Domain` is made, batch by batch."""

    def __init__(self) -> None:
        shape = (_FINE[2], _RATIO[2])
        self._right, self._made, self._count = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self._levels: list[NDArray[np.float32]] = []

    def add(self, found: Statistics, right: Tensor, made: Tensor) -> None:
        """Count voxels.

        Parameters
        ----------
        found : Statistics
            Of the recording, any shape.
        right, made : Tensor
            Of the same shape: predicted times true residual, and predicted residual squared, averaged over the
            sub-voxels.
        """
        rows, columns = (place.round().long().flatten().cpu().numpy() for place in _places(found))
        for total, values in ((self._right, right), (self._made, made), (self._count, torch.ones_like(made))):
            np.add.at(total, (rows, columns), values.flatten().double().cpu().numpy())
        self._levels.append(found.level.flatten()[::16].cpu().numpy())

    def domain(self) -> Domain | None:
        """Return what was measured; None where nothing was."""
        if not self._levels:
            return None
        slope = self._right / np.maximum(self._made, _TINY)
        # Where the net adds nothing there is nothing to damp.
        slope = np.where(self._made / np.maximum(self._count, 1) < _TINY, 1.0, slope)
        weights = np.where(self._count >= _FEWEST, np.clip(slope / _KEPT, 0, 1), np.nan)
        lowest, highest = np.quantile(np.concatenate(self._levels), [_OUTSIDE, 1 - _OUTSIDE])
        return Domain(weights.astype(np.float32), (float(lowest), float(highest)))


def _places(found: Statistics) -> tuple[Tensor, Tensor]:
    """Return the place in the table, in cells, clamped to it."""
    fine = found.fine.clamp_min(_TINY)
    octaves = (0.5 * torch.log2(fine), 0.5 * torch.log2(found.coarse.clamp_min(_TINY) / fine))
    first, second = (
        ((value - grid[0]) / grid[1]).clamp_(0, grid[2] - 1)
        for value, grid in zip(octaves, (_FINE, _RATIO), strict=True)
    )
    return first, second


def _between(table: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Interpolate a table linearly."""
    top, left = row.floor().clamp_max(table.shape[0] - 2), column.floor().clamp_max(table.shape[1] - 2)
    down, right = row - top, column - left
    index = top.long() * table.shape[1] + left.long()
    corners = [table.flatten()[index + step] for step in (0, 1, table.shape[1], table.shape[1] + 1)]
    upper = corners[0] * (1 - right) + corners[1] * right
    lower = corners[2] * (1 - right) + corners[3] * right
    return upper * (1 - down) + lower * down
