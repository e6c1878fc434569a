"""Calibration from manifest to header: what is written, what is refused, and what a check finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from skimage import data
from tifffile import imwrite
from typer.testing import CliRunner

from superres.cli import app
from superres.config import IntensityRule
from superres.datasets import load_manifest
from superres.datasets.checksum import file_sha256
from superres.errors import InputError, ModelFileError
from superres.evaluation import calibrate, check_coverage
from superres.evaluation.settings import CalibrateConfig
from superres.inference import load_model
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.nets import Architecture, UNet

Make = Callable[..., CalibrateConfig]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Ten acquisitions of split val, two of test, one of train: windows of one image, which only a test may do."""
    image, entries = data.camera(), []
    for i in range(13):
        file = tmp_path / f"{i}.tif"
        y, x = 128 * (i // 4), 128 * (i % 4)
        imwrite(file, image[y : y + 128, x : x + 128], metadata={"axes": "YX"})
        split = "val" if i < 10 else "test" if i < 12 else "train"
        entries.append({"id": f"a{i}", "split": split, "high": [{"file": file.name, "sha256": file_sha256(file)}]})
    content = {"name": "set", "description": "d", "licence": "CC0", "credit": "nobody", "source": "scikit-image"}
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump(content | {"acquisitions": entries}), encoding="utf-8")
    return path


@pytest.fixture
def make(tmp_path: Path, manifest: Path) -> Make:
    """Write an untrained model, whose half-widths are 0.05 of the range everywhere, and say what is calibrated."""

    def config(*, interval: bool = True, trained: tuple[str, ...] = ("a12",), **settings: Any) -> CalibrateConfig:
        architecture = Architecture.of_preset("XS", factor=(1, 2, 2), interval=interval)
        radius, stride = architecture.receptive_radius, architecture.stride
        known = {item.id: item.sha256 for item in load_manifest(manifest).acquisitions}
        header = ModelHeader(
            name="untrained",
            architecture=architecture.to_json(),
            factor=architecture.factor,
            channels=1,
            receptive_radius=(0, radius, radius),
            stride=(1, stride, stride),
            intensity=IntensityRule().model_dump(mode="json"),
            degradation=[{"downsample": "binning"}],
            # Under another name: the files' hash tells.
            training={"acquisitions": [{"id": f"other_{name}", "sha256": known[name]} for name in trained]},
        )
        torch.manual_seed(0)
        weights = {name: value.numpy() for name, value in UNet(architecture).state_dict().items()}
        save_model_file(tmp_path / "model.safetensors", header, weights)
        return CalibrateConfig.model_validate(
            {"manifests": [manifest], "model": tmp_path, "device": "cpu", "crop": 4} | settings
        )

    return config


def test_the_header_gets_the_factor_and_the_weights_stay(make: Make, tmp_path: Path) -> None:
    config = make()
    before = load_model_file(tmp_path)
    assert load_model(tmp_path, "cpu").interval_factor is None
    found = calibrate(config)
    after = load_model_file(tmp_path)
    assert found.sha256 == after.sha256 != before.sha256
    assert after.identity == before.identity, "what a resumed run compares"
    assert before.weights.keys() == after.weights.keys()
    for name, value in before.weights.items():
        assert value.tobytes() == after.weights[name].tobytes(), name
    record = after.header.calibration
    assert record == json.loads(json.dumps(found.record)), "the record survives the header"
    factors = sorted(entry["factor"] for entry in record["acquisitions"])
    assert (record["n"], record["calibrated"], record["level"], record["unit"]) == (10, True, 0.9, "acquisition")
    # The ceil(11 * 0.9) = 10th smallest of ten.
    assert record["factor"] == factors[9] > factors[0] > 0
    assert "90% of new acquisitions" in record["claim"]
    assert "microscope" in record["claim"]
    assert load_model(tmp_path, "cpu").interval_factor == record["factor"]
    # Again: the new one replaces the old one, and nothing is added up.
    assert calibrate(config).sha256 == found.sha256


