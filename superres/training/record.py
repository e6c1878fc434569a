"""What a training tells while it runs: figures, sample pictures, events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from superres.config import Phase, TrainConfig
from superres.nets import UNet
from superres.progress import Progress, ProgressCallback
from superres.training.kind import as_planes
from superres.training.material import Material
from superres.training.memory import in_parts
from superres.training.run import RunFolder

_LOG_EVERY = 20


class Record:
    """Writes figures and pictures into the run folder, and reports events.

    Parameters
    ----------
    config : TrainConfig
        How often.
    folder : RunFolder
        Where to.
    material : Material
        Validation images.
    progress : callable
        Receives events.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder, material: Material, progress: ProgressCallback) -> None:
        self._config = config
        self._folder = folder
        self._material = material
        self._progress = progress
        self._first, self._began = 0, time.monotonic()

    def begin(self, step: int) -> None:
        """Count steps per second from here."""
        self._first, self._began = step, time.monotonic()

    def step(
        self,
        number: int,
        phase: Phase,
        share: float,
        seconds: float,
        rate: float,
        terms: Mapping[str, Tensor],
        net: UNet,
    ) -> None:
        """Tell of a step that is done, where it is time to."""
        config, validated = self._config, {}
        if number % config.validate_every == 0:
            validated = {k: v for k, v in validate(net, self._material).items() if isinstance(v, float)}
        if number % _LOG_EVERY == 0 or validated:
            values = {name: round(float(term.detach()), 6) for name, term in terms.items()} | validated
            head = {"step": number, "seconds": round(seconds, 2), "phase": phase.name, "learning_rate": rate}
            self._folder.log(head | values)
            speed = (number - self._first) / (time.monotonic() - self._began)
            self.announce(number, share, values | {"steps/s": speed})
        if number % config.sample_every == 0:
            self._sample(number, net)

    def announce(self, step: int, share: float, values: Mapping[str, float]) -> None:
        """Report an event."""
        done, total, unit = float(step), float(self._config.steps or 0), "steps"
        if self._config.time_budget is not None:
            done, total, unit = min(share, 1.0) * self._config.time_budget, self._config.time_budget, "s"
        self._progress(Progress("train", done, total, unit, f"step {step}", values))

    @torch.no_grad()
    def _sample(self, step: int, net: UNet) -> None:
        if self._material.validation is None:
            return
        low, high = (tensor[:3] for tensor in self._material.validation_pairs())
        nearest = torch.nn.functional.interpolate(net.predicted_of(low), size=high.shape[2:], mode="nearest")
        panels = [nearest, net.interpolate(low), net(low), high]
        self._folder.save_sample(step, [as_planes(panel, -1).cpu() for panel in panels])


@torch.no_grad()
def validate(net: UNet, material: Material) -> dict[str, Any]:
    """Return PSNR of a net and of cubic interpolation on the validation crops, mean and per acquisition."""
    if material.validation is None:
        return {}
    low, high = material.validation_pairs()
    errors = {"psnr": in_parts(net, low) - high, "psnr_bicubic": in_parts(net.interpolate, low) - high}
    scale = material.predicted_of(material.validation.scale.to(low.device))
    figures: dict[str, Any] = {}
    for name, error in errors.items():
        # On the grey scale of the acquisition, so that the figure does not depend on the measured intensities.
        squares = ((error / scale) ** 2).mean(dim=tuple(range(1, error.ndim)))
        psnr = -10 * torch.log10(squares.clamp_min(1e-12))
        names = material.validation_names
        means = {key: float(psnr[[n == key for n in names]].mean()) for key in names}
        figures[name] = sum(means.values()) / len(means)
        figures[f"{name}_per_acquisition"] = means
    return figures
