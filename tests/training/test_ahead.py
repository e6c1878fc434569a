"""Patches that are drawn ahead are those that would have been drawn, errors come where they belong, no thread stays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from superres.config import TrainConfig
from superres.datasets.manifest import load_manifests
from superres.datasets.patches import Batch, PatchSampler
from superres.errors import Cancelled
from superres.progress import Progress
from superres.training import train
from superres.training.ahead import Ahead
from superres.training.kind import architecture_of, open_split
from superres.training.material import Material

MakeConfig = Callable[..., TrainConfig]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("superres-patches")]


class Counting:
    """Draws patches that say for what they were drawn, and keeps where."""

    def __init__(self, fails_at: int = -1) -> None:
        self.drawn: list[tuple[int, int]] = []
        self.threads: list[str] = []
        self._fails_at = fails_at

    def __call__(self, step: int, count: int) -> Batch:
        self.drawn.append((step, count))
        self.threads.append(threading.current_thread().name)
        if step == self._fails_at:
            raise OSError(f"step {step} cannot be read")
        ones = torch.full((count, 1, 1, 1), float(step))
        return Batch(ones, None, ones, ones, [(None, None, None)] * count)


def test_each_step_is_drawn_once_and_all_but_the_first_ahead() -> None:
    draw = Counting()
    ahead = Ahead(draw)
    found = [float(ahead.batch(step, 2, foresee=True).high[0]) for step in range(5)]
    ahead.stop()
    assert found == [0, 1, 2, 3, 4]
    assert sorted(set(draw.drawn)) == sorted(draw.drawn)
    assert draw.threads[0] == threading.current_thread().name
    assert all(name.startswith("superres-patches") for name in draw.threads[1:])
    assert not threads()


def test_what_was_not_foreseen_is_drawn_at_once_and_alone() -> None:
    ahead = Ahead(Counting())
    ahead.batch(0, 4, foresee=True)
    halved = ahead.batch(1, 2, foresee=True)
    assert (float(halved.high[0]), len(halved.high)) == (1, 2)
    assert float(ahead.batch(7, 2, foresee=False).high[0]) == 7
    assert not threads(), "nothing is foreseen, nobody waits"


def test_an_error_is_raised_where_the_patches_are_asked_for() -> None:
    ahead = Ahead(Counting(fails_at=2))
    ahead.batch(0, 1, foresee=True)
    ahead.batch(1, 1, foresee=True)
    with pytest.raises(OSError, match="step 2"):
        ahead.batch(2, 1, foresee=True)
    with pytest.raises(OSError, match="step 2"):
        ahead.batch(2, 1, foresee=True)
    assert float(ahead.batch(3, 1, foresee=False).high[0]) == 3
    assert not threads()


def test_material_is_the_same_bit_for_bit(make_config: MakeConfig) -> None:
    config = make_config()
    sources, _ = open_split(config, load_manifests(config.manifests, config.data_root), "train")
    plain, ahead = (Material(config, architecture_of(config), torch.device("cpu"), sources, []) for _ in range(2))
    ahead.draws_ahead = True
    for step, batch in ((0, 2), (1, 2), (2, 3), (3, 3), (3, 1), (9, 1)):
        for expected, found in zip(plain.pairs(step, batch), ahead.pairs(step, batch), strict=True):
            assert torch.equal(found, expected), step
        assert torch.equal(ahead.sharp(step), plain.sharp(step))
    ahead.stop()
    assert not threads()


def test_a_training_makes_the_same_file_and_leaves_no_thread(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_domain: None
) -> None:
    """Over a change of patch size, and over a stop in the middle."""
    rows = [{"name": "small", "share": 0.5}, {"name": "large", "share": 0.5, "patch": 20}]
    config = make_config(phases=rows, steps=4)
    expected = train(config, tmp_path / "plain").model.read_bytes()
    init = Material.__init__

    def eager(self: Material, *args: object) -> None:
        init(self, *args)  # type: ignore[arg-type]
        self.draws_ahead = True

    def stop(event: Progress) -> None:
        if event.note == "step 3":
            assert threads()
            raise Cancelled("stopped")

    monkeypatch.setattr(Material, "__init__", eager)
    with pytest.raises(Cancelled):
        train(config, tmp_path / "ahead", progress=stop)
    assert not threads()
    found = train(config, tmp_path / "ahead").model.read_bytes()
    assert hashlib.sha256(found).hexdigest() == hashlib.sha256(expected).hexdigest()
    assert not threads()


@pytest.mark.parametrize("coarser", [0.0, 1.0])
def test_patches_of_half_the_magnification_are_means_bit_for_bit(make_config: MakeConfig, coarser: float) -> None:
    config = make_config(augment={"flips": False, "coarser": coarser})
    sources, _ = open_split(config, load_manifests(config.manifests, config.data_root), "train")
    sampler = PatchSampler(sources, factor=config.factor, size=16, seed=0, augment=config.augment)
    image = np.asarray(sources[0].high.levels[0])[0, 0, 0].astype(np.float32) / np.float32(255)
    bins, side = (2, 64) if coarser else (1, 32)
    corners = sliding_window_view(image, (bins, 2 * bins))[: 257 - side, : 257 - side]
    first, second = corners[..., :bins].mean(axis=(2, 3)), corners[..., bins:].mean(axis=(2, 3))
    for patch in sampler.draw(0, 4).high[:, 0].numpy():
        near = np.isclose(first, patch[0, 0], atol=1e-6) & np.isclose(second, patch[0, 1], atol=1e-6)
        cut = (image[y : y + side, x : x + side] for y, x in np.argwhere(near))
        assert any(np.array_equal(one.reshape(32, bins, 32, bins).mean(axis=(1, 3)), patch) for one in cut)
