"""From a recipe to an upscaled store: nets of neighbouring images, of several channels, of three dimensions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from superres.config import TrainConfig, UpscaleConfig
from superres.inference import upscale
from superres.modelfile import load_model_file
from superres.nets.architecture import PRESETS
from superres.training import train
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

MakeConfig = Callable[..., TrainConfig]
AXIAL = [{"blur": {"sigma": 0.8, "axial_sigma": [0.5, 1.0]}}, {"downsample": "binning"}, {"read_noise": {"sd": 0.02}}]

NET: dict[str, Any] = {"preset": "XS", "consistency_sigma": 0.5}
KINDS: dict[str, dict[str, Any]] = {
    "z": {"model": NET | {"context": {"axis": "z", "frames": 3}}},
    "t": {"model": NET | {"context": {"axis": "t", "frames": 3}}},
    "c": {
        "model": NET | {"context": {"axis": "c", "predict": 1}},
        "channels": [0, 1],
    },
    "together": {"model": NET | {"together": True}, "channels": [0, 1]},
    "high grid": {"model": NET | {"grid": "high"}},
    "one channel": {"model": NET, "channels": [1]},
    "deep": {
        "model": NET | {"dimensions": 3},
        "factor": [2, 2, 2],
        "degrade": AXIAL,
    },
}


def texture(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 0, 1, 2, 2))
    return (30_000 * (noise - noise.min()) / (noise.max() - noise.min()) + 500).astype(np.uint16)


@pytest.fixture
def make_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TrainConfig]:
    """Two small acquisitions with time points, channels and planes, and a recipe of the kind that is asked for."""
    monkeypatch.setitem(PRESETS, "XS", {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1})
    entries = []
    for seed, split in enumerate(("train", "val")):
        file = tmp_path / f"{split}.tif"
        save_hyperstack(file, texture(seed, 3, 2, 6, 48, 48), voxel_size=(0.6, 0.1, 0.1))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        entries.append({"id": split, "split": split, "high": [{"file": file.name, "sha256": digest}]})
    content = {"name": "made", "description": "made here", "licence": "CC0", "credit": "nobody", "source": "here"}
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(content | {"root": ".", "acquisitions": entries}))

    def make(kind: str) -> TrainConfig:
        content: dict[str, Any] = {
            "manifests": [tmp_path / "manifest.yaml"],
            "factor": [1, 2, 2],
            "device": "cpu",
            "degrade": [{"downsample": "binning"}, {"read_noise": {"sd": 0.03}}],
            "patch": {"size": 8, "depth": 4, "batch": 2},
            "phases": [
                {"name": "fidelity", "share": 0.5, "losses": {"frequency": 0.05}},
                {"name": "perceptual", "share": 0.5, "losses": {"frequency": 0.05, "feature": 0.2}},
            ],
            "features": {"steps": 1},
            "steps": 3,
            "sample_every": 2,
            "validate_every": 2,
        }
        return TrainConfig.model_validate(content | KINDS[kind])

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_from_recipe_to_store(make_kind: Callable[[str], TrainConfig], tmp_path: Path, kind: str) -> None:
    config = make_kind(kind)
    model = train(config, tmp_path / "run").model
    header = load_model_file(model).header
    assert header.metrics["psnr"] > 5
    assert (tmp_path / "run" / "samples" / "step_000002.png").is_file()
    assert header.context.get("axis", "") == (kind if len(kind) == 1 else "")
    assert bool(header.domain) == (kind not in ("deep", "together"))
    save_hyperstack(tmp_path / "in.tif", texture(5, 1, 2, 5, 20, 20), voxel_size=(0.6, 0.2, 0.2))
    summary = upscale(tmp_path / "in.tif", tmp_path / "out.zarr", UpscaleConfig(model=model, device="cpu"))
    fz, fy, fx = config.factor
    assert summary.shape == (1, 1 if kind == "c" else 2, 5 * fz, 20 * fy, 20 * fx)
    out, low = (open_volume(path).levels[0].compute().astype(float) for path in (summary.path, tmp_path / "in.tif"))
    coarse = out.reshape(*out.shape[:2], 5, fz, 20, fy, 20, fx).mean(axis=(3, 5, 7))
    correlation = np.corrcoef(coarse.ravel(), (low[:, 1:] if kind == "c" else low).ravel())[0, 1]
    assert correlation > 0.95, "the output shows the input"


def test_a_critic_shapes_a_net_of_neighbouring_planes(make_kind: Callable[[str], TrainConfig], tmp_path: Path) -> None:
    config = make_kind("z").model_dump(mode="json", exclude={"phases", "preset"})
    summary = train(TrainConfig.model_validate(config | {"preset": "display", "steps": 50}), tmp_path / "run")
    gan = load_model_file(summary.model).header.training["gan"]
    assert len(gan["checks"]) >= 2
    assert all(np.isfinite(list(check.values())).all() for check in gan["checks"])


def test_same_seed_same_weights(make_kind: Callable[[str], TrainConfig], tmp_path: Path) -> None:
    models = [load_model_file(train(make_kind("deep"), tmp_path / name).model) for name in ("a", "b")]
    assert models[0].weights.keys() == models[1].weights.keys()
    for name, value in models[0].weights.items():
        np.testing.assert_array_equal(models[1].weights[name], value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": [2, 2, 2]}, "model.dimensions=3"),
        ({"model": {"context": {"axis": "z", "frames": 4}}}, "odd number"),
        ({"model": {"context": {"axis": "z"}, "dimensions": 3}}, "two dimensions"),
        ({"model": {"context": {"axis": "c"}}}, "predict"),
        ({"model": {"context": {"axis": "c", "predict": 0}}}, "channels=\\[0, 1\\]"),
        ({"model": {"context": {"axis": "c", "predict": 3}}, "channels": [0, 1]}, "none of the channels"),
        ({"model": {"together": True}}, "channels=\\[0, 1\\]"),
        ({"channels": [0, 0]}, "each channel once"),
        ({"degrade": AXIAL}, "axial_sigma"),
        ({"model": {"dimensions": 3}, "preset": "display"}, "critic"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes: dict[str, Any], message: str) -> None:
    content = {"manifests": ["a.yaml"], "factor": [1, 2, 2], "steps": 1}
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(content | changes)
