"""The GAN phase: turns are capped, the watch stops it, what is kept is no worse, and a resumed one goes on the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.config import GanConfig, TrainConfig
from superres.datasets.manifest import load_manifests
from superres.errors import Cancelled, InputError
from superres.modelfile import load_model_file
from superres.progress import Progress
from superres.training import train
from superres.training.adversarial import Adaptive, Adversary, Fixed, Turns, switcher_of
from superres.training.kind import architecture_of, open_split
from superres.training.material import Material
from superres.training.memory import in_parts
from superres.training.run import RunFolder
from superres.training.stopping import Figures, Watch, band_ratios, measure

MakeConfig = Callable[..., TrainConfig]

pytestmark = pytest.mark.usefixtures("without_domain")

ROWS = [
    {"name": "fidelity", "share": 0.6, "losses": {"frequency": 0.05}},
    {"name": "perceptual", "share": 0.3, "losses": {"frequency": 0.05, "feature": 0.2, "gram": 0.1}, "patch": 24},
    {"name": "critic", "share": 0.05, "trains": "critic"},
    {"name": "gan", "share": 0.05, "trains": "both", "losses": {"feature": 0.2, "adversarial": 0.1}, "rate": 0.05},
]


def played(switcher: Callable[[Turns], str], losses: list[float]) -> list[str]:
    """Let a switcher play against a critic whose loss goes its own way."""
    turns, order = Turns(losses[0], 0, 0), []
    for loss in losses:
        who = switcher(turns)
        order.append(who)
        turns = Turns(loss, turns.critic_steps + 1, 0) if who == "critic" else Turns(loss, 0, turns.generator_steps + 1)
    return order


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 5), min_size=20, max_size=30), st.integers(1, 6))
def test_no_critic_starves_the_generator(losses: list[float], most: int) -> None:
    """Whatever the critic's loss does, the generator has its turn after at most `most` others."""
    order = played(Adaptive(0.65, most), losses)
    runs = "".join("c" if who == "critic" else "g" for who in order).split("g")
    assert max(map(len, runs)) <= most
    assert "gg" not in "".join(who[0] for who in order)


def test_a_critic_that_is_good_enough_waits() -> None:
    assert played(Adaptive(0.65, 5), [0.1] * 6) == ["critic", "generator"] * 3
    assert played(Fixed(2), [9.0] * 6) == ["critic", "critic", "generator"] * 2


def test_the_recipe_names_the_switcher() -> None:
    assert switcher_of(GanConfig(switcher="fixed", critic_steps=2)) == Fixed(2)
    assert switcher_of(GanConfig()) == Adaptive(0.65, 3)


def test_the_critic_learns_to_tell_sharp_from_smooth_and_leaves_chance_alone() -> None:
    state = torch.random.get_rng_state()
    adversary = Adversary(GanConfig(critic_learning_rate=2e-3), 1, 0, torch.device("cpu"), Fixed(1))
    assert torch.equal(torch.random.get_rng_state(), state), "the generator starts as it would without a critic"
    generator = torch.Generator().manual_seed(0)
    right = []
    for _ in range(10):
        high = torch.randn(2, 1, 16, 16, generator=generator)
        smooth = torch.nn.functional.avg_pool2d(high, 5, 1, 2)
        found = adversary.learn(smooth, high, smooth)
        right.append(float(found["critic_right"]))
    assert np.mean(right[-3:]) > 0.9
    pred = smooth.clone().requires_grad_(True)
    adversary.opinion(pred, high, smooth).backward()  # type: ignore[no-untyped-call]
    assert pred.grad is not None
    assert pred.grad.abs().max() > 0
    assert all(parameter.grad is None or not parameter.requires_grad for parameter in adversary.critic.parameters())


