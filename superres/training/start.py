"""Start a training from the weights of a finished model, and tell what that model comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from superres.config import TrainConfig
from superres.errors import ModelFileError
from superres.modelfile import ModelFile, ModelHeader, load_model_file
from superres.nets import Architecture, UNet
from superres.nets.architecture import PRESETS
from superres.training.kind import architecture_of

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
    "attention",
    "grid",
)


def load_start(config: TrainConfig) -> ModelFile | None:
    """Read the model that a training starts from; None for a training from scratch.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, it is damaged, or it is another kind of net than the recipe asks for.
    """
    if config.start_from is None:
        return None
    file = load_model_file(config.start_from)
    refuse_other_kind(file, architecture_of(config))
    broken = [name for name, value in file.weights.items() if not np.isfinite(value).all()]
    if broken:
        raise ModelFileError(f"{file.path}: holds numbers that are not finite, in {broken[0]}; give another copy of it")
    return file


def refuse_other_kind(file: ModelFile, wanted: Architecture) -> None:
    """Refuse a model whose net is another one than the recipe's.

    Raises
    ------
    ModelFileError
        Saying what differs, and what to set so that it does not.
    """
    try:
        model = Architecture.from_json(file.header.architecture)
    except TypeError as error:
        raise ModelFileError(f"{file.path}: its net is not understood ({error}); update superres") from None
    differing = [name for name in _DECISIVE if getattr(model, name) != getattr(wanted, name)]
    if not differing:
        return
    found, expected = (
        ", ".join(f"{name} {_text(getattr(one, name))}" for name in differing) for one in (model, wanted)
    )
    known = _settings(model, file.header)
    type_this = dict.fromkeys(f"--set {known[name]}" for name in differing if known[name])
    advice = f"give {' '.join(type_this)} to go on with this net" if type_this else "change the recipe"
    raise ModelFileError(
        f"{file.path}: cannot be started from: it has {found}, the recipe {expected}; {advice}, or another start_from"
    )


def take_weights(net: UNet, file: ModelFile) -> None:
    """Give a net the weights of a model; an interval head that the model lacks stays as it is.

    Raises
    ------
    ModelFileError
        When weights are missing, or have other shapes than the model's header says.
    """
    weights = {name: torch.from_numpy(value) for name, value in file.weights.items()}
    own = net.state_dict()
    missing = own.keys() - weights.keys()
    if any(not name.startswith("interval_head.") for name in missing):
        raise ModelFileError(f"{file.path}: lacks {', '.join(sorted(missing))}; give another copy of it")
    try:
        net.load_state_dict(own | {name: value for name, value in weights.items() if name in own})
    except RuntimeError as error:
        raise ModelFileError(f"{file.path}: its weights do not fit its header ({error}); give another copy") from None


def lineage_of(file: ModelFile | None) -> list[Mapping[str, Any]]:
    """Return the models that a training descends from, oldest first: what each is, and what it was trained on.

    Each has the name, the SHA-256 of the file, its identity, factor, whether it is for display, the version that wrote
    it, and its training record without the recipe: manifests, acquisitions with licences and credits, steps.
    """
    if file is None:
        return []
    header = file.header
    training = {key: value for key, value in header.training.items() if key not in ("config", "gan")}
    parent = {
        "name": header.name,
        "sha256": file.sha256,
        "identity": file.identity,
        "factor": list(header.factor),
        "display": header.display,
        "version": header.version,
        "training": training,
    }
    return [*header.lineage, parent]


def _settings(model: Architecture, header: ModelHeader) -> dict[str, str]:
    """Return what a recipe says of a net like the model's, by the name of what it decides; empty where none does."""
    told = header.training.get("config", {})
    preset = next(
        (name for name, widths in PRESETS.items() if all(getattr(model, k) == v for k, v in widths.items())), ""
    )
    size = f"model.preset={preset}" if preset else ""
    context = (told.get("model") or {}).get("context")
    frames = "model.context=null" if model.frames == 1 else f"'model.context={_text(context)}'" if context else ""
    channels = told.get("channels") or range(model.channels)
    together = f"channels={_text(list(channels))} --set model.together=true"
    return {
        "factor": f"factor={_text(model.factor)}",
        "channels": "model.together=false" if model.channels == 1 else together,
        "dimensions": f"model.dimensions={model.dimensions}",
        "frames": frames,
        "target": frames,
        "widths": size,
        "blocks": size,
        "middle_blocks": size,
        "norm": f"model.norm={model.norm}",
        "attention": f"model.attention={_text(model.attention)}",
        "grid": f"model.grid={model.grid}",
    }


def _text(value: object) -> str:
    """Write a value as YAML in one line, without spaces in lists: for a shell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{','.join(_text(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items() if item is not None) + "}"
    return str(value)
