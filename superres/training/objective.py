"""What the generator is asked for: the terms of a phase's loss, each held at its share."""

from __future__ import annotations

from torch import Tensor

from superres.config import Phase, TrainConfig
from superres.nets.device import autocast
from superres.nets.features import Features
from superres.training import losses
from superres.training.kind import as_planes
from superres.training.shares import Shares
from superres.training.windows import cut


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
        self._side = window
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
        place = (self._config.seed, step)
        with autocast(pred.device):
            return losses.perceptual(
                as_planes(cut(pred, self._side, place), -1),
                as_planes(cut(high, self._side, place), -1),
                self._features,
                settings.layer_weights,
                wanted,
            )
