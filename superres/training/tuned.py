"""The recipe by which a model is trained on: its net, and what of its own training still holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from superres.config import (
    Augment,
    LayerRates,
    LossConfig,
    OptimiserConfig,
    PatchConfig,
    Settings,
    TrainConfig,
    load_config,
)
from superres.errors import ModelFileError
from superres.modelfile import ModelHeader, read_model_header
from superres.nets import Architecture, choose_device
from superres.training.choices import batch_wanted
from superres.training.kind import architecture_of
from superres.training.start import net_settings

# What of a model's own recipe goes on to hold: how its patches are cut and varied, and what it strives for.
_KEPT: dict[str, type[Settings]] = {"patch": PatchConfig, "augment": Augment, "loss": LossConfig}
_STEPS = 300
# Of the usual learning rates. Measured on electron micrographs at 4x, 8 places marked, 300 steps: with whole rates the
# marked places gain 1.2 dB and the rest loses 0.2 dB, with a third they gain 0.4 dB and the rest gains 0.2 dB.
_RATE = 1 / 3


def tuning_config(start: Path, manifest: Path, *, name: str, given: Sequence[str] = ()) -> TrainConfig:
    """Return a training of a few hundred steps that starts from a model and stays near to it.

    Learning rates are a third of the usual ones; the layers next to input and output learn first, those in the middle
    more slowly yet (`superres.phases.LayerRates`).

    Parameters
    ----------
    start : Path
        Model file or run folder; each channel is upscaled on its own.
    manifest : Path
        Pairs to learn from; it need not be there yet.
    name : str
        Of the new model.
    given : sequence of str
        Settings that win, ``"steps=500"``.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, it is not understood, or it looks at several channels together.
    ConfigError
        When a setting is wrong.
    """
    header = read_model_header(start)
    try:
        net = Architecture.from_json(header.architecture)
    except TypeError as error:
        raise ModelFileError(f"{start}: its net is not understood ({error}); update superres") from None
    if header.channels > 1 or header.context.get("axis") == "c":
        raise ModelFileError(
            f"{start}: looks at several channels together, and marks are made on one; choose a model that upscales "
            "each channel on its own"
        )
    own = [setting for key, setting in net_settings(net, header).items() if setting and key != "channels"]
    own += [f"model.interval={str(net.interval).lower()}", f"model.consistency_sigma={net.consistency_sigma}"]
    has_length = any(one.startswith(("steps=", "time_budget=")) for one in given)
    config = load_config(
        TrainConfig,
        None,
        [*dict.fromkeys(one.strip("'") for one in own), *given],
        name=name,
        manifests=str(manifest),
        start_from=str(start.absolute()),
        intensity=dict(header.intensity),
        layer_rates=LayerRates().model_dump(),
        optimiser=_gentle(),
        steps=None if has_length else _STEPS,
        **_kept(header),
    )
    has_batch = any(one.startswith("patch.batch=") for one in given)
    return config if has_batch else _for_device(config)


def smallest_piece(config: TrainConfig) -> tuple[int, int, int, int]:
    """Return the low voxels, TZYX, that an image needs at least so that no patch of a recipe has to be mirrored."""
    deep, stride, _ = architecture_of(config).strides
    largest = max(phase.patch or config.patch.size for phase in config.phases)
    side = -(-largest // stride) * stride
    context = config.model.context
    t, z = 1, 1
    if config.model.dimensions == 3:
        z = -(-config.patch.depth // deep) * deep
    elif context is not None:
        t, z = (context.frames, 1) if context.axis == "t" else (1, context.frames)
    return t, z, side, side


def _for_device(config: TrainConfig) -> TrainConfig:
    """Take no more patches at once than a recipe for this device would: the model may be from a larger machine."""
    device = "gpu" if choose_device(config.device).type == "cuda" else "cpu"
    most = min(config.patch.batch, batch_wanted(config.model.dimensions, device))
    return config.model_copy(update={"patch": config.patch.model_copy(update={"batch": most})})


def _gentle() -> dict[str, Any]:
    usual = OptimiserConfig()
    return {
        "learning_rate": round(usual.learning_rate * _RATE, 6),
        "muon": {"learning_rate": round(usual.muon.learning_rate * _RATE, 6)},
    }


def _kept(header: ModelHeader) -> dict[str, Any]:
    """Return groups of the model's own recipe, as far as this version understands them."""
    told, found = header.training.get("config", {}), {}
    for key, kind in _KEPT.items():
        try:
            found[key] = kind.model_validate(told[key]).model_dump()
        except (KeyError, ValidationError):
            continue
    return found
