"""What the README shows works: its YAML is accepted, its commands exist with these options, its files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from superres.cli import app
from superres.config import TrainConfig
from superres.datasets.manifest_format import ManifestEntry

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    if line.startswith("superres")
]


def yaml_block(title: str) -> dict[str, object]:
    (text,) = (block for language, block in BLOCKS if language == "yaml" and block.startswith(f"# {title}"))
    content = yaml.safe_load(text.replace("…64 digits…", "0" * 64))
    assert isinstance(content, dict)
    return content


def test_the_manifest_is_one() -> None:
    entry = ManifestEntry.model_validate(yaml_block("my_manifest.yaml"))
    assert {acquisition.split for acquisition in entry.acquisitions} == {"train", "val"}


def test_the_recipe_is_one() -> None:
    config = TrainConfig.model_validate(yaml_block("my_recipe.yaml"))
    assert config.time_budget == 1800


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_and_options_exist(words: list[str]) -> None:
    groups = {group.name for group in app.registered_groups}
    result = CliRunner().invoke(app, [*words[1 : 3 if words[1] in groups else 2], "--help"])
    assert result.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert f" {option} " in result.stdout


def test_files_that_are_named_exist() -> None:
    commands = {word for words in COMMANDS for word in words if word.startswith(("pipelines/", "data_manifests/"))}
    links = set(re.findall(r"(?<!!)\[[^]]+\]\(([^)]+)\)", README))
    assert commands
    for name in commands | links:
        assert (PROJECT / name).is_file(), name


def test_every_room_is_described() -> None:
    for room in (path.parent.name for path in (PROJECT / "superres").glob("*/__init__.py")):
        assert f"| `{room}` |" in README
