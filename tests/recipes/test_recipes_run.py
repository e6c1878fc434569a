"""Every recipe, and every ablation that is told of beside one, runs: with thin nets, few steps and made images."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import yaml

from superres.config import TrainConfig, load_config
from superres.datasets.checksum import file_sha256
from superres.evaluation.ablation import ablate
from superres.evaluation.ablation_settings import AblateConfig, load_ablation
from superres.modelfile import read_model_header
from superres.nets.architecture import PRESETS
from superres.training import train
from superres.volumes.hyperstack import save_hyperstack

PIPELINES = Path(__file__).parents[2] / "pipelines"
RECIPES = sorted(PIPELINES.glob("*.yaml"))
SMALL = (
    "steps=3",
    "time_budget=null",
    "patch.size=16",
    "patch.depth=4",
    "patch.batch=1",
    "features.steps=1",
    "validate_every=2",
    "device=cpu",
)


@pytest.fixture(autouse=True)
def thin_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    for preset in ("XS", "S"):
        monkeypatch.setitem(PRESETS, preset, {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1})
    monkeypatch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """Return a manifest of two acquisitions of 6 time points or planes, with recorded low images if asked for."""
    image = skimage.data.cell()[:, :500].astype(np.uint8)

    def make(kind: str) -> Path:
        entries = []
        for split, top in (("train", 0), ("val", 200), ("test", 400)):
            planes = np.stack([image[top + i : top + i + 112, 100 + 2 * i : 212 + 2 * i] for i in range(6)])
            volume = planes[:, None, None] if kind == "t" else planes[None, None]
            file = tmp_path / f"{split}.tif"
            save_hyperstack(file, volume)
            entry: dict[str, Any] = {"id": split, "split": split, "grey_range": [0, 255]}
            entry["high"] = [{"file": file.name, "sha256": file_sha256(file)}]
            if kind == "pairs":
                noisy = np.random.default_rng(top).normal(volume, 8.0).clip(0, 255).astype(np.uint8)
                save_hyperstack(tmp_path / f"{split}_low.tif", noisy)
                entry["low"] = [{"file": f"{split}_low.tif", "sha256": file_sha256(tmp_path / f"{split}_low.tif")}]
            entries.append(entry)
        about = {"name": "made", "description": "parts of one image", "licence": "CC0", "credit": "nobody"}
        about |= {"source": "scikit-image", "root": "."}
        path = tmp_path / "made.yaml"
        path.write_text(yaml.safe_dump(about | {"acquisitions": entries}))
        return path

    return make


def kind_of(recipe: str) -> str:
    """Say what the images of a recipe are: pairs, time points or planes."""
    return {"restore_pairs": "pairs", "series_x2": "t"}.get(recipe, "z")


def general(tmp_path: Path, manifest: Path) -> Path:
    """Train the model that others start from."""
    changes = [*SMALL, f"manifests={manifest}", "model.preset=XS", "preset=quantitative"]
    return train(load_config(TrainConfig, PIPELINES / "fluorescence_x2.yaml", changes), tmp_path / "general").run


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains(path: Path, made: Callable[[str], Path], tmp_path: Path) -> None:
    manifest = made(kind_of(path.stem))
    changes = [*SMALL, f"manifests={manifest}"]
    if path.stem == "fine_tune":
        changes.append(f"start_from={general(tmp_path, manifest)}")
    config = load_config(TrainConfig, path, changes)
    result = train(config, tmp_path / "run")
    header = read_model_header(result.model)
    assert header.factor == config.factor and result.steps == 3
    assert np.isfinite(result.metrics["psnr"])


# Of each kind of images and of changes one.
_USUAL = ("context_t", "loss")


def told() -> Iterator[Any]:
    """Give recipe and arms of every command in the files of arms."""
    for arms in sorted((PIPELINES / "ablations").glob("*.yaml")):
        text = re.sub(r"\\\n#", " ", arms.read_text())
        commands = [shlex.split(line[1:]) for line in text.splitlines() if line.startswith("#   superres ablate")]
        assert commands, f"{arms.name} does not say how it is run"
        for command in commands:
            assert Path(command[command.index("--arms") + 1]) == arms.relative_to(PIPELINES.parent)
        usual = arms.stem in _USUAL
        yield pytest.param(commands[0][2], arms.name, marks=() if usual else pytest.mark.long, id=arms.stem)


def small(config: AblateConfig, tmp_path: Path, manifest: Path) -> AblateConfig:
    """Let arms do three steps, on made images, from a made model."""
    arms = {}
    for name, changes in config.arms.items():
        kept = {k: v for k, v in changes.items() if k not in ("steps", "patch.size", "patch.batch", "image_count")}
        if "start_from" in kept:
            kept["start_from"] = str(
                general(tmp_path, manifest) if not (tmp_path / "general").exists() else tmp_path / "general"
            )
        if isinstance(kept.get("phases"), list):
            smaller = [{"patch": row["patch"] // 3, "batch": 1} if "patch" in row else {} for row in kept["phases"]]
            kept["phases"] = [row | less for row, less in zip(kept["phases"], smaller, strict=True)]
        if kept not in arms.values():  # such as two lengths of one training
            arms[name] = kept
    changed = dict(entry.split("=") for entry in SMALL) | {"manifests": str(manifest)}
    common = config.all | {key: yaml.safe_load(value) for key, value in changed.items()}
    ends = {name: config.score[name] for name in (min(config.score), max(config.score))}
    score = {name: one.model_copy(update={"manifests": None, "planes": 1, "crop": 2}) for name, one in ends.items()}
    return config.model_copy(update={"arms": arms, "all": common, "score": score, "seeds": (0,), "reference": None})


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "arms"), list(told()))
def test_an_ablation_runs(recipe: str, arms: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    config = load_ablation(PIPELINES.parent / recipe, PIPELINES / "ablations" / arms)
    manifest = made(kind_of(Path(recipe).stem))
    found = ablate(small(config, tmp_path, manifest), tmp_path / "out")
    assert not found.failed
    assert len(found.outcomes) >= 2
    figures = [entry["psnr"] for one in found.outcomes for scores in one.scores.values() for entry in scores.values()]
    assert figures and np.isfinite(figures).all()
