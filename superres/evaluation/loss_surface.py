"""The loss of a net around its weights, in the plane of two directions (Li et al. 2018, arXiv 1712.09913).

Random directions are made as long as the weights, filter by filter, since a filter twice as large needs twice the
step for the same effect (section 4 of the paper). The main directions of a training are the principal components of the
weights that it passed, seen from its last ones (section 7), as they are: of length 1, biases included, nothing scaled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from superres.nets import UNet
from superres.training import losses

Weights = Mapping[str, Tensor]
Place = tuple[float, float]

# A component below this share of the first is rounding.
_NOTHING = 1e-10
# A map ends this far beyond a path, as a share of its extent.
_MARGIN = 0.2


class Measured(NamedTuple):
    """What a net is worth: its loss, and PSNR in dB."""

    loss: float
    psnr: float


class Distance:
    """The distance to truth that every training minimises, of a net as it is, always on the same patches.

    Parameters
    ----------
    net : UNet
        In evaluation mode.
    low, high : Tensor
        float32, as the net sees them: (n, inputs, [z,] y, x) and (n, channels, [z,] y, x) times the factor.
    scale : Tensor
        Normalised intensity per grey level, which broadcasts with `high`: PSNR is on the grey scale.
    epsilon : float
        Of the Charbonnier distance.
    """

    def __init__(self, net: UNet, low: Tensor, high: Tensor, scale: Tensor, epsilon: float) -> None:
        self._net, self._low, self._high, self._scale, self._epsilon = net, low, high, scale, epsilon

    @torch.no_grad()
    def __call__(self) -> Measured:
        """Return the loss, and the mean PSNR of the patches."""
        pred = self._net(self._low)
        squares = (((pred - self._high) / self._scale) ** 2).mean(dim=tuple(range(1, pred.ndim)))
        psnr = -10 * torch.log10(squares.clamp_min(1e-12))
        return Measured(float(losses.charbonnier(pred, self._high, self._epsilon)), float(psnr.mean()))


# --- directions ------------------------------------------------------------------------------------------------------


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters of a net by name, without those of an interval head: no loss depends on it."""
    named = net.named_parameters()
    return {name: value.detach().clone() for name, value in named if not name.startswith("interval_head.")}


def random_direction(weights: Weights, generator: Generator) -> dict[str, Tensor]:
    """Return a random direction with the norms of the weights, filter by filter.

    It is zero where a parameter has one value per filter or fewer: biases, and the gains of norms.

    Parameters
    ----------
    generator : Generator
        On the CPU, so that a seed means the same direction on every device.
    """
    direction = {}
    for name, value in weights.items():
        drawn = torch.randn(value.shape, generator=generator).to(value.device)
        if value.ndim < 2 or value.numel() == len(value):
            direction[name] = torch.zeros_like(value)
            continue
        lengths = value.flatten(1).norm(dim=1) / drawn.flatten(1).norm(dim=1)
        direction[name] = drawn * lengths.reshape(-1, *(1,) * (value.ndim - 1))
    return direction


@dataclass(frozen=True, slots=True, eq=False)
class MainDirections:
    """The main directions of a path of weights.

    Parameters
    ----------
    directions : tuple of mapping
        Two of length 1; one where the path is straight, none where nothing moved.
    explained : ndarray
        float64, shares that all directions have of the variance of the path, falling; their sum is 1.
    places : ndarray
        float64, (n, directions), where the weights of the path lie, seen from its end.
    inside : ndarray
        float64, (n,), how much of their squared distance to the end lies in these directions, 0 to 1.
    """

    directions: tuple[dict[str, Tensor], ...]
    explained: NDArray[np.float64]
    places: NDArray[np.float64]
    inside: NDArray[np.float64]


