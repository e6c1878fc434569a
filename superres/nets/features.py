"""Networks whose activations the feature loss compares: a small one of the lab's own, and VGG16.

The small one is a VGG-style net without norms, trained in about a minute on the lab's own sharp images to tell how an
image was degraded, or left at random. VGG16 (Simonyan & Zisserman 2014, arXiv 1409.1556) is read from torchvision's
file. Nothing is downloaded here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from superres.errors import ConfigError

WIDTHS = (32, 64, 128)

# Mean and standard deviation of ImageNet's colours, which its networks expect to be taken off.
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Feature channels of VGG16's convolutions, pooling between the blocks.
_VGG_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Features(nn.Module, ABC):
    """A frozen network with named layers, each channel divided by its mean activation on sharp images."""

    layer_names: tuple[str, ...]
    layers: tuple[str, ...]

    def choose(self, layers: Sequence[str]) -> None:
        """Say which layers `features` returns.

        Raises
        ------
        ConfigError
            When the network has no such layer.
        """
        unknown = [name for name in layers if name not in self.layer_names]
        if unknown:
            raise ConfigError(
                f"features.layers: no layer {', '.join(unknown)}; this network has {', '.join(self.layer_names)}"
            )
        self.layers = tuple(layers)
        for name in self.layers:
            self.register_buffer(f"scale_{name}", torch.ones(self.width(name)))

    @abstractmethod
    def width(self, layer: str) -> int:
        """Return the channels of a layer."""

    @abstractmethod
    def activations(self, image: Tensor) -> dict[str, Tensor]:
        """Return the activations of the chosen layers, (n, width, y, x) each, by name, finest first."""

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the chosen activations, each channel divided by its mean on sharp images.

        Parameters
        ----------
        image : Tensor
            float32, (n, 1, y, x), normalised intensity.
        """
        found = self.activations(image)
        return [found[name] / self.get_buffer(f"scale_{name}").view(1, -1, 1, 1) for name in self.layers]

    @torch.no_grad()
    def calibrate(self, sharp: Tensor) -> None:
        """Measure each channel's mean activation on sharp images, so that no channel outweighs the others."""
        for name, activation in self.activations(sharp).items():
            mean = activation.float().mean(dim=(0, 2, 3))
            # A channel that is dead on sharp images would divide by nothing; it is weighed like the layer's average.
            typical = mean.mean().clamp_min(1e-6)
            self.get_buffer(f"scale_{name}").copy_(torch.where(mean > 1e-3 * typical, mean, typical))


class FeatureNet(Features):
    """Three stages of two 3x3 convolutions, average pooling between them, and a head that predicts the degradation.

    Parameters
    ----------
    channels : int
        Image channels.
    num_targets : int
        Degradation parameters that the head predicts.
    """

    layer_names = ("stage1", "stage2", "stage3")

    def __init__(self, channels: int = 1, num_targets: int = 3) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())
            for a, b in zip(inputs, WIDTHS, strict=True)
        )
        self.head = nn.Linear(WIDTHS[-1], num_targets)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.choose(self.layer_names)

    def width(self, layer: str) -> int:
        """Return the channels of a stage."""
        return WIDTHS[self.layer_names.index(layer)]

    def forward(self, image: Tensor) -> Tensor:
        """Predict the degradation parameters, (n, num_targets)."""
        prediction: Tensor = self.head(self._stages(image, len(WIDTHS))[-1].mean(dim=(2, 3)))
        return prediction

    def activations(self, image: Tensor) -> dict[str, Tensor]:
        """Return the chosen stages."""
        deepest = max(self.layer_names.index(name) for name in self.layers)
        found = dict(zip(self.layer_names, self._stages(image, deepest + 1), strict=False))
        return {name: found[name] for name in self.layers}

    def _stages(self, x: Tensor, count: int) -> list[Tensor]:
        found = []
        for index in range(count):
            x = self.stages[index](x if index == 0 else F.avg_pool2d(x, 2))
            found.append(x)
        return found


class VggFeatures(Features):
    """The convolutions of VGG16 without batch norm, as far as the deepest layer that is asked for.

    Gray is repeated to three channels and brought to ImageNet's statistics, without which the first layer sees colours
    that it never saw.

    Parameters
    ----------
    weights : mapping
        Tensors by torchvision's names: ``features.0.weight`` and so on; others are ignored.
    layers : sequence of str
        Activations after ReLU, ``relu1_1`` to ``relu5_3``.

    Raises
    ------
    ConfigError
        When a layer does not exist, or `weights` lacks a tensor or has one of another shape.
    """

    layer_names = tuple(
        f"relu{block + 1}_{number + 1}" for block, widths in enumerate(_VGG_BLOCKS) for number in range(len(widths))
    )
    mean: Tensor
    sd: Tensor

    def __init__(self, weights: Mapping[str, Tensor], layers: Sequence[str] = ("relu2_2", "relu3_3")) -> None:
        super().__init__()
        self.choose(layers)
        self.features_by_layer = nn.ModuleDict()
        deepest, width, place = max(self.layer_names.index(name) for name in layers), 3, 0
        for index, name in enumerate(self.layer_names[: deepest + 1]):
            if index and name.endswith("_1"):
                place += 1  # torchvision counts the pooling between blocks
            conv = nn.Conv2d(width, self.width(name), 3, padding=1)
            _fill(conv, weights, f"features.{place}")
            self.features_by_layer[name] = conv
            width, place = self.width(name), place + 2
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("sd", torch.tensor(_SD).view(1, 3, 1, 1))

    def width(self, layer: str) -> int:
        """Return the channels of a layer."""
        block, number = (int(part) - 1 for part in layer.removeprefix("relu").split("_"))
        return _VGG_BLOCKS[block][number]

    def activations(self, image: Tensor) -> dict[str, Tensor]:
        """Return the chosen layers of gray images."""
        x, found = (image.expand(-1, 3, -1, -1) - self.mean) / self.sd, {}
        for index, (name, conv) in enumerate(self.features_by_layer.items()):
            x = F.relu(conv(F.max_pool2d(x, 2) if index and name.endswith("_1") else x))
            found[name] = x
        return {name: found[name] for name in self.layers}


def _fill(conv: nn.Conv2d, weights: Mapping[str, Tensor], name: str) -> None:
    for part, target in (("weight", conv.weight), ("bias", conv.bias)):
        given = weights.get(f"{name}.{part}")
        if given is None or target is None or given.shape != target.shape:
            found = "has none" if given is None else f"has one of shape {list(given.shape)}"
            wanted = None if target is None else list(target.shape)
            raise ConfigError(
                f"the weights of VGG16 need a tensor {name}.{part} of shape {wanted}; the file {found}; give "
                "torchvision's vgg16-397923af.pth (plain VGG16, not the one with batch norm)"
            )
        with torch.no_grad():
            target.copy_(given)
