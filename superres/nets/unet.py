"""The generator: a norm-free residual U-Net that computes in low-resolution space.

In two dimensions every plane is upscaled on its own, or with the planes, time points or channels around it as further
inputs (2.5-D); in three the same layers look along Z too. Convolutions, ReLU, stride-2 pooling and pixel shuffles only,
so that the output is exactly equivariant to shifts by the total stride and volumes can be tiled without seams.
For study the same layers can work on the high-resolution grid, on the interpolated input (`Architecture.grid`).
At initialisation the net is bicubic interpolation.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superres.errors import ModelFileError
from superres.modelfile import ModelFile
from superres.nets import resample
from superres.nets.architecture import SMALL_INPUT, SMALLEST_BLOCK, SMALLEST_INPUT, Architecture
from superres.nets.device import full_precision
from superres.nets.layers import DeepStem, ResidualBlock, SelfAttention, Up, convolution_of, plus, pooling

_INTERVAL_FEATURES = 32
# Softplus of it is 0.05 of the range between black and white.
_INTERVAL_START = -3.0


class IntervalHead(nn.Module):
    """How far below and above its prediction a voxel may lie: two half-widths, on the scale of the prediction.

    A 3x3 convolution to 32 features, ReLU, a 1x1 convolution, a pixel shuffle, softplus. Trained by the pinball loss
    (Koenker & Bassett 1978, Econometrica 46:33), the heuristic interval of Angelopoulos et al. 2022, arXiv 2202.05265.
    Making a head draws nothing from torch's random numbers, so that the net around it starts as it would without.
    """

    def __init__(self, width: int, channels: int, factor: tuple[int, ...]) -> None:
        super().__init__()
        self.factor = factor
        convolution = convolution_of(len(factor))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.hidden = convolution(width, _INTERVAL_FEATURES, 3, padding=1)
            self.out = convolution(_INTERVAL_FEATURES, 2 * channels * math.prod(factor), 1)
            nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
            nn.init.zeros_(self.hidden.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, _INTERVAL_START)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (n, width, ...) to the half-widths below and above, each (n, channels, ...) times the factor."""
        both = F.softplus(resample.pixel_shuffle(self.out(F.relu(self.hidden(x))).float(), self.factor))
        below, above = both.chunk(2, dim=1)
        return below, above


def _blocks(width: int, count: int, of: Architecture) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width, of.dimensions, of.norm, of.dropblock) for _ in range(count)))


