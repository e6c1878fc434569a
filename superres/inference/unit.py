"""One channel of a volume, predicted shard by shard, and what was found on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.inference.claim import Claim
from superres.inference.guard import Evidence, Guard
from superres.inference.guarded import make_guard, noise_windows, predict_guarded
from superres.inference.interval import half_widths
from superres.inference.plan import TilePlan
from superres.inference.predictor import Predictor
from superres.volumes import Intensity, Volume, upscaled_grid
from superres.volumes.dtypes import CastTally, cast

Region = tuple[slice, slice, slice]


@dataclass(slots=True)
class Tally:
    """Voxels that could not be written as they were."""

    clipped: int = 0
    not_finite: int = 0


# Hears of each tile: plane, rows, columns of the low grid, what was found there, the voxels as they were recorded, and
# the half-widths below and above the voxels that were predicted, where the model gives any.
Found = Callable[[int, slice, slice, Evidence, NDArray[Any], NDArray[Any] | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel of an input and all that its prediction needs.

    Parameters
    ----------
    volume : Volume
        The input.
    index : int
        Which channel of it.
    intensity : Intensity
        Its black and white.
    predictor : Predictor
        The model.
    plan : TilePlan
        Of the input.
    guard : Guard or None
        What it is examined by; None where neither guard nor trust maps are wanted, or the net takes several channels.
    damp : bool
        Whether the guard acts on the output.
    without : tuple of str
        What the guard must do without.
    claim : Claim or None
        What the half-widths promise; None where they are not wanted, or the model gives none.
    """

    volume: Volume
    index: int
    intensity: Intensity
    predictor: Predictor
    plan: TilePlan
    guard: Guard | None
    damp: bool
    without: tuple[str, ...]
    claim: Claim | None = None

    def recorded(self, t: int, z: int, y: slice, x: slice) -> NDArray[Any]:
        """Read part of a plane as it was recorded, (1, y, x)."""
        return self.volume.read(t=t, c=self.index, z=slice(z, z + 1), y=y, x=x)

    def normalised(self, t: int, z: int, y: slice, x: slice) -> NDArray[np.float32]:
        """Read part of a plane as the net sees it, (1, y, x)."""
        values = np.asarray(self.intensity.normalise(self.recorded(t, z, y, x)), np.float32)
        return np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)

    def predict(
        self, t: int, region: Region, dtype: np.dtype[Any], tally: Tally, events: Iterator[None], found: Found | None
    ) -> NDArray[Any]:
        """Predict a region of output voxels, on the grey scale and in the dtype of the output; tell `found`."""
        block = np.empty([part.stop - part.start for part in region], dtype=dtype)
        factor = self.plan.factor
        for z, rows, columns in self.plan.tiles(region):
            core, evidence, ends = self._tile(t, z, rows, columns)
            values = self.recorded(t, z, rows, columns)[0] if self._may_hold_nan or found is not None else None
            core = self._with_holes(np.asarray(self.intensity.denormalise(core)), values, tally)
            written = _cast(core, block.dtype, tally)
            if found is not None and evidence is not None and values is not None:
                widths = None if ends is None else half_widths(written, *self.intensity.denormalise(ends))
                found(z, rows, columns, evidence, values, widths)
            where = tuple(
                slice(part.start * f - whole.start, part.stop * f - whole.start)
                for part, f, whole in zip((rows, columns), factor[1:], region[1:], strict=True)
            )
            block[z * factor[0] - region[0].start, *where] = written
            next(events)
        return block

    def _tile(
        self, t: int, z: int, rows: slice, columns: slice
    ) -> tuple[NDArray[np.float32], Evidence | None, NDArray[np.float32] | None]:
        """Return the prediction of a tile, what was found, and the lower and upper ends of its intervals."""

        def read(y: slice, x: slice) -> NDArray[np.float32]:
            return self.normalised(t, z, y, x)

        if self.guard is None:
            return self.predictor.predict_tile(read, self.plan, rows, columns)[0], None, None
        wanted = self.claim is not None
        found = predict_guarded(
            self.predictor, read, self.plan, (rows, columns), self.guard, damp=self.damp, interval=wanted
        )
        if self.claim is None:
            return found.pred, found.evidence, None
        pred, below, above = found.net
        factor = np.float32(self.claim.factor)
        return found.pred, found.evidence, np.stack([pred - factor * below, pred + factor * above])

    @property
    def _may_hold_nan(self) -> bool:
        return self.volume.dtype.kind == "f"

    def _with_holes(self, core: NDArray[np.float32], values: NDArray[Any] | None, tally: Tally) -> NDArray[np.float32]:
        """Put NaN and infinity where the input has them, and count them."""
        if values is None or not self._may_hold_nan:
            return core
        unusable = ~np.isfinite(values)
        if not unusable.any():
            return core
        tally.not_finite += int(unusable.sum())
        fy, fx = self.plan.factor[1:]
        holes = values.astype(np.float32).repeat(fy, 0).repeat(fx, 1)
        return np.where(unusable.repeat(fy, 0).repeat(fx, 1), holes, core)


def make_channel(
    volume: Volume, index: int, intensity: Intensity, predictor: Predictor, plan: TilePlan, config: UpscaleConfig
) -> Channel:
    """Open one channel; its noise is measured where it will be examined."""
    plain = Channel(volume, index, intensity, predictor, plan, None, config.guard, ())
    if not (config.guard or config.trust) or predictor.header.channels != 1:
        return plain
    nt, _, nz, height, width = volume.shape
    windows = [
        plain.normalised(plane // nz, plane % nz, rows, columns)[0]
        for plane, rows, columns in noise_windows(nt * nz, (height, width))
    ]
    voxel_size, _ = upscaled_grid(volume.voxel_size, volume.translation, plan.factor)
    guard, without = make_guard(predictor, windows, voxel_size)
    claim = Claim.of(predictor.header.calibration) if config.trust and predictor.has_interval else None
    return Channel(volume, index, intensity, predictor, plan, guard, config.guard, without, claim)


def _cast(values: NDArray[Any], dtype: np.dtype[Any], tally: Tally) -> NDArray[Any]:
    """Round to an integer dtype; what lies outside its range is set to its end and counted."""
    counted = CastTally()
    # NaN stands where the input has it, which is counted there.
    result = cast(values, dtype, counted, nan=0.0)
    tally.clipped += counted.clipped
    return result
