from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import DegradeStep
from superres.evaluation.controls import LEVELS, negative_controls
from superres.evaluation.upsampling import upsample
from superres.inference import Predictor

FACTOR = (1, 4, 4)
STEPS = tuple(
    DegradeStep.model_validate(step)
    for step in ({"downsample": "binning"}, {"poisson": {"photons": 200}}, {"read_noise": {"sd": 0.03}})
)


def model(restore: Any) -> Predictor:
    """A model that does to the interpolated recording what the test says."""
    run = SimpleNamespace(
        header=SimpleNamespace(factor=FACTOR), restore=lambda low: restore(upsample(low, FACTOR, how="bicubic"))
    )
    return cast(Predictor, run)


def test_interpolation_itself_invents_nothing() -> None:
    found = negative_controls(model(lambda image: image), STEPS)
    assert [control.name for control in found] == list(LEVELS)
    for control in found:
        assert control.noise == pytest.approx(1)
        assert control.invention == pytest.approx(1)
        assert control.is_passed


def test_a_denoiser_passes() -> None:
    for control in negative_controls(model(lambda image: gaussian_filter(image, (0, 0, 4, 4))), STEPS):
        assert control.noise < 0.7
        assert control.is_passed


def test_sharpened_noise_is_told_from_invented_structure() -> None:
    def sharpened(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2 * image - gaussian_filter(image, (0, 0, 8, 8))

    def invented(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return image + 0.1 * np.sin(np.arange(image.shape[-1]) / 12)

    for control in negative_controls(model(sharpened), STEPS):
        assert control.noise > 1.5
        assert not control.is_passed
    for control in negative_controls(model(invented), STEPS):
        assert control.invention > 3
        assert not control.is_passed


def test_a_blank_without_read_noise_is_no_recording() -> None:
    counted = (STEPS[0], STEPS[1])
    assert [control.name for control in negative_controls(model(lambda image: image), counted)] == list(LEVELS)[1:]