class UNet(nn.Module):
    """Residual U-Net in low-resolution space with additive skips and one pixel shuffle at the end.

    On the high grid there is no pixel shuffle: the input is interpolated before the first layer.

    The prediction is cubic interpolation plus a learnt residual; then its low-pass is made to follow the input
    (`follow`). Inputs are normalised intensities.

    Parameters
    ----------
    architecture : Architecture
        Widths, depths, factor.
    """

    phases_z: Tensor
    phases_y: Tensor
    phases_x: Tensor
    low_pass: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        dims = architecture.dimensions
        if architecture.factor[0] != 1 and dims == 2:
            raise ModelFileError(
                f"factor {list(architecture.factor)}: this net is two-dimensional and cannot upscale along Z; "
                f"use factor [1, {architecture.factor[1]}, {architecture.factor[2]}]"
            )
        if architecture.grid == "high" and dims == 3:
            raise ModelFileError("a net on the high grid has two dimensions; use grid low for one of three")
        self.architecture = architecture
        self.factor: tuple[int, ...] = architecture.factor[-dims:]
        self._shuffle = self.factor if architecture.grid == "low" else (1,) * dims
        widths, channels, poolings = architecture.widths, architecture.channels, architecture.poolings
        blocks, convolution = architecture.blocks, convolution_of(dims)
        self.stem = (nn.Conv2d if dims == 2 else DeepStem)(architecture.inputs, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(width, blocks, architecture) for width in widths[:-1])
        steps = list(zip(itertools.pairwise(widths), poolings, strict=True))
        self.down = nn.ModuleList(pooling(a, b, step) for (a, b), step in steps)
        self.middle = _blocks(widths[-1], architecture.middle_blocks, architecture)
        self.up = nn.ModuleList(Up(b, a, step) for (a, b), step in steps)
        self.decoder = nn.ModuleList(_blocks(width, blocks, architecture) for width in widths[:-1])
        self.tail = convolution(widths[0], channels * math.prod(self._shuffle), 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]
        head = IntervalHead(widths[0], channels, self._shuffle) if architecture.interval else None
        self.interval_head: IntervalHead | None = head
        self.attention = SelfAttention(widths[-1], dims) if architecture.attention else None
        for axis, f in zip("zyx", architecture.factor, strict=True):
            self.register_buffer(f"phases_{axis}", resample.cubic_phases(f), persistent=False)
        sigma = architecture.consistency_sigma
        taps = resample.gaussian_taps(sigma) if sigma > 0 else torch.ones(1)
        self.register_buffer("low_pass", taps, persistent=False)

    def forward(self, low: Tensor) -> Tensor:
        """Upscale a batch of planes, or in three dimensions of volumes.

        Parameters
        ----------
        low : Tensor
            float32, (n, inputs, y, x) or (n, inputs, z, y, x), every axis a multiple of its stride.

        Returns
        -------
        Tensor
            float32, (n, channels, y * fy, x * fx) or (n, channels, z * fz, y * fy, x * fx).
        """
        return self._predict(self._features(low), low)

    def with_interval(self, low: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Upscale a batch and tell how far off each voxel may be; shapes as for `forward`.

        The half-widths see the features but send no gradient into them: the prediction and its training are the same
        with and without them.

        Returns
        -------
        tuple of Tensor
            Prediction, half-width below, half-width above; each float32 and of one shape. Half-widths are never
            negative, lie around the final prediction and are not calibrated.

        Raises
        ------
        ModelFileError
            When the net has no interval head.
        """
        if self.interval_head is None:
            raise ModelFileError("this model predicts no intervals; train it with --set model.interval=true")
        features = self._features(low)
        below, above = self.interval_head(features.detach())
        return self._predict(features, low), below, above

    def within(self, low: Tensor, inner: tuple[slice, ...], *, interval: bool = False) -> Tensor:
        """Upscale a part of what the net is given; what only other parts need is left out.

        Parameters
        ----------
        low : Tensor
            As for `forward`.
        inner : tuple of slice
            The part, along the axes of space, in voxels of `low`.
        interval : bool
            Whether to append the half-widths below and above as further channels.

        Returns
        -------
        Tensor
            float32, (n, channels or 3 channels, ...): bit for bit what `forward` gives there.

        Raises
        ------
        ModelFileError
            When half-widths are wanted of a net that has none.
        """
        if interval and self.interval_head is None:
            return torch.cat(self.with_interval(low), dim=1)  # which says so
        kept = self._needed(low, inner)[0]
        features = self._features(low, inner)
        scaled = tuple(
            slice((part.start - whole.start) * f, (part.stop - whole.start) * f)
            for part, whole, f in zip(inner, kept, self.factor, strict=True)
        )
        parts: tuple[Tensor, ...] = ()
        if interval and self.interval_head is not None:
            parts = self.interval_head(features)
        parts = (self._predict(features, part_of(low, kept)), *parts)
        return torch.cat([part_of(part, scaled) for part in parts], dim=1)

    def main_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but those of the interval head."""
        return [value for name, value in self.named_parameters() if not name.startswith("interval_head.")]

    def _features(self, low: Tensor, inner: tuple[slice, ...] | None = None) -> Tensor:
        """Return the features of the finest level; around a part, on the first of the places of `_needed`."""
        needed_for = self._needed(low, self._whole(low) if inner is None else inner)
        x: Tensor = self.stem(low if self.architecture.grid == "low" else self._upsample(low.float()))
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        if self.attention is not None:
            x = self.attention(x)
        here, scales = self._whole(low), self.architecture.scales
        levels = list(zip(self.decoder, self.up, needed_for, scales[:-1], scales[1:], strict=True))
        for decode, up, needed, fine, coarse in reversed(levels):
            x = cut(x, needed, here, coarse)
            x = decode(plus(up(x), cut(skips.pop(), needed, self._whole(low), fine)))
            here = needed
        return x

    def _whole(self, low: Tensor) -> tuple[slice, ...]:
        return tuple(slice(0, n) for n in low.shape[2:])

    def _needed(self, low: Tensor, inner: tuple[slice, ...]) -> list[tuple[slice, ...]]:
        """Return for every level but the coarsest what its decoder must be given for a part, in voxels of `low`."""
        of, sizes, place = self.architecture, low.shape[2:], inner
        least = (SMALLEST_INPUT,) * 2 if of.dimensions == 2 else SMALLEST_BLOCK
        found = []
        for level, scale in enumerate(of.scales[:-1]):
            edges = [2 * of.blocks * step for step in scale]
            if level == 0:
                edges = [max(edge + 1, 2) + more for edge, more in zip(edges, of.following, strict=True)]
            if of.grid == "high":
                place = self._whole(low)
            place = tuple(
                _grown(part, edge, step, side, n)
                for part, edge, step, side, n in zip(place, edges, of.scales[-1], least, sizes, strict=True)
            )
            found.append(place)
        return self._rounding_alike(found, self._whole(low)) or [self._whole(low)]

    def _rounding_alike(self, needed: list[tuple[slice, ...]], whole: tuple[slice, ...]) -> list[tuple[slice, ...]]:
        """Leave a level as large as the one before it, where torch would convolve less of it by another algorithm."""
        of = self.architecture
        here, found = whole, []
        for level in reversed(range(len(needed))):
            narrowest = min(of.widths[0], _INTERVAL_FEATURES) if level == 0 else of.widths[level]
            levels = ((narrowest, of.scales[level]), (of.widths[level + 1], of.scales[level + 1]))
            if any(_values(needed[level], *one) <= SMALL_INPUT < _values(whole, *one) for one in levels):
                found.append(here)
            else:
                found.append(needed[level])
            here = found[-1]
        return found[::-1]

    def _predict(self, features: Tensor, low: Tensor) -> Tensor:
        residual = resample.pixel_shuffle(self.tail(features).float(), self._shuffle)
        return self.follow(self.interpolate(low) + residual, low)

    def predicted_of(self, images: Tensor) -> Tensor:
        """Return the images that are predicted among those that the net takes, (n, channels, ...)."""
        return images if images.shape[1] == 1 else images[:, self.architecture.predicted]

    def interpolate(self, low: Tensor) -> Tensor:
        """Return the cubic interpolation that the residual is added to; `low` as for `forward`."""
        return self._upsample(self.predicted_of(low).float())

    def follow(self, pred: Tensor, low: Tensor) -> Tensor:
        """Shift the prediction smoothly so that its low-pass along Y and X follows that of the input.

        The mean of a voxel's sub-voxels should be the voxel. The difference is smoothed, so that noise of single
        voxels is not put back, interpolated and added. `low` is as for `forward`.
        """
        if self.architecture.consistency_sigma == 0:
            return pred
        with full_precision(low.device):
            difference = self.predicted_of(low).float() - resample.block_mean(pred, self.factor)
            smooth = resample.separable(difference, self.low_pass, self.low_pass)
        return pred + self._upsample(smooth)

    def _upsample(self, image: Tensor) -> Tensor:
        phases = (self.phases_z, self.phases_y, self.phases_x)
        with full_precision(image.device):
            return resample.upsample_cubic(image, *phases[-self.architecture.dimensions :])


def cut(x: Tensor, place: tuple[slice, ...], here: tuple[slice, ...], scale: tuple[int, ...]) -> Tensor:
    """Return the part `place` of features that stand for `here`, both in voxels of the input, `scale` to a feature."""
    if place == here:
        return x
    inner = tuple(
        slice((part.start - whole.start) // step, -(-(part.stop - whole.start) // step))
        for part, whole, step in zip(place, here, scale, strict=True)
    )
    return part_of(x, inner)


def _values(place: tuple[slice, ...], channels: int, scale: tuple[int, ...]) -> int:
    """Return the size of features by which torch chooses how to convolve them: along the first two axes of space."""
    sides = [(part.stop - part.start) // step for part, step in zip(place, scale, strict=True)]
    size: int = channels * sides[0] * sides[1]
    return size


def part_of(x: Tensor, place: tuple[slice, ...]) -> Tensor:
    """Return a view of a part, along the last axes."""
    for axis, part in enumerate(place, start=x.ndim - len(place)):
        x = x.narrow(axis, part.start, part.stop - part.start)
    return x


def _grown(part: slice, edge: int, step: int, least: int, length: int) -> slice:
    """Widen a part by `edge` on the grid of `step`, to `least` voxels at least, inside of `length`."""
    start = max(0, (part.start - edge) // step * step)
    stop = min(length, max(-(-(part.stop + edge) // step) * step, start + -(-least // step) * step))
    return slice(max(0, min(start, (stop - least) // step * step)), stop)


def net_from_model_file(file: ModelFile) -> UNet:
    """Rebuild the net of a model file with its weights, in evaluation mode.

    Raises
    ------
    ModelFileError
        When the weights do not fit the architecture in the header.
    """
    net = UNet(Architecture.from_json(file.header.architecture))
    try:
        net.load_state_dict({name: torch.from_numpy(value) for name, value in file.weights.items()})
    except RuntimeError as error:
        raise ModelFileError(f"{file.path}: the weights do not fit the architecture in the header: {error}") from None
    return net.eval()
