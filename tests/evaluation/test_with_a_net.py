"""An evaluation with a real model file: a net that has learnt nothing is an interpolation."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from skimage import data
from tifffile import imwrite

from superres.config import IntensityRule
from superres.evaluation import MODEL, evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet


def test_an_untrained_net_scores_like_bicubic(tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = Architecture.of_preset("XS", factor=(1, 2, 2))
    net = UNet(architecture)
    header = ModelHeader(
        name="untrained",
        architecture=architecture.to_json(),
        factor=architecture.factor,
        channels=1,
        receptive_radius=(0, architecture.receptive_radius, architecture.receptive_radius),
        stride=(1, architecture.stride, architecture.stride),
        intensity=IntensityRule().model_dump(mode="json"),
        degradation=[{"downsample": "binning"}],
    )
    weights = {name: np.asarray(value.detach()) for name, value in net.state_dict().items()}
    save_model_file(tmp_path / "model.safetensors", header, weights)
    image = tmp_path / "cell.tif"
    imwrite(image, data.cell()[200:328, 200:328], metadata={"axes": "YX"})
    high = [{"file": image.name, "sha256": hashlib.sha256(image.read_bytes()).hexdigest()}]
    content = {"name": "set", "description": "d", "licence": "l", "credit": "c", "source": "s"}
    listed = [{"id": "cell", "split": "val", "high": high}]
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content | {"acquisitions": listed}), encoding="utf-8")
    settings = EvaluateConfig(manifests=(tmp_path / "set.yaml",), model=tmp_path, baselines=("bicubic",), device="cpu")
    scores = evaluate(settings, tmp_path / "out").acquisitions[0].scores
    assert scores[MODEL].psnr == pytest.approx(scores["bicubic"].psnr, abs=1.0)
    assert scores[MODEL].slope == pytest.approx(1, abs=0.05)
