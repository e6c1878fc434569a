"""Which kind of net a recipe asks for, and how its images are handed to what knows single planes only."""

from __future__ import annotations

from torch import Tensor

from superres.config import TrainConfig
from superres.nets import Architecture


def architecture_of(config: TrainConfig) -> Architecture:
    """Return the net that a recipe asks for."""
    model, context = config.model, config.model.context
    frames, target = 1, 0
    if context is not None and context.predict is None:
        frames, target = context.frames, context.frames // 2
    elif context is not None and config.channels is not None and context.predict is not None:
        frames, target = len(config.channels), config.channels.index(context.predict)
    return Architecture.of_preset(
        model.preset,
        factor=config.factor,
        channels=len(config.channels) if model.together and config.channels is not None else 1,
        consistency_sigma=model.consistency_sigma,
        interval=model.interval,
        dimensions=model.dimensions,
        frames=frames,
        target=target,
    )


def several_at_once(config: TrainConfig) -> bool:
    """Say whether the net takes all channels of an image at once."""
    context = config.model.context
    return config.model.together or (context is not None and context.axis == "c")


def context_of(config: TrainConfig) -> dict[str, str | int]:
    """Return what the model file says of the images that the net takes to predict one; empty for one alone."""
    architecture, context = architecture_of(config), config.model.context
    if context is None:
        return {}
    return {"axis": context.axis, "frames": architecture.frames, "target": architecture.target}


def as_planes(images: Tensor, plane: int) -> Tensor:
    """Return single planes, (n, 1, y, x), of (n, c, y, x) or (n, c, z, y, x): of volumes one, -1 for the middle one."""
    if images.ndim == 5:
        images = images[:, :, images.shape[2] // 2 if plane < 0 else plane]
    return images if images.shape[1] == 1 else images.flatten(0, 1).unsqueeze(1)
