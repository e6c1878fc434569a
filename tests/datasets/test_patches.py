from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.config import Augment, IntensityRule
from superres.datasets.acquisition import Acquisition
from superres.datasets.patches import PatchSampler
from superres.datasets.sources import open_sources
from superres.errors import InputError
from superres.volumes.hyperstack import save_hyperstack

UNKNOWN = (None, None, None)


def acquisition(
    folder: Path, name: str, high: NDArray[np.float32], low: NDArray[np.float32] | None = None
) -> Acquisition:
    """Write (c, z, y, x) images as an acquisition."""
    save_hyperstack(folder / f"{name}.tif", high[None], voxel_size=(None, 0.1, 0.1))
    if low is not None:
        save_hyperstack(folder / f"{name}_low.tif", low[None])
    return Acquisition(
        id=name,
        split="train",
        high=(folder / f"{name}.tif",),
        low=() if low is None else (folder / f"{name}_low.tif",),
        axes=None,
        voxel_size=UNKNOWN,
        grey_range=None,
        source="made here",
        licence="CC0",
        credit="nobody",
    )


def image(c: int, z: int, y: int, x: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(100, 900, (c, z, y, x)).astype(np.float32)


def sampler(items: list[Acquisition], factor: tuple[int, int, int], *, size: int = 8, seed: int = 0) -> PatchSampler:
    sources, skipped = open_sources(items, factor=factor, rule=IntensityRule(average=1))
    assert not skipped
    return PatchSampler(sources, factor=factor, size=size, seed=seed, augment=Augment(coarser=0))


def test_step_and_seed_decide_the_patches(tmp_path: Path) -> None:
    item = acquisition(tmp_path, "a", image(2, 3, 64, 80))
    first, again = (sampler([item], (1, 2, 2)) for _ in range(2))
    again.draw(3, 4)  # what was drawn before does not matter
    assert torch.equal(first.draw(7, 4).high, again.draw(7, 4).high)
    assert not torch.equal(first.draw(7, 4).high, first.draw(8, 4).high)
    assert not torch.equal(first.draw(7, 4).high, sampler([item], (1, 2, 2), seed=1).draw(7, 4).high)


def test_recorded_pairs_stay_together(tmp_path: Path) -> None:
    """Low is the binned high on another grey scale: every patch, turned or not, still is."""
    high = image(1, 1, 96, 96)
    low = 3 * high.reshape(1, 1, 48, 2, 48, 2).mean(axis=(3, 5)) + 50
    batch = sampler([acquisition(tmp_path, "pair", high, low)], (1, 2, 2)).draw(0, 16)
    assert batch.low is not None
    binned = torch.nn.functional.avg_pool2d(batch.high, 2)
    torch.testing.assert_close(binned, batch.low, atol=0.03, rtol=0)


def test_scale_and_shift_lead_to_normalised_intensity(tmp_path: Path) -> None:
    batch = sampler([acquisition(tmp_path, "a", image(1, 1, 64, 64))], (1, 1, 1), size=32).draw(0, 4)
    normalised = batch.high * batch.scale + batch.shift
    assert -0.05 < float(normalised.min()) < 0.1
    assert 0.9 < float(normalised.max()) < 1.05
    assert batch.voxel_sizes[0][1:] == pytest.approx((0.1, 0.1))


def test_small_images_are_continued_by_mirroring(tmp_path: Path) -> None:
    batch = sampler([acquisition(tmp_path, "small", image(1, 1, 10, 30))], (1, 2, 2), size=16).draw(0, 2)
    assert batch.high.shape == (2, 1, 32, 32)
    assert float(batch.high.std()) > 0


def test_constant_image_is_left_out_by_name(tmp_path: Path) -> None:
    flat = np.full((1, 1, 32, 32), 7, np.float32)
    good, bad = acquisition(tmp_path, "good", image(1, 1, 32, 32)), acquisition(tmp_path, "flat", flat)
    sources, skipped = open_sources([good, bad], factor=(1, 2, 2), rule=IntensityRule())
    assert {source.acquisition for source in sources} == {"good"}
    assert len(skipped) == 1
    assert "flat" in skipped[0]
    with pytest.raises(InputError, match="no usable image"):
        open_sources([bad], factor=(1, 2, 2), rule=IntensityRule())


def test_image_below_the_factor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than the factor"):
        open_sources([acquisition(tmp_path, "dot", image(1, 1, 3, 40))], factor=(1, 4, 4), rule=IntensityRule())


def test_large_acquisitions_do_not_drown_small_ones(tmp_path: Path) -> None:
    large = acquisition(tmp_path, "large", image(1, 1, 320, 320))
    small = acquisition(tmp_path, "small", image(1, 1, 80, 80, seed=1))
    sources, _ = open_sources([large, small], factor=(1, 1, 1), rule=IntensityRule())
    weights = {source.acquisition: source.weight for source in sources}
    assert weights["large"] / weights["small"] == pytest.approx(4), "square root of 16 times the voxels"
