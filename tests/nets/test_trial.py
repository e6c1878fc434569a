"""Trials on the recording itself: the slope that is known beforehand, whatever the noise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from superres.nets import resample
from superres.nets.trial import Trial, trial_slope, trial_step, trial_sums

Net = Callable[[Tensor], Tensor]


def tried(
    net: Net, low: Tensor, *, factor: tuple[int, int] = (2, 2), variance: float = 0.0, sigma: float = 0.0
) -> float | None:
    step, taps = trial_step(factor), resample.gaussian_taps(sigma) if sigma else torch.ones(1)

    def again(image: Tensor) -> Tensor:
        return resample.block_mean(resample.separable(image, taps, taps), step)

    def noise(level: Tensor) -> Tensor:
        return torch.full_like(level, variance)

    generator, share = torch.Generator().manual_seed(1), left(again)
    return trial_slope(*trial_sums(net, low, again, noise, share=share, factor=factor, stride=8, generator=generator))


def left(again: Net) -> float:
    """Share of the variance of white noise that is left."""
    return float(again(torch.randn(1, 1, 1200, 1200, generator=torch.Generator().manual_seed(7))).var())


def structure(side: int = 64) -> Tensor:
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return (torch.sin(y * 1.9 + 0.02 * x * y) * torch.cos(x * 1.3))[None, None]


@pytest.mark.parametrize(
    ("factor", "step"), [((1, 1), (1, 1)), ((2, 2), (2, 2)), ((4, 4), (2, 2)), ((1, 6), (1, 2)), ((9, 5), (3, 5))]
)
def test_step_is_the_smallest_whole_part_of_the_factor(factor: tuple[int, int], step: tuple[int, int]) -> None:
    assert trial_step(factor) == step


@pytest.mark.parametrize("factor", [(2, 2), (4, 4), (3, 3), (1, 4)])
@pytest.mark.parametrize("share", [1.0, 0.5, 2.0])
def test_a_net_that_adds_a_multiple_of_what_is_missing(factor: tuple[int, int], share: float) -> None:
    low = structure()
    step = trial_step(factor)
    low = low[..., : 64 // (8 * step[0]) * 8 * step[0], : 64 // (8 * step[1]) * 8 * step[1]]
    rest = (factor[0] // step[0], factor[1] // step[1])

    def net(coarser: Tensor) -> Tensor:
        plain = resample.bicubic(coarser, factor)
        missing = low - resample.block_mean(plain, rest)
        return plain + share * missing.repeat_interleave(rest[0], 2).repeat_interleave(rest[1], 3)

    assert tried(net, low, factor=factor) == pytest.approx(1 / share, rel=1e-4)


def test_a_net_that_adds_what_was_never_there() -> None:
    def net(coarser: Tensor) -> Tensor:
        plain = resample.bicubic(coarser, (2, 2))
        return plain + torch.randn(plain.shape, generator=torch.Generator().manual_seed(3))

    found = tried(net, structure(256))
    assert found is not None and abs(found) < 0.02


@pytest.mark.parametrize("factor", [(2, 2), (4, 4)])
@pytest.mark.parametrize("sigma", [0.0, 0.7])
def test_noise_of_the_recording_is_not_taken_for_structure(factor: tuple[int, int], sigma: float) -> None:
    """A net that takes all noise away is right in everything that it does, though the recording holds that noise."""
    low = 0.1 * torch.randn(8, 1, 256, 256, generator=torch.Generator().manual_seed(2))

    def net(coarser: Tensor) -> Tensor:
        return torch.zeros_like(resample.bicubic(coarser, factor))

    assert tried(net, low, factor=factor, variance=0.01, sigma=sigma) == pytest.approx(1, abs=0.02)


def test_nothing_is_known_of_small_or_empty_images() -> None:
    assert tried(lambda low: resample.bicubic(low, (2, 2)), structure()) is None
    assert tried(lambda low: resample.bicubic(low, (2, 2)) + 1, structure(15)) is None
    assert tried(lambda low: resample.bicubic(low, (2, 2)) + 1, structure(17)) is not None


@pytest.mark.parametrize(
    ("found", "training", "weight"),
    [(0.9, 0.8, 1), (0.6, 0.8, 1), (0.4, 0.8, 0.5), (0.2, 0.8, 0), (-3.0, 0.8, 0), (None, 0.8, 1), (0.1, None, 1)],
)
def test_weight_is_how_far_it_falls_behind_the_training_images(
    found: float | None, training: float | None, weight: float
) -> None:
    assert Trial(found, training).weight == pytest.approx(weight)
    assert Trial(found, training).to_json()["weight"] == pytest.approx(weight)
