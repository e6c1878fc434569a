"""Whether the noise of a recording is such as a model was trained for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError

from superres.config import DegradeStep
from superres.datasets.fingerprint import NOISE_LEVEL
from superres.degrade.moments import moments
from superres.degrade.noise_line import NoiseLine
from superres.modelfile import ModelHeader

# Measured noise scatters by about a fifth; cleaner recordings than those of the training do little harm.
_NOISIER, _CLEANER = 1.25, 0.5


def noise_range(header: ModelHeader) -> tuple[float, float] | None:
    """Return the smallest and largest noise that a model was trained for.

    Standard deviation at `superres.datasets.fingerprint.NOISE_LEVEL`, as a share of the range from black to white, of
    the recordings that the degradation in the header makes; with what `augment.noise` adds to that.

    Returns
    -------
    tuple of float or None
        None where it is not told: after a training on real pairs, without simulated noise, or of three dimensions.
    """
    if header.factor[0] > 1:
        return None
    ends = [_noise(header, quiet=quiet) for quiet in (True, False)]
    if ends[0] is None or ends[1] is None:
        return None
    augment = header.training.get("config", {}).get("augment", {}).get("noise") or (1.0, 1.0)
    return ends[0] * min(1.0, augment[0]), ends[1] * max(1.0, augment[1])


def noise_of(line: NoiseLine) -> float:
    """Return the measured noise of a channel, as `noise_range` tells it."""
    return math.sqrt(float(line.variance(torch.tensor(NOISE_LEVEL))))


def unlike_noise(header: ModelHeader, noise: float) -> str:
    """Say with figures that a recording is noisier, or far cleaner, than what a model was trained for; else nothing."""
    trained = noise_range(header)
    if trained is None or _CLEANER * trained[0] <= noise <= _NOISIER * trained[1]:
        return ""
    word = "noisier" if noise > trained[1] else "cleaner"
    return (
        f"{word} than what the model was trained for: noise of {noise:.1%} of the range from black to white (at "
        f"{NOISE_LEVEL:.0%} of it), trained were {trained[0]:.1%} to {trained[1]:.1%}"
    )


def _noise(header: ModelHeader, *, quiet: bool) -> float | None:
    """Return the noise at the quiet or at the noisy ends of all ranges."""
    chosen = [step for raw in header.degradation if (step := _pinned(raw, quiet=quiet))]
    if not any({"poisson", "read_noise"} & step.keys() for step in chosen):
        return None
    try:
        steps = tuple(DegradeStep.model_validate(step) for step in chosen)
    except ValidationError:
        return None
    levels = torch.tensor([0.0, NOISE_LEVEL, 1.0]).view(3, 1, 1, 1).expand(3, 1, *header.factor[1:])
    mean, variance = (part[:, 0, 0, 0] for part in moments(levels, steps, factor=header.factor))
    return math.sqrt(float(variance[1])) / float(mean[2] - mean[0])


def _pinned(step: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Narrow the ranges of a step to one end; blur and jitter, which hardly change noise, are left out."""
    if step.get("downsample"):
        return {"downsample": step["downsample"]}
    if step.get("poisson"):
        return {"poisson": {"photons": _end(step["poisson"]["photons"], last=quiet)}}
    if step.get("read_noise"):
        return {"read_noise": {**step["read_noise"], "sd": _end(step["read_noise"]["sd"], last=not quiet)}}
    return {}


def _end(ends: float | Sequence[float], *, last: bool) -> float:
    return float(ends) if isinstance(ends, int | float) else float(ends[-1 if last else 0])
