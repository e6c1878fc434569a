"""What the generator is asked for: the terms of a phase's loss, each held at its share."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from superres.config import Phase, TrainConfig
from superres.nets import UNet
from superres.nets.device import autocast
from superres.nets.features import Features
from superres.training import losses
from superres.training.kind import as_planes
from superres.training.shares import Shares

# Features are compared on a window of at most this many high-resolution voxels, another one at every step: a quarter of
# a patch says as much about its texture as the whole.
_LARGEST_WINDOW = 96
_SMALLEST_WINDOW = 32


class Objective:
    """The generator's loss.

    Parameters
    ----------
    config : TrainConfig
        Phases and losses.
    features : Features or None
        The frozen network of the feature and Gram terms; None where no phase has them.
    window : int
        Side of the window in which features are compared, in high-resolution voxels (`window_of`).
    shares : Shares
        State of the training.
    """

    def __init__(self, config: TrainConfig, features: Features | None, window: int, shares: Shares) -> None:
        self._config = config
        self._features = features
        self._window_side = window
        self._shares = shares

    def terms(
        self, phase: Phase, step: int, pred: Tensor, high: Tensor, *, adversarial: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms of a phase, and under the name ``loss`` what is to be minimised.

        Parameters
        ----------
        phase : Phase
            Says which terms there are, and their shares.
        step : int
            Decides the window.
        pred, high : Tensor
            float32, (n, c, y, x), or (n, c, z, y, x) for nets of three dimensions.
        adversarial : Tensor, optional
            The critic's opinion of `pred`, lower where it holds it to be real.
        """
        shares = phase.losses.shares()
        terms = {"charbonnier": losses.charbonnier(pred, high, self._config.loss.charbonnier_epsilon)}
        if "frequency" in shares:
            terms["frequency"] = losses.frequency(pred, high)
        if "feature" in shares or "gram" in shares:
            terms |= self._perceptual(step, pred, high, shares)
        if adversarial is not None:
            terms["adversarial"] = adversarial
        return {"loss": self._shares.total(terms, shares), **terms}

    def _perceptual(self, step: int, pred: Tensor, high: Tensor, shares: dict[str, float]) -> dict[str, Tensor]:
        assert self._features is not None
        settings, wanted = self._config.features, {name for name in ("feature", "gram") if name in shares}
        with autocast(pred.device):
            return losses.perceptual(
                self._window(pred, step), self._window(high, step), self._features, settings.layer_weights, wanted
            )

    def _window(self, image: Tensor, step: int) -> Tensor:
        side, random = self._window_side, np.random.default_rng([self._config.seed, step, 1])
        y, x = (int(random.integers(max(1, n - side + 1))) for n in image.shape[-2:])
        plane = int(random.integers(image.shape[2])) if image.ndim == 5 else 0
        return as_planes(image[..., y : y + side, x : x + side], plane)


def window_of(net: UNet, features: Features, patch: int, depth: int = 1) -> int:
    """Return the side of the window in which features are compared, so that they cost at most what the generator does.

    Parameters
    ----------
    net : UNet
        The generator.
    features : Features
        The network.
    patch : int
        Side of a low patch in voxels.
    depth : int
        Its voxels along Z, for nets of three dimensions.

    Returns
    -------
    int
        High-resolution voxels, a multiple of 16, from 32 to 96.
    """
    device = next(net.parameters()).device
    probe = torch.zeros(1, 1, _SMALLEST_WINDOW, _SMALLEST_WINDOW, device=device)
    of = net.architecture
    sides = [-(-n // step) * step for n, step in zip((depth, patch, patch), of.strides, strict=True)]
    training = net.training
    net.eval()  # norms would otherwise learn from the empty image
    own = _operations(net, torch.zeros(1, of.inputs, *sides[-of.dimensions :], device=device))
    net.train(training)
    theirs = _operations(features.features, probe) / _SMALLEST_WINDOW**2
    # Forwards twice and backwards once, all about equally dear, as are the generator's forward and two backwards.
    side = int(math.sqrt(own / theirs)) // 16 * 16
    return min(max(side, _SMALLEST_WINDOW), _LARGEST_WINDOW)


@torch.no_grad()
def _operations(function: object, image: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        function(image)  # type: ignore[operator]
    return float(counter.get_total_flops())
