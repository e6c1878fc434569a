"""The learning-rate finder: what it proposes, and what the command leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from superres.cli import app
from superres.config import TrainConfig, dump_config
from superres.training.finder import propose, smooth

MakeConfig = Callable[..., TrainConfig]


def test_the_proposal_is_a_quarter_of_the_rate_with_the_smallest_loss() -> None:
    rates = np.geomspace(1e-5, 1, 101)
    losses = 1 - np.exp(-((np.log10(rates) + 2) ** 2))  # smallest at 1e-2
    assert propose(rates, losses) == 2.5e-3


def test_a_smooth_curve_has_no_bias_and_ends_where_it_diverges() -> None:
    np.testing.assert_allclose(smooth(np.full(9, 0.7)), 0.7)
    assert len(smooth(np.array([1.0, 0.9, 0.8, 50.0, 0.5]))) == 3
    assert len(smooth(np.array([1.0, np.nan, 0.8]))) == 1


def test_the_command_finds_a_rate_and_draws_why(make_config: MakeConfig, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "deep" / "lr.html"
    recipe.write_text(dump_config(make_config()), encoding="utf-8")
    ran = CliRunner().invoke(app, ["find-lr", str(recipe), "--out", str(out), "--steps", "30", "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert np.all(np.diff(found["rates"]) > 0)
    assert found["losses"][0] == pytest.approx(1, abs=0.2), "relative to the untrained net"
    assert 1e-5 < found["proposed"] < 0.1
    text = out.read_text(encoding="utf-8")
    assert "<svg" in text
    assert f"optimiser.learning_rate={found['proposed']:g}" in text
    assert not list(tmp_path.glob("**/model.safetensors")), "nothing is kept"