GOOD = Figures(psnr=30.0, ssim=0.9, consistency=1.0, excess=-0.5, spectral=1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"psnr": 29.4}, "PSNR fell from 30.00 to 29.40 dB"),
        ({"ssim": 0.88}, "SSIM fell"),
        ({"consistency": 1.06}, "deviation from the recording rose"),
        ({"excess": 0.2}, "fine detail has 120%"),
        ({"lattice": 0.006}, "a lattice of the low grid rose from 0.00% to 0.60% of the range"),
    ],
)
def test_each_figure_stops_the_phase(change: dict[str, float], says: str) -> None:
    worse = replace(GOOD, **change)
    assert says in " ".join(worse.faults(GOOD))
    assert not replace(worse, spectral=0.1).better(GOOD, GOOD)


def test_a_model_less_true_to_the_recording_is_never_kept() -> None:
    sharper = replace(GOOD, spectral=0.5)
    assert sharper.better(GOOD, GOOD)
    assert not replace(sharper, consistency=1.0001).better(GOOD, GOOD)
    assert not replace(GOOD, spectral=1.1).better(GOOD, GOOD)
    assert not replace(GOOD, spectral=0.96).better(GOOD, GOOD), "too little to be marked for display"


@settings(max_examples=100, deadline=None)
@given(st.floats(0.3, 3), st.floats(0.3, 3), st.sampled_from([0.0, 0.98, 1.0, 1.03]))
def test_deviation_counts_from_what_truth_has(before: float, after: float, truth: float) -> None:
    """Kept: no more than before or than truth, and never 5 % more than before; with no known truth never more."""
    first = replace(GOOD, consistency=before, truth=truth)
    kept = replace(first, consistency=after, spectral=0.5).better(first, first)
    if after <= before:
        assert kept
    elif after > max(before, truth) or after > 1.06 * before:
        assert not kept
    elif after < 1.04 * before:
        assert kept, "below truth, and only a little above the model before: noise explains it"


def test_the_best_model_before_the_turn_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    course = [
        GOOD,
        replace(GOOD, spectral=0.8, consistency=0.99),
        replace(GOOD, spectral=0.6, consistency=1.01),  # sharper, but less true: passed over
        replace(GOOD, spectral=0.4, psnr=29.0),
    ]
    figures = iter(course)
    monkeypatch.setattr("superres.training.stopping.measure", lambda net, material: next(figures))
    net, watch = torch.nn.Linear(1, 1), Watch(None)  # type: ignore[arg-type]
    for step in range(4):
        with torch.no_grad():
            net.weight.fill_(step)
        assert not watch.reason
        watch.check(net, step)
    assert watch.reason.startswith("stopped at step 3: PSNR fell")
    assert watch.kept == 1
    assert float(watch.best["weight"]) == 1
    assert float(watch.before["weight"]) == 0
    restored = Watch(None)  # type: ignore[arg-type]
    restored.restore(watch.tensors(), watch.state())
    assert restored.decision() == watch.decision()
    assert float(restored.best["weight"]) == 1


