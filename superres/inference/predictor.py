"""A loaded model: low-resolution arrays in, high-resolution arrays out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superres.config import IntensityRule
from superres.errors import ModelFileError, SuperresError
from superres.inference.guard import Guard
from superres.inference.guarded import make_guard, noise_windows, predict_guarded
from superres.inference.plan import SMALLEST_INPUT, TilePlan, mirrored, plan_tiles
from superres.modelfile import ModelHeader, load_model_file
from superres.nets import UNet, choose_device, net_from_model_file, place
from superres.volumes import measure_intensity_of

# Rows and columns of one plane to their voxels, normalised, (c, y, x).
ReadNormalised = Callable[[slice, slice], NDArray[np.float32]]

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
    """

    def __init__(self, net: UNet, header: ModelHeader, identity: str, device: torch.device) -> None:
        self.header = header
        self.identity = identity
        self.device = device
        self.rule = IntensityRule.model_validate(dict(header.intensity))
        self._net = place(net, device)

    @torch.inference_mode()
    def predict(self, low: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the net once.

        Parameters
        ----------
        low : ndarray
            float32, (c, y, x), normalised intensities; y and x multiples of the stride.

        Returns
        -------
        ndarray
            float32, (c, y * fy, x * fx), normalised intensities.
        """
        batch = torch.from_numpy(np.ascontiguousarray(low)[None]).to(self.device, memory_format=torch.channels_last)
        prediction: NDArray[np.float32] = self._net(batch)[0].float().cpu().numpy()
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
            float32, (3 c, y * fy, x * fx), normalised intensities: the c predicted channels, then c half-widths below,
            then c above. Half-widths are those of the net; times `interval_factor` they are calibrated.

        Raises
        ------
        ModelFileError
            When the model has no interval head.
        """
        batch = torch.from_numpy(np.ascontiguousarray(low)[None]).to(self.device, memory_format=torch.channels_last)
        parts: NDArray[np.float32] = torch.cat(self._net.with_interval(batch), dim=1)[0].float().cpu().numpy()
        return parts

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
        """Predict the core of one tile from its surroundings.

        Beyond the edge of the image its reflection is read. Where the device has too little memory, the tile is
        halved; the result is the same.

        Parameters
        ----------
        read : callable
            Gives normalised voxels of the plane, (c, y, x).
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
        try:
            return self._predict_core(read, plan, rows, columns, interval)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        if max(rows.stop - rows.start, columns.stop - columns.start) <= _SMALLEST_TILE:
            raise SuperresError(
                f"{self.device} has too little memory even for a tile of {_SMALLEST_TILE} voxels; free some of it, or "
                "run on the CPU: --set device=cpu"
            )
        along_rows = rows.stop - rows.start >= columns.stop - columns.start
        stride = self.header.stride[1 if along_rows else 2]
        halves = _halves(rows if along_rows else columns, stride)
        parts = [
            self.predict_tile(
                read, plan, half if along_rows else rows, columns if along_rows else half, interval=interval
            )
            for half in halves
        ]
        return np.concatenate(parts, axis=1 if along_rows else 2)

    def restore(self, image: NDArray[Any], *, tile: int | None = None, guarded: bool = True) -> NDArray[np.float32]:
        """Upscale an image in memory, on its own grey scale.

        Parameters
        ----------
        image : ndarray
            (c, z, y, x), any dtype; every channel is upscaled on its own.
        tile : int, optional
            Largest tile side in voxels.
        guarded : bool
            Fall back on interpolation where the prediction is not to be believed (`superres.inference.guard`).

        Returns
        -------
        ndarray
            float32, (c, z * fz, y * fy, x * fx), grey levels of the input; not clipped.

        Raises
        ------
        InputError
            When a channel is constant or holds nothing but NaN.
        """
        (prediction,) = self._restore(image, tile, guarded=guarded, interval=False)
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
        pred, below, above = self._restore(image, tile, guarded=False, interval=True)
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
            residual over interpolation that the guard keeps, float32, (c, z, y, x) of the input, 0 to 1, 1 everywhere
            for nets that are not guarded.

        Raises
        ------
        InputError
            As for `restore`.
        """
        weight = np.ones(image.shape, np.float32)
        (own,) = self._restore(image, tile, guarded=True, interval=False, weight=weight)
        return own, weight

    def _restore(
        self,
        image: NDArray[Any],
        tile: int | None,
        *,
        guarded: bool,
        interval: bool,
        weight: NDArray[np.float32] | None = None,
    ) -> list[NDArray[np.float32]]:
        """Return the prediction, and with `interval` the half-widths, each (c, z * fz, y * fy, x * fx).

        With `weight`, (c, z, y, x), the guard writes there what it would keep, and leaves the prediction as it is.
        """
        self.require_channels(image.shape[0], "the image")
        intensities = measure_intensity_of(image, self.rule)
        plan = self.plan((image.shape[1], image.shape[2], image.shape[3]), tile=tile)
        out = np.empty((3 if interval else 1, len(image), *plan.output_shape), np.float32)
        fy, fx = plan.factor[1:]
        everything = tuple(slice(0, n) for n in plan.output_shape)
        for c, intensity in enumerate(intensities):
            normalised = np.nan_to_num(np.asarray(intensity.normalise(image[c]), np.float32), nan=0.0)
            guard = self._guard_of(normalised) if guarded and self.header.channels == 1 else None
            for z, rows, columns in plan.tiles(everything):  # type: ignore[arg-type]
                plane = normalised[z : z + 1]

                def read(y: slice, x: slice, plane: NDArray[np.float32] = plane) -> NDArray[np.float32]:
                    return plane[:, y, x]

                where = (slice(rows.start * fy, rows.stop * fy), slice(columns.start * fx, columns.stop * fx))
                if guard is not None:
                    found = predict_guarded(self, read, plan, (rows, columns), guard, damp=weight is None)
                    if weight is not None:
                        weight[c, z, rows, columns] = found.evidence.weight
                    out[0, c, z, *where] = intensity.denormalise(found.pred)
                    continue
                core = self.predict_tile(read, plan, rows, columns, interval=interval)
                out[0, c, z, *where] = intensity.denormalise(core[0])
                out[1:, c, z, *where] = core[1:] * np.float32(intensity.white - intensity.black)
        return list(out)

    def _guard_of(self, channel: NDArray[np.float32]) -> Guard:
        places = noise_windows(len(channel), (channel.shape[1], channel.shape[2]))
        return make_guard(self, [channel[z, y, x] for z, y, x in places], (None, None, None))[0]

    @torch.inference_mode()
    def interpolate(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Upscale by cubic interpolation alone: what the net's residual is added to; shapes as in `restore`."""
        planes = torch.from_numpy(image.astype(np.float32).reshape(-1, 1, *image.shape[-2:])).to(self.device)
        fine = self._net.interpolate(planes).cpu().numpy()
        return fine.reshape(*image.shape[:2], *fine.shape[-2:])

    def plan(self, shape: tuple[int, int, int], *, tile: int | None = None, shard: int | None = None) -> TilePlan:
        """Plan the tiles of a volume of ZYX `shape` for this net."""
        header = self.header
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
        if self.header.channels not in (1, channels):
            raise ModelFileError(
                f"{what} has {channels} channels, the model {self.header.name} takes {self.header.channels} at once; "
                f"choose channels (--set channels=[0,1]) or another model"
            )

    def _predict_core(
        self, read: ReadNormalised, plan: TilePlan, rows: slice, columns: slice, interval: bool
    ) -> NDArray[np.float32]:
        _, halo_y, halo_x = plan.halo
        _, fy, fx = plan.factor
        # What lies beyond the core is cut off again.
        extent = [
            _round_up(max(part.stop - part.start, SMALLEST_INPUT - 2 * halo), stride)
            for part, halo, stride in zip((rows, columns), plan.halo[1:], self.header.stride[1:], strict=True)
        ]
        y = mirrored(rows.start - halo_y, rows.start + extent[0] + halo_y, plan.shape[1])
        x = mirrored(columns.start - halo_x, columns.start + extent[1] + halo_x, plan.shape[2])
        block = read(slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
        predict = self.predict_interval if interval else self.predict
        prediction = predict(block[:, y - y.min()][:, :, x - x.min()])
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return prediction[:, halo_y * fy : (halo_y + height) * fy, halo_x * fx : (halo_x + width) * fx]


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
    return Predictor(net_from_model_file(file), file.header, file.identity, choose_device(device))


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _halves(part: slice, stride: int) -> tuple[slice, slice]:
    middle = part.start + _round_up((part.stop - part.start) // 2, stride)
    return slice(part.start, middle), slice(middle, part.stop)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
