"""Muon for the kernels in the body of a net, AdamW for all its other weights.

Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/) makes steps of orthogonalised gradients, and so is for
matrices. As usual, a kernel is taken as the matrix of its filters, one a row, and first layer, last layer, biases and
the interval head go to AdamW.

`torch.optim.Muon` takes matrices only, one after the other, and computes in bfloat16, which takes seven to sixteen
times as long on processors that do not have it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from superres.config import MuonConfig
from superres.nets import UNet

_NOT_BODY = ("stem.", "tail.", "interval_head.")
# Jordan's polynomial: five rounds bring singular values from 0.01 to 1 to between 0.7 and 1.2.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def kernels_of(net: UNet) -> list[nn.Parameter]:
    """Return the kernels that Muon is for: all matrices of a net between its first and its last layer."""
    return [
        parameter
        for name, parameter in net.named_parameters()
        if not name.startswith(_NOT_BODY) and parameter.ndim > 1 and parameter.numel() > len(parameter)
    ]


def orthogonalised(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices, (n, rows, columns), near to 1 and keep their vectors (Newton-Schulz)."""
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    x: Tensor = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp_min(1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, on kernels of any shape.

    Parameters
    ----------
    groups : iterable of mapping
        Groups of kernels, (out, in, ...).
    lr : float
        How far a step turns; times the root of rows over columns for the matrices that are taller than wide.
    momentum, weight_decay : float
        Of all groups that do not say otherwise.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Do a step; kernels without a gradient stay."""
        alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor, dict[str, Any]]]] = {}
        for group in self.param_groups:
            for kernel in (one for one in group["params"] if one.grad is not None):
                matrix = self._direction(kernel, group["momentum"]).flatten(1)
                alike.setdefault((matrix.shape[0], matrix.shape[1]), []).append((kernel, matrix, group))
        for (rows, columns), found in alike.items():  # together, for a GPU spends its time on starting small products
            steps = orthogonalised(torch.stack([matrix for _, matrix, _ in found]))
            for step, (kernel, _, group) in zip(steps, found, strict=True):
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.sub_(step.view(kernel.shape), alpha=group["lr"] * math.sqrt(max(1, rows / columns)))

    def _direction(self, kernel: nn.Parameter, momentum: float) -> Tensor:
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        average: Tensor = state["momentum"].lerp_(kernel.grad, 1 - momentum)
        return kernel.grad.lerp(average, momentum)


class MuonAndAdamW:
    """Two optimisers that look like one.

    Parameters
    ----------
    groups : sequence of mapping
        Groups of parameters as for AdamW. The kernels in each become a group of Muon's with all else that it holds;
        its ``factor`` on the learning rate is as many times larger as Muon's rate is than AdamW's.
    kernels : iterable of Parameter
        Which parameters are Muon's.
    settings : MuonConfig
        Learning rate and weight decay of Muon.
    **adamw
        Of `torch.optim.AdamW`: ``lr``, ``betas``, ``weight_decay``.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        kernels: Iterable[nn.Parameter],
        settings: MuonConfig,
        **adamw: Any,
    ) -> None:
        chosen = {id(kernel) for kernel in kernels}
        theirs, rest = _parted(groups, chosen)
        larger = settings.learning_rate / adamw["lr"]
        own = {"weight_decay": settings.weight_decay}
        self._adamw = torch.optim.AdamW(rest, **adamw)
        self._muon = Muon(
            [group | own | {"factor": larger * group.get("factor", 1.0)} for group in theirs],
            lr=settings.learning_rate,
            momentum=adamw["betas"][0],
            weight_decay=settings.weight_decay,
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both; those of AdamW have ``betas``, those of Muon ``momentum``."""
        return [*self._adamw.param_groups, *self._muon.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        self._adamw.zero_grad(set_to_none)
        self._muon.zero_grad(set_to_none)

    def step(self) -> None:
        """Let both do a step."""
        self._adamw.step()
        self._muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both as one, that of Muon numbered on."""
        first, second, count = self._adamw.state_dict(), self._muon.state_dict(), self._count()
        moved = {count + index: value for index, value in second["state"].items()}
        return {"state": first["state"] | moved, "param_groups": first["param_groups"] + second["param_groups"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        count, groups = self._count(), len(self._adamw.param_groups)
        first = {index: value for index, value in state["state"].items() if index < count}
        second = {index - count: value for index, value in state["state"].items() if index >= count}
        self._adamw.load_state_dict({"state": first, "param_groups": state["param_groups"][:groups]})
        self._muon.load_state_dict({"state": second, "param_groups": state["param_groups"][groups:]})

    def _count(self) -> int:
        return sum(len(group["params"]) for group in self._adamw.param_groups)


def _parted(groups: Sequence[Mapping[str, Any]], chosen: set[int]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part groups into the chosen parameters and the others; no group is empty."""
    parts: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for group in groups:
        for among, part in zip((True, False), parts, strict=True):
            found = [parameter for parameter in group["params"] if (id(parameter) in chosen) == among]
            part += [{**group, "params": found}] if found else []
    return parts
