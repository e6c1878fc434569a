"""A loaded model: low-resolution arrays in, high-resolution arrays out."""

from __future__ import annotations

import platform
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import IntensityRule
from superres.errors import ModelFileError, SuperresError
from superres.inference.blending import blend_tiles
from superres.inference.plan import DEFAULT_TILE, SMALLEST_BLOCK, SMALLEST_INPUT, Region, TilePlan, plan_tiles
from superres.inference.restoring import restore_image
from superres.modelfile import ModelHeader, load_model_file
from superres.nets import UNet, choose_device, net_from_model_file, place
from superres.nets.device import all_devices, layout
from superres.volumes.edges import mirrored

# Rows and columns of one plane to their voxels, normalised, (images, y, x).
ReadNormalised = Callable[[slice, slice], NDArray[np.float32]]
# Planes, rows and columns to their voxels, normalised, (channels, z, y, x).
ReadBlock = Callable[[slice, slice, slice], NDArray[np.float32]]

_SMALLEST_TILE = 16


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
        wanted: str | None = None,
    ) -> None:
        self.header = header
        self.identity = identity
        self.device = device
        self.rule = IntensityRule.model_validate(dict(header.intensity))
        self._path = path
        self._wanted = wanted or device.type
        self._net = place(net, device)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is None:
            raise TypeError("a predictor that was not loaded from a file cannot be sent to other processes")
        return _load_same, (self._path.absolute(), self.identity, self._wanted)

    def on_each_device(self) -> list[Predictor]:
        """Return a predictor for every GPU where the device is ``cuda`` without a number; otherwise this one alone."""
        devices = all_devices(self.device)
        if len(devices) == 1:
            return [self]
        return [Predictor(deepcopy(self._net), self.header, self.identity, device, self._path) for device in devices]

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
        prediction: NDArray[np.float32] = self._net(self._batch(low))[0].float().cpu().numpy()
        return prediction

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
        parts: NDArray[np.float32] = (
            torch.cat(self._net.with_interval(self._batch(low)), dim=1)[0].float().cpu().numpy()
        )
        return parts

    def _batch(self, low: NDArray[np.float32]) -> Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(low)[None])
        return batch.to(self.device, memory_format=layout(batch))

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
        self, read: ReadNormalised, plan: TilePlan, rows: slice, columns: slice, *, interval: bool = False
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
        return self._predict_any(read, plan, (rows, columns), interval)

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
        return self._predict_any(read, plan, core, interval)

    def _predict_any(
        self, read: Callable[..., NDArray[np.float32]], plan: TilePlan, core: tuple[slice, ...], interval: bool
    ) -> NDArray[np.float32]:
        """Predict a core; of a net whose output depends on the tile, from all tiles that reach into it."""
        if self.exact_tiling:
            return self._predict_part(read, plan, core, interval)
        stride = self.header.stride[-len(core) :]
        return blend_tiles(lambda part: self._predict_part(read, plan, part, interval), plan, core, stride)

    def _predict_part(
        self, read: Callable[..., NDArray[np.float32]], plan: TilePlan, core: tuple[slice, ...], interval: bool
    ) -> NDArray[np.float32]:
        """Predict a core, (rows, columns) or (planes, rows, columns); what is too large for the memory in halves."""
        try:
            return self._predict_core(read, plan, core, interval)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                if self.device.type == "cpu":
                    raise
                raise SuperresError(
                    f"{self.device} stopped working ({' '.join(str(error).split())[:200]}); finished shards are kept: "
                    "run the same command again, on another device if need be: --set device=cpu"
                ) from error
        sides = [part.stop - part.start for part in core]
        axis = sides.index(max(sides))
        if sides[axis] <= _SMALLEST_TILE:
            raise SuperresError(
                f"{self.device} has too little memory even for a tile of {_SMALLEST_TILE} voxels; free some of it, or "
                "run on the CPU: --set device=cpu"
            )
        halves = _halves(core[axis], self.header.stride[-len(core) :][axis])
        parts = [self._predict_part(read, plan, (*core[:axis], half, *core[axis + 1 :]), interval) for half in halves]
        return np.concatenate(parts, axis=1 + axis)

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

    def plan(self, shape: tuple[int, int, int], *, tile: int | None = None, shard: int | None = None) -> TilePlan:
        """Plan the tiles of a volume of ZYX `shape` for this net."""
        header = self.header
        if tile is None and self._net.architecture.grid == "high":
            tile = DEFAULT_TILE // max(header.factor)  # its layers hold as much for a tile as those of others
        return plan_tiles(
            shape,
            factor=header.factor,
            radius=header.receptive_radius,
            stride=header.stride,
            tile=tile,
            shard=shard,
        )

    def require_channels(self, channels: int, what: str) -> None:
        """Refuse an input whose channels the net cannot take.

        Raises
        ------
        ModelFileError
            When the net takes several channels at once and the input has another number.
        """
        context = self.header.context
        at_once = context["frames"] if context.get("axis") == "c" else self.header.channels
        if at_once not in (1, channels):
            raise ModelFileError(
                f"{what} has {channels} channels, the model {self.header.name} takes {at_once} at once; "
                f"choose channels (--set channels=[0,1]) or another model"
            )

    def _predict_core(
        self, read: Callable[..., NDArray[np.float32]], plan: TilePlan, core: tuple[slice, ...], interval: bool
    ) -> NDArray[np.float32]:
        axes = len(core)
        halos, factors, lengths = plan.halo[-axes:], plan.factor[-axes:], plan.shape[-axes:]
        smallest = SMALLEST_BLOCK if axes == 3 else (SMALLEST_INPUT,) * 2
        indices = []
        for part, halo, least, step, length in zip(
            core, halos, smallest, self.header.stride[-axes:], lengths, strict=True
        ):
            # What lies beyond the core is cut off again.
            extent = _round_up(max(part.stop - part.start, least - 2 * halo), step)
            indices.append(mirrored(part.start - halo, part.start + extent + halo, length))
        block = read(*(slice(int(index.min()), int(index.max()) + 1) for index in indices))
        for axis, index in enumerate(indices, start=1):
            block = block.take(index - index.min(), axis=axis)
        prediction = (self.predict_interval if interval else self.predict)(block)
        inner = tuple(
            slice(halo * f, (halo + part.stop - part.start) * f)
            for part, halo, f in zip(core, halos, factors, strict=True)
        )
        kept: NDArray[np.float32] = prediction[(slice(None), *inner)]
        return kept


def load_model(path: Path | str, device: str = "auto") -> Predictor:
    """Load a model file or the model of a run folder.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file written by a training, or a run folder.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ``mps``.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, or it cannot be read.
    """
    file = load_model_file(Path(path))
    return Predictor(net_from_model_file(file), file.header, file.identity, choose_device(device), file.path, device)


@lru_cache(maxsize=2)
def _load_same(path: Path, identity: str, device: str) -> Predictor:
    """Load a model in another process, once, and refuse one that is not the same."""
    predictor = load_model(path, device)
    if predictor.identity != identity:
        raise ModelFileError(
            f"{path}: on {platform.node()} this is another model than where the upscaling was started "
            f"({predictor.identity[:12]}, expected {identity[:12]}); give all hosts the same file"
        )
    return predictor


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _halves(part: slice, stride: int) -> tuple[slice, slice]:
    middle = part.start + _round_up((part.stop - part.start) // 2, stride)
    return slice(part.start, middle), slice(middle, part.stop)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
