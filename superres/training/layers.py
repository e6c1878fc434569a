"""Which layers of the generator learn in a phase, and how fast those of a part of it do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from torch import nn

from superres.config import LayerRates, Phase

Part = Literal["head", "encoder", "middle", "decoder"]

_PARTS: dict[str, Part] = {
    "stem": "head",
    "encoder": "encoder",
    "down": "encoder",
    "middle": "middle",
    "attention": "middle",
    "up": "decoder",
    "decoder": "decoder",
    "tail": "head",
    "interval_head": "head",
}


def part_of(name: str) -> Part:
    """Return the part of the net to which a parameter belongs, by its name in `superres.nets.UNet`."""
    return _PARTS[name.partition(".")[0]]


def learns(name: str, phase: Phase) -> bool:
    """Say whether a parameter learns in a phase: beside a critic only the second half of the net does."""
    if phase.trains != "generator":
        return part_of(name) == "decoder" or name.startswith(("tail.", "interval_head."))
    return phase.layers == "all" or part_of(name) == "head"


def by_part(groups: Iterable[dict[str, Any]], net: nn.Module, rates: LayerRates | None) -> list[dict[str, Any]]:
    """Split groups of parameters by the parts of a net; ``factor`` of each is what its learning rate is multiplied by.

    Parameters
    ----------
    groups : iterable of dict
        As an optimiser takes them.
    rates : LayerRates or None
        None leaves the groups as they are.
    """
    if rates is None:
        return list(groups)
    parts = {parameter: part_of(name) for name, parameter in net.named_parameters()}
    split: list[dict[str, Any]] = []
    for group in groups:
        for part, factor in rates:
            members = [parameter for parameter in group["params"] if parts[parameter] == part]
            split += [group | {"params": members, "factor": factor}] if members else []
    return split
