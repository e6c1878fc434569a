"""All that a training knows between two steps: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from superres.config import LayerRates, OptimiserConfig, Phase, TrainConfig
from superres.errors import OutputExistsError
from superres.modelfile import ModelFile
from superres.nets import Architecture, UNet, choose_device, place
from superres.training.adversarial import Adversary, Switcher, switcher_of
from superres.training.kind import statistics_of
from superres.training.layers import by_part, learns
from superres.training.material import Material
from superres.training.muon import MuonAndAdamW, kernels_of
from superres.training.processes import ALONE, Processes
from superres.training.run import RunFolder, optimiser_tensors, restore_optimiser
from superres.training.shares import Shares
from superres.training.start import take_weights
from superres.training.stopping import Watch
from superres.training.windows import window_of

# Decay of the averaged weights in a phase with a critic, which is short and not annealed.
_JOINT_EMA = 0.99
# One opinion of the critic is on 46 voxels.
_SMALLEST_CRITIC_WINDOW = 64


class State:
    """Net, averaged net, optimiser, counters, sizes of the loss terms, and the critic's side where there is one.

    Parameters
    ----------
    config : TrainConfig
        Everything that decides the training.
    architecture : Architecture
        Of the generator.
    material : Material
        Its validation images are watched in a phase with a critic.
    switcher : callable, optional
        Whose turn it is in such a phase; default as the recipe says.
    start : ModelFile, optional
        The model whose weights it starts from.
    together : Processes
        Those that train the net with this one.
    """

    def __init__(
        self,
        config: TrainConfig,
        architecture: Architecture,
        material: Material,
        switcher: Switcher | None = None,
        start: ModelFile | None = None,
        together: Processes = ALONE,
    ) -> None:
        self.together = together
        self.config = config.optimiser
        self.device = choose_device(config.device)
        torch.manual_seed(config.seed)
        self.net = place(UNet(architecture), self.device)
        if start is not None:
            take_weights(self.net, start)
        self.start = "" if start is None else start.sha256
        self.ema = place(UNet(architecture), self.device).eval()
        self.ema.load_state_dict(self.net.state_dict())
        self.parameters = self.net.main_parameters()
        self._statistics = statistics_of(self.ema, self.net)
        self.head = [] if self.net.interval_head is None else list(self.net.interval_head.parameters())
        self.optimiser = make_optimiser(self.net, config.optimiser, config.layer_rates)
        self.shares = Shares(together.mean)
        self.step, self.skipped = 0, 0
        self.seconds = 0.0  # of earlier sessions
        self.halvings = 0  # of the batch, for want of memory
        self.joint = 0  # steps of the generator with a critic
        self.adversary: Adversary | None = None
        self.watch: Watch | None = None
        if any(phase.trains != "generator" for phase in config.phases):
            self.adversary = Adversary(
                config.gan, architecture.channels, config.seed, self.device, switcher or switcher_of(config.gan)
            )
            critic = self.adversary.critic.eval()
            self.adversary.window = window_of(
                self.net, lambda image: critic(image, image), config.patch.size, smallest=_SMALLEST_CRITIC_WINDOW
            )
            self.watch = Watch(material)

    def enter(self, phase: Phase) -> None:
        """Say which weights learn in a phase."""
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(learns(name, phase))
        self.ema.requires_grad_(False)

    def set_rate(self, rate: float, momentum: float) -> None:
        """Learn from now on with a learning rate, times the factor of each group, and a momentum (AdamW's beta1)."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
            if "betas" in group:
                group["betas"] = (momentum, self.config.beta2)
            else:  # Muon's
                group["momentum"] = momentum

    def update(self, loss: Tensor, interval: Tensor | None, phase: Phase) -> None:
        """Do one step of the optimiser; leave it out, and count that, where gradients are not finite."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.together.average_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        if not torch.isfinite(norm):
            self.skipped += 1
            return
        if interval is not None:
            self._update_head(interval)
        self.optimiser.step()
        # Warm-started, so that a short training, or a short phase with a critic, does not average over its beginning.
        joint = phase.trains == "both"
        done = self.joint if joint else self.step
        self.joint += joint
        decay = min(self.config.ema, (1 + done) / (10 + done), _JOINT_EMA if joint else 1.0)
        with torch.no_grad():
            for averaged, current in zip(self.ema.parameters(), self.net.parameters(), strict=True):
                averaged.lerp_(current, 1 - decay)
            for kept, latest in self._statistics:
                kept.copy_(latest)

    def _update_head(self, interval: Tensor) -> None:
        """Give the interval head its gradient, clipped on its own: the net is trained as it would be without it."""
        interval.backward()  # type: ignore[no-untyped-call]
        self.together.average_gradients(self.head)
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.head, self.config.clip)):
            for parameter in self.head:
                parameter.grad = None

    def save(self, folder: RunFolder, seconds: float) -> None:
        """Write a checkpoint."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser)
        tensors |= {f"share.{name}": value for name, value in self.shares.tensors().items()}
        state: dict[str, Any] = {
            "step": self.step,
            "seconds": seconds,
            "skipped": self.skipped,
            "halvings": self.halvings,
            "start": self.start,
            "joint": self.joint,
        }
        for name, part in (("adversary", self.adversary), ("watch", self.watch)):
            if part is not None:
                tensors |= {f"{name}.{key}": value for key, value in part.tensors().items()}
                state[name] = part.state()
        folder.save_checkpoint(tensors, state)

    def resume(self, folder: RunFolder) -> None:
        """Go on from the checkpoint, if there is one.

        Raises
        ------
        OutputExistsError
            When the training had started from another model.
        """
        found = folder.load_checkpoint()
        if found is None:
            return
        tensors, state = found
        refuse_other_start(folder, state.get("start", ""), self.start)
        self.net.load_state_dict(_part(tensors, "net"))
        self.ema.load_state_dict(_part(tensors, "ema"))
        restore_optimiser(self.optimiser, tensors)
        self.shares.restore(_part(tensors, "share"), self.device)
        self.step, self.seconds, self.skipped = state["step"], state["seconds"], state["skipped"]
        self.halvings, self.joint = state["halvings"], state.get("joint", 0)
        if self.adversary is not None and self.watch is not None:
            self.adversary.restore(_part(tensors, "adversary"), state["adversary"])
            self.watch.restore(_part(tensors, "watch"), state["watch"])


def make_optimiser(
    net: UNet, config: OptimiserConfig, rates: LayerRates | None = None
) -> torch.optim.AdamW | MuonAndAdamW:
    """Return AdamW, or Muon with it; biases and the interval head do not decay.

    With `rates`, its groups have a ``factor``.
    """
    parameters = net.main_parameters()
    head = [] if net.interval_head is None else list(net.interval_head.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups += [{"params": head, "weight_decay": 0.0}] if head else []
    groups = by_part(groups, net, rates)
    settings: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.momentum[1], config.beta2),
        "weight_decay": config.weight_decay,
    }
    if config.kind == "muon":
        return MuonAndAdamW(groups, kernels_of(net), config.muon, **settings)
    return torch.optim.AdamW(groups, **settings)


def refuse_other_start(folder: RunFolder, began: str, now: str) -> None:
    """Refuse to go on with a training whose ``start_from`` is another file by now; both are SHA-256.

    Raises
    ------
    OutputExistsError
        Saying so.
    """
    if began != now:
        raise OutputExistsError(
            f"{folder.path}: its training started from a model with sha256 {began}, and the file at start_from is "
            f"another one now ({now}); put that model back, or give another run folder"
        )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
