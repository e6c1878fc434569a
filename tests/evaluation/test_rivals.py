"""Other nets beside the model: what is said of them, and of their budget."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from superres.evaluation.rivals import budget_warnings, describe_net
from superres.modelfile import ModelHeader


def header(**training: Any) -> ModelHeader:
    return ModelHeader(
        name="net",
        architecture={},
        factor=(1, 2, 2),
        channels=1,
        receptive_radius=(0, 4, 4),
        stride=(1, 1, 1),
        intensity={},
        training=training,
    )


def trained(steps: int, seconds: float, preset: str = "S") -> ModelHeader:
    return header(steps=steps, seconds=seconds, config={"model": {"preset": preset}, "loss": {"feature": 0}})


@pytest.mark.parametrize(
    ("rival", "is_same"),
    [
        (trained(1000, 600), True),
        (trained(1500, 600), True),  # a cheaper loss makes more steps in the same time
        (trained(1000, 300), True),  # or the same steps in less
        (trained(400, 240), False),
        (trained(2000, 1200), False),
        (trained(1000, 600, "M"), False),
        (header(), False),
    ],
)
def test_budgets_are_the_same_in_steps_or_in_time(rival: ModelHeader, is_same: bool) -> None:
    found = budget_warnings(trained(1000, 600), {"unet": rival})
    assert (found == []) == is_same
    assert all(line.startswith("unet had another budget") for line in found)


def test_without_a_model_there_is_no_budget_to_compare() -> None:
    assert budget_warnings(None, {"unet": header()}) == []


def test_what_is_said_of_a_net() -> None:
    found = describe_net(trained(1000, 600))
    assert found["steps"] == 1000 and found["seconds"] == 600
    assert found["loss"] == {"feature": 0} and found["model"] == {"preset": "S"}
    assert describe_net(header())["steps"] is None


def test_what_a_model_was_fine_tuned_from_is_no_rival_of_its_method() -> None:
    parent = trained(3000, 600)
    tuned = dataclasses.replace(trained(100, 20), lineage=[{"name": "parent", "training": parent.training}])
    assert budget_warnings(tuned, {"parent": parent}) == []
    assert budget_warnings(tuned, {"other": trained(3001, 600)}) != []
