"""What a training learns from: patches by step number, low and high as the net sees them, and the validation crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from superres.config import Augment, Phase, TrainConfig
from superres.datasets.manifest import Manifest
from superres.datasets.patches import Batch, PatchSampler, Source, open_sources
from superres.degrade import augment_range, degrade, own_range
from superres.degrade.chain import middle
from superres.errors import InputError

_VALIDATION_IMAGES = 4  # per acquisition
# Numbers from which patches are drawn that no step sees: for the feature network, and for measuring the domain.
_FOR_FEATURES = 1 << 40
_FOR_DOMAIN = 1 << 41


def open_split(config: TrainConfig, manifests: Sequence[Manifest], split: str) -> tuple[list[Source], list[str]]:
    """Open the images of a split; return them and what a person should know of those left out.

    Raises
    ------
    InputError
        When there is nothing to learn from.
    """
    acquisitions = [item for manifest in manifests for item in manifest.of_split(split)]
    if not acquisitions and split == "val":
        return [], ["the manifests hold no acquisition of the split val: nothing was validated"]
    if not acquisitions:
        raise InputError(
            f"{', '.join(str(path) for path in config.manifests)}: no sharp image to learn from: no acquisition has "
            f"'split: {split}'; give some whole specimens or fields that split"
        )
    return open_sources(acquisitions, factor=config.factor, rule=config.intensity)


class Material:
    """Patches of a training.

    Which patches a step sees depends on the seed, the step's number and the phase alone.

    Parameters
    ----------
    config : TrainConfig
        Seed, augmentation, degradation, patch sizes.
    stride : int
        Of the net; patches are multiples of it.
    device : torch.device
        Where patches are degraded and used.
    sources, valid : list of Source
        Images to learn from, and to validate on.
    """

    def __init__(
        self, config: TrainConfig, stride: int, device: torch.device, sources: list[Source], valid: list[Source]
    ) -> None:
        self.config = config
        self.device = device
        self.sources = sources
        self._stride = stride
        self._size = config.patch.size
        self._sampler = self._sampler_of(sources, config.augment)
        self.validation = self._sampler_of(valid, None).crops(_VALIDATION_IMAGES) if valid else None
        self.validation_names = _names(valid)

    @property
    def recorded(self) -> bool:
        """Whether low images were recorded, and not made by degradation."""
        return self.sources[0].low is not None

    def enter(self, phase: Phase) -> None:
        """Draw patches of the size of a phase from now on."""
        if (size := phase.patch or self.config.patch.size) != self._size:
            self._size = size
            self._sampler = self._sampler_of(self.sources, self.config.augment)

    def small_images(self) -> list[str]:
        """Return a line for each acquisition whose images are smaller than a patch."""
        largest = max(phase.patch or self.config.patch.size for phase in self.config.phases)
        fy, fx = self.config.factor[1:]
        smallest: dict[str, tuple[int, int]] = {}
        for source in self.sources:
            y, x = source.high.shape[-2:]
            if y < largest * fy or x < largest * fx:
                smallest[source.acquisition] = (y, x)
        return [
            f"{name}: {y} x {x} voxels (Y, X) are fewer than the {largest * fy} x {largest * fx} of a patch and were "
            "continued by mirroring; give a smaller patch.size"
            for name, (y, x) in smallest.items()
        ]

    def pairs(self, step: int, batch: int) -> tuple[Tensor, Tensor]:
        """Return low and high patches of a step, float32, (n, 1, y, x), normalised intensity, on the device."""
        return self._pairs(self._sampler.draw(step, batch), number=step)

    def validation_pairs(self) -> tuple[Tensor, Tensor]:
        """Return low and high validation crops, degraded the same way every time."""
        assert self.validation is not None
        return self._pairs(self.validation, number=None)

    def sharp(self, number: int) -> Tensor:
        """Return sharp patches for the feature network."""
        batch = self._sampler.draw(_FOR_FEATURES + number, self.config.patch.batch)
        return (batch.high * batch.scale + batch.shift).to(self.device)

    def domain_batch(self, number: int) -> Batch:
        """Return patches that no step has seen, for measuring where the net is right."""
        return self._sampler.draw(_FOR_DOMAIN + number, self.config.patch.batch)

    def domain_pairs(self, step: int, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Return low and high of `domain_batch`, as in training."""
        return self._pairs(batch, number=step + number)

    def _sampler_of(self, sources: list[Source], augment: Augment | None) -> PatchSampler:
        size = -(-self._size // self._stride) * self._stride
        return PatchSampler(sources, factor=self.config.factor, size=size, seed=self.config.seed, augment=augment)

    def _pairs(self, batch: Batch, *, number: int | None) -> tuple[Tensor, Tensor]:
        """Return low and high patches as the net sees them: augmented, degraded, normalised; None for validation."""
        augmented = number is not None
        generator = Generator(self.device).manual_seed((self.config.seed << 32) + (0 if number is None else number + 1))
        high = batch.high.to(self.device)
        low = None if batch.low is None else batch.low.to(self.device)
        scale, shift = batch.scale.to(self.device), batch.shift.to(self.device)
        if augmented:
            limits = {"black": -shift / scale, "white": (1 - shift) / scale}
            high, low = augment_range(high, low, self.config.augment, generator, **limits)
            scale, shift = own_range(high, scale, shift, self.config, generator)
        if low is None:
            low = degrade(
                high,
                self.config.degrade if augmented else middle(self.config.degrade),
                factor=self.config.factor,
                generator=generator,
                voxel_sizes=batch.voxel_sizes,
            )
        return (low * scale + shift).contiguous(memory_format=torch.channels_last), high * scale + shift


def _names(sources: list[Source]) -> list[str]:
    """Return the acquisition of each validation crop, in the order in which `PatchSampler.crops` gives them."""
    counts: dict[str, int] = {}
    for source in sources:
        planes = source.high.shape[0] * source.high.shape[2]
        counts[source.acquisition] = counts.get(source.acquisition, 0) + planes
    return [name for name, count in counts.items() for _ in range(min(count, _VALIDATION_IMAGES))]
