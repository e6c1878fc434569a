"""The generator: a norm-free residual U-Net that computes in low-resolution space.

Two-dimensional; every plane is upscaled on its own. Convolutions, ReLU, stride-2 pooling and pixel shuffles only, so
that the output is exactly equivariant to shifts by the total stride and volumes can be tiled without seams.
At initialisation the net is bicubic interpolation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superres.errors import ModelFileError
from superres.modelfile import ModelFile
from superres.nets import resample

PRESETS: dict[str, dict[str, Any]] = {
    # widths per level, residual blocks per level (encoder and decoder each), blocks in the middle
    "XS": {"widths": (32, 48, 64), "blocks": 1, "middle_blocks": 2},
    "S": {"widths": (48, 72, 96), "blocks": 2, "middle_blocks": 2},
    "M": {"widths": (64, 96, 128), "blocks": 2, "middle_blocks": 4},
    "L": {"widths": (64, 128, 256), "blocks": 4, "middle_blocks": 6},
}


_INTERVAL_FEATURES = 32
# Softplus of it is 0.05 of the range between black and white.
_INTERVAL_START = -3.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that rebuilds the net; stands in the model file.

    Parameters
    ----------
    factor : tuple of int
        Upscaling along Z, Y, X; Z must be 1.
    channels : int
        Image channels in and out.
    widths : tuple of int
        Feature channels per level, finest first; the last one is the middle.
    blocks, middle_blocks : int
        Residual blocks per level in encoder and in decoder, and in the middle.
    consistency_sigma : float
        Low-resolution voxels; sigma of the low-pass in which the prediction follows the input; 0 for none.
    interval : bool
        Whether a second head predicts how far off each voxel may be (`IntervalHead`).
    """

    factor: tuple[int, int, int]
    channels: int
    widths: tuple[int, ...]
    blocks: int
    middle_blocks: int
    consistency_sigma: float
    interval: bool = False

    @classmethod
    def of_preset(
        cls,
        preset: str,
        *,
        factor: tuple[int, int, int],
        channels: int = 1,
        consistency_sigma: float = 2.5,
        interval: bool = False,
    ) -> Architecture:
        """Return the architecture of preset XS, S, M or L."""
        return cls(
            factor=factor,
            channels=channels,
            consistency_sigma=consistency_sigma,
            interval=interval,
            **PRESETS[preset],
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Architecture:
        """Rebuild from the model file's header, where tuples are lists."""
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @property
    def stride(self) -> int:
        """Low-resolution voxels that tile origins must be multiples of."""
        return 1 << (len(self.widths) - 1)

    @property
    def receptive_radius(self) -> int:
        """Low-resolution voxels that one output voxel sees to either side, rounded up to the stride.

        Each residual block reaches two voxels of its level, stem and tail one; pooling by 2 adds up to ``2**level``.
        The consistency layer compares a low-pass of the prediction with the input, so its reach adds up. The interval
        head reaches as far as the tail and is not shifted by that layer.
        """
        levels = len(self.widths) - 1
        reach: int = 2 + sum(2 * 2**level * 2 * self.blocks for level in range(levels))
        reach += 2 * 2**levels * self.middle_blocks + sum(2**level for level in range(levels))
        if self.consistency_sigma > 0:
            reach += math.ceil(3 * self.consistency_sigma) + 2
        return math.ceil(reach / self.stride) * self.stride


class ResidualBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution, plus identity; the second convolution starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width, y, x) to the same shape."""
        change: Tensor = self.second(F.relu(self.first(x)))
        return x + change


class Up(nn.Module):
    """1x1 convolution and pixel shuffle by 2, initialised so that sub-voxels start equal (ICNR, arXiv 1707.02937)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, 4 * width_out, 1)
        kernel = torch.empty(width_out, width_in, 1, 1)
        nn.init.kaiming_normal_(kernel, nonlinearity="linear")
        with torch.no_grad():
            self.conv.weight.copy_(kernel.repeat_interleave(4, dim=0))
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, width_in, y, x) to (n, width_out, 2 y, 2 x)."""
        return F.pixel_shuffle(self.conv(x), 2)


class IntervalHead(nn.Module):
    """How far below and above its prediction a voxel may lie: two half-widths, on the scale of the prediction.

    A 3x3 convolution to 32 features, ReLU, a 1x1 convolution, a pixel shuffle, softplus. Trained by the pinball loss
    (Koenker & Bassett 1978, Econometrica 46:33), the heuristic interval of Angelopoulos et al. 2022, arXiv 2202.05265.
    Making a head draws nothing from torch's random numbers, so that the net around it starts as it would without.
    """

    def __init__(self, width: int, channels: int, factor: tuple[int, int]) -> None:
        super().__init__()
        self.factor = factor
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.hidden = nn.Conv2d(width, _INTERVAL_FEATURES, 3, padding=1)
            self.out = nn.Conv2d(_INTERVAL_FEATURES, 2 * channels * factor[0] * factor[1], 1)
            nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
            nn.init.zeros_(self.hidden.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, _INTERVAL_START)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (n, width, y, x) to the half-widths below and above, each (n, channels, y * fy, x * fx)."""
        both = F.softplus(resample.pixel_shuffle(self.out(F.relu(self.hidden(x))).float(), self.factor))
        below, above = both.chunk(2, dim=1)
        return below, above


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class UNet(nn.Module):
    """Residual U-Net in low-resolution space with additive skips and one pixel shuffle at the end.

    The prediction is cubic interpolation plus a learnt residual; then its low-pass is made to follow the input
    (`follow`). Inputs are normalised intensities.

    Parameters
    ----------
    architecture : Architecture
        Widths, depths, factor.
    """

    phases_y: Tensor
    phases_x: Tensor
    low_pass: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.factor[0] != 1:
            raise ModelFileError(
                f"factor {list(architecture.factor)}: this net is two-dimensional and cannot upscale along Z; "
                f"use factor [1, {architecture.factor[1]}, {architecture.factor[2]}]"
            )
        self.architecture = architecture
        fy, fx = self.factor = architecture.factor[1:]
        widths, channels = architecture.widths, architecture.channels
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(width, architecture.blocks) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.middle = _blocks(widths[-1], architecture.middle_blocks)
        self.up = nn.ModuleList(Up(b, a) for a, b in itertools.pairwise(widths))
        self.decoder = nn.ModuleList(_blocks(width, architecture.blocks) for width in widths[:-1])
        self.tail = nn.Conv2d(widths[0], channels * fy * fx, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]
        head = IntervalHead(widths[0], channels, (fy, fx)) if architecture.interval else None
        self.interval_head: IntervalHead | None = head
        self.register_buffer("phases_y", resample.cubic_phases(fy), persistent=False)
        self.register_buffer("phases_x", resample.cubic_phases(fx), persistent=False)
        sigma = architecture.consistency_sigma
        taps = resample.gaussian_taps(sigma) if sigma > 0 else torch.ones(1)
        self.register_buffer("low_pass", taps, persistent=False)

    def forward(self, low: Tensor) -> Tensor:
        """Upscale a batch of planes.

        Parameters
        ----------
        low : Tensor
            float32, (n, channels, y, x), y and x multiples of the stride.

        Returns
        -------
        Tensor
            float32, (n, channels, y * fy, x * fx).
        """
        return self._predict(self._features(low), low)

    def with_interval(self, low: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Upscale a batch of planes and tell how far off each voxel may be.

        The half-widths see the features but send no gradient into them: the prediction and its training are the same
        with and without them.

        Returns
        -------
        tuple of Tensor
            Prediction, half-width below, half-width above; each float32, (n, channels, y * fy, x * fx). Half-widths
            are never negative, lie around the final prediction and are not calibrated.

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

    def main_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but those of the interval head."""
        return [value for name, value in self.named_parameters() if not name.startswith("interval_head.")]

    def _features(self, low: Tensor) -> Tensor:
        x: Tensor = self.stem(low)
        skips = []
        for encode, down in zip(self.encoder, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for decode, up, skip in reversed(list(zip(self.decoder, self.up, skips, strict=True))):
            x = decode(up(x) + skip)
        return x

    def _predict(self, features: Tensor, low: Tensor) -> Tensor:
        residual = resample.pixel_shuffle(self.tail(features).float(), self.factor)
        return self.follow(self.interpolate(low) + residual, low.float())

    def interpolate(self, low: Tensor) -> Tensor:
        """Return the cubic interpolation that the residual is added to."""
        return resample.upsample_cubic(low.float(), self.phases_y, self.phases_x)

    def follow(self, pred: Tensor, low: Tensor) -> Tensor:
        """Shift the prediction smoothly so that its low-pass follows that of the input.

        The mean of a voxel's sub-voxels should be the voxel. The difference is smoothed, so that noise of single
        voxels is not put back, interpolated and added.
        """
        if self.architecture.consistency_sigma == 0:
            return pred
        difference = low - resample.block_mean(pred, self.factor)
        return pred + self.interpolate(resample.separable(difference, self.low_pass, self.low_pass))


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
