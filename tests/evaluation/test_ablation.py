from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import skimage.data
import yaml
from typer.testing import CliRunner

from superres.cli import app
from superres.config import DegradeStep, IntensityRule
from superres.errors import ConfigError, InputError
from superres.evaluation.ablation import Ablation, Outcome, ablate
from superres.evaluation.ablation_report import markdown, write
from superres.evaluation.ablation_settings import BICUBIC, AblateConfig, load_ablation, training_of
from superres.evaluation.ablation_summary import costs, rows
from superres.evaluation.altered import CHANGES, altered
from superres.evaluation.sampling import Place, Sample, Setup
from superres.progress import Progress

STEPS = (DegradeStep(downsample="binning"),)


# --- what the figures say --------------------------------------------------------------------------------------------


def outcome(arm: str, seed: int, psnr: Mapping[str, float], curve: list[tuple[int, float]] | None = None) -> Outcome:
    scores = {
        "validation": {
            name: {"psnr": value, "ssim": 0.5, "error_above": 1.0, "chi2": 1.0} for name, value in psnr.items()
        }
    }
    return Outcome(arm, seed, 100, 50.0, 25.0, curve or [], scores)


def ablation(outcomes: list[Outcome], arms: tuple[str, ...] = ("a", "b")) -> Ablation:
    config = AblateConfig(recipe=Path("r.yaml"), arms={arm: {"name": arm} for arm in arms})
    baseline = {
        "validation": {name: {"psnr": 20.0, "ssim": 0.4, "error_above": 1.0, "chi2": 1.0} for name in ("x", "y")}
    }
    return Ablation(config, tuple(outcomes), baseline, {})


def test_what_is_common_to_a_seed_or_an_acquisition_does_not_widen_the_intervals() -> None:
    """Both arms vary by 5 dB between images and by 1 dB between seeds; one is 0.5 dB better throughout."""
    made = [
        outcome(arm, seed, {"x": 20 + seed + gain, "y": 25 + seed + gain})
        for seed in (0, 1, 2)
        for arm, gain in (("a", 0.0), ("b", 0.5))
    ]
    found = {row.arm: row for row in rows(ablation(made), "validation")}
    assert list(found) == [BICUBIC, "a", "b"]
    assert found["a"].over_seeds is None and found[BICUBIC].over_acquisitions is None
    seeds, images = found["b"].over_seeds, found["b"].over_acquisitions
    assert seeds is not None and images is not None
    assert (seeds.mean, seeds.low, seeds.high, seeds.n) == pytest.approx((0.5, 0.5, 0.5, 3))
    assert (images.interval.mean, images.interval.low, images.interval.n) == pytest.approx((0.5, 0.5, 2))
    assert found["b"].spread == pytest.approx(1.0)
    assert found["b"].figures["psnr"] == pytest.approx(24.0)
    # The worst acquisition is x: 20 + mean seed 1 + 0.5, against 20 of bicubic.
    assert found["b"].worst == pytest.approx(1.5)


def test_arms_are_compared_in_the_seeds_that_both_have() -> None:
    made = [outcome("a", seed, {"x": 20 + 3 * seed, "y": 20 + 3 * seed}) for seed in (0, 1)]
    made.append(outcome("b", 1, {"x": 23.2, "y": 23.2}))
    seeds = rows(ablation(made), "validation")[-1].over_seeds
    assert seeds is not None and (seeds.mean, seeds.n) == (pytest.approx(0.2), 1) and math.isnan(seeds.low)


def test_an_arm_that_failed_throughout_has_no_row() -> None:
    made = [outcome("a", 0, {"x": 21, "y": 21})]
    assert [row.arm for row in rows(ablation(made), "validation")] == [BICUBIC, "a"]
    assert list(costs(ablation(made))) == ["a"]


