"""Training the interval head: the loss finds quantiles, and the net is trained as it would be without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.config import TrainConfig
from superres.modelfile import load_model_file
from superres.training import train
from superres.training.losses import interval, pinball

MakeConfig = Callable[..., TrainConfig]


@given(st.integers(0, 2**31), st.integers(5, 200), st.sampled_from([0.05, 0.3, 0.5, 0.95]))
@settings(max_examples=40, deadline=None)
def test_pinball_is_smallest_at_the_quantile(seed: int, count: int, level: float) -> None:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=count))
    quantile = torch.quantile(values, level, interpolation="lower")
    best = float(pinball(values, quantile, level))
    candidates = torch.cat([values, torch.linspace(-4, 4, 81, dtype=torch.float64)])
    lowest = min(float(pinball(values, candidate, level)) for candidate in candidates)
    # Between two neighbours the loss is flat where level * count is whole; elsewhere the quantile is the only minimum.
    upper = float(pinball(values, torch.quantile(values, level, interpolation="higher"), level))
    assert min(best, upper) == pytest.approx(lowest, abs=1e-12)


def test_interval_loss_finds_the_quantiles_of_a_lopsided_error() -> None:
    generator = torch.Generator().manual_seed(0)
    high = torch.empty(1, 1, 64, 64).exponential_(1.0, generator=generator)
    pred = torch.full_like(high, 0.7)
    wanted = torch.tensor([0.7 + np.log(0.95), -np.log(0.05) - 0.7])
    raw = torch.tensor([0.3, 0.3], requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.02)
    for _ in range(250):
        optimiser.zero_grad()
        interval(high, pred, raw[0], raw[1]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert torch.allclose(raw.detach(), wanted.float(), atol=0.12)


def test_interval_loss_gives_the_prediction_no_gradient() -> None:
    pred = torch.zeros(4, requires_grad=True)
    below, above = torch.ones(4, requires_grad=True), torch.ones(4, requires_grad=True)
    interval(torch.arange(4.0), pred, below, above).backward()  # type: ignore[no-untyped-call]
    assert pred.grad is None
    assert below.grad is not None


def test_the_net_is_trained_as_it_would_be_without_the_head(make_config: MakeConfig, tmp_path: Path) -> None:
    """Bit for bit: same weights, same figures; only the head is added."""
    without = train(make_config(model={"preset": "XS", "interval": False}), tmp_path / "without")
    with_head = train(make_config(model={"preset": "XS"}), tmp_path / "with")
    plain, both = load_model_file(without.model), load_model_file(with_head.model)
    added = both.weights.keys() - plain.weights.keys()
    assert added
    assert all(name.startswith("interval_head.") for name in added)
    for name, value in plain.weights.items():
        np.testing.assert_array_equal(both.weights[name], value, err_msg=name)
    assert with_head.metrics == without.metrics
    assert (both.weights["interval_head.out.weight"] != 0).any(), "the head was trained"
    assert both.header.receptive_radius == plain.header.receptive_radius
