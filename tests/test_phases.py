"""Phases as rows: presets are nothing but rows, rows that make no training are refused, old keys say what to type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from superres.config import TrainConfig, load_config
from superres.errors import ConfigError
from superres.phases import LARGEST_GAN_SHARE, PRESETS, Losses, Phase, check_phases

MINIMAL: dict[str, Any] = {"manifests": ["m.yaml"], "factor": [1, 4, 4], "steps": 10}


def config(**changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(MINIMAL | changes)


def fault(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        config(**changes)
    return str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_written_out_as_rows(name: str) -> None:
    made = config(preset=name)
    assert made.phases == PRESETS[name]
    rows = made.model_dump(mode="json")["phases"]
    assert config(phases=rows).phases == made.phases, "the rows alone say the same"


def test_presets_are_what_their_names_promise() -> None:
    assert config().preset == "quantitative"
    terms = {name: set().union(*(row.losses.shares() for row in rows)) for name, rows in PRESETS.items()}
    assert terms["quantitative"] == {"frequency"}
    assert terms["balanced"] == {"frequency", "feature"}
    assert terms["display"] == {"frequency", "feature", "adversarial"}
    assert sum(row.share for row in PRESETS["display"] if row.trains == "both") <= LARGEST_GAN_SHARE


def test_preset_and_other_rows_are_two_answers() -> None:
    rows = [{"name": "plain", "share": 1}]
    assert "remove one of them" in fault(preset="balanced", phases=rows)
    assert config(phases=rows).preset is None
    assert config(preset="quantitative", phases=[]).phases == PRESETS["quantitative"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_any_shares_that_add_up_are_a_training(parts: list[int]) -> None:
    rows = [Phase(name=f"p{i}", share=part / sum(parts)) for i, part in enumerate(parts)]
    check_phases(rows)
    with pytest.raises(ValueError, match="not to 1"):
        check_phases([*rows, Phase(name="more", share=0.01)])


CRITIC = {"name": "critic", "share": 0.02, "trains": "critic"}
GAN = {"name": "gan", "share": 0.03, "trains": "both", "losses": {"adversarial": 0.1}}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.4}], "add up to 0.9, not to 1"),
        ([{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}], "names of their own"),
        ([{"name": "a", "share": 0.97}, GAN], "no critic was trained before"),
        ([CRITIC, {"name": "a", "share": 0.98}], "come last"),
        ([{"name": "a", "share": 0.98}, CRITIC], "no later phase uses"),
        ([{"name": "a", "share": 0.9}, CRITIC | {"share": 0.04}, GAN | {"share": 0.06}], "6.0% of the training"),
        ([{"name": "a", "share": 0.95}, CRITIC, GAN | {"losses": {}}], "belong together"),
        ([{"name": "a", "share": 1, "losses": {"feature": 0.6, "frequency": 0.4}}], "leave something of 1"),
        ([{"name": "a", "share": 1, "losses": {"feature": -0.1}}], "greater than or equal to 0"),
    ],
)
def test_rows_that_make_no_training_are_refused(rows: list[dict[str, Any]], says: str) -> None:
    assert says in fault(phases=rows)


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("loss.feature_from=0.5", "share: 0.75"),
        ("loss.feature=0", "preset: quantitative"),
        ("loss.frequency=0.1", "losses: {frequency: 0.05}"),
        ("loss.feature_net_steps=20", "features.steps"),
    ],
)
def test_old_keys_say_what_to_type_now(old: str, now: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(TrainConfig, None, [old], **MINIMAL)
    assert f"{old.split('=')[0]} is now" in str(caught.value)
    assert now in str(caught.value)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({"net": "vgg16"}, "features.weights=vgg16-397923af.pth"),
        ({"net": "own", "weights": "vgg16.pth"}, "belong to net: vgg16"),
        ({"layers": ["stage1"], "layer_weights": [1, 2]}, "2 numbers for 1 layers"),
        ({"layers": ["stage1"], "layer_weights": [0]}, "not all 0"),
    ],
)
def test_features_that_do_not_fit_are_refused(features: dict[str, Any], says: str) -> None:
    assert says in fault(features=features)


def test_shares_are_those_that_are_asked_for() -> None:
    assert Losses(frequency=0.05, gram=0.1).shares() == {"frequency": 0.05, "gram": 0.1}
