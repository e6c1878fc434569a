"""What a training learns from: patches by step number, low and high as the net sees them, and the validation crops."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from superres.config import Augment, Phase, TrainConfig
from superres.datasets.patches import Batch, PatchSampler
from superres.datasets.sources import Source
from superres.degrade import augment_range, degrade, own_range
from superres.degrade.augment import inverted, noise_factors, softened
from superres.degrade.chain import middle
from superres.nets import Architecture
from superres.nets.device import layout
from superres.training.ahead import Ahead
from superres.training.chance import generator_of
from superres.training.kind import as_planes, sampler_of

_VALIDATION_IMAGES = 4  # per acquisition
# Numbers from which patches are drawn that no step sees: for the feature network, and for measuring the domain.
_FOR_FEATURES = 1 << 40
_FOR_DOMAIN = 1 << 41


class Material:
    """Patches of a training.

    Which patches a step sees depends on the seed, the step's number and the phase alone.

    Parameters
    ----------
    config : TrainConfig
        Seed, augmentation, degradation, patch sizes.
    architecture : Architecture
        Of the net: which of the images that it takes are predicted.
    device : torch.device
        Where patches are degraded and used.
    sources, valid : list of Source
        Images to learn from, and to validate on.
    """

    def __init__(
        self,
        config: TrainConfig,
        architecture: Architecture,
        device: torch.device,
        sources: list[Source],
        valid: list[Source],
    ) -> None:
        self.config = config
        self.device = device
        self.sources = sources
        self._architecture = architecture
        self._size = config.patch.size
        self._sampler = self._sampler_of(sources, config.augment)
        self._ahead = Ahead(lambda number, count: self._sampler.draw(number, count))
        # On the CPU the net computes with all cores, and a draw takes 2 to 3 % of a step of the smallest one.
        self.draws_ahead = device.type != "cpu"
        self.validation: Batch | None = None
        self.validation_names: list[str] = []
        if valid:
            self.validation, self.validation_names = self._sampler_of(valid, None).crops(_VALIDATION_IMAGES)

    @property
    def recorded(self) -> bool:
        """Whether low images were recorded, and not made by degradation."""
        return self.sources[0].low is not None

    def enter(self, phase: Phase) -> None:
        """Draw patches of the size of a phase from now on."""
        if (size := phase.patch or self.config.patch.size) != self._size:
            self.stop()
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
        """Return low and high patches of a step, float32, normalised intensity, on the device.

        They are (n, images, y, x), or (n, channels, z, y, x) for nets of three dimensions; `high` holds the predicted
        images alone.
        """
        return self._pairs(self._ahead.batch(step, batch, foresee=self.draws_ahead), number=step)

    def stop(self) -> None:
        """Draw nothing ahead any more, until patches of a step are asked for again."""
        self._ahead.stop()

    def validation_pairs(self) -> tuple[Tensor, Tensor]:
        """Return low and high validation crops, degraded the same way every time."""
        assert self.validation is not None
        return self._pairs(self.validation, number=None)

    def sharp(self, number: int) -> Tensor:
        """Return sharp planes, (n, 1, y, x), for the feature network."""
        batch = self._ahead.batch(_FOR_FEATURES + number, self.config.patch.batch, foresee=False)
        return as_planes(self.predicted_of(batch.high * batch.scale + batch.shift), -1).to(self.device)

    def domain_batch(self, number: int) -> Batch:
        """Return patches that no step has seen, for measuring where the net is right."""
        return self._ahead.batch(_FOR_DOMAIN + number, self.config.patch.batch, foresee=False)

    def domain_pairs(self, step: int, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Return low and high of `domain_batch`, as in training."""
        return self._pairs(batch, number=step + number)

    def _sampler_of(self, sources: list[Source], augment: Augment | None) -> PatchSampler:
        return sampler_of(self.config, sources, augment, self._size)

    def predicted_of(self, images: Tensor) -> Tensor:
        """Return of the images that the net takes, or their constants, those that it predicts."""
        return images if images.shape[1] == 1 else images[:, self._architecture.predicted]

    def _pairs(self, batch: Batch, *, number: int | None) -> tuple[Tensor, Tensor]:
        """Return low and high patches as the net sees them: augmented, degraded, normalised; None for validation."""
        augmented = number is not None
        if number is None:  # validation looks the same in all trainings, so that their figures can be compared
            generator = generator_of(self.device, 0, "validation", 0)
        else:
            generator = self._generator("pairs", number)
        high = batch.high.to(self.device)
        low = None if batch.low is None else batch.low.to(self.device)
        scale, shift = batch.scale.to(self.device), batch.shift.to(self.device)
        noise = None
        if number is not None:
            limits = {"black": -shift / scale, "white": (1 - shift) / scale}
            high, low, noise = self._unlike(high, low, number, limits)
            high, low = augment_range(high, low, self.config.augment, generator, **limits)
            scale, shift = own_range(high, scale, shift, self.config, generator)
        if low is None:
            low = degrade(
                high,
                self.config.degrade if augmented else middle(self.config.degrade),
                factor=self.config.factor,
                generator=generator,
                voxel_sizes=batch.voxel_sizes,
                noise=noise,
            )
        low = low * scale + shift
        return low.contiguous(memory_format=layout(low)), self.predicted_of(high * scale + shift)

    def _unlike(
        self, high: Tensor, low: Tensor | None, number: int, limits: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return images that are inverted, softer and noisier than the training's, as far as the recipe asks for it.

        Each kind has a generator of its own: switched off, it leaves the others as they are.
        """
        augment, noise = self.config.augment, None
        if augment.inversion > 0:
            high, low = inverted(high, low, augment, self._generator("inversion", number), **limits)
        if low is None and augment.softer > 0:
            high = softened(high, augment, self._generator("softer", number))
        if low is None and augment.noise != (1.0, 1.0):
            noise = noise_factors(high, augment, self._generator("noise", number))
        return high, low, noise

    def _generator(self, kind: str, number: int) -> Generator:
        """Return the generator of one kind of augmentation at a step."""
        return generator_of(self.device, self.config.seed, kind, number)
