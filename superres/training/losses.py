"""Loss terms on normalised intensities, and the rule that weighs them by their share of the whole."""

from __future__ import annotations

import torch
from torch import Tensor

from superres.nets import FeatureNet


def charbonnier(pred: Tensor, high: Tensor, epsilon: float) -> Tensor:
    """Return the mean of ``sqrt(difference**2 + epsilon**2)``: L1 with a smooth bottom."""
    return torch.sqrt((pred - high) ** 2 + epsilon**2).mean()


def frequency(pred: Tensor, high: Tensor) -> Tensor:
    """Return the mean modulus of the difference of the spectra: sparse errors of texture count like dense ones."""
    spectrum = torch.fft.rfft2(pred.float() - high.float(), norm="ortho")
    # abs() of a complex zero has no gradient; the small constant keeps it finite.
    return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-12).mean()


def feature(pred: Tensor, high: Tensor, net: FeatureNet) -> Tensor:
    """Return the mean L1 distance between the activations of prediction and truth, equal weight per stage."""
    with torch.no_grad():
        wanted = net.features(high)
    distances = [(a - b).abs().mean() for a, b in zip(net.features(pred), wanted, strict=True)]
    return torch.stack(distances).mean()


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


def coefficient_for_share(share: float, term: Tensor, rest: Tensor) -> float:
    """Return the factor that makes `term` this share of ``rest + factor * term``."""
    value = float(term.detach())
    return share / (1 - share) * float(rest.detach()) / value if value > 0 else 0.0
