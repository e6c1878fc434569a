"""Holding a model against its card: weights, pictures, and figures that are measured again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from skimage import data
from tifffile import imwrite

from superres.config import IntensityRule
from superres.errors import ModelFileError
from superres.evaluation import evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.modelfile import load_model_file, save_model_file
from superres.nets import Architecture, UNet
from superres.sharing.describe import Description, describe
from superres.sharing.verification import verify

MakeModel = Callable[..., Path]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """List two parts of a real image, for validation."""
    listed = []
    for number, corner in enumerate((100, 300)):
        image = tmp_path / f"cell_{number}.tif"
        imwrite(image, data.cell()[corner : corner + 96, 200:296], metadata={"axes": "YX"})
        high = [{"file": image.name, "sha256": hashlib.sha256(image.read_bytes()).hexdigest()}]
        listed.append({"id": f"cell_{number}", "split": "val", "high": high})
    content = {
        "name": "cells",
        "description": "d",
        "licence": "CC0",
        "credit": "c",
        "source": "s",
        "acquisitions": listed,
    }
    path = tmp_path / "cells.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path, make_header: Callable[..., object], manifest: Path) -> Path:
    """Write a net that interpolates, and its card."""
    torch.manual_seed(0)
    architecture = Architecture.of_preset("XS", factor=(1, 2, 2))
    reach, stride = architecture.receptive_radius, architecture.stride
    header = make_header(
        architecture=architecture.to_json(), factor=(1, 2, 2), receptive_radius=(0, reach, reach),
        stride=(1, stride, stride), intensity=IntensityRule().model_dump(mode="json"),
        degradation=[{"downsample": "binning"}],
    )  # fmt: skip
    path = tmp_path / "plain.safetensors"
    weights = {name: value.numpy() for name, value in UNet(architecture).state_dict().items()}
    save_model_file(path, header, weights)  # type: ignore[arg-type]
    config = EvaluateConfig(manifests=(manifest,), model=path, baselines=("bicubic",), device="cpu", planes=1)
    evaluate(config, tmp_path / "report")
    describe(path, Description(evaluations=(tmp_path / "report",), purpose="cells"))
    return path


def test_the_figures_come_out_again(model: Path, manifest: Path, tmp_path: Path) -> None:
    found = verify(model, data=tmp_path, manifests=[manifest])
    assert found.is_good
    assert len(found.figures) == 12, "two acquisitions, two methods, three figures"
    assert {one.method for one in found.figures} == {"bicubic", "superres"}
    assert all(one.said is not None and one.said == pytest.approx(one.found, abs=1e-3) for one in found.figures)
    assert any("plain U-Net" in line for line in found.missing)
    assert load_model_file(model).path.with_suffix(".pictures").joinpath("worst_cells.png").is_file()
    manifest.write_text(manifest.read_text() + "\n", encoding="utf-8")
    changed = verify(model, data=tmp_path, manifests=[manifest])
    assert changed.not_checked == ("cells, val: its manifest cells, as it was then, is not there",)
    assert changed.figures == ()


def test_figures_that_were_changed_are_found(model: Path, manifest: Path, tmp_path: Path) -> None:
    file = load_model_file(model)
    card = json.loads(json.dumps(file.header.card))
    card["trials"][0]["acquisitions"][1]["figures"]["superres"]["psnr"] += 0.5
    save_model_file(model, dataclasses.replace(file.header, card=card), file.weights)
    found = verify(model, data=tmp_path, manifests=[manifest])
    assert not found.is_good
    (wrong,) = (one for one in found.figures if not one.is_same)
    assert (wrong.acquisition, wrong.method, wrong.figure) == ("cell_1", "superres", "psnr")
    assert verify(model).is_good, "without images figures are not looked at"


def test_weights_and_pictures_that_were_changed_are_found(model: Path) -> None:
    (model.with_suffix(".pictures") / "worst_cells.png").write_bytes(b"other")
    assert verify(model).problems == ("the picture plain.pictures/worst_cells.png is not that of the card",)
    file = load_model_file(model)
    save_model_file(model, file.header, {name: value + 1 for name, value in file.weights.items()})
    found = verify(model)
    assert not found.is_good
    assert found.problems[0].startswith("the weights are not those of the card: ")
    assert found.problems[1].startswith("cells, val: the figures are of other weights")


def test_a_model_without_a_card(tmp_path: Path, make_model: MakeModel) -> None:
    with pytest.raises(
        ModelFileError, match="has no card to hold it against; write one with 'superres models describe'"
    ):
        verify(make_model(tmp_path / "bare.safetensors"))
