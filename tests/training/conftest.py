from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import skimage.data
import yaml

from superres.config import TrainConfig


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two small acquisitions of a real image; nothing of one lies in the other."""
    image = skimage.data.cell()
    entries = []
    for name, split, rows in (("top", "train", slice(0, 256)), ("bottom", "val", slice(300, 428))):
        file = tmp_path / f"{name}.png"
        imageio.imwrite(file, np.ascontiguousarray(image[rows, 100:356]))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        entries.append(
            {"id": name, "split": split, "grey_range": [0, 255], "high": [{"file": file.name, "sha256": digest}]}
        )
    content = {
        "name": "cell",
        "description": "parts of one image",
        "licence": "CC0",
        "credit": "nobody",
        "source": "scikit-image",
        "root": ".",
        "acquisitions": entries,
    }
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def make_config(manifest: Path) -> Callable[..., TrainConfig]:
    def make(**changes: object) -> TrainConfig:
        content: dict[str, object] = {
            "manifests": [manifest],
            "factor": [1, 2, 2],
            "device": "cpu",
            "model": {"preset": "XS"},
            "degrade": [
                {"downsample": "binning"},
                {"poisson": {"photons": [200, 400]}},
                {"read_noise": {"sd": 0.03}},
            ],
            "patch": {"size": 16, "batch": 2},
            "features": {"steps": 2},
            "phases": [
                {"name": "fidelity", "share": 0.5, "losses": {"frequency": 0.05}},
                {"name": "perceptual", "share": 0.5, "losses": {"frequency": 0.05, "feature": 0.2}},
            ],
            "steps": 6,
            "checkpoint_every": 2,
            "validate_every": 3,
            "sample_every": 4,
        }
        return TrainConfig.model_validate(content | changes)

    return make


@pytest.fixture
def without_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes longest in a training of a few steps, and is tested elsewhere: where the net is right."""
    monkeypatch.setattr("superres.training.loop.measure_domain", lambda *args, **kwargs: None)
