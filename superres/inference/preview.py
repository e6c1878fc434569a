"""Parts of an output at once, without a store: what a viewer shows before anything is written.

Model, input and all that is measured of the input are kept, so that the next part needs the net alone. The voxels are
those that `superres.upscale` writes under the same settings, bit for bit; of nets of three dimensions, whose
convolutions round by the size of a tile, to the last digits of float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.errors import InputError
from superres.inference.estimate import outlook
from superres.inference.loading import load_model
from superres.inference.plan import Region, TilePlan, overlap
from superres.inference.predictor import Predictor
from superres.inference.unit import Channel, Shared, Tally, make_channels
from superres.inference.window import Window, read_window, surroundings
from superres.nets.statistics import RADIUS
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import Volume, measure_intensity, open_volume, upscaled_grid
from superres.volumes.edges import around

# A whole plane up to this size is read at once, so that panning reads nothing.
_HELD_BYTES = 64 << 20


class Shown(NamedTuple):
    """A part of the output.

    Parameters
    ----------
    block : ndarray
        (z, y, x), on the grey scale of the input and in the dtype of the output.
    place : tuple of slice
        ZYX voxels of the input that it shows.
    """

    block: NDArray[Any]
    place: Region


@dataclass(slots=True, eq=False)
class Preview:
    """An input and a model, measured and ready to predict any part; made by `Preview.open`.

    Parameters
    ----------
    volume : Volume
        The input.
    predictor : Predictor
        The model.
    plan : TilePlan
        How the whole volume would be cut.
    channels : tuple of Channel
        Those of the output.
    dtype : dtype
        Of the output.
    identity : str
        Of the input when it was opened.
    """

    volume: Volume
    predictor: Predictor
    plan: TilePlan
    channels: tuple[Channel, ...]
    dtype: np.dtype[Any]
    identity: str
    _window: Window | None = None

    @classmethod
    def open(cls, source: Path, config: UpscaleConfig, predictor: Predictor | None = None) -> Self:
        """Measure the input; nothing is written. What `config` says of crops, trust maps and disks is left aside.

        Parameters and errors as for `superres.upscale`.
        """
        config = config.model_copy(update={"trust": False, "crop": None})
        volume = open_volume(source, axes=config.axes, voxel_size=config.voxel_size)
        identity = volume.identity()
        predictor = (predictor or load_model(config.model, config.device)).at(config.precision)
        ahead = outlook(volume, predictor, config)
        intensities = measure_intensity(volume, predictor.rule, channels=ahead.channels)
        plan = predictor.plan(volume.shape[2:], tile=config.tile, shard=config.shard, halo=config.halo)
        plan = predictor.fitted(plan)
        channels = make_channels(volume, ahead.channels, intensities, predictor, plan, config)
        return cls(volume, predictor, plan, tuple(channels), np.dtype(ahead.image.dtype), identity)

    @property
    def is_current(self) -> bool:
        """Whether the input is still what it was when it was measured."""
        try:
            return self.volume.identity() == self.identity
        except OSError:
            return False

    def grid(self, place: Region) -> tuple[tuple[float | None, ...], tuple[float, ...]]:
        """Return voxel size and translation of the output of `place`, ZYX micrometre; None where it is unknown."""
        corner = tuple(
            origin if size is None else origin + part.start * size
            for origin, size, part in zip(self.volume.translation, self.volume.voxel_size, place, strict=True)
        )
        return upscaled_grid(self.volume.voxel_size, (corner[0], corner[1], corner[2]), self.plan.factor)

    def predict(self, *, t: int, channel: int, place: Region, progress: ProgressCallback = silent) -> Shown:
        """Predict a part of one channel.

        Parameters
        ----------
        t : int
            Time point.
        channel : int
            Of the input, counted from 0.
        place : tuple of slice
            ZYX voxels of the input; what lies beyond the image is left out.
        progress : callable
            Receives an event per tile.

        Raises
        ------
        InputError
            When nothing of it is inside the image, or the channel is none of those that are predicted.
        """
        own = self._channel(channel)
        # What is kept from tile to tile is known by where tiles begin, and those of previews differ in size.
        own = replace(own, shared=None if own.shared is None else Shared())
        part = overlap(
            place, (slice(0, self.plan.shape[0]), slice(0, self.plan.shape[1]), slice(0, self.plan.shape[2]))
        )
        if part is None:
            raise InputError(f"{self.volume.source}: nothing of the image is in view; move it into view and try again")
        region = self._output(part)
        block = np.empty([n.stop - n.start for n in region], self.dtype)
        window = self._read(own, t, region)
        tiles = list(own.places(region))
        for number, tile in enumerate(tiles):
            progress(Progress("preview", number, len(tiles), "tiles"))
            kept = overlap(tile, part)
            assert kept is not None
            forward = own.forward(t, tile, region, window)
            block[self._inside(kept, region)] = own.complete(t, forward, kept, self.dtype, Tally(), None)
        progress(Progress("preview", len(tiles), len(tiles), "tiles"))
        return Shown(block, part)

    def _channel(self, index: int) -> Channel:
        for channel in self.channels:
            if channel.index == index:
                return channel
        predicted = ", ".join(str(channel.index) for channel in self.channels)
        raise InputError(
            f"{self.volume.source}: a preview of channel {index} was asked for, the model predicts {predicted}; choose "
            "the layer of one of these"
        )

    def _output(self, place: Region) -> Region:
        z, y, x = (slice(part.start * f, part.stop * f) for part, f in zip(place, self.plan.factor, strict=True))
        return z, y, x

    def _inside(self, place: Region, region: Region) -> Region:
        z, y, x = (
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(self._output(place), region, strict=True)
        )
        return z, y, x

    def _read(self, channel: Channel, t: int, region: Region) -> Window:
        """Read what a region is predicted from: with all of its planes where these are small."""
        context = self.predictor.header.context
        frames, along = context.get("frames", 1), context.get("axis")
        reach = 0 if channel.guard is None else max(channel.guard.reach + max(self.predictor.header.stride), RADIUS + 1)
        margin = 0 if self.predictor.exact_tiling else max(self.plan.tile) // 4 + max(self.predictor.header.stride)
        planes = frames // 2 if along == "z" else 0
        place = surroundings(self.plan, region, planes=planes, reach=reach, margin=margin)
        _, height, width = self.plan.shape
        depth = place[0].stop - place[0].start
        if depth * height * width * self.volume.dtype.itemsize <= _HELD_BYTES:
            place = (place[0], slice(0, height), slice(0, width))
        times = around(t, frames, self.volume.shape[0]) if along == "t" else [t]
        self._window = read_window(self.volume, place, channel.intensities, times, self._window)
        return self._window
