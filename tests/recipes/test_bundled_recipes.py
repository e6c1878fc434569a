"""The recipes of the models in the package: they can be read, and are those that the models were trained with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from superres.config import TrainConfig, load_config
from superres.datasets.manifest import parse_manifest
from superres.modelfile import read_model_header
from superres.sharing import bundled_models

FOLDER = Path(__file__).parents[2] / "pipelines" / "models"
RECIPES = sorted(FOLDER.glob("*.yaml"))
# Where files lie, and on what it ran.
ELSEWHERE = {"manifests", "data_root", "start_from", "device"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_of_free_images(path: Path) -> None:
    config = load_config(TrainConfig, path, [])
    assert config.name == path.stem
    learnt = [one for path in config.manifests for one in parse_manifest(path).acquisitions if one.split == "train"]
    assert learnt
    assert all(one.licence.startswith(("CC BY ", "CC0", "MIT", "BSD-3-Clause")) for one in learnt)


@pytest.mark.parametrize("name", bundled_models())
def test_a_model_was_trained_by_its_recipe(name: str) -> None:
    header = read_model_header(bundled_models()[name])
    recipe = load_config(TrainConfig, FOLDER / f"{name}.yaml", [])
    expected = recipe.model_dump(mode="json", exclude=ELSEWHERE)
    trained = TrainConfig.model_validate(header.training["config"]).model_dump(mode="json", exclude=ELSEWHERE)
    assert trained == expected
    assert [one["name"] for one in header.training["manifests"]] == [path.stem for path in recipe.manifests]


def test_how_a_model_is_made_is_a_script() -> None:
    script = FOLDER / "make.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert all(f"\n{name})\n" in text for name in bundled_models())
