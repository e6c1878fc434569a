"""Other trained nets beside the model, such as a plain U-Net: what they are, and whether they had the same budget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from superres.errors import ConfigError
from superres.modelfile import ModelHeader, read_model_header

_SAME = 1.25  # largest ratio of two budgets that count as the same
_SETTINGS = ("phases", "loss", "augment", "patch")


def read_headers(models: Mapping[str, Path], factor: tuple[int, int, int]) -> dict[str, ModelHeader]:
    """Read what the models are.

    Raises
    ------
    ConfigError
        When one of them has another factor.
    """
    headers = {name: read_model_header(path) for name, path in models.items()}
    for name, header in headers.items():
        if header.factor != factor:
            raise ConfigError(
                f"{models[name]}: {name} upscales by {list(header.factor)}, but factor is {list(factor)}; train it "
                "with that factor, or leave it out of models"
            )
    return headers


def describe_net(header: ModelHeader) -> dict[str, Any]:
    """Return name, size, settings and budget of a net, as far as its file tells; JSON-able."""
    config = header.training.get("config", {})
    found = {
        "name": header.name,
        "steps": header.training.get("steps"),
        "seconds": header.training.get("seconds"),
        "model": config.get("model"),
    }
    return found | {key: config.get(key) for key in _SETTINGS}


def budget_warnings(header: ModelHeader | None, rivals: Mapping[str, ModelHeader]) -> list[str]:
    """Say of which net the training was longer or shorter than that of the model, or its net another size.

    The models that it was fine-tuned from are no rivals of its method.
    """
    if header is None:
        return []
    found, ancestors = [], [one.get("training") for one in header.lineage]
    for name, rival in rivals.items():
        if rival.training in ancestors:
            continue
        differs = all(_differs(key, header, rival) for key in ("steps", "seconds"))
        # A net that is faster per step has more steps in the same time, and the reverse: both are a same budget.
        if differs or _preset(header) != _preset(rival):
            found.append(
                f"{name} had another budget than the model: {_budget(rival)} against {_budget(header)}; gains over it "
                "say nothing of the method"
            )
    return found


def _differs(key: str, header: ModelHeader, rival: ModelHeader) -> bool:
    a, b = header.training.get(key), rival.training.get(key)
    return not a or not b or not 1 / _SAME <= a / b <= _SAME


def _preset(header: ModelHeader) -> object:
    return header.training.get("config", {}).get("model", {}).get("preset")


def _budget(header: ModelHeader) -> str:
    training = header.training
    steps, seconds = training.get("steps", "unknown"), training.get("seconds", "unknown")
    return f"net {_preset(header) or 'of unknown size'}, {steps} steps, {seconds} s"
