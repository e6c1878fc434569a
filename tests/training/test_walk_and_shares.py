"""The walk through the phases depends on the share that is done alone, and terms have the share they were given."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from superres.config import OptimiserConfig, Phase
from superres.phases import PRESETS
from superres.training.schedule import one_cycle
from superres.training.shares import Shares
from superres.training.walk import Walk

OPTIMISER = OptimiserConfig()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0, 0.999999))
def test_every_moment_lies_in_one_phase(parts: list[int], share: float) -> None:
    rows = [Phase(name=f"p{i}", share=part / sum(parts)) for i, part in enumerate(parts)]
    walk = Walk(rows, OPTIMISER)
    index = rows.index(walk.at(share))
    assert sum(parts[:index]) / sum(parts) - 1e-9 <= share < sum(parts[: index + 1]) / sum(parts) + 1e-9
    assert 0 <= walk.progress(share) <= 1


def test_steps_are_shared_out_as_the_rows_say() -> None:
    walk = Walk(PRESETS["display"], OPTIMISER)
    names = [walk.at(step / 1000).name for step in range(1000)]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    assert counts == {"fidelity": 710, "perceptual": 240, "critic": 20, "gan": 30}


@given(st.floats(0, 0.999999))
def test_without_a_critic_one_cycle_spans_all_phases(share: float) -> None:
    assert Walk(PRESETS["balanced"], OPTIMISER).rate(share) == one_cycle(share, OPTIMISER)


def test_one_cycle_ends_before_a_critic_comes() -> None:
    walk = Walk(PRESETS["display"], OPTIMISER)
    assert walk.rate(0.95 - 1e-9)[0] == pytest.approx(0, abs=1e-12)
    assert walk.rate(0.98) == (0.05 * OPTIMISER.learning_rate, 0.0)


def test_a_row_scales_its_learning_rate() -> None:
    rows = [Phase(name="a", share=0.5), Phase(name="b", share=0.5, rate=0.25)]
    assert Walk(rows, OPTIMISER).rate(0.6)[0] == pytest.approx(0.25 * one_cycle(0.6, OPTIMISER)[0])


def terms(**sizes: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(size) for name, size in sizes.items()}


def test_a_term_has_its_share_at_once_and_keeps_it_while_sizes_drift() -> None:
    """The target is met at first sight; sizes that shrink at different paces do not move it by a tenth."""
    shares, wanted = Shares(), {"frequency": 0.05, "feature": 0.2}
    for step in range(300):
        now = terms(charbonnier=0.3 * 0.995**step, frequency=0.02 * 0.99**step, feature=7.0 * 0.999**step)
        total = float(shares.total(now, wanted))
        base = float(now["charbonnier"])
        if step == 0:
            assert base / total == pytest.approx(0.75, rel=1e-6)
        assert base / total == pytest.approx(0.75, rel=0.1), step
        shares.observe(now)


def test_no_share_leaves_the_distance_alone_bit_for_bit() -> None:
    now = terms(charbonnier=0.3)
    assert Shares().total(now, {}) is now["charbonnier"]


def test_a_term_of_nothing_counts_for_nothing() -> None:
    now = terms(charbonnier=0.3, feature=0.0)
    assert float(Shares().total(now, {"feature": 0.2})) == pytest.approx(0.3)


def test_sizes_that_are_not_finite_are_forgotten() -> None:
    shares = Shares()
    shares.observe(terms(charbonnier=1.0, feature=2.0))
    before = {name: value.clone() for name, value in shares.tensors().items()}
    shares.observe(terms(charbonnier=float("nan"), feature=float("inf")))
    assert all(torch.equal(value, before[name]) for name, value in shares.tensors().items())


def test_restored_shares_go_on_as_before() -> None:
    first, second = Shares(), Shares()
    first.observe(terms(charbonnier=1.0, feature=2.0))
    second.restore(first.tensors(), torch.device("cpu"))
    now = terms(charbonnier=0.7, feature=0.1)
    assert torch.equal(first.total(now, {"feature": 0.3}), second.total(now, {"feature": 0.3}))