def test_cost_is_told_by_processor_time_and_by_when_the_reference_was_reached() -> None:
    made = [
        outcome("a", 0, {"x": 21, "y": 21}, [(50, 20.0), (100, 21.0)]),
        outcome("b", 0, {"x": 22, "y": 22}, [(25, 20.0), (50, 21.5), (100, 22.0)]),
    ]
    found = costs(ablation(made))
    assert found["a"].share == 1.0 and found["b"].share == 0.5
    assert found["b"].per_step == 0.25 and found["b"].steps == 100
    never = [made[1], outcome("a", 0, {"x": 21, "y": 21}, [(100, 23.0)])]
    assert math.isnan(costs(ablation(never))["b"].share)


def test_reports_hold_every_arm_and_what_failed(tmp_path: Path) -> None:
    made = [outcome("a", 0, {"x": 21, "y": 21}), outcome("b & c", 0, {"x": 22, "y": 21})]
    found = ablation(made, ("a", "b & c", "d"))
    found = Ablation(found.config, found.outcomes, found.baseline, {"d, seed 0": "no <such> file"})
    page = write(found, tmp_path).read_text()
    assert "b &amp; c" in page and "no &lt;such&gt; file" in page
    lines = markdown(found).splitlines()
    row = next(line for line in lines if line.startswith("| b & c |"))
    assert row.split(" | ")[1:4] == ["21.50", "\N{EN DASH}", "+0.500"]
    assert any("d, seed 0 failed: no <such> file" in line for line in lines)
    stored = json.loads((tmp_path / "ablation.json").read_text())
    assert stored["outcomes"][1]["scores"]["validation"]["x"]["psnr"] == 22


# --- changed truth ---------------------------------------------------------------------------------------------------


def sample() -> Sample:
    truth = np.random.default_rng(0).uniform(50, 150, (1, 2, 16, 16)).astype(np.float32)
    low = truth.reshape(1, 2, 8, 2, 8, 2).mean(axis=(3, 5))
    places = (Place(0, 0, 0), Place(0, 0, 1))
    return Sample(low, truth, (0, 1), ("p0", "p1"), (50.0,), (None,) * 3, ((0.0, 200.0),), "uint8", places)


