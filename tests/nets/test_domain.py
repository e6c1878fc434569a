from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.errors import ModelFileError
from superres.nets.domain import Domain, DomainTally
from superres.nets.statistics import RADIUS, local_statistics


def noise(y: int, x: int, sd: float = 1.0, seed: int = 0) -> torch.Tensor:
    return sd * torch.randn(y, x, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=15)
@given(st.floats(0.01, 10))
def test_of_white_noise_fine_and_coarse_detail_are_its_variance(sd: float) -> None:
    found = local_statistics(noise(200, 200, sd) + 3 * sd)
    assert float(found.level.mean()) == pytest.approx(3 * sd, rel=0.01)
    assert float(found.fine.mean()) == pytest.approx(sd**2, rel=0.05)
    assert float(found.coarse.mean()) == pytest.approx(sd**2, rel=0.05)


def test_of_structure_there_is_more_coarse_detail_than_fine() -> None:
    y, x = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
    found = local_statistics(torch.sin(y / 2) * torch.sin(x / 2))
    inner = (slice(RADIUS, -RADIUS),) * 2
    assert float((found.coarse / found.fine)[inner].min()) > 10


@settings(max_examples=25)
@given(st.integers(0, 60), st.integers(0, 70), st.integers(21, 60), st.integers(21, 60))
def test_a_part_has_the_statistics_of_the_whole_bit_for_bit(top: int, left: int, height: int, width: int) -> None:
    image = noise(120, 130)
    whole, part = local_statistics(image), local_statistics(image[top : top + height, left : left + width])
    inner = (slice(RADIUS, height - RADIUS), slice(RADIUS, width - RADIUS))
    for full, cut in zip(whole, part, strict=True):
        assert torch.equal(full[top : top + height, left : left + width][inner], cut[inner])


def measured(share: float) -> Domain:
    """A net whose residual is the true one divided by `share`, on noise of one kind."""
    tally = DomainTally()
    true = noise(100, 100, seed=1)
    made = true / share
    tally.add(local_statistics(noise(100, 100, 0.1)), made * true, made * made)
    domain = tally.domain()
    assert domain is not None
    return domain


@pytest.mark.parametrize(("share", "weight"), [(1.0, 1.0), (0.75, 1.0), (0.3, 0.4), (-1.0, 0.0)])
def test_weight_follows_from_how_much_of_the_residual_was_right(share: float, weight: float) -> None:
    found, familiar, inside = measured(share).weigh(local_statistics(noise(60, 60, 0.1, seed=2)))
    assert float(found.mean()) == pytest.approx(weight, abs=0.02)
    assert float((familiar > 0.5).float()[RADIUS:-RADIUS, RADIUS:-RADIUS].mean()) > 0.95
    assert float(inside.min()) > 0.5


def test_other_kinds_are_unknown_and_get_the_nearest_weight() -> None:
    weight, familiar, _ = measured(0.3).weigh(local_statistics(noise(60, 60, 3.0)))
    assert float(familiar.max()) == 0
    level = local_statistics(noise(60, 60, 0.1) + 50)
    assert float(measured(1.0).weigh(level)[2].max()) == 0
    assert float(weight.max()) <= 0.4 + 1e-3


def test_header_holds_it_compactly() -> None:
    domain = measured(0.3)
    text = json.dumps(domain.to_json())
    assert len(text) < 4000
    again = Domain.from_json(json.loads(text))
    assert again is not None
    np.testing.assert_allclose(again.weights, domain.weights, atol=0.005)
    assert Domain.from_json({}) is None
    assert DomainTally().domain() is None
    with pytest.raises(ModelFileError, match="another version"):
        Domain.from_json(domain.to_json() | {"fine": [0, 1, 2]})
