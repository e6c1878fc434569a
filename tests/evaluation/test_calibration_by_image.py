"""Calibration by image: which images count as different, what is promised of which, and what is left for the check."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tifffile import imwrite
from typer.testing import CliRunner

from superres.cli import app
from superres.config import IntensityRule
from superres.datasets import load_manifest
from superres.datasets.checksum import file_sha256
from superres.errors import InputError
from superres.evaluation import calibrate, check_coverage
from superres.evaluation.apart import images_apart, spread
from superres.evaluation.coverage import calibrate_factor, coverage_band
from superres.evaluation.sampling import Place
from superres.evaluation.settings import CalibrateConfig
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.nets import Architecture, UNet


def stack(planes: int, sigma: float, size: int = 64) -> NDArray[np.uint8]:
    """Planes of random structure that correlate by exp(-d**2 / (4 sigma**2)) at a distance of d."""
    noise = np.random.default_rng(0).normal(size=(planes, size, size))
    smooth = gaussian_filter(noise, (sigma, 1.5, 1.5), mode="wrap")
    return (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


def write_manifest(folder: Path, name: str = "set", **images: NDArray[Any]) -> Path:
    entries = []
    for identity, image in images.items():
        imwrite(folder / f"{name}_{identity}.tif", image, photometric="minisblack", metadata={"axes": "ZYX"})
        file = f"{name}_{identity}.tif"
        entries.append({"id": identity, "split": "val", "high": [{"file": file, "sha256": file_sha256(folder / file)}]})
    content = {"name": name, "description": "d", "licence": "CC0", "credit": "nobody", "source": "made up"}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content | {"acquisitions": entries}), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained model."""
    architecture = Architecture.of_preset("XS", factor=(1, 2, 2), interval=True)
    radius, stride = architecture.receptive_radius, architecture.stride
    header = ModelHeader(
        name="untrained",
        architecture=architecture.to_json(),
        factor=architecture.factor,
        channels=1,
        receptive_radius=(0, radius, radius),
        stride=(1, stride, stride),
        intensity=IntensityRule().model_dump(mode="json"),
        degradation=[{"downsample": "binning"}],
    )
    torch.manual_seed(0)
    save_model_file(
        tmp_path / "model.safetensors", header, {k: v.numpy() for k, v in UNet(architecture).state_dict().items()}
    )
    return tmp_path / "model.safetensors"


def config(model: Path, manifest: Path, **settings: Any) -> CalibrateConfig:
    content = {"manifests": [manifest], "model": model, "device": "cpu", "crop": 4, "by": "image"} | settings
    return CalibrateConfig.model_validate(content)


@pytest.mark.parametrize(("sigma", "expected"), [(0.3, 1), (1.0, 2), (3.0, 6)])
def test_distance_at_which_planes_differ(tmp_path: Path, sigma: float, expected: int) -> None:
    """exp(-d**2 / (4 sigma**2)) falls below a half at d = 1.67 sigma."""
    path = write_manifest(tmp_path, a=stack(48, sigma))
    acquisition = load_manifest(path, tmp_path).acquisitions[0]
    assert images_apart(acquisition, [Place(0, 0, z) for z in range(48)]) == expected


