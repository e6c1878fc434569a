"""Patches as the net sees them: each kind of augmentation is drawn by step number, from a generator of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from superres.config import TrainConfig
from superres.datasets.manifest import load_manifests
from superres.training.kind import architecture_of, open_split
from superres.training.material import Material

MakeConfig = Callable[..., TrainConfig]


def material(config: TrainConfig) -> Material:
    sources, _ = open_split(config, load_manifests(config.manifests, config.data_root), "train")
    return Material(config, architecture_of(config), torch.device("cpu"), sources, [])


def highs(config: TrainConfig, *steps: int) -> list[Tensor]:
    made = material(config)
    return [made.pairs(step, 16)[1] for step in steps]


@pytest.fixture
def plain(make_config: MakeConfig) -> TrainConfig:
    return make_config()


def test_off_is_off_whatever_the_ranges_say(make_config: MakeConfig, plain: TrainConfig) -> None:
    """A share of 0 or a factor of 1 draws nothing, so that low and high patches keep every bit."""
    other = make_config(augment={"softer": 0, "softer_sigma": [1, 3], "inversion": 0, "noise": 1})
    for step in (0, 7):
        for before, after in zip(material(plain).pairs(step, 4), material(other).pairs(step, 4), strict=True):
            assert torch.equal(before, after)


@pytest.mark.parametrize("augment", [{"softer": 0.5}, {"inversion": 0.5}])
def test_patches_that_are_not_chosen_keep_every_bit(
    make_config: MakeConfig, plain: TrainConfig, augment: dict[str, float]
) -> None:
    """Contrast, offset, rectangles and black and white of their own are drawn as they would be without."""
    own = {"own_range": 0}  # black and white of a patch follow its own greys, which softening changes
    before = highs(make_config(augment=own), 3)[0]
    after = highs(make_config(augment=own | augment), 3)[0]
    same = (before == after).flatten(1).all(dim=1)
    assert 2 <= int(same.sum()) <= 14


def test_noise_alone_leaves_truth_alone(make_config: MakeConfig, plain: TrainConfig) -> None:
    (low, high), (noisier, truth) = (
        material(config).pairs(3, 16) for config in (plain, make_config(augment={"noise": [4, 4]}))
    )
    assert torch.equal(high, truth)
    rough = [(image[..., 1:] - image[..., :-1]).std() for image in (low, noisier)]
    assert rough[1] > 1.5 * rough[0]


def test_a_step_sees_the_same_patches_whatever_came_before(make_config: MakeConfig) -> None:
    config = make_config(augment={"softer": 0.5, "inversion": 0.5, "noise": [0.5, 2]})
    made = material(config)
    straight = [made.pairs(step, 2) for step in range(3)]
    for found, expected in zip(material(config).pairs(2, 2), straight[2], strict=True):
        assert torch.equal(found, expected)


def test_validation_is_not_augmented(make_config: MakeConfig, plain: TrainConfig) -> None:
    config = make_config(augment={"softer": 1, "inversion": 1, "noise": [4, 4]})
    manifests = load_manifests(config.manifests, config.data_root)
    sources, valid = (open_split(config, manifests, split)[0] for split in ("train", "val"))
    both = [Material(one, architecture_of(one), torch.device("cpu"), sources, valid) for one in (plain, config)]
    for before, after in zip(*(made.validation_pairs() for made in both), strict=True):
        assert torch.equal(before, after)
