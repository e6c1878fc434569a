"""Settings of an ablation: arms as changes to one recipe, seeds, and the images that they are scored on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from superres.config import Paths, Settings, TrainConfig, load_config
from superres.errors import ConfigError
from superres.evaluation.altered import Change


class ScoredOn(Settings):
    """Images that every arm is scored on."""

    manifests: Paths | None = Field(None, description="default: those of the recipe")
    split: Literal["train", "val", "test"] = "val"
    planes: int = Field(4, ge=1, description="planes scored per acquisition, evenly spread")
    crop: int = Field(8, ge=0, description="low-resolution voxels left out at every border")
    change: Change | None = Field(None, description="how truth is changed before it is recorded; default not at all")
    guard: bool = Field(False, description="score what users get, with the guard; default the net by itself")


class AblateConfig(Settings):
    """Trainings that differ in one thing each, and what they are scored on.

    `all`, and every arm, map dotted keys of a recipe to values, as ``--set`` does: ``{optimiser.ema: 0}``. An arm wins
    over `all`, and `all` over the recipe.
    """

    recipe: Path
    all: dict[str, Any] = Field({}, description="changes to the recipe for every arm")
    arms: dict[str, dict[str, Any]] = Field(description="name of each arm, and what it changes")
    reference: str | None = Field(None, description="arm that the others are compared with; default the first")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    score: dict[str, ScoredOn] = Field({"validation": ScoredOn()}, min_length=1)
    data_root: Path | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.arms) < 2:
            raise ValueError("arms: an ablation compares two or more; add one, for example plain: {}")
        taken = [name for name in self.arms if not name.strip() or "/" in name or name == BICUBIC]
        if taken:
            raise ValueError(f"arms: {taken[0]!r} cannot be the name of an arm; give another, without /")
        if self.reference is not None and self.reference not in self.arms:
            raise ValueError(f"reference {self.reference!r} is no arm; arms are {', '.join(self.arms)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)}: give each seed once")
        return self

    @property
    def compared_with(self) -> str:
        """The arm that the others are compared with."""
        return self.reference if self.reference is not None else next(iter(self.arms))


BICUBIC = "bicubic"
"""Name of the row that no training made."""


def load_ablation(
    recipe: Path, arms: Path, overrides: Iterable[str] = (), *, seeds: tuple[int, ...] | None = None
) -> AblateConfig:
    """Read a file of arms for a recipe.

    Parameters
    ----------
    recipe : Path
        As for a training.
    arms : Path
        YAML with the keys of `AblateConfig`. Relative manifests in it are relative to it.
    overrides : iterable of str
        ``"model.preset=S"``: for every arm, winning over `all` of the file.
    seeds : tuple of int, optional
        In the place of those of the file.

    Raises
    ------
    ConfigError, MissingFileError
        As for `load_config`; also when an override contradicts an arm.
    """
    config = load_config(AblateConfig, arms, recipe=recipe, seeds=seeds)
    score = {name: _relative_to(arms.parent, scored) for name, scored in config.score.items()}
    changes = dict(map(_change, overrides))
    for name, arm in config.arms.items():
        if both := sorted(changes.keys() & arm.keys()):
            raise ConfigError(f"--set {both[0]}=...: the arm {name} sets {both[0]} itself; change {arms} in its place")
    return config.model_copy(update={"all": config.all | changes, "score": score})


def _relative_to(folder: Path, scored: ScoredOn) -> ScoredOn:
    if scored.manifests is None:
        return scored
    return scored.model_copy(update={"manifests": tuple(folder / path for path in scored.manifests)})


def _change(override: str) -> tuple[str, Any]:
    key, found, text = override.partition("=")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        found = ""
    if not found or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for example --set model.preset=S")
    return key.strip(), value


def training_of(config: AblateConfig, arm: str, seed: int) -> TrainConfig:
    """Return the training of an arm.

    Raises
    ------
    ConfigError
        Naming the arm, when its changes make no training.
    """
    changes = _with_rows(config.all) | _with_rows(config.arms[arm])
    written = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    try:
        return load_config(TrainConfig, config.recipe, [*written, f"seed={seed}"], data_root=config.data_root)
    except ConfigError as error:
        raise ConfigError(f"arm {arm}: {error}") from None


def _with_rows(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Let a preset bring its own phases, and phases be no preset's, whatever the recipe says."""
    if "preset" in changes and "phases" not in changes:
        return {**changes, "phases": []}
    if "phases" in changes and "preset" not in changes:
        return {**changes, "preset": None}
    return dict(changes)
