"""What the feature phase costs: a step with and without it, for each network, in one process.

Weights do not matter to the time, so VGG16 has random ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from superres.nets import Architecture, FeatureNet, UNet, place
from superres.nets.device import autocast, choose_device
from superres.nets.features import Features, VggFeatures
from superres.phases import PRESETS
from superres.training import losses
from superres.training.windows import window_of

pytestmark = pytest.mark.slow

LARGEST_EXTRA = 0.30  # of the time of a training
PATCH, BATCH, ROUNDS = 48, 4, 5


def vgg() -> VggFeatures:
    """Return VGG16 as far as its seventh convolution."""
    places, widths = (0, 2, 5, 7, 10, 12, 14), (3, 64, 64, 128, 128, 256, 256, 256)
    weights = {}
    for place_, into, out in zip(places, widths, widths[1:], strict=False):
        weights[f"features.{place_}.weight"] = torch.randn(out, into, 3, 3) * (2 / (9 * into)) ** 0.5
        weights[f"features.{place_}.bias"] = torch.zeros(out)
    return VggFeatures(weights)


def best_time(step: Callable[[], None]) -> float:
    """Return the shortest of several runs, after one that is not counted, in seconds."""
    step()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("network", ["own", "vgg16"])
@pytest.mark.parametrize(("preset", "factor"), [("XS", 4), ("S", 4), ("XS", 2), ("S", 2)])
def test_features_cost_little_time(figures: Any, preset: str, factor: int, network: str) -> None:
    torch.manual_seed(0)
    device = choose_device("auto")
    net = place(UNet(Architecture.of_preset(preset, factor=(1, factor, factor))), device)
    features: Features = FeatureNet() if network == "own" else vgg()
    features = place(features, device).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters())
    low = torch.rand(BATCH, 1, PATCH, PATCH, device=device)
    high = torch.rand(BATCH, 1, PATCH * factor, PATCH * factor, device=device)
    side = window_of(net, features.features, PATCH)

    def step(compared: bool) -> None:
        with autocast(device):
            pred = net(low)
        loss = losses.charbonnier(pred, high, 1e-3) + losses.frequency(pred, high)
        if compared:
            with autocast(device):
                cut = (pred[..., :side, :side], high[..., :side, :side])
                loss = loss + losses.perceptual(*cut, features, (), {"feature"})["feature"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    plain, compared = best_time(lambda: step(False)), best_time(lambda: step(True))
    share = sum(row.share for row in PRESETS["balanced"] if row.losses.feature > 0)
    extra = share * (compared / plain - 1)
    name = f"training {preset} {factor}x, features of {network} (window {side})"
    figures.add(f"{name}: a step without them", 1e3 * plain, "ms")
    figures.add(f"{name}: added to a training", 100 * extra, "%", most=100 * LARGEST_EXTRA)
    assert extra <= LARGEST_EXTRA
