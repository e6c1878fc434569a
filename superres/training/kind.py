"""Which kind of net a recipe asks for, what patches it learns from, and planes of them for what knows planes only."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from superres.config import Augment, TrainConfig
from superres.datasets.acquisition import Manifest
from superres.datasets.choice import choose_images
from superres.datasets.patches import PatchSampler
from superres.datasets.sources import Source, open_sources
from superres.errors import InputError
from superres.nets import Architecture, UNet


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
        norm=model.norm,
        dropblock=model.dropblock,
        attention=model.attention,
        grid=model.grid,
    )


def several_at_once(config: TrainConfig) -> bool:
    """Say whether the net takes all channels of an image at once."""
    context = config.model.context
    return config.model.together or (context is not None and context.axis == "c")


def open_split(config: TrainConfig, manifests: Sequence[Manifest], split: str) -> tuple[list[Source], list[str]]:
    """Open the images of a split; return them and what a person should know of those left out.

    Raises
    ------
    InputError
        When there is nothing to learn from; see also `open_sources`.
    """
    acquisitions = [item for manifest in manifests for item in manifest.of_split(split)]
    if not acquisitions and split == "val":
        return [], ["the manifests hold no acquisition of the split val: nothing was validated"]
    if not acquisitions:
        raise InputError(
            f"{', '.join(str(path) for path in config.manifests)}: no sharp image to learn from: no acquisition has "
            f"'split: {split}'; give some whole specimens or fields that split"
        )
    if split == "train":
        chosen = choose_images(acquisitions, config.image_count, config.seed)
        acquisitions = [one.of_images(indices) for one, indices in zip(acquisitions, chosen, strict=True) if indices]
    return open_sources(
        acquisitions,
        factor=config.factor,
        rule=config.intensity,
        channels=config.channels,
        together=several_at_once(config),
    )


def sampler_of(config: TrainConfig, sources: list[Source], augment: Augment | None, size: int) -> PatchSampler:
    """Return what draws the patches of a recipe, `size` low voxels wide; sides are rounded up to the net's strides."""
    deep, stride, _ = architecture_of(config).strides
    return PatchSampler(
        sources,
        factor=config.factor,
        size=-(-size // stride) * stride,
        seed=config.seed,
        augment=augment,
        depth=-(-config.patch.depth // deep) * deep if config.model.dimensions == 3 else None,
        context=config.model.context,
        together=config.model.together,
    )


def context_of(config: TrainConfig) -> dict[str, str | int]:
    """Return what the model file says of the images that the net takes to predict one; empty for one alone."""
    architecture, context = architecture_of(config), config.model.context
    if context is None:
        return {}
    return {"axis": context.axis, "frames": architecture.frames, "target": architecture.target}


def statistics_of(averaged: UNet, net: UNet) -> list[tuple[Tensor, Tensor]]:
    """Pair what norms keep besides their parameters in an averaged net and in the net; none without norms."""
    own = {name for name, _ in net.named_parameters()}
    pairs = zip(averaged.state_dict().items(), net.state_dict().values(), strict=True)
    return [(kept, current) for (name, kept), current in pairs if name not in own]


def as_planes(images: Tensor, plane: int) -> Tensor:
    """Return single planes, (n, 1, y, x), of (n, c, y, x) or (n, c, z, y, x): of volumes one, -1 for the middle one."""
    if images.ndim == 5:
        images = images[:, :, images.shape[2] // 2 if plane < 0 else plane]
    return images if images.shape[1] == 1 else images.flatten(0, 1).unsqueeze(1)