def main_directions(end: Weights, path: Sequence[Weights]) -> MainDirections:
    """Find the principal components of a path and its end; the farthest point lies on the negative side of each.

    Computed from the products of every two differences, so that it takes no more memory than the weights.

    Parameters
    ----------
    end : mapping
        The last weights, which are the origin.
    path : sequence of mapping
        The weights before, in their order; further tensors in them are left out.
    """
    products = np.zeros((len(path) + 1, len(path) + 1))
    for rows in _differences(end, path):
        flat = rows.double()
        products[:-1, :-1] += (flat @ flat.T).cpu().numpy()
    centre = np.eye(len(products)) - 1 / len(products)
    rising, vectors = np.linalg.eigh(centre @ products @ centre)
    variances: NDArray[np.float64] = np.maximum(rising[::-1], 0)
    vectors = vectors[:, ::-1]
    rank = int(np.sum(variances[:2] > _NOTHING * max(variances[0], np.finfo(float).tiny)))
    mixed = centre @ vectors[:, :rank] / np.sqrt(variances[:rank])
    places = products @ mixed
    mixed = mixed * -np.sign(places[np.abs(places).argmax(axis=0), np.arange(rank)])
    directions: list[dict[str, Tensor]] = [{} for _ in range(rank)]
    for name, rows in zip(end, _differences(end, path), strict=True):
        mix = torch.from_numpy(mixed[:-1]).to(rows.device)
        for direction, value in zip(directions, mix.T @ rows.double(), strict=True):
            direction[name] = value.to(rows.dtype).reshape(end[name].shape)
    squares = np.diag(products)[:-1]
    places = (products @ mixed)[:-1]
    inside = np.divide((places**2).sum(axis=1), squares, out=np.ones(len(path)), where=squares > 0)
    explained = variances[: len(path)] / max(variances.sum(), np.finfo(float).tiny)
    return MainDirections(tuple(directions), explained, places, np.minimum(inside, 1))


def _differences(end: Weights, path: Sequence[Weights]) -> Iterator[Tensor]:
    """Yield tensor by tensor what the weights of a path are besides those of its end, (n, values)."""
    for name, last in end.items():
        moved = [(weights[name].to(last.device) - last).flatten() for weights in path]
        yield torch.stack(moved) if moved else last.new_zeros(0, last.numel())


# --- the surface -----------------------------------------------------------------------------------------------------


def grid(low: float, high: float, points: int) -> NDArray[np.float64]:
    """Return evenly spaced positions about from `low` to `high`, one of which is exactly 0; `low` <= 0 <= `high`."""
    step = (high - low) / (points - 1)
    values: NDArray[np.float64] = (np.arange(points, dtype=np.float64) - round(-low / step)) * step
    return values


def span(places: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far a map reaches along one direction to show a path, its end at 0 and something around both."""
    low, high = min(0.0, float(places.min())), max(0.0, float(places.max()))
    margin = _MARGIN * (high - low)
    return low - margin, high + margin


class Plane:
    """All nets whose weights lie in the plane of two directions through those of a net.

    Parameters
    ----------
    net : Module
        Its parameters are changed while something is measured, and put back.
    directions : pair of mapping
        By the names of parameters; what a direction does not name stays.
    measure : callable
        Measures the net as it is.
    """

    def __init__(self, net: nn.Module, directions: tuple[Weights, Weights], measure: Callable[[], Measured]) -> None:
        self._net, self._directions, self._measure = net, directions, measure
        self._origin = weights_of(net)

    def at(self, place: Place) -> Measured:
        """Measure the net at `place`, in lengths of the directions."""
        self._move(place)
        try:
            return self._measure()
        finally:
            self._move((0.0, 0.0))

    def surface(
        self, first: NDArray[np.float64], second: NDArray[np.float64], told: Callable[[Measured], None]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return loss and PSNR, each (second, first), at all places of a grid; `told` receives each as it is found."""
        found = np.zeros((2, len(second), len(first)))
        for row, y in enumerate(second.tolist()):
            for column, x in enumerate(first.tolist()):
                measured = self.at((x, y))
                found[:, row, column] = measured
                told(measured)
        return found[0], found[1]

    @torch.no_grad()
    def _move(self, place: Place) -> None:
        for name, value in self._net.named_parameters():
            if name not in self._origin:
                continue
            value.copy_(self._origin[name])  # in place, so that kernels keep their layout, and the origin its last bit
            for direction, length in zip(self._directions, place, strict=True):
                if name in direction and length != 0:
                    value.add_(direction[name], alpha=length)
