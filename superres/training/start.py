"""Start a training from the weights of a finished model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from superres.config import TrainConfig
from superres.errors import ModelFileError
from superres.modelfile import load_model_file
from superres.nets import Architecture, UNet

# What decides the shapes and the meaning of the weights; intervals and consistency come on top.
_DECISIVE = (
    "factor",
    "channels",
    "dimensions",
    "frames",
    "target",
    "widths",
    "blocks",
    "middle_blocks",
    "norm",
    "grid",
)


def start_from(net: UNet, path: Path) -> None:
    """Give a net the weights of a model file; an interval head that the model lacks stays as it is.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, or it is another kind of net.
    """
    file = load_model_file(path)
    model, wanted = Architecture.from_json(file.header.architecture), net.architecture
    differing = [name for name in (*_DECISIVE, "attention") if getattr(model, name) != getattr(wanted, name)]
    if differing:
        found = ", ".join(f"{name} {_text(getattr(model, name))}" for name in differing)
        expected = ", ".join(f"{name} {_text(getattr(wanted, name))}" for name in differing)
        raise ModelFileError(
            f"{file.path}: cannot be started from: it has {found}, the recipe {expected}; change the recipe, or give "
            "another start"
        )
    weights = {name: torch.from_numpy(value) for name, value in file.weights.items()}
    own = net.state_dict()
    missing = own.keys() - weights.keys()
    if any(not name.startswith("interval_head.") for name in missing):
        raise ModelFileError(f"{file.path}: lacks {', '.join(sorted(missing))}; give another copy of it")
    net.load_state_dict(own | {name: value for name, value in weights.items() if name in own})


def lineage_of(config: TrainConfig) -> list[Mapping[str, Any]]:
    """Return the models that a training descends from, oldest first."""
    if config.start is None:
        return []
    file = load_model_file(config.start)
    return [*file.header.lineage, {"name": file.header.name, "sha256": file.sha256}]


def _text(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
