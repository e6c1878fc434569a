from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from superres.config import TrainConfig
from superres.evaluation import rate_page
from superres.training import find_learning_rate
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


def test_too_large_steps_are_found_and_drawn(make_config: MakeConfig, tmp_path: Path) -> None:
    curve = find_learning_rate(make_config(), steps=30)
    assert np.all(np.diff(curve.rates) > 0)
    assert curve.losses[0] < 1.2
    assert 1e-5 < curve.proposed < 0.1
    rate_page.write(curve.rates, curve.losses, curve.proposed, tmp_path / "deep" / "lr.html", title="a <b>")
    text = (tmp_path / "deep" / "lr.html").read_text()
    assert "<svg" in text
    assert f"optimiser.learning_rate={curve.proposed:g}" in text
    assert "a &lt;b&gt;" in text
