"""The guard: the net's residual over bicubic interpolation is damped where there is reason not to believe it.

Four reasons, each a weight from 0 to 1 on the grid of the recording, multiplied:

- The prediction, recorded again, deviates from the recording by more than its noise: the net erased or added something.
  With deviations of `chi2` times the variance of the noise, the share of the residual that makes the smallest error
  within the microscope's band is about ``1 / chi2`` (error of the recording over that of the difference). Its square is
  taken: a net that errs where the recording shows it is not to be believed in finer detail, which nothing shows.
- A deviation over several voxels that noise does not explain (`superres.inference.consistency`).
- Places of this kind that the net did worse on than interpolation when it was trained (`superres.nets.domain`).
- The net restores the recording itself, made coarser, worse than it did with its training images: one weight for the
  whole channel (`superres.nets.trial`).

The weight of a voxel depends on what lies within `Guard.reach` and never on the tile; sums are over shifted views in a
fixed order, so that tiled and untiled results agree in every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.degrade.noise_line import NoiseLine
from superres.degrade.transfer import Transfer
from superres.inference.consistency import SMOOTHING, SUSPICIOUS
from superres.inference.plan import TilePlan
from superres.nets import resample
from superres.nets.domain import Domain
from superres.nets.statistics import RADIUS, WINDOW_RADIUS, local_statistics, spread
from superres.nets.trial import Trial
from superres.volumes.edges import mirrored

Place = tuple[slice, slice]
"""Rows and columns."""

# Excess of deviations over noise that is still chance: averages over a window scatter by a seventh.
_CHANCE = 1.2
# Standard deviations at which nothing of the residual is left.
_HOPELESS = 2 * SUSPICIOUS
_KNOWN = 0.5
_INTERPOLATED = 1  # low voxels that the linear interpolation of weights reaches


class Evidence(NamedTuple):
    """What was found for the core of a tile, float32 or bool, (rows, columns) of the low grid.

    Parameters
    ----------
    weight : ndarray
        Share of the net's residual that is kept.
    z : ndarray
        Deviation of the net's own prediction from the recording, standard deviations, averaged over neighbours; NaN
        where it is not known.
    square : ndarray
        Squared deviation of single voxels, in variances of the noise; NaN where it is not known.
    unfamiliar, out_of_range : ndarray
        Whether the place is of a kind, or of a grey level, that the training data did not hold.
    """

    weight: NDArray[np.float32]
    z: NDArray[np.float32]
    square: NDArray[np.float32]
    unfamiliar: NDArray[np.bool_]
    out_of_range: NDArray[np.bool_]

    def part(self, rows: slice, columns: slice) -> Evidence:
        """Return what was found in a part of the core."""
        place = (rows, columns)
        return Evidence(
            self.weight[place], self.z[place], self.square[place], self.unfamiliar[place], self.out_of_range[place]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """What one channel of a recording is guarded by.

    Parameters
    ----------
    transfer : Transfer or None
        How a prediction is recorded again; None where the model does not say.
    noise : NoiseLine or None
        Of the channel, normalised intensity; None where it could not be measured.
    domain : Domain or None
        What the net was trained on; None in older models.
    trial : Trial or None
        How the net did on the recording made coarser.
    """

    transfer: Transfer | None
    noise: NoiseLine | None
    domain: Domain | None
    trial: Trial | None = None

    @property
    def compares(self) -> bool:
        """Whether predictions are compared with the recording."""
        return self.transfer is not None and self.noise is not None

    @property
    def reach(self) -> int:
        """Low voxels around the core at which the prediction must be known, too."""
        if self.transfer is None or self.noise is None:
            return 0
        return WINDOW_RADIUS + _INTERPOLATED + self.transfer.reach

    def examine(
        self, low: NDArray[np.float32], pred: NDArray[np.float32], plan: TilePlan, grown: Place, core: Place
    ) -> tuple[Tensor, Evidence]:
        """Weigh the core of a tile.

        Parameters
        ----------
        low : ndarray
            float32, (y, x), normalised intensity: `core` and `RADIUS` + 1 voxels around it, mirrored at the image's
            edges.
        pred : ndarray
            float32, (y * fy, x * fx), normalised intensity: all of `grown`.
        plan : TilePlan
            Shape of the plane.
        grown, core : tuple of slice
            Rows and columns of the low grid: the tile with the `reach` around it, inside the image, and without.

        Returns
        -------
        tuple
            The weight with one more voxel on every side, for interpolation, and what was found.
        """
        found = torch.from_numpy(low)
        inner = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))
        whole = 1.0 if self.trial is None else self.trial.weight
        weight = torch.full_like(found[inner], whole)
        unfamiliar = out_of_range = torch.zeros_like(found[inner], dtype=torch.bool)
        if self.domain is not None:
            statistics = local_statistics(found)
            kept, familiar, inside = self.domain.weigh(type(statistics)(*(part[inner] for part in statistics)))
            weight, unfamiliar, out_of_range = weight * kept, familiar < _KNOWN, inside < 1
        z = square = torch.full_like(weight, torch.nan)
        if self.compares:
            z, square, chi2 = self._deviations(found, torch.from_numpy(pred), plan, grown, core)
            share = _CHANCE / chi2.clamp_min(_CHANCE)
            weight = weight * share * share
            weight = weight * ((_HOPELESS - z.abs()) / (_HOPELESS - SUSPICIOUS)).clamp(0, 1)
        middle = (slice(1, -1), slice(1, -1))
        parts = [part[middle].contiguous().numpy() for part in (weight, z, square, unfamiliar, out_of_range)]
        return weight, Evidence(*parts)

    def _deviations(
        self, low: Tensor, pred: Tensor, plan: TilePlan, grown: Place, core: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for the core and one voxel around it: z, squared single deviations, and their local mean."""
        assert self.transfer is not None and self.noise is not None
        mean = self.transfer.record(pred)
        for axis, (whole, part, length) in enumerate(zip(grown, core, plan.shape[1:], strict=True)):
            edge = WINDOW_RADIUS + _INTERPOLATED
            index = torch.from_numpy(mirrored(part.start - edge, part.stop + edge, length) - whole.start)
            mean = mean.index_select(axis, index)
        cut = RADIUS - WINDOW_RADIUS
        single = (mean - low[cut : low.shape[0] - cut, cut : low.shape[1] - cut]) / self.noise.variance(mean).sqrt()
        inner = (slice(WINDOW_RADIUS, -WINDOW_RADIUS), slice(WINDOW_RADIUS, -WINDOW_RADIUS))
        squares = single * single
        return averaged(single)[inner], squares[inner], spread(squares)[inner]