def test_band_ratios_are_those_of_the_power() -> None:
    """Half the amplitude is a quarter of the power in every band; what is coarser than the low grid does not count."""
    truth = torch.randn(6, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(band_ratios(0.5 * truth, truth, (4, 4)), 0.25, rtol=1e-5)
    wave = 3 * torch.sin(2 * math.pi * 2 / 64 * torch.arange(64)).view(1, 1, 1, -1)
    np.testing.assert_allclose(band_ratios(truth + wave, truth, (2, 2)), 1, atol=0.02)


def test_truth_deviates_by_the_noise(make_config: MakeConfig) -> None:
    """Of truth itself the figure is 1 standard deviation: 4 crops of 16 x 16 voxels scatter by 1 / sqrt(2 * 1024)."""
    watched = watched_material(make_config())
    found = measure(torch.nn.Upsample(scale_factor=2, mode="nearest"), watched)
    assert found.truth == pytest.approx(1, abs=4 / math.sqrt(2 * watched.validation_pairs()[0].numel()))
    _, high = watched.validation_pairs()
    exact = measure(Always(high), watched)
    assert exact.consistency == exact.truth == found.truth
    assert exact.spectral == pytest.approx(0, abs=1e-6)


class Always(torch.nn.Module):
    """A net that knows the answers."""

    def __init__(self, answers: torch.Tensor) -> None:
        super().__init__()
        self._answers = answers

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        assert len(low) == len(self._answers)
        return self._answers


def watched_material(config: TrainConfig) -> Material:
    manifests = load_manifests(config.manifests, config.data_root)
    sources, valid = (open_split(config, manifests, split)[0] for split in ("train", "val"))
    return Material(config, architecture_of(config), torch.device("cpu"), sources, valid)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_parts_together_are_the_whole(count: int) -> None:
    """No more than 8 images at a time, and the result is that of all at once."""
    images = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(count))
    sizes: list[int] = []

    def doubled(part: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        return 2 * part

    assert torch.equal(in_parts(doubled, images), 2 * images)
    assert max(sizes) <= 8
    assert sum(sizes) == count


def cancel_at(step: int) -> Callable[[Progress], None]:
    def callback(event: Progress) -> None:
        if event.stage == "train" and event.note == f"step {step}":
            raise Cancelled(f"stopped at step {step}")

    return callback


def test_resumed_at_every_boundary_equals_uninterrupted(make_config: MakeConfig, tmp_path: Path) -> None:
    """Boundaries lie at steps 12, 18 and 19 of 20; patch size, losses, critic and watch all change there."""
    config = make_config(phases=ROWS, steps=20, checkpoint_every=1, validate_every=1, sample_every=100)
    whole = train(config, tmp_path / "whole")
    for step in (11, 12, 13, 18, 19, 20):
        with pytest.raises(Cancelled):
            train(config, tmp_path / "stopped", progress=cancel_at(step))
    resumed = train(config, tmp_path / "stopped")
    expected, found = load_model_file(whole.model), load_model_file(resumed.model)
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value, err_msg=name)
    assert found.header.training["gan"] == expected.header.training["gan"]
    assert resumed.metrics == whole.metrics

    def figures(run: Path) -> list[dict[str, object]]:
        return [{k: v for k, v in line.items() if k != "seconds"} for line in RunFolder(run, config).records()]

    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")
    assert [line["phase"] for line in figures(tmp_path / "whole")] == [
        *["fidelity"] * 12,
        *["perceptual"] * 6,
        "critic",
        "gan",
    ]


def test_a_model_that_a_critic_shaped_is_marked_and_the_one_before_it_is_kept(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = iter([GOOD, replace(GOOD, spectral=0.5), *[replace(GOOD, spectral=0.7)] * 99])
    monkeypatch.setattr("superres.training.stopping.measure", lambda net, material: next(course))
    turns: list[Turns] = []

    def mine(seen: Turns) -> str:
        turns.append(seen)
        return "generator"

    result = train(
        make_config(phases=ROWS, steps=40, features={"net": "random"}),
        tmp_path / "run",
        switcher=mine,  # type: ignore[arg-type]
    )
    assert [seen.generator_steps for seen in turns] == [0, 1], "the user's own switcher decides"
    model, before = load_model_file(result.model), load_model_file(tmp_path / "run" / "model_before_gan.safetensors")
    assert model.header.display
    assert not before.header.display
    changed = {name for name, value in model.weights.items() if (value != before.weights[name]).any()}
    assert changed
    assert all(name.startswith(("up.", "decoder.", "tail.", "interval_head.")) for name in changed)
    assert "kept is the model of step" in " ".join(result.notes)
    assert model.header.training["gan"]["changed"]


def test_nothing_better_leaves_the_model_before(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superres.training.stopping.measure", lambda net, material: GOOD)
    result = train(make_config(phases=ROWS, steps=20), tmp_path / "run")
    assert not load_model_file(result.model).header.display
    assert "the model before it was kept" in " ".join(result.notes)


def test_a_critic_without_images_to_watch_is_refused(make_config: MakeConfig, manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(manifest.read_text().replace("split: val", "split: test"))
    with pytest.raises(InputError, match="'split: val'"):
        train(make_config(phases=ROWS), tmp_path / "run")
