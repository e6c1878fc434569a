"""The way down a plane: tiles that lie below each other are predicted one after the other, and share their halos.

On the CPU memory allows tiles that are hardly larger than their halo, so that a third to a half of the work would be
done twice. A net in strips (`superres.nets.strips`) does it once, from the first tile of a column of tiles to the last,
across shards. Where a tile does not lie right below the one before, or is too small, it is predicted as a whole; the
bytes are the same.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.inference.plan import TilePlan
from superres.nets.architecture import SMALL_INPUT
from superres.nets.strips import Strips

if TYPE_CHECKING:
    from superres.inference.predictor import Predictor

# What the layers of a net may take for a strip.
_STRIP_BYTES = 256 << 20
# Rows of the low grid of a tile that are kept for the tile below: twice what a guard looks at.
_KEPT = 64
# Most rows of a tile: two strips for the guard to look at (`superres.inference.unit`).
_ROWS = 288


def descends(predictor: Predictor, plan: TilePlan) -> bool:
    """Whether tiles that lie below each other can share their halos."""
    return predictor.works_in_strips and plan.halo[1] >= predictor.header.receptive_radius[1]


def descending(predictor: Predictor, plan: TilePlan, config: UpscaleConfig) -> TilePlan:
    """Return a plan, of the same shards, with tiles of fewer rows where these cost nothing: less is held at once.

    Without a guard, which looks at more than a tile, strips gain nothing, and tiles stay as they are.
    """
    if not predictor.is_examined(config) or not descends(predictor, plan) or plan.tile[1] <= _ROWS:
        return plan
    step = predictor.header.stride[1]
    rows = -(-plan.tile[1] // -(-plan.tile[1] // _ROWS) // step) * step
    return replace(plan, tile=(plan.tile[0], rows, plan.tile[2]))


class Descent:
    """Holds the column of a plane that is on its way through a net."""

    def __init__(self) -> None:
        self._held = threading.local()  # threads of one process go their own ways, too

    def __reduce__(self) -> tuple[type[Descent], tuple[()]]:
        return Descent, ()  # other processes go their own ways

    def of(self, *plane: int) -> Way:
        """Return the way down one plane, of which channel and time point ever."""
        return Way(self, plane)

    def predict(
        self,
        predictor: Predictor,
        plan: TilePlan,
        plane: tuple[int, ...],
        core: tuple[slice, ...],
        block: NDArray[np.float32],
        *,
        interval: bool,
    ) -> NDArray[np.float32] | None:
        """Predict a tile from what stands around it and from what is held of the one above.

        Parameters
        ----------
        predictor : Predictor
            The model.
        plan : TilePlan
            Where the tile is from.
        plane : tuple of int
            Which plane of which channel and time point.
        core : tuple of slice
            Rows and columns of the low grid.
        block : ndarray
            float32, (images, y, x), normalised: the core and the halo around it.
        interval : bool
            Whether to append the half-widths.

        Returns
        -------
        ndarray or None
            As from `Predictor.predict_inner`; None where the tile is to be predicted as a whole.
        """
        if not descends(predictor, plan):
            return None
        held = getattr(self._held, "column", None)
        self._held.column = None  # not to be gone on with where anything below fails
        column = _column_for(held, predictor, plan, plane, core, block, interval=interval)
        found = None if column is None else column.predict(predictor, core[0], block)
        if found is not None and core[0].stop < plan.shape[1]:
            self._held.column = column
        return found


class Way(NamedTuple):
    """The way down one plane."""

    descent: Descent
    plane: tuple[int, ...]

    def predict(
        self,
        predictor: Predictor,
        plan: TilePlan,
        core: tuple[slice, ...],
        block: NDArray[np.float32],
        *,
        interval: bool,
    ) -> NDArray[np.float32] | None:
        """Predict a tile; see `Descent.predict`."""
        return self.descent.predict(predictor, plan, self.plane, core, block, interval=interval)


@dataclass(slots=True)
class _Column:
    """A column of a plane on its way.

    Parameters
    ----------
    strips : Strips
        The net, and what its layers hold.
    plane : tuple of int
        Which plane it is of.
    columns : slice
        Of the low grid, that are wanted.
    interval : bool
        Whether half-widths are made.
    halo : int
        Rows around a core.
    factor : int
        Rows of the output to one of the low grid.
    given, made : int
        The first row that the net was not given, and did not make, yet.
    last : ndarray or None
        float32, (c, rows * fy, columns * fx): the last rows that were made.
    """

    strips: Strips
    plane: tuple[int, ...]
    columns: slice
    interval: bool
    halo: int
    factor: int
    given: int
    made: int
    last: NDArray[np.float32] | None = None

    @property
    def begin(self) -> int:
        """The first row that is at hand."""
        return self.made - (0 if self.last is None else self.last.shape[1] // self.factor)

    def goes_on(self, plane: tuple[int, ...], core: tuple[slice, ...], interval: bool) -> bool:
        """Whether a tile lies right below what was made, or overlaps with it."""
        same = (plane, core[1], interval) == (self.plane, self.columns, self.interval)
        return same and self.begin <= core[0].start <= self.made

    def predict(self, predictor: Predictor, rows: slice, block: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Give the net what it lacks of a tile and its halo, and return the tile; None where too few rows came out."""
        lacking = block[:, self.given - (rows.start - self.halo) :]
        begin, f = self.begin, self.factor
        whole = self.last
        strip = _strip_rows(predictor, block.shape[2])
        bounds = _bounds(lacking.shape[1], strip, predictor.header.stride[1]) if lacking.size else []
        for first, last in itertools.pairwise(bounds):
            made = predictor.predict_further(self.strips, lacking[:, first:last])
            if whole is None or whole is self.last:
                whole = np.empty((made.shape[0], (block.shape[1] + _KEPT) * f, made.shape[2]), np.float32)
                if self.last is not None:
                    whole[:, : self.last.shape[1]] = self.last
            at = (self.made - begin) * f
            whole[:, at : at + made.shape[1]] = made
            self.made += made.shape[1] // f
        self.given += lacking.shape[1]
        if whole is None or self.made < rows.stop:
            return None
        kept = max(begin, rows.stop - _KEPT) - begin
        self.last = whole[:, kept * f : (self.made - begin) * f].copy()
        return whole[:, (rows.start - begin) * f : (rows.stop - begin) * f]


