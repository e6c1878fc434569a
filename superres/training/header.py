"""What a finished training writes into the header of its model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from superres.config import TrainConfig
from superres.datasets.acquisition import Acquisition, Manifest
from superres.datasets.choice import choose_images
from superres.datasets.sources import Source
from superres.modelfile import ModelFile, ModelHeader
from superres.nets import Architecture
from superres.training.kind import context_of
from superres.training.start import lineage_of


def make_header(
    config: TrainConfig,
    manifests: Sequence[Manifest],
    sources: Sequence[Source],
    architecture: Architecture,
    *,
    steps: int,
    seconds: float | None,
    metrics: Mapping[str, Any],
    domain: Mapping[str, Any],
    gan: Mapping[str, Any],
    display: bool,
    start: ModelFile | None = None,
) -> ModelHeader:
    """Say what a model is, what it was trained on, and how well it did on validation.

    Parameters
    ----------
    seconds : float or None
        Time spent, where a time was the budget. Where steps were, the same training makes the same file.
    gan : mapping
        How a GAN phase went (`superres.training.stopping.Watch.decision`); empty where there was none.
    display : bool
        Whether a critic shaped the model. What starts from a model for display is one too.
    start : ModelFile, optional
        The model that the training started from.
    """
    from superres import __version__

    listed = [item for manifest in manifests for item in manifest.of_split("train")]
    chosen = choose_images(listed, config.image_count, config.seed)
    return ModelHeader(
        name=config.name,
        architecture=architecture.to_json(),
        factor=config.factor,
        channels=architecture.channels,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity=config.intensity.model_dump(mode="json"),
        context=context_of(config),
        voxel_size=_low_voxel_size(sources, config.factor),
        degradation=[step.model_dump(mode="json", exclude_none=True) for step in config.degrade],
        training={
            "manifests": [{"name": manifest.name, "sha256": manifest.sha256} for manifest in manifests],
            "acquisitions": [_origin(*one) for one in zip(listed, chosen, strict=True) if one[1]],
            "voxel_sizes": _low_voxel_sizes(sources, config.factor),
            **({} if config.image_count is None else {"image_count": config.image_count}),
            "steps": steps,
            **({} if seconds is None else {"seconds": round(seconds, 1)}),
            # Names, not places: a model should not tell where a lab keeps its data.
            "config": _told(config),
            **({"gan": gan} if gan else {}),
        },
        display=display or (start is not None and start.header.display),
        domain=domain,
        metrics=metrics,
        lineage=lineage_of(start),
        version=__version__,
    )


def _origin(acquisition: Acquisition, chosen: tuple[int, ...]) -> dict[str, Any]:
    """Return what is told of an acquisition: all of it, or the images that were learnt from."""
    told = {
        "id": acquisition.id,
        "sha256": acquisition.sha256,
        "licence": acquisition.licence,
        "credit": acquisition.credit,
    }
    if len(chosen) == len(acquisition.high):
        return told
    some = acquisition.of_images(chosen)
    digests = some.high_sha256 or [""] * len(some.high)
    images = [{"file": path.name, "sha256": digest} for path, digest in zip(some.high, digests, strict=True)]
    return told | {"images": images}


def _told(config: TrainConfig) -> dict[str, Any]:
    """Return the recipe with files by their names."""
    told = config.model_dump(mode="json", exclude={"data_root"})
    told["manifests"] = [path.name for path in config.manifests]
    told["start_from"] = None if config.start_from is None else config.start_from.name
    if config.features.weights is not None:
        told["features"]["weights"] = config.features.weights.name
    return told


def _low_voxel_sizes(sources: Sequence[Source], factor: tuple[int, int, int]) -> list[list[float] | None]:
    """Return the smallest and largest voxel size of the low recordings along each axis; None where none is known."""
    known = [[size for source in sources if (size := source.voxel_size[axis]) is not None] for axis in range(3)]
    return [[min(sizes) * f, max(sizes) * f] if sizes else None for sizes, f in zip(known, factor, strict=True)]


def _low_voxel_size(
    sources: Sequence[Source], factor: tuple[int, int, int]
) -> tuple[float | None, float | None, float | None]:
    """Return the voxel size of the low recordings along each axis where all agree within 5 %, else None."""
    sizes: list[float | None] = []
    for axis, f in enumerate(factor):
        known = [source.voxel_size[axis] for source in sources]
        values = [value for value in known if value is not None]
        agree = len(values) == len(known) and max(values) <= 1.05 * min(values)
        sizes.append(float(np.median(values)) * f if agree else None)
    return sizes[0], sizes[1], sizes[2]