def test_a_check_on_other_acquisitions(make: Make) -> None:
    config = make()
    other = config.model_copy(update={"split": "test"})
    with pytest.raises(ModelFileError, match="superres calibrate"):
        check_coverage(other)
    calibrate(config)
    with pytest.raises(InputError, match="calibrated with it"):
        check_coverage(config)
    found = check_coverage(other)
    assert found.calibrated
    assert found.units.keys() == {"a10", "a11"}
    assert found.covered == sum(item.coverage >= 0.9 for item in found.units.values())
    assert found.band is not None
    assert found.holds == (found.band[0] <= found.covered <= found.band[1])
    for item in found.units.values():
        assert np.mean(item.by_decile) == pytest.approx(item.coverage, abs=1e-3)
        # Half-widths of softplus(-3) on either side, times the factor.
        assert item.mean_width == pytest.approx(2 * np.log1p(np.exp(-3)) * found.factor, rel=1e-5)
        # All alike: there is nothing to correlate.
        assert np.isnan(item.spearman)
    assert found.to_json()["units"]["a10"]["spearman"] is None
    json.dumps(found.to_json(), allow_nan=False)
    noted = load_model_file(config.model or Path()).header.calibration["checked"]
    assert found.recorded
    assert (noted["n"], noted["covered"], noted["holds"]) == (2, found.covered, found.holds)
    assert noted["units"] == ["a10", "a11"]


def test_what_was_trained_on_is_refused_under_any_name(make: Make) -> None:
    with pytest.raises(InputError, match="a3: the model was trained on it"):
        calibrate(make(trained=("a3",)))


def test_fewer_than_nine_are_uncalibrated(make: Make, tmp_path: Path) -> None:
    config = make(split="test")
    record = calibrate(config).record
    assert (record["n"], record["calibrated"]) == (2, False)
    assert record["factor"] == pytest.approx(np.median([entry["factor"] for entry in record["acquisitions"]]))
    assert record["claim"].startswith("uncalibrated: 2 acquisitions, and 9 are needed")
    assert "relative uncertainty" in record["claim"]
    assert load_model(tmp_path, "cpu").interval_factor is None
    found = check_coverage(config.model_copy(update={"split": "val", "planes": 1}))
    assert (found.calibrated, found.band, found.holds) == (False, None, None)


def test_a_model_without_half_widths_says_how_to_get_them(make: Make) -> None:
    with pytest.raises(ModelFileError, match=r"model\.interval=true"):
        calibrate(make(interval=False))


def test_a_constant_image_is_left_out_and_named(make: Make, manifest: Path, tmp_path: Path) -> None:
    imwrite(tmp_path / "10.tif", np.full((128, 128), 7, np.uint8), metadata={"axes": "YX"})
    content = yaml.safe_load(manifest.read_text())
    entry = next(item for item in content["acquisitions"] if item["id"] == "a10")
    entry["high"][0]["sha256"] = file_sha256(tmp_path / "10.tif")
    manifest.write_text(yaml.safe_dump(content))
    found = calibrate(make(split="test"))
    assert found.skipped.keys() == {"a10"}
    assert "constant" in found.skipped["a10"]
    assert found.record["n"] == 1


def test_the_command_shows_what_it_found(make: Make, manifest: Path, tmp_path: Path) -> None:
    make()
    runner = CliRunner()
    common = ["calibrate", str(tmp_path), "--manifest", str(manifest), "--set", "device=cpu"]
    made = runner.invoke(app, common)
    assert made.exit_code == 0, made.output
    assert "90% of new acquisitions" in " ".join(made.output.split())
    checked = runner.invoke(app, [*common, "--split", "test", "--check"])
    assert checked.exit_code == 0, checked.output
    assert "of 2 acquisitions" in checked.output
    refused = runner.invoke(app, [*common, "--check"])
    assert refused.exit_code == 2
