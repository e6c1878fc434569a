"""The learning-rate finder: a short training with a rate that rises from step to step (Smith 2017, arXiv 1506.01186).

The loss of every step is divided by that of the untrained net on the same patches. Patches differ more from each other
than the net changes in a few steps, and without that the curve would show the patches.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from superres.config import TrainConfig
from superres.datasets.manifest import load_manifests
from superres.nets import UNet, choose_device, place
from superres.nets.device import autocast
from superres.progress import Progress, ProgressCallback, silent
from superres.training import losses
from superres.training.kind import architecture_of, open_split
from superres.training.material import Material
from superres.training.muon import MuonAndAdamW
from superres.training.start import load_start, take_weights
from superres.training.state import make_optimiser

_LOWEST, _HIGHEST = 1e-5, 1.0
_SMOOTHING = 0.8
# The curve is followed until the loss is this many times its smallest value.
_DIVERGED = 2.0
# The rate with the smallest loss is already too fast for a training that lasts; a quarter of it is proposed.
_SAFETY = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class RateCurve:
    """What a rising learning rate did.

    Parameters
    ----------
    rates : ndarray
        float64, (steps,), rising.
    losses : ndarray
        float64, (steps,), smoothed; relative to the untrained net, 1 where nothing is learnt.
    proposed : float
        A peak rate for the one-cycle schedule.
    muon : float or None
        That of Muon, which rose with it in the recipe's proportion; None where the recipe's optimiser is AdamW alone.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    proposed: float
    muon: float | None = None


def find_learning_rate(config: TrainConfig, *, steps: int = 100, progress: ProgressCallback = silent) -> RateCurve:
    """Train a net of a recipe for some steps while the learning rate rises, and propose one.

    Nothing is kept. Only the distance to truth is minimised, whatever the recipe's phases add.

    Parameters
    ----------
    config : TrainConfig
        Net, images, degradation, optimiser.
    steps : int
        Steps from the lowest to the highest rate.

    Raises
    ------
    InputError, ConfigError
        When data or settings cannot be used.
    """
    device = choose_device(config.device)
    sources, _ = open_split(config, load_manifests(config.manifests, config.data_root), "train")
    architecture = replace(architecture_of(config), interval=False)
    material = Material(config, architecture, device, sources, [])
    torch.manual_seed(config.seed)
    net = place(UNet(architecture), device)
    if (start := load_start(config)) is not None:
        take_weights(net, start)
    untrained = copy.deepcopy(net).eval().requires_grad_(False)
    optimiser = make_optimiser(net, config.optimiser, config.layer_rates)
    rates = np.geomspace(_LOWEST, _HIGHEST, steps)
    found: list[float] = []
    try:
        for step, rate in enumerate(rates.tolist()):
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("factor", 1.0)
            found.append(_relative_loss(net, untrained, material, optimiser, step))
            progress(Progress("learning rate", step + 1, steps, "steps", f"{rate:.1e}", {"loss": found[-1]}))
            if not math.isfinite(found[-1]) or found[-1] > 4 * _DIVERGED:
                break
    finally:
        material.stop()
    curve = smooth(np.array(found))
    proposed = propose(rates[: len(curve)], curve)
    muon = None
    if config.optimiser.kind == "muon":
        muon = float(f"{proposed * config.optimiser.muon.learning_rate / config.optimiser.learning_rate:.1e}")
    return RateCurve(rates[: len(curve)], curve, proposed, muon)


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an exponential average without a bias towards its start, as far as it has not diverged."""
    smoothed: list[float] = []
    total, weight = 0.0, 0.0
    for value in values.tolist():
        total, weight = _SMOOTHING * total + (1 - _SMOOTHING) * value, _SMOOTHING * weight + 1 - _SMOOTHING
        if not math.isfinite(total) or (smoothed and total / weight > _DIVERGED * min(smoothed)):
            break
        smoothed.append(total / weight)
    return np.array(smoothed)


def propose(rates: NDArray[np.float64], curve: NDArray[np.float64]) -> float:
    """Return a peak learning rate: a quarter of that with the smallest loss, to two digits."""
    return float(f"{rates[int(np.argmin(curve))] / _SAFETY:.1e}")


def _relative_loss(
    net: UNet, untrained: UNet, material: Material, optimiser: torch.optim.AdamW | MuonAndAdamW, step: int
) -> float:
    config = material.config
    low, high = material.pairs(step, config.patch.batch)
    with autocast(material.device, trains_dimensions=net.architecture.dimensions):
        pred = net(low)
    epsilon = config.loss.charbonnier_epsilon
    with torch.no_grad(), autocast(material.device):
        before = losses.charbonnier(untrained(low), high, epsilon)
    loss = losses.charbonnier(pred, high, epsilon)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(net.parameters(), config.optimiser.clip)
    optimiser.step()
    return float(loss.detach() / before)
