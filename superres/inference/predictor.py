"""A loaded model: low-resolution arrays in, high-resolution arrays out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import Halo, IntensityRule, Precision, UpscaleConfig
from superres.errors import ModelFileError
from superres.inference.plan import DEFAULT_TILE, Region, TilePlan, fitted, plan_tiles
from superres.inference.restoring import restore_image
from superres.inference.tiling import ReadBlock, ReadNormalised, predict_core
from superres.modelfile import ModelHeader
from superres.nets import UNet, place
from superres.nets.device import all_devices, autocast, computes_faster_rounded, free_memory, layout

# What the layers of a net may take by default: with all else an upscaling stays below 2 GB. Tiles depend on it, and
# shards on tiles, so that it is the same on every machine; with less free memory tiles are made smaller, shards not.
_TILE_BYTES = 640 << 20
_SHARE_OF_FREE = 0.6


class Predictor:
    """A net with the constants that it needs, ready to predict.

    Parameters
    ----------
    net : UNet
        In evaluation mode.
    header : ModelHeader
        From the model file.
    identity : str
        Of the model file (`superres.modelfile.ModelFile.identity`).
    device : torch.device
        Where the net runs.
    path : Path, optional
        The model file. With it a predictor can be pickled: it travels as the path and is loaded once in each process.
    precision : str
        ``exact`` or ``fast``, see `at`.
    wanted : str
        The device that was asked for, which other hosts choose theirs by; default `device`.
    """

    def __init__(
        self,
        net: UNet,
        header: ModelHeader,
        identity: str,
        device: torch.device,
        path: Path | None = None,
        *,
        precision: Precision = "exact",
        wanted: str | None = None,
    ) -> None:
        self.header = header
        self.identity = identity
        self.device = device
        self.rule = IntensityRule.model_validate(dict(header.intensity))
        self.precision: Precision = precision
        self._path = path
        self._wanted = wanted or device.type
        self._net = place(net, device)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is None:
            raise TypeError("a predictor that was not loaded from a file cannot be sent to other processes")
        from superres.inference.loading import load_same

        return load_same, (self._path.absolute(), self.identity, self._wanted, self.precision)

    def on_each_device(self) -> list[Predictor]:
        """Return a predictor for every GPU where the device is ``cuda`` without a number; otherwise this one alone."""
        devices = all_devices(self.device)
        if len(devices) == 1:
            return [self]
        return [self._copy(deepcopy(self._net), device, self.precision) for device in devices]

    def at(self, precision: Precision) -> Predictor:
        """Return this model with layers in float32 (``exact``) or, where the device has it, in bfloat16 (``fast``)."""
        return self if precision == self.precision else self._copy(self._net, self.device, precision)

    def _copy(self, net: UNet, device: torch.device, precision: Precision) -> Predictor:
        return Predictor(net, self.header, self.identity, device, self._path, precision=precision, wanted=self._wanted)

    @property
    def is_rounded(self) -> bool:
        """Whether the layers are computed in bfloat16: asked for, and had by the device."""
        return self.precision == "fast" and computes_faster_rounded(self.device)

    @torch.inference_mode()
    def predict(self, low: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the net once.

        Parameters
        ----------
        low : ndarray
            float32, (images, y, x), normalised intensities, y and x multiples of the stride: the channels, or the
            frames around the one that is predicted. For nets of three dimensions (channels, z, y, x).

        Returns
        -------
        ndarray
            float32, (c, y * fy, x * fx) or (c, z * fz, y * fy, x * fx), normalised intensities.
        """
        return self._computed(self._net, low)

    @torch.inference_mode()
    def predict_interval(self, low: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the net once, for the prediction and its half-widths.

        Parameters
        ----------
        low : ndarray
            As for `predict`.

        Returns
        -------
        ndarray
            As from `predict`, with 3 c channels: the c predicted ones, then c half-widths below, then c above.
            Half-widths are those of the net; times `interval_factor` they are calibrated.

        Raises
        ------
        ModelFileError
            When the model has no interval head.
        """
        return self._computed(lambda batch: torch.cat(self._net.with_interval(batch), dim=1), low)

    @torch.inference_mode()
    def predict_inner(
        self, low: NDArray[np.float32], inner: tuple[slice, ...], *, interval: bool = False
    ) -> NDArray[np.float32]:
        """Run the net once, and as far as a part of its input needs.

        Parameters
        ----------
        low : ndarray
            As for `predict`.
        inner : tuple of slice
            The part, along Y and X or Z, Y and X.
        interval : bool
            Whether to append the half-widths, as `predict_interval` does.

        Returns
        -------
        ndarray
            What `predict` or `predict_interval` gives there, bit for bit.

        Raises
        ------
        ModelFileError
            When half-widths are wanted of a model that has none.
        """
        return self._computed(lambda batch: self._net.within(batch, inner, interval=interval), low)

    def _computed(self, net: Callable[[Tensor], Tensor], low: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(low)[None])
        batch = batch.to(self.device, memory_format=layout(batch))
        with autocast(self.device) if self.is_rounded else nullcontext():
            parts = net(batch)
        prediction: NDArray[np.float32] = parts[0].float().cpu().numpy()
        return prediction

    def is_examined(self, config: UpscaleConfig) -> bool:
        """Whether guard or maps look at what it predicts: they can at single planes of one channel."""
        return (config.guard or config.trust) and not self.is_deep and self.header.channels == 1

    @property
    def tile_bytes(self) -> int:
        """How much memory the net takes for each voxel of its input."""
        return self._net.architecture.tile_bytes()

    @property
    def is_deep(self) -> bool:
        """Whether the net has three dimensions: it predicts blocks and not planes."""
        return self._net.architecture.dimensions == 3

    @property
    def exact_tiling(self) -> bool:
        """Whether the output does not depend on the tiles."""
        return self._net.architecture.exact_tiling

    @property
    def target(self) -> int:
        """Which of the images that the net takes is the predicted one, where it predicts one."""
        return self._net.architecture.target

    @property
    def has_interval(self) -> bool:
        """Whether the model predicts half-widths."""
        return self._net.interval_head is not None

    @property
    def interval_factor(self) -> float | None:
        """What half-widths are multiplied by; None where the model is uncalibrated.

        The record of the calibration says what they hold for: new acquisitions, or further images of known ones.
        """
        calibration = self.header.calibration
        return float(calibration["factor"]) if calibration.get("calibrated") else None

    def predict_tile(
        self,
        read: ReadNormalised,
        plan: TilePlan,
        rows: slice,
        columns: slice,
        *,
        interval: bool = False,
    ) -> NDArray[np.float32]:
        """Predict the core of one tile of a plane from its surroundings.

        Beyond the edge of the image its reflection is read. Where the device has too little memory, the tile is
        halved; the result is the same.

        Parameters
        ----------
        read : callable
            Gives normalised voxels of the plane and of what stands beside it, (images, y, x).
        plan : TilePlan
            Where the tile is from.
        rows, columns : slice
            The core, in low-resolution voxels.
        interval : bool
            Whether to append the half-widths, as `predict_interval` does.

        Returns
        -------
        ndarray
            float32, (c, rows * fy, columns * fx), normalised intensities; with `interval` (3 c, ...).
        """
        return predict_core(self, read, plan, (rows, columns), interval=interval)

    def predict_block(
        self, read: ReadBlock, plan: TilePlan, core: Region, *, interval: bool = False
    ) -> NDArray[np.float32]:
        """Predict the core of one tile of a volume, for nets of three dimensions; otherwise as `predict_tile`.

        Parameters
        ----------
        read : callable
            Gives normalised voxels of the volume, (channels, z, y, x).
        core : tuple of slice
            ZYX low-resolution voxels.

        Returns
        -------
        ndarray
            float32, (c, z * fz, y * fy, x * fx), normalised intensities; with `interval` (3 c, ...).
        """
        return predict_core(self, read, plan, core, interval=interval)

    def restore(self, image: NDArray[Any], *, tile: int | None = None, guarded: bool = True) -> NDArray[np.float32]:
        """Upscale an image in memory, on its own grey scale.

        Parameters
        ----------
        image : ndarray
            (c, z, y, x), any dtype. For a net that looks at neighbouring time points (c, t, y, x).
        tile : int, optional
            Largest tile side in voxels.
        guarded : bool
            Fall back on interpolation where the prediction is not to be believed (`superres.inference.guard`).

        Returns
        -------
        ndarray
            float32, (c, z * fz, y * fy, x * fx), grey levels of the input; not clipped. A net that predicts one of
            several channels returns that one.

        Raises
        ------
        InputError
            When a channel is constant or holds nothing but NaN.
        """
        (prediction,) = restore_image(self, image, tile, guarded=guarded, interval=False)
        return prediction

    def restore_interval(
        self, image: NDArray[Any], *, tile: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Upscale an image in memory and tell how far off each voxel may be.

        Parameters
        ----------
        image, tile
            As for `restore`.

        Returns
        -------
        tuple of ndarray
            Prediction of the net, without the guard, half-width below and half-width above; each float32,
            (c, z * fz, y * fy, x * fx), grey levels. Half-widths are those of the net, as for `predict_interval`.

        Raises
        ------
        InputError, ModelFileError
            As for `restore`; when the model has no interval head.
        """
        pred, below, above = restore_image(self, image, tile, guarded=False, interval=True)
        return pred, below, above

    def examine(
        self, image: NDArray[Any], *, tile: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Upscale an image in memory without the guard, and tell what this would keep.

        Parameters
        ----------
        image, tile
            As for `restore`.

        Returns
        -------
        tuple of ndarray
            What the net makes of the image by itself, as `restore` with ``guarded=False``; and the share of its
            residual over interpolation that the guard keeps, float32, (c, z, y, x) of the input for every channel that
            is predicted, 0 to 1, 1 everywhere for nets that are not guarded.

        Raises
        ------
        InputError
            As for `restore`.
        """
        weight = np.ones((1 if self.header.context.get("axis") == "c" else len(image), *image.shape[1:]), np.float32)
        (own,) = restore_image(self, image, tile, guarded=True, interval=False, weight=weight)
        return own, weight

    @torch.inference_mode()
    def interpolate(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Upscale by cubic interpolation alone: what the net's residual is added to; shapes as in `restore`."""
        size = image.shape[1:] if self.is_deep else image.shape[2:]
        planes = torch.from_numpy(image.astype(np.float32).reshape(-1, 1, *size)).to(self.device)
        fine = self._net.interpolate(planes).cpu().numpy()
        return fine.reshape(len(image), -1, *fine.shape[-2:])

    def plan(
        self, shape: tuple[int, int, int], *, tile: int | None = None, shard: int | None = None, halo: Halo = "exact"
    ) -> TilePlan:
        """Plan the tiles of a volume of ZYX `shape` for this net; with `halo` fast it sees half as far around them."""
        header, architecture = self.header, self._net.architecture
        if tile is None and architecture.grid == "high":
            tile = DEFAULT_TILE // max(header.factor)  # its layers hold as much for a tile as those of others
        radius = header.receptive_radius
        if halo == "fast":
            radius = (-(-radius[0] // 2), -(-radius[1] // 2), -(-radius[2] // 2))
        stride, voxels = header.stride, self.tile_voxels
        return plan_tiles(
            shape, factor=header.factor, radius=radius, stride=stride, tile=tile, shard=shard, voxels=voxels
        )

    @property
    def tile_voxels(self) -> int:
        """How many voxels the net is given at once at most where no tile is asked for: its layers decide."""
        return _TILE_BYTES // self.tile_bytes

    def fitted(self, plan: TilePlan) -> TilePlan:
        """Return a plan whose tiles fit the memory that the device has left; shards, and so files, stay the same."""
        free = free_memory(self.device)
        if free is None or not self.exact_tiling:
            return plan
        return fitted(plan, int(_SHARE_OF_FREE * free) // self.tile_bytes, self.header.stride)

    def require_channels(self, channels: int, what: str) -> None:
        """Refuse an input whose channels the net cannot take, by ModelFileError."""
        context = self.header.context
        at_once = context["frames"] if context.get("axis") == "c" else self.header.channels
        if at_once not in (1, channels):
            raise ModelFileError(
                f"{what} has {channels} channels, the model {self.header.name} takes {at_once} at once; "
                f"choose channels (--set channels=[0,1]) or another model"
            )
