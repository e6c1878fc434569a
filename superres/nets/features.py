"""The small feature network of the perceptual loss.

A VGG-style net without norms, trained in about a minute on the lab's own sharp images to tell how an image was
degraded; its activations then compare prediction and truth. Nothing is downloaded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 64, 128)


class FeatureNet(nn.Module):
    """Three stages of two 3x3 convolutions, average pooling between them, and a head that predicts the degradation.

    Parameters
    ----------
    channels : int
        Image channels.
    num_targets : int
        Degradation parameters that the head predicts.
    """

    scales: Tensor

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
        self.register_buffer("scales", torch.ones(sum(WIDTHS)))

    def features(self, image: Tensor) -> list[Tensor]:
        """Return the activations after each stage, each channel divided by its mean on sharp images.

        Parameters
        ----------
        image : Tensor
            float32, (n, channels, y, x).
        """
        scales = torch.split(self.scales, list(WIDTHS))
        return [x / scale.view(1, -1, 1, 1) for x, scale in zip(self._activations(image), scales, strict=True)]

    def forward(self, image: Tensor) -> Tensor:
        """Predict the degradation parameters, (n, num_targets)."""
        prediction: Tensor = self.head(self._activations(image)[-1].mean(dim=(2, 3)))
        return prediction

    @torch.no_grad()
    def calibrate(self, sharp: Tensor) -> None:
        """Measure each channel's mean activation on sharp images, so that no channel outweighs the others."""
        means = [x.mean(dim=(0, 2, 3)) for x in self._activations(sharp)]
        # A channel that is dead on sharp images would divide by nothing; it is weighed like the stage's average.
        self.scales.copy_(torch.cat([torch.where(m > 1e-3 * m.mean(), m, m.mean().clamp_min(1e-6)) for m in means]))

    def _activations(self, x: Tensor) -> list[Tensor]:
        found = []
        for index, stage in enumerate(self.stages):
            x = stage(x if index == 0 else F.avg_pool2d(x, 2))
            found.append(x)
        return found