def averaged(single: Tensor) -> Tensor:
    """Average deviations over neighbours, scaled so that white noise of variance 1 keeps it; shape as `single`."""
    taps = [float(tap) for tap in resample.gaussian_taps(SMOOTHING)]
    scale = 1 / sum(tap * tap for tap in taps)
    radius = len(taps) // 2
    for axis in (0, 1):
        length = single.shape[axis]
        index = torch.arange(-radius, length + radius).clamp_(0, length - 1)
        wide = single.index_select(axis, index)
        total = wide.narrow(axis, 0, length) * taps[0]
        for number, tap in enumerate(taps[1:], start=1):
            total = total.add_(wide.narrow(axis, number, length) * tap)
        single = total
    return single * scale


def damped(pred: NDArray[np.float32], plain: Callable[[], NDArray[np.float32]], weight: Tensor) -> NDArray[np.float32]:
    """Damp the residual of a prediction.

    Parameters
    ----------
    pred : ndarray
        float32, (y * fy, x * fx).
    plain : callable
        Gives bicubic interpolation of the same voxels; asked only where something is damped.
    weight : Tensor
        float32, (y + 2, x + 2), one more voxel on every side.
    """
    if bool((weight >= 1).all()):
        return pred
    own, (fy, fx) = torch.from_numpy(pred), [n // (w - 2) for n, w in zip(pred.shape, weight.shape, strict=True)]
    less = own - torch.from_numpy(plain())
    # Column by column of a voxel's sub-voxels, so that the weights of all are never there at once.
    columns = less.view(len(less), -1, fx)
    for phase, share in enumerate(_phases(_finer(weight, 0, fy), 1, fx)):
        columns[..., phase] *= 1 - share
    kept: NDArray[np.float32] = torch.sub(own, less, out=less).numpy()
    return kept


def _finer(weight: Tensor, axis: int, factor: int) -> Tensor:
    """Interpolate linearly along one axis, from n + 2 to n * factor voxels."""
    return torch.stack(list(_phases(weight, axis, factor)), dim=axis + 1).flatten(axis, axis + 1)


def _phases(weight: Tensor, axis: int, factor: int) -> Iterator[Tensor]:
    """Interpolate linearly, voxel centres half a voxel off an edge; give all first sub-voxels, then all second ones."""
    length = weight.shape[axis] - 2
    before, here, after = (weight.narrow(axis, start, length) for start in (0, 1, 2))
    for phase in range(factor):
        share = (phase + 0.5) / factor - 0.5
        yield here * (1 - abs(share)) + (before if share < 0 else after) * abs(share)