def test_frames_that_all_show_the_same_are_one_image(tmp_path: Path, model: Path) -> None:
    same = np.repeat(stack(1, 0.3), 30, axis=0) + np.random.default_rng(1).integers(0, 9, (30, 64, 64), np.uint8)
    path = write_manifest(tmp_path, a=same)
    with pytest.raises(InputError, match="all of its 30 images show much the same"):
        calibrate(config(model, path, data_root=tmp_path))


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 30), st.lists(st.integers(0, 59), max_size=6))
def test_what_is_chosen_keeps_its_distance(count: int, distance: int, wanted: int, taken: list[int]) -> None:
    chosen = spread(count, distance, wanted, taken)
    assert len(chosen) <= wanted
    assert all(0 <= i < count for i in chosen)
    assert all(b - a >= distance for a, b in itertools.pairwise(chosen))
    assert all(abs(i - other) >= distance for i in chosen for other in taken)
    if not taken:
        assert len(chosen) == min(wanted, -(-count // distance))


def test_every_other_image_is_left_for_the_check(tmp_path: Path, model: Path) -> None:
    path = write_manifest(tmp_path, a=stack(10, 0.3), b=stack(10, 0.3)[:, ::-1] // 2)
    record = calibrate(config(model, path, data_root=tmp_path)).record
    assert (record["unit"], record["n"], record["calibrated"]) == ("image", 10, True)
    assert record["apart"] == {"a": 2, "b": 2}
    assert [entry["z"] for entry in record["images"]] == 2 * list(range(0, 10, 2))
    assert "further images of these acquisitions (a, b)" in record["claim"]
    assert "nothing of any other acquisition" in record["claim"]
    assert "new acquisitions" not in record["claim"]
    assert "at least 2 images from one to the next" in record["claim"]
    before = load_model_file(model).identity
    # The unit of the check is that of the model file, whatever the settings say.
    found = check_coverage(config(model, path, data_root=tmp_path, by="acquisition"))
    assert (found.unit, len(found.units), found.apart) == ("image", 10, {"a": 1, "b": 1})
    assert found.band == coverage_band(10, 10, 0.9)
    after = load_model_file(model)
    assert (after.header.calibration["checked"]["n"], after.identity) == (10, before)


def test_an_acquisition_that_was_not_calibrated_with_is_refused(tmp_path: Path, model: Path) -> None:
    path = write_manifest(tmp_path, a=stack(4, 0.3))
    calibrate(config(model, path, data_root=tmp_path))
    other = write_manifest(tmp_path, "other", c=stack(4, 0.3)[:, :, ::-1])
    with pytest.raises(InputError, match=r"c: .*further images of a alone"):
        check_coverage(config(model, other, data_root=tmp_path))


def test_too_few_images_that_differ_are_uncalibrated(tmp_path: Path, model: Path) -> None:
    path = write_manifest(tmp_path, a=stack(40, 3.0))
    record = calibrate(config(model, path, data_root=tmp_path)).record
    assert (record["n"], record["calibrated"], record["apart"]) == (4, False, {"a": 12})
    assert record["claim"].startswith("uncalibrated: 4 images that differ, and 9 are needed")


def test_the_claim_holds_for_images_drawn_alike() -> None:
    """Of images that are exchangeable, 90 % are covered, and the count lies in its band."""
    random, covered, inside, band = np.random.default_rng(0), [], 0, coverage_band(12, 13, 0.9)
    assert band is not None
    for _ in range(2000):
        factors = random.lognormal(0, 0.35, 25)
        factor, _ = calibrate_factor(list(factors[::2]), 0.9)
        count = int((factors[1::2] <= factor).sum())
        covered.append(count / 12)
        inside += band[0] <= count <= band[1]
    assert np.mean(covered) >= 0.895
    assert inside / 2000 >= 0.94


def test_the_table_of_a_check_fits_80_columns(tmp_path: Path, model: Path) -> None:
    path = write_manifest(tmp_path, membranes_of_mouse_no_1=stack(10, 0.3), b=stack(10, 0.3)[:, ::-1] // 2)
    common = ["calibrate", str(model), "--manifest", str(path), "--set", "device=cpu", "--set", "crop=4"]
    runner, environment = CliRunner(), {"COLUMNS": "80"}
    assert runner.invoke(app, [*common, "--by", "image"], env=environment).exit_code == 0
    shown = runner.invoke(app, [*common, "--check"], env=environment)
    assert shown.exit_code == 0, shown.output
    rows = [line for line in shown.output.splitlines() if "%" in line and ": z " in line]
    assert len(rows) == 10, shown.output
    assert all(row.count("%") == 4 and len(row.rstrip()) <= 80 for row in rows)
    assert "of others nothing is known" in shown.output