def _column_for(
    held: _Column | None,
    predictor: Predictor,
    plan: TilePlan,
    plane: tuple[int, ...],
    core: tuple[slice, ...],
    block: NDArray[np.float32],
    *,
    interval: bool,
) -> _Column | None:
    """Return the column that is held where a tile goes on with it, or a new one; None where it would be of no use."""
    rows, columns = core
    halo, width = plan.halo[1], columns.stop - columns.start
    if held is not None and held.goes_on(plane, core, interval):
        lacking = rows.start - halo + block.shape[1] - held.given
        if min(lacking, _strip_rows(predictor, block.shape[2])) * width > 2 * SMALL_INPUT or lacking <= 0:
            return held
    is_alone = rows.start == 0 and rows.stop == plan.shape[1]
    if width * _strip_rows(predictor, block.shape[2]) <= 2 * SMALL_INPUT:
        return None
    if is_alone and len(_bounds(block.shape[1], _strip_rows(predictor, block.shape[2]), 1)) == 2:
        return None
    inner = slice(plan.halo[2], plan.halo[2] + width)
    strips = predictor.strips(halo, block.shape[2], inner, interval=interval)
    return _Column(strips, plane, columns, interval, halo, plan.factor[1], rows.start - halo, rows.start)


def _strip_rows(predictor: Predictor, width: int) -> int:
    """Return how many rows of so many voxels the net is given at once, about."""
    return max(predictor.header.stride[1], _STRIP_BYTES // (predictor.tile_bytes * width))


def _bounds(rows: int, strip: int, stride: int) -> list[int]:
    """Cut rows into strips of about one size, on the stride."""
    count = max(1, round(rows / strip))
    return [number * (rows // stride) // count * stride for number in range(count)] + [rows]
