"""Train the feature network on sharp images: predict the degradation that was applied to them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from superres.config import OptimiserConfig
from superres.nets import FeatureNet
from superres.nets.resample import gaussian_taps, separable
from superres.progress import Progress, ProgressCallback
from superres.training.chance import generator_of
from superres.training.schedule import one_cycle

# Ranges of what is applied, in high-resolution voxels and normalised intensity.
_LARGEST_SIGMA = 3.0
_LARGEST_NOISE = 0.2


def train_feature_net(
    net: FeatureNet,
    sharp: Callable[[int], Tensor],
    *,
    steps: int,
    seconds: float | None,
    seed: int,
    device: torch.device,
    progress: ProgressCallback,
) -> None:
    """Train a feature network.

    Parameters
    ----------
    net : FeatureNet
        Trained in place.
    sharp : callable
        Number to sharp patches, float32, (n, 1, y, x), normalised intensity, on the device.
    steps : int
        Steps of AdamW under a one-cycle schedule at 1e-3.
    seconds : float or None
        The schedule ends after this time at the latest; None for no limit.
    seed : int
        The same seed and patches give the same network.
    """
    schedule = OptimiserConfig(learning_rate=1e-3)
    optimiser = torch.optim.AdamW(net.parameters())
    started, step, share = time.monotonic(), 0, 0.0
    while share < 1:
        for group in optimiser.param_groups:
            group["lr"], _ = one_cycle(share, schedule)
        generator = generator_of(device, seed, "features", step)
        damaged, applied = _damage(sharp(step), generator)
        loss = F.smooth_l1_loss(net(damaged), applied)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        share = max(step / steps, 0.0 if seconds is None else (time.monotonic() - started) / seconds)
        values = {"loss": float(loss.detach())}
        progress(Progress("feature network", min(share, 1.0) * steps, steps, "steps", values=values))


def _damage(sharp: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blur, pixelate and add noise, each image by its own amount.

    Returns
    -------
    tuple of Tensor
        The damaged images, and (n, 3): blur sigma, pixelation and noise, each from 0 to 1.
    """
    n, _, height, width = sharp.shape
    applied = torch.rand(n, 3, generator=generator, device=sharp.device)
    images = []
    for image, (blur, coarse, _) in zip(torch.split(sharp, 1), applied.tolist(), strict=True):
        if blur * _LARGEST_SIGMA > 0.2:
            taps = gaussian_taps(blur * _LARGEST_SIGMA).to(sharp.device)
            image = separable(image, taps, taps)
        if coarse > 0.25:
            size = (max(1, int(height / (4 * coarse))), max(1, int(width / (4 * coarse))))
            image = F.interpolate(F.interpolate(image, size=size, mode="area"), size=(height, width), mode="bilinear")
        images.append(image)
    noise = torch.randn(sharp.shape, generator=generator, device=sharp.device)
    return torch.cat(images) + applied[:, 2].view(-1, 1, 1, 1) * _LARGEST_NOISE * noise, applied
