"""Which part of an input is upscaled, and the plan for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from superres.config import CropConfig, UpscaleConfig
from superres.errors import InputError
from superres.inference.plan import Region, TilePlan, Triple
from superres.inference.predictor import Predictor
from superres.volumes import Volume


@dataclass(frozen=True, slots=True)
class Crop:
    """Part of a volume, all of it where nothing else is asked for.

    Parameters
    ----------
    times : slice
        Time points of the input.
    place : tuple of slice
        ZYX voxels of the input.
    """

    times: slice
    place: Region

    @classmethod
    def of(cls, volume: Volume, wanted: CropConfig | None) -> Self:
        """Look up what is asked for in a volume.

        Raises
        ------
        InputError
            When it reaches beyond the volume.
        """
        lengths = dict(zip("tczyx", volume.shape, strict=True))
        spans = {axis: span for axis, span in (wanted or CropConfig()) if span is not None}
        for axis, (start, stop) in spans.items():
            if stop > lengths[axis]:
                raise InputError(
                    f"{volume.source}: {axis} {start} to {stop} asked for, it has {lengths[axis]} along "
                    f"{axis.upper()}, counted from 0; give e.g. --crop {axis}=0:{lengths[axis]}"
                )
        t, z, y, x = (slice(*spans.get(axis, (0, lengths[axis]))) for axis in "tzyx")
        return cls(t, (z, y, x))

    @property
    def shape(self) -> Triple:
        """ZYX voxels of the input."""
        z, y, x = (part.stop - part.start for part in self.place)
        return z, y, x

    def plan(self, predictor: Predictor, volume: Volume, config: UpscaleConfig) -> TilePlan:
        """Plan the tiles of this part: in the frame of the whole volume, sized for the part."""
        plan = predictor.plan(self.shape, tile=config.tile, shard=config.shard, halo=config.halo)
        z, y, x = volume.shape[2:]
        return replace(plan, shape=(z, y, x))

    def output_shape(self, plan: TilePlan) -> Triple:
        """Return the ZYX voxels of its output."""
        z, y, x = (n * f for n, f in zip(self.shape, plan.factor, strict=True))
        return z, y, x

    def translation(self, volume: Volume) -> tuple[float, float, float]:
        """Return the centre of its voxel 0, ZYX micrometre; along an axis of unknown voxel size that of the volume."""
        z, y, x = (
            origin if size is None else origin + part.start * size
            for origin, size, part in zip(volume.translation, volume.voxel_size, self.place, strict=True)
        )
        return z, y, x

    def within(self, region: Region, plan: TilePlan) -> Region:
        """Return a region of its output in the frame of the output of the whole volume."""
        z, y, x = (
            slice(part.start + own.start * f, part.stop + own.start * f)
            for part, own, f in zip(region, self.place, plan.factor, strict=True)
        )
        return z, y, x