SETUP = Setup((1, 2, 2), STEPS, IntensityRule(), 2, 0, 0, False)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_truth_is_recorded_anew(change: Any) -> None:
    before = sample()
    after = altered(before, change, SETUP)
    binned = after.truth.reshape(1, 2, 8, 2, 8, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(after.low, binned, atol=1e-3)
    assert not np.array_equal(after.truth, before.truth)
    assert after.truth.min() >= 0 and after.truth.max() <= 200
    assert (after.scored, after.labels, after.places) == (before.scored, before.labels, before.places)


def test_contrast_changes_about_the_mean_and_ends_where_the_range_ends() -> None:
    before = sample().truth.astype(np.float64)
    half = altered(sample(), "half contrast", SETUP).truth.astype(np.float64)
    np.testing.assert_allclose(half - half.mean(), (before - before.mean()) / 2, atol=1e-4)
    twice = altered(sample(), "twice the contrast", SETUP).truth
    np.testing.assert_allclose(twice, np.clip(2 * before - before.mean(), 0, 200), atol=1e-4)
    assert twice.min() == 0 or twice.max() == 200


def test_areas_are_emptied_and_saturated() -> None:
    empty = altered(sample(), "empty half", SETUP).truth
    assert np.ptp(empty[..., 8:]) == 0 and empty[0, 0, 0, 8] == pytest.approx(4.0)
    np.testing.assert_array_equal(empty[..., :8], sample().truth[..., :8])
    corner = altered(sample(), "saturated corner", SETUP).truth
    assert (corner[..., :8, :8] == 200).all()
    np.testing.assert_array_equal(corner[..., 8:, :], sample().truth[..., 8:, :])


def test_a_recorded_low_image_cannot_be_had_of_a_changed_truth() -> None:
    recorded = Sample(**{name: getattr(sample(), name) for name in Sample.__slots__} | {"grey_ranges": ()})
    with pytest.raises(ConfigError, match="leave change=empty half out"):
        altered(recorded, "empty half", SETUP)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe for two parts of a real image."""
    image = skimage.data.cell()
    entries = []
    for name, split, top in (("top", "train", 0), ("bottom", "val", 300)):
        file = tmp_path / f"{name}.png"
        imageio.imwrite(file, np.ascontiguousarray(image[top : top + 128, 100:228]))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        entries.append(
            {"id": name, "split": split, "grey_range": [0, 255], "high": [{"file": file.name, "sha256": digest}]}
        )
    manifest = {"name": "cell", "description": "parts of one image", "licence": "CC0", "credit": "nobody"}
    manifest |= {"source": "scikit-image", "root": ".", "acquisitions": entries}  # type: ignore[dict-item]
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(manifest))
    content: dict[str, Any] = {
        "manifests": "cell.yaml",
        "factor": [1, 2, 2],
        "device": "cpu",
        "model": {"preset": "XS", "interval": False},
        "degrade": [{"downsample": "binning"}, {"read_noise": {"sd": 0.03}}],
        "patch": {"size": 16, "batch": 1},
        "features": {"steps": 1},
        "preset": "quantitative",
        "steps": 4,
        "validate_every": 2,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def make(recipe: Path, tmp_path: Path) -> Callable[..., AblateConfig]:
    def make(*overrides: str, seeds: tuple[int, ...] | None = None, **content: Any) -> AblateConfig:
        path = tmp_path / "arms.yaml"
        arms = {"plain": {}, "slow": {"optimiser.learning_rate": 1e-4}}
        path.write_text(yaml.safe_dump({"seeds": [0], "arms": arms} | content))
        return load_ablation(recipe, path, overrides, seeds=seeds)

    return make


def test_an_arm_wins_over_all_and_all_over_the_recipe(make: Callable[..., AblateConfig]) -> None:
    arms = {"plain": {}, "own": {"steps": 7, "optimiser.learning_rate": 0.002}}
    config = make("patch.batch=3", all={"steps": 5}, arms=arms, seeds=(4,))
    plain, own = training_of(config, "plain", 4), training_of(config, "own", 4)
    assert (plain.steps, plain.seed, plain.patch.batch, plain.preset) == (5, 4, 3, "quantitative")
    assert (own.steps, own.optimiser.learning_rate, own.patch.batch) == (7, 0.002, 3)


def test_a_preset_brings_its_phases_and_phases_are_no_preset(make: Callable[..., AblateConfig]) -> None:
    row = {"name": "only", "share": 1.0}
    config = make(all={"phases": [row]}, arms={"rows": {}, "preset": {"preset": "balanced"}})
    assert training_of(config, "rows", 0).preset is None
    balanced = training_of(config, "preset", 0)
    assert balanced.preset == "balanced" and [phase.name for phase in balanced.phases] == ["fidelity", "perceptual"]


def test_manifests_are_beside_the_arms(make: Callable[..., AblateConfig], tmp_path: Path) -> None:
    config = make(score={"other": {"manifests": ["sub/other.yaml", "/else/where.yaml"]}})
    assert config.score["other"].manifests == (tmp_path / "sub/other.yaml", Path("/else/where.yaml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"arms": {"plain": {}}}, "an ablation compares two or more"),
        ({"arms": {"a": {}, "b/c": {}}}, "'b/c' cannot be the name of an arm"),
        ({"arms": {"a": {}, "bicubic": {}}}, "'bicubic' cannot be the name"),
        ({"reference": "none"}, "reference 'none' is no arm; arms are plain, slow"),
        ({"seeds": [1, 1]}, "give each seed once"),
        ({"arm": {}}, "arm: unknown key; did you mean arms?"),
        ({"score": {"v": {"change": "blur"}}}, "score.v.change"),
    ],
)
def test_wrong_arms_are_named(make: Callable[..., AblateConfig], content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(**content)
    assert message in str(error.value)


def test_an_override_that_an_arm_contradicts_is_refused(make: Callable[..., AblateConfig]) -> None:
    with pytest.raises(ConfigError, match=r"the arm slow sets optimiser\.learning_rate itself"):
        make("optimiser.learning_rate=0.1")
    with pytest.raises(ConfigError, match="expected key=value"):
        make("steps")


# --- trainings -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_finished_is_not_trained_or_scored_again(
    make: Callable[..., AblateConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)
    config = make(seeds=(0, 1), score={"v": {"crop": 4}, "changed": {"crop": 4, "change": "empty half"}})
    events: list[Progress] = []
    first = ablate(config, tmp_path / "out", progress=events.append)
    assert [(one.arm, one.seed) for one in first.outcomes] == [("plain", 0), ("slow", 0), ("plain", 1), ("slow", 1)]
    assert [one.curve[-1][0] for one in first.outcomes] == [4] * 4
    assert events[-1].done == events[-1].total == 4
    assert {name for one in first.outcomes for name in one.scores} == {"v", "changed"}
    plain, slow = (one.scores["v"]["bottom"]["psnr"] for one in first.outcomes[:2])
    assert plain != slow and abs(plain - first.baseline["v"]["bottom"]["psnr"]) < 3

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr("superres.evaluation.ablation.load_model", fail)
    again = ablate(config, tmp_path / "out")
    assert [one.scores for one in again.outcomes] == [one.scores for one in first.outcomes]
    assert [one.cpu_seconds for one in again.outcomes] == [one.cpu_seconds for one in first.outcomes]


@pytest.mark.slow
def test_an_arm_that_fails_is_told_and_the_others_are_scored(
    make: Callable[..., AblateConfig], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)
    make(arms={"plain": {}, "broken": {"start": str(tmp_path / "none.safetensors")}})
    command = ["ablate", str(recipe), "--arms", str(tmp_path / "arms.yaml"), "--out", str(tmp_path / "out"), "--json"]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 1
    found = json.loads(ran.stdout)
    assert [one["arm"] for one in found["outcomes"]] == ["plain"]
    assert "none.safetensors" in found["failed"]["broken, seed 0"]
    assert Path(found["report"]).is_file()
    text = CliRunner().invoke(app, command[:-1])
    assert text.exit_code == 1 and "plain" in text.stdout and "none.safetensors" in text.output


def test_trainings_that_cannot_be_compared_are_refused_before_the_first(
    make: Callable[..., AblateConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"arms other and plain are the same training \(seed 0\)"):
        ablate(make(arms={"plain": {}, "other": {"steps": 4}}), tmp_path / "out")
    finer = {"factor": [1, 4, 4]}
    with pytest.raises(ConfigError, match=r"arms with different factors, \[1, 2, 2\], \[1, 4, 4\]"):
        ablate(make(arms={"plain": {}, "finer": finer}), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"(?s)arm wrong: .*optimizer: unknown key; did you mean optimiser"):
        ablate(make(arms={"plain": {}, "wrong": {"optimizer.ema": 0}}), tmp_path / "out")
    contexts = {axis: {"model.context": {"axis": axis, "frames": 3}} for axis in "zt"}
    with pytest.raises(ConfigError, match="context along t and z have different images"):
        ablate(make(arms=contexts), tmp_path / "out")
    with pytest.raises(InputError, match=r"score\.v: no acquisition in split 'test' of cell"):
        ablate(make(score={"v": {"split": "test"}}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a recipe and its arms"),
        (["recipe.yaml"], "give a recipe and its arms"),
        (["recipe.yaml", "--landscape", "run"], "--landscape is of one run and takes no recipe"),
        (["--landscape", "run", "--seed", "1", "--seed", "2"], "--landscape takes one --seed"),
        (["--landscape", "no-run"], "no-run: not a run folder"),
        (["none.yaml", "--arms", "none_arms.yaml"], "no such"),
    ],
)
def test_the_command_says_what_to_type(tmp_path: Path, arguments: list[str], says: str) -> None:
    ran = CliRunner().invoke(app, ["ablate", "--out", str(tmp_path / "out"), *arguments])
    assert ran.exit_code == 2
    assert says in " ".join(ran.output.split())
    assert not (tmp_path / "out").exists()
