"""What is told of a training when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training left behind.

    Parameters
    ----------
    model, run : Path
        The model file and the run folder.
    steps : int
        Steps of the generator and the critic.
    seconds : float
        Time spent, over all sessions of the run.
    metrics : mapping
        Validation figures: PSNR of the model and of cubic interpolation, in dB, per acquisition and mean.
    notes : tuple of str
        What a person should know: images left out, steps skipped, how a GAN phase ended.
    """

    model: Path
    run: Path
    steps: int
    seconds: float
    metrics: Mapping[str, Any]
    notes: tuple[str, ...]
