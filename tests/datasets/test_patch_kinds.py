"""Patches of nets that are given more than one plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.config import Context, IntensityRule
from superres.datasets.acquisition import Acquisition
from superres.datasets.patches import PatchSampler
from superres.datasets.sources import open_sources
from superres.errors import InputError
from superres.volumes.hyperstack import save_hyperstack

RULE = IntensityRule(average=1, percentiles=(0.0, 100.0))


def acquisition(folder: Path, high: NDArray[np.float32], low: NDArray[np.float32] | None = None) -> Acquisition:
    """Write TCZYX images as an acquisition."""
    save_hyperstack(folder / "a.tif", high)
    if low is not None:
        save_hyperstack(folder / "low.tif", low)
    unknown = (None, None, None)
    files = ((folder / "a.tif",), () if low is None else (folder / "low.tif",))
    return Acquisition("a", "train", *files, None, unknown, None, "made here", "CC0", "nobody")


def numbered(t: int, c: int, z: int, side: int = 12) -> NDArray[np.float32]:
    """Every plane holds its number, t, c and z as digits, plus a faint structure."""
    planes = np.add.outer(np.add.outer(100 * np.arange(t), 10 * np.arange(c)), np.arange(z)).astype(np.float32)
    faint = np.random.default_rng(0).uniform(0, 0.1, (side, side)).astype(np.float32)
    image: NDArray[np.float32] = planes[..., None, None] + faint
    return image


def grey(patch: torch.Tensor, sources: PatchSampler, place: int = 0) -> list[int]:
    """The numbers of the planes in a patch, from its shares of the grey range."""
    source = sources._sources[place]
    black, white = source.grey_range
    return [round(float(plane.median()) * (white - black) + black) for plane in patch]


def sampler(item: Acquisition, **kind: object) -> PatchSampler:
    sources, _ = open_sources([item], factor=(1, 1, 1), rule=RULE)
    return PatchSampler(sources, factor=(1, 1, 1), size=8, seed=0, **kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(("axis", "shape"), [("z", (1, 1, 5)), ("t", (5, 1, 1))])
def test_neighbours_stand_around_the_predicted_one_and_are_mirrored_at_the_ends(
    tmp_path: Path, axis: str, shape: tuple[int, int, int]
) -> None:
    patches = sampler(acquisition(tmp_path, numbered(*shape)), context=Context(axis=axis, frames=3))
    batch = patches.draw(0, 40)
    assert batch.high.shape == (40, 3, 8, 8)
    assert batch.scale.shape == (40, 1, 1, 1)
    step = 1 if axis == "z" else 100
    expected = {tuple(step * abs(4 - abs(4 - n)) for n in (i - 1, i, i + 1)) for i in range(5)}
    assert {tuple(grey(patch, patches)) for patch in batch.high} == expected
    crops, _ = patches.crops(5)
    assert {tuple(grey(patch, patches)) for patch in crops.high} == expected


@pytest.mark.parametrize("planes", [6, 3])
def test_volumes_are_cut_along_z_and_small_ones_mirrored(tmp_path: Path, planes: int) -> None:
    patches = sampler(acquisition(tmp_path, numbered(1, 1, planes)), depth=4)
    batch = patches.draw(0, 30)
    assert batch.high.shape == (30, 1, 4, 8, 8)
    assert batch.scale.shape == (30, 1, 1, 1, 1)
    starts = {tuple(grey(patch[0], patches)) for patch in batch.high}
    assert starts == ({(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)} if planes == 6 else {(0, 1, 2, 1)})


def test_channels_of_one_image_come_together_each_on_its_own_scale(tmp_path: Path) -> None:
    image = np.concatenate([numbered(1, 1, 4), 1000 * numbered(1, 1, 4)], axis=1)
    sources, _ = open_sources([acquisition(tmp_path, image)], factor=(1, 1, 1), rule=RULE, channels=(1, 0))
    patches = PatchSampler(sources, factor=(1, 1, 1), size=8, seed=0, together=True)
    batch = patches.draw(0, 10)
    assert batch.high.shape == (10, 2, 8, 8)
    assert batch.scale.shape == (10, 2, 1, 1)
    torch.testing.assert_close(batch.high[:, 0], batch.high[:, 1], atol=1e-5, rtol=0)
    assert [source.channel for source in sources] == [1, 0]


def test_recorded_volumes_stay_together(tmp_path: Path) -> None:
    """Low is the binned high on another grey scale, along Z too: every patch still is."""
    high = np.random.default_rng(0).uniform(100, 900, (1, 1, 12, 24, 24)).astype(np.float32)
    low = 3 * high.reshape(1, 1, 6, 2, 12, 2, 12, 2).mean(axis=(3, 5, 7)) + 50
    sources, skipped = open_sources([acquisition(tmp_path, high, low)], factor=(2, 2, 2), rule=RULE)
    assert not skipped
    batch = PatchSampler(sources, factor=(2, 2, 2), size=4, seed=0, depth=2).draw(0, 8)
    assert batch.low is not None
    assert batch.low.shape == (8, 1, 2, 4, 4)
    torch.testing.assert_close(torch.nn.functional.avg_pool3d(batch.high, 2), batch.low, atol=0.05, rtol=0)


def test_one_empty_channel_is_left_out_or_takes_its_image_with_it(tmp_path: Path) -> None:
    image = np.concatenate([numbered(1, 1, 4), np.full((1, 1, 4, 12, 12), 7, np.float32)], axis=1)
    item = acquisition(tmp_path, image)
    sources, skipped = open_sources([item], factor=(1, 1, 1), rule=RULE)
    assert [source.channel for source in sources] == [0]
    assert "channel 1" in skipped[0]
    assert "constant" in skipped[0]
    with pytest.raises(InputError, match="channel 1"):
        open_sources([item], factor=(1, 1, 1), rule=RULE, channels=(0, 1), together=True)
    with pytest.raises(InputError, match="channel 2 is asked for, it has 0 to 1"):
        open_sources([item], factor=(1, 1, 1), rule=RULE, channels=(2,))


def test_a_stack_of_fewer_planes_than_the_factor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 planes are fewer than the factor"):
        open_sources([acquisition(tmp_path, numbered(1, 1, 3))], factor=(4, 1, 1), rule=RULE)
