"""Loss terms on normalised intensities."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from superres.nets.features import Features


def charbonnier(pred: Tensor, high: Tensor, epsilon: float) -> Tensor:
    """Return the mean of ``sqrt(difference**2 + epsilon**2)``: L1 with a smooth bottom."""
    return torch.sqrt((pred - high) ** 2 + epsilon**2).mean()


def frequency(pred: Tensor, high: Tensor) -> Tensor:
    """Return the mean modulus of the difference of the spectra: sparse errors of texture count like dense ones."""
    spectrum = torch.fft.rfft2(pred.float() - high.float(), norm="ortho")
    # abs() of a complex zero has no gradient; the small constant keeps it finite.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-12).mean()


def perceptual(
    pred: Tensor, high: Tensor, net: Features, weights: Sequence[float], wanted: Collection[str]
) -> dict[str, Tensor]:
    """Return the distances between prediction and truth as a network sees them.

    ``feature`` is the mean L1 distance between activations, ``gram`` that between the Gram matrices of each layer
    (Gatys et al. 2015, arXiv 1508.06576): how often features occur together, no matter where. Gram matrices are
    compared relative to the size of truth's, so that large layers do not outweigh the others.

    Parameters
    ----------
    weights : sequence of float
        One per layer; empty for equal ones.
    wanted : collection of str
        Which of both.
    """
    with torch.no_grad():
        truth = net.features(high)
    made = net.features(pred)
    shares = torch.tensor(weights or [1.0] * len(made), device=pred.device)
    shares = shares / shares.sum()
    found = {}
    if "feature" in wanted:
        found["feature"] = (
            torch.stack([(a - b).abs().mean() for a, b in zip(made, truth, strict=True)]) * shares
        ).sum()
    if "gram" in wanted:
        pairs = [(_gram(a), _gram(b)) for a, b in zip(made, truth, strict=True)]
        distances = [(a - b).abs().mean() / b.abs().mean().clamp_min(1e-12) for a, b in pairs]
        found["gram"] = (torch.stack(distances) * shares).sum()
    return found


def _gram(activation: Tensor) -> Tensor:
    """Return the mean products of every two channels, (n, c, c)."""
    flat = activation.float().flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def pinball(value: Tensor, quantile: Tensor, level: float) -> Tensor:
    """Return the mean pinball loss, smallest where `quantile` is the `level` quantile of `value`.

    Koenker & Bassett 1978, Econometrica 46:33.
    """
    difference = value - quantile
    return torch.maximum(level * difference, (level - 1) * difference).mean()


def interval(high: Tensor, pred: Tensor, below: Tensor, above: Tensor, level: float = 0.9) -> Tensor:
    """Return the pinball losses of both ends of an interval around a prediction that gets no gradient.

    Angelopoulos et al. 2022, arXiv 2202.05265: quantiles 0.05 and 0.95 for a `level` of 0.9, all shapes alike.
    """
    residual, tail = high - pred.detach(), (1 - level) / 2
    return pinball(residual, -below, tail) + pinball(residual, above, 1 - tail)
