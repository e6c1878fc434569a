"""``superres train --images``: from a folder to a recipe and a model, resumed, refused, and told as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import tifffile
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.cli.application import triple_of
from superres.config import TrainConfig
from superres.errors import ConfigError
from superres.training.choices import Cost
from superres.training.configure import Proposal, configure


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sharp").mkdir()
    image = skimage.data.cell()
    for number in range(3):
        tifffile.imwrite(tmp_path / "sharp" / f"dish_{number}.tif", image[200 * number :][:120, 100:260])
    return tmp_path / "sharp"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Replace measuring and training by what costs nothing; return what was trained."""
    from superres import training

    def probed(*arguments: Any, **options: Any) -> Proposal:
        def probe(config: TrainConfig, sources: Any) -> Cost:
            return Cost(0.1, config.patch.batch, 1e8, 1e7, 8e9)

        return configure(*arguments, probe=probe, **options)

    trained: list[TrainConfig] = []

    def train(config: TrainConfig, out: Path, *, progress: Callable[..., None]) -> training.TrainResult:
        trained.append(config)
        return training.TrainResult(out / "model.safetensors", out, 5, 1.0, {"psnr": 30.0}, ())

    monkeypatch.setattr(training, "configure", probed)
    monkeypatch.setattr(training, "train", train)
    return trained


def test_a_dry_run_writes_a_recipe_to_look_at(folder: Path, tmp_path: Path, quick: list[TrainConfig]) -> None:
    out = tmp_path / "run"
    done = run("train", "--images", folder, "--factor", "2", "--out", out, "--dry-run")
    assert done.exit_code == 0 and not quick
    assert sorted(path.name for path in out.iterdir()) == ["manifest.yaml", "recipe.yaml"]
    for words in ("dish_0, dish_1", "dish_2", "degrade", "recipe:", "expected:"):
        assert words in done.stdout
    assert "without --dry-run" in done.stderr


def test_the_recipe_may_be_changed_before_the_training(folder: Path, tmp_path: Path, quick: list[TrainConfig]) -> None:
    command = ("train", "--images", folder, "--factor", "1,2,2", "--out", tmp_path / "run")
    assert run(*command, "--dry-run").exit_code == 0
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("preset: S", "preset: XS"), encoding="utf-8")
    done = run(*command, "--set", "seed=3")
    assert done.exit_code == 0 and "used as it stands" in done.stderr
    (config,) = quick
    assert (config.model.preset, config.seed) == ("XS", 3)


def test_json(folder: Path, tmp_path: Path, quick: list[TrainConfig]) -> None:
    command = ("train", "--images", folder, "--factor", "[1,2,2]", "--out", tmp_path / "run", "--json")
    told = json.loads(run(*command, "--dry-run").stdout)
    assert told["written"] and told["train"] == ["dish_0", "dish_1"] and told["val"] == ["dish_2"]
    assert told["choices"]["factor"]["value"] == [1, 2, 2] and told["images"][0]["channels"][0]["noise"] > 0
    assert json.loads(run(*command).stdout)["steps"] == 5


def test_the_whole_way(folder: Path, tmp_path: Path, without_domain: None) -> None:
    """Nothing replaced but what takes longest: measured, trained, gone on with, and used as a recipe elsewhere."""
    out, short = tmp_path / "run", ["--set", "steps=2", "--set", "features.steps=1", "--set", "device=cpu"]
    small = ["--set", "model.preset=XS", "--set", "patch={size: 16, batch: 1}"]
    command = ("train", "--images", folder, "--factor", "2", "--out", out, *short, *small)
    assert run(*command).exit_code == 0
    assert {"config.yaml", "manifest.yaml", "model.safetensors", "recipe.yaml"} <= {one.name for one in out.iterdir()}
    again = run(*command)
    assert again.exit_code == 0 and "already finished" in again.stdout
    assert run("train", out / "recipe.yaml", "--out", tmp_path / "other").exit_code == 0
    models = [(folder / "model.safetensors").read_bytes() for folder in (out, tmp_path / "other")]
    assert models[0] == models[1]


@pytest.fixture
def without_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a recipe"),
        (("my.yaml", "--images", "sharp"), "give one of the two"),
        (("my.yaml", "--factor", "2"), "--factor goes with --images"),
        (("my.yaml", "--dry-run"), "--dry-run goes with --images"),
        (("--images", "sharp"), "--factor 4"),
        (("--images", "sharp", "--factor", "1"), "leaves the grid alone"),
        (("--images", "sharp", "--factor", "two"), "--factor 4"),
        (("--images", "no_such", "--factor", "2"), "no_such: no such file or folder"),
        (("--images", "sharp", "--factor", "2", "--set", "modell.preset=S"), "did you mean model"),
    ],
)
def test_wrong_commands_are_told_what_to_type(
    folder: Path, quick: list[TrainConfig], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    done = run("train", *arguments, "--out", "run")
    assert done.exit_code == 2 and not quick
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("text", "factor"), [("4", (1, 4, 4)), ("2,4,4", (2, 4, 4)), ("[1, 2, 3]", (1, 2, 3)), ("(2)", (1, 2, 2))]
)
def test_factors(text: str, factor: tuple[int, int, int]) -> None:
    assert triple_of(text) == factor


@pytest.mark.parametrize("text", ["", "a", "2,2", "1,2,3,4", "0", "-2", "1,2.5,2", "17"])
def test_what_is_no_factor_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--factor"):
        triple_of(text)
