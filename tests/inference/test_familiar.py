"""The noise that a model was trained for, against noise that is simulated with the same settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from superres.config import DegradeStep
from superres.datasets.fingerprint import NOISE_LEVEL
from superres.degrade import degrade_image
from superres.inference.familiar import noise_range, unlike_noise
from superres.modelfile import ModelHeader

HEADER = ModelHeader(
    name="m", architecture={}, factor=(1, 2, 2), channels=1, receptive_radius=(0, 8, 8), stride=(1, 4, 4), intensity={}
)
COUNTED = {"poisson": {"photons": [50.0, 400.0]}}
READ = {"read_noise": {"sd": [0.01, 0.05], "gain": [0.5, 0.5], "offset": [0.1, 0.1]}}


def header(*steps: dict[str, Any], **changes: Any) -> ModelHeader:
    return dataclasses.replace(HEADER, degradation=list(steps), **changes)


@pytest.mark.parametrize(
    "order", [(COUNTED, {"downsample": "binning"}, READ), ({"downsample": "binning"}, COUNTED, READ)]
)
def test_the_ends_are_those_of_simulated_recordings(order: tuple[dict[str, Any], ...]) -> None:
    found = noise_range(header({"blur": {"sigma": [1.0, 2.0]}}, *order))
    assert found is not None
    for end, photons, sd in zip(found, (400.0, 50.0), (0.01, 0.05), strict=True):
        pinned = {"poisson": {"photons": photons}}, {"read_noise": {"sd": sd, "gain": 0.5, "offset": 0.1}}
        steps = [pinned[(COUNTED, READ).index(step)] if step in (COUNTED, READ) else step for step in order]
        scene = np.full((1, 1, 400, 400), NOISE_LEVEL)
        chain = tuple(DegradeStep.model_validate(step) for step in steps)
        low = degrade_image(scene, chain, factor=(1, 2, 2), grey_range=(0.0, 1.0), seed=0)
        assert low.std() / 0.5 == pytest.approx(end, rel=0.02), "black to white is half as wide behind a gain of 0.5"


def test_augmented_noise_widens_the_range() -> None:
    plain = noise_range(header(COUNTED, {"downsample": "binning"}))
    wider = noise_range(
        header(COUNTED, {"downsample": "binning"}, training={"config": {"augment": {"noise": [0.5, 2]}}})
    )
    assert plain is not None and wider is not None
    assert wider == pytest.approx((0.5 * plain[0], 2 * plain[1]))


def test_other_noise_is_told_with_figures() -> None:
    known = header({"downsample": "binning"}, {"read_noise": {"sd": [0.02, 0.04]}})
    assert unlike_noise(known, 0.03) == unlike_noise(known, 0.045) == unlike_noise(known, 0.011) == ""
    assert unlike_noise(known, 0.12) == (
        "noisier than what the model was trained for: noise of 12.0% of the range from black to white (at 30% of it), "
        "trained were 2.0% to 4.0%"
    )
    assert unlike_noise(known, 0.001).startswith("cleaner than what the model was trained for: noise of 0.1%")


def test_where_the_header_tells_no_noise_nothing_is_said() -> None:
    for silent in (header(), header({"downsample": "binning"}), header(COUNTED, factor=(2, 2, 2)), header({"haze": 1})):
        assert noise_range(silent) is None
        assert unlike_noise(silent, 0.5) == ""
