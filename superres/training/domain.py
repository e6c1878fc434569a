"""Measure where a trained net is right: on training patches, on others that are fainter or stronger than those, and on
recordings of them that are recorded once more (`superres.nets.trial`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from superres.config import TrainConfig
from superres.datasets.patches import Batch
from superres.degrade import degrade
from superres.degrade.chain import middle
from superres.degrade.noise_line import LEAST_VARIANCE, measure_noise_line
from superres.degrade.transfer import transfer_of
from superres.nets import UNet, resample
from superres.nets.domain import Domain, DomainTally
from superres.nets.statistics import local_statistics, spread
from superres.nets.trial import trial_slope, trial_step, trial_sums
from superres.training.chance import generator_of

_BATCHES = 24
_FEWEST_BATCHES = 4
# Contrast of the patches beyond those trained on, as powers of 2: from nearly empty to several times as strong.
_OCTAVES = (-6.0, 2.0)
_BORDER = 6  # low voxels at which a patch's edge shows

# Right and made, see `trial_sums`.
Sums = tuple[float, float]
Pairs = Callable[[Batch, int], tuple[Tensor, Tensor]]


@torch.no_grad()
def measure_domain(
    net: UNet,
    draw: Callable[[int], Batch],
    familiar: Pairs,
    config: TrainConfig,
    device: torch.device,
    *,
    seconds: float | None = None,
) -> Domain | None:
    """Compare the net's residual with the true one, by the local statistics of the recording.

    Parameters
    ----------
    net : UNet
        The finished net.
    draw : callable
        Number to training patches.
    familiar : callable
        Patches and their number to low and high, as the net was trained on them.
    config : TrainConfig
        Degradation and intensity rule.
    seconds : float, optional
        Time after which no more patches are taken; default a fixed number of them.
    """
    tally, trials, started = DomainTally(), (0.0, 0.0), time.monotonic()
    for number in range(_BATCHES):
        if seconds is not None and number >= _FEWEST_BATCHES and time.monotonic() - started > seconds:
            break
        batch = draw(number)
        trials = _sum(trials, *_trials(net, batch, config, device, number))
        low, high = familiar(batch, number) if number % 2 == 0 else _other_contrast(batch, config, device, number)
        # What differs between two recordings of a pair in smooth things is not asked of the net, as in training.
        high = net.predicted_of(high)
        high = high if batch.low is None else net.follow(high, low)
        seen = net.predicted_of(low)
        plain = resample.bicubic(seen.float(), net.factor)
        made, true = net(low).float() - plain, high - plain
        border = min(_BORDER, min(low.shape[2:]) // 4)
        y, x = (slice(border, n - border) for n in low.shape[2:])
        found = local_statistics(seen)
        sums = [spread(resample.block_mean(product, net.factor))[..., y, x] for product in (made * true, made * made)]
        tally.add(type(found)(*(part[..., y, x] for part in found)), *sums)
    domain = tally.domain()
    return None if domain is None else replace(domain, trial=trial_slope(*trials))


def _trials(net: UNet, batch: Batch, config: TrainConfig, device: torch.device, number: int) -> list[Sums]:
    """Record training patches as in use and try the net on them; one pair of sums per voxel size."""
    if batch.low is not None or max(config.factor) == 1 or net.architecture.inputs > 1:
        return []
    factor = config.factor[1], config.factor[2]
    steps, generator = middle(config.degrade), generator_of(device, config.seed, "trial", number)
    found = []
    for voxel_size in dict.fromkeys(batch.voxel_sizes):
        of_size = [index for index, size in enumerate(batch.voxel_sizes) if size == voxel_size]
        sizes = [voxel_size] * len(of_size)
        high = batch.high[of_size].to(device)
        low = degrade(high, steps, factor=config.factor, generator=generator, voxel_sizes=sizes)
        low = low * batch.scale[of_size].to(device) + batch.shift[of_size].to(device)
        noise = measure_noise_line(list(low[:, 0].cpu().numpy()), least=LEAST_VARIANCE)
        if noise is None:
            continue
        transfer = transfer_of(config.degrade, config.factor, voxel_size).coarser(trial_step(factor))
        found.append(
            trial_sums(
                net,
                low,
                transfer.record,
                noise.variance,
                share=transfer.white_noise,
                factor=factor,
                stride=net.architecture.stride,
                generator=generator,
            )
        )
    return found


def _sum(total: Sums, *parts: Sums) -> Sums:
    right, made = zip(total, *parts, strict=True)
    return sum(right), sum(made)


def _other_contrast(batch: Batch, config: TrainConfig, device: torch.device, number: int) -> tuple[Tensor, Tensor]:
    """Return low and high patches of very different contrast, black and white measured in them as in any recording.

    Recorded patches cannot be recorded again: they get more noise instead, which is the same after black and white.
    """
    generator = generator_of(device, config.seed, "contrast", number)
    high = batch.high.to(device)

    def drawn() -> Tensor:
        return torch.rand(len(high), 1, 1, 1, generator=generator, device=device)

    contrast = torch.exp2(_OCTAVES[0] + (_OCTAVES[1] - _OCTAVES[0]) * drawn())
    if batch.low is None:
        level = high.mean(dim=(1, 2, 3), keepdim=True) * drawn()
        high = (high - high.mean(dim=(1, 2, 3), keepdim=True)) * contrast + level
        low = degrade(high, config.degrade, factor=config.factor, generator=generator, voxel_sizes=batch.voxel_sizes)
    else:
        low = batch.low.to(device)
        noise = local_statistics(low).fine.mean(dim=(1, 2, 3), keepdim=True).sqrt()
        more = (1 / contrast).clamp_min(1) - 1
        low = low + more * noise * torch.randn(low.shape, generator=generator, device=device)
    black, white = _range(low, config)
    return (low - black) / (white - black), (high - black) / (white - black)


def _range(low: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return black and white of each patch: percentiles of its local averages, (n, 1, 1, 1) each."""
    area = min(config.intensity.average, *(n // 2 for n in low.shape[2:]))
    means = torch.nn.functional.avg_pool2d(low, area).flatten(1)
    shares = torch.tensor(config.intensity.percentiles, device=low.device) / 100
    black, white = torch.quantile(means, shares, dim=1)
    width = (white - black).clamp_min(1e-6)
    return black.view(-1, 1, 1, 1), (black + width).view(-1, 1, 1, 1)
