"""Terms of a loss are held at their shares of the whole, by their running sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# The size of a term is averaged over about this many steps.
_STEPS = 50
_BASE = "charbonnier"


class Shares:
    """Running means of loss terms, and the factors that follow from them.

    Everything stays on the device: nothing waits for a figure to arrive on the host.

    Parameters
    ----------
    mean : callable, optional
        The mean of a size over all processes of the training.
    """

    def __init__(self, mean: Callable[[Tensor], Tensor] = lambda size: size) -> None:
        self._mean = mean
        self._sums: dict[str, Tensor] = {}  # term -> (sum, weight) of an exponential average

    def total(self, terms: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
        """Return the distance to truth plus factor times term, where every term has its share of the whole on average.

        Parameters
        ----------
        terms : mapping
            ``charbonnier``, the distance to truth, which has what the shares leave; and each that is in `shares`.
        shares : mapping
            Share of the whole by name, together below 1.
        """
        total, left = terms[_BASE], 1 - sum(shares.values())
        for name, share in shares.items():
            total = total + share / left * self._ratio(terms, name) * terms[name]
        return total

    def observe(self, terms: Mapping[str, Tensor]) -> None:
        """Take the sizes of this step's terms into account from the next step on."""
        for name, value in terms.items():
            size = self._mean(value.detach().float())
            sums = self._sums.get(name, torch.zeros(2, device=size.device))
            newer = sums + (torch.stack([size, torch.ones_like(size)]) - sums) / _STEPS
            self._sums[name] = torch.where(torch.isfinite(newer[0]), newer, sums)

    def _ratio(self, terms: Mapping[str, Tensor], name: str) -> Tensor:
        """Return the size of the distance to truth over that of a term; of this step where there was none before."""
        distance, size = (self._size(key, terms[key]) for key in (_BASE, name))
        return torch.where(size > 0, distance / size.clamp_min(1e-30), 0.0)

    def _size(self, name: str, now: Tensor) -> Tensor:
        known, size = self._sums.get(name), self._mean(now.detach().float())
        if known is None:
            return size
        # Nothing finite was ever seen where the weight is 0.
        return torch.where(known[1] > 0, known[0] / known[1].clamp_min(1e-30), size)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, for a checkpoint."""
        return dict(self._sums)

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Put back what `tensors` returned."""
        self._sums = {name: value.to(device) for name, value in tensors.items()}
