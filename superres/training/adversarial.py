"""The critic's side of a GAN phase: its losses, its training, and whose turn it is.

Relativistic pairing (Jolicoeur-Martineau 2018, arXiv 1807.00734; Huang et al. 2024, arXiv 2501.05441): prediction and
truth of one field are compared with each other, so that the critic need not know what any sharp image looks like, only
which of two is the sharper. NoGAN (DeOldify): the critic learns first, on what the generator makes, and then both learn
together, but only for a few per cent of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from superres.config import GanConfig
from superres.nets import place
from superres.nets.critic import Critic
from superres.nets.device import autocast
from superres.training.run import optimiser_tensors, restore_optimiser

# Weight of the past in the critic's smoothed loss: single batches are too noisy to decide by, and a phase has not many.
_SMOOTHING = 0.9

Player = Literal["critic", "generator"]


@dataclass(frozen=True, slots=True)
class Turns:
    """What a switcher decides by.

    Parameters
    ----------
    critic_loss : float
        The critic's loss, smoothed; log 2 = 0.693 where it tosses coins, 0 where it is always right.
    critic_steps, generator_steps : int
        Turns in a row that either has just had; one of them is 0.
    """

    critic_loss: float
    critic_steps: int
    generator_steps: int


class Switcher(Protocol):
    """Says whose turn is next. It keeps nothing, so that a resumed training goes on as it would have."""

    def __call__(self, turns: Turns) -> Player:
        """Return whose turn is next."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """`critic_steps` turns for the critic, then one for the generator."""

    critic_steps: int

    def __call__(self, turns: Turns) -> Player:
        """Return whose turn is next."""
        return "generator" if turns.critic_steps >= self.critic_steps else "critic"


@dataclass(frozen=True, slots=True)
class Adaptive:
    """After each turn of the generator the critic learns until its loss is below `threshold`, but `most` turns at most.

    Without the cap a critic that never gets there would starve the generator for ever.
    """

    threshold: float
    most: int

    def __call__(self, turns: Turns) -> Player:
        """Return whose turn is next."""
        if turns.critic_steps == 0:
            return "critic"
        good = turns.critic_loss < self.threshold
        return "generator" if good or turns.critic_steps >= self.most else "critic"


def switcher_of(config: GanConfig) -> Switcher:
    """Return the switcher that a recipe names."""
    if config.switcher == "fixed":
        return Fixed(config.critic_steps)
    return Adaptive(config.threshold, config.critic_steps)


class Adversary:
    """A critic in training.

    Parameters
    ----------
    config : GanConfig
        Learning rate and switcher.
    channels : int
        Image channels.
    seed : int
        Of the training.
    device : torch.device
        Where it learns.
    switcher : callable
        Says whose turn is next.
    """

    def __init__(self, config: GanConfig, channels: int, seed: int, device: torch.device, switcher: Switcher) -> None:
        self.critic = place(Critic(channels, seed), device)
        self.window = 96  # high-resolution voxels along Y and X that it is shown of a patch
        self._optimiser = torch.optim.AdamW(
            self.critic.parameters(), lr=config.critic_learning_rate, betas=(0.0, 0.99), weight_decay=1e-4
        )
        self._switcher = switcher
        self._turns = Turns(0.0, 0, 0)
        self._weight = 0.0  # of the smoothed loss, which starts from nothing

    def turn(self) -> Player:
        """Return whose turn is next in a phase that trains both."""
        return self._switcher(self._turns)

    def learn(self, pred: Tensor, high: Tensor, interpolated: Tensor) -> dict[str, Tensor]:
        """Let the critic learn from predictions and truth of the same fields.

        Parameters
        ----------
        pred, high, interpolated : Tensor
            float32, (n, channels, y, x); `pred` gets no gradient.

        Returns
        -------
        dict
            Its loss, and how often it is right.
        """
        self.critic.train().requires_grad_(True)
        with autocast(pred.device):
            both = self.critic(torch.cat([high, pred.detach()]), torch.cat([interpolated, interpolated]))
        real, made = both.float().chunk(2)
        gap = real - made
        loss = F.softplus(-gap).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(loss):
            self._optimiser.step()
            self._smooth(float(loss.detach()))
        self._turns = Turns(self._turns.critic_loss, self._turns.critic_steps + 1, 0)
        return {"critic": loss.detach(), "critic_right": (gap > 0).float().mean()}

    def opinion(self, pred: Tensor, high: Tensor, interpolated: Tensor) -> Tensor:
        """Return the generator's adversarial loss: small where the critic holds `pred` to be the sharper image."""
        self.critic.eval().requires_grad_(False)
        with autocast(pred.device):
            gap = self.critic(pred, interpolated) - self.critic(high, interpolated)
        self._turns = Turns(self._turns.critic_loss, 0, self._turns.generator_steps + 1)
        return F.softplus(-gap.float()).mean()

    def _smooth(self, loss: float) -> None:
        before = self._turns
        self._weight = _SMOOTHING * self._weight + 1 - _SMOOTHING
        smoothed = before.critic_loss + (1 - _SMOOTHING) / self._weight * (loss - before.critic_loss)
        self._turns = Turns(smoothed, before.critic_steps, before.generator_steps)

    def tensors(self) -> dict[str, Tensor]:
        """Return networks and optimiser, for a checkpoint."""
        weights = {f"critic.{name}": value for name, value in self.critic.state_dict().items()}
        return weights | optimiser_tensors(self._optimiser)

    def state(self) -> dict[str, Any]:
        """Return the rest, for a checkpoint."""
        turns = self._turns
        return {"turns": [turns.critic_loss, turns.critic_steps, turns.generator_steps], "weight": self._weight}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `state` returned."""
        self.critic.load_state_dict(
            {name.removeprefix("critic."): value for name, value in tensors.items() if name.startswith("critic.")}
        )
        restore_optimiser(self._optimiser, tensors)
        self._turns = Turns(*state["turns"])
        self._weight = state["weight"]
