from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st

from superres.config import TrainConfig
from superres.datasets.manifest import load_manifests
from superres.training.chance import generator_of, seed_of
from superres.training.kind import architecture_of, open_split
from superres.training.material import Material

CPU = torch.device("cpu")
NUMBERS = st.integers(0, 1 << 42)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_seeds_kinds_and_numbers_draw_for_themselves(seed: int, other: int, number: int) -> None:
    """Also where they differ in what lies above 32 bits."""
    of = seed_of(seed, "pairs", number)
    assert 0 <= of < 1 << 32 and of == seed_of(seed, "pairs", number)
    assert of != seed_of(seed, "noise", number)
    if other != seed:
        assert of != seed_of(other, "pairs", number)
    if other != number:
        assert of != seed_of(seed, "pairs", other)


def test_generators_of_seeds_differ() -> None:
    draws = [torch.rand(4, generator=generator_of(CPU, seed, "pairs", 3)) for seed in (0, 1, 1 << 32)]
    assert not any(torch.equal(draws[i], draws[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_trainings_of_other_seeds_see_other_noise_and_are_validated_alike(
    make_config: Callable[..., TrainConfig],
) -> None:
    """The same patches of two seeds differ in their noise; validation images do not."""
    low, checked = [], []
    for seed in (0, 1):
        config = make_config(seed=seed, augment={"probability": 0, "own_range": 0})
        manifests = load_manifests(config.manifests, config.data_root)
        split = [open_split(config, manifests, name)[0] for name in ("train", "val")]
        material = Material(config, architecture_of(config), CPU, split[0], split[1])
        batch = material.domain_batch(0)
        batch.high[:] = 0.5
        low.append(material.domain_pairs(0, batch, 7)[0])
        checked.append(material.validation_pairs()[0])
    noise = [(one - one.mean()).flatten() for one in low]
    correlation = float(torch.dot(*noise) / (noise[0].norm() * noise[1].norm()))
    assert abs(correlation) < 0.2
    assert torch.equal(*checked)
