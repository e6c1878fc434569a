"""``superres models``: what is printed, written and returned."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.sharing import names
from superres.volumes.hyperstack import save_hyperstack


def run(*arguments: str | Path) -> Result:
    """Run the command line in this process, 100 columns wide."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in the place of the models in the package."""
    (tmp_path / "box").mkdir()
    monkeypatch.setattr(names, "BOX", tmp_path / "box")
    return tmp_path / "box"


@pytest.fixture
def model(box: Path) -> Path:
    """Put a model that no net is made of into the box."""
    origin = {"id": "a", "sha256": "0" * 64, "licence": "CC0", "credit": "A. Person"}
    header = ModelHeader(
        name="em-x4", architecture={}, factor=(1, 4, 4), channels=1, receptive_radius=(0, 8, 8), stride=(1, 4, 4),
        intensity={}, degradation=[{"downsample": "binning"}], training={"acquisitions": [origin], "steps": 5},
    )  # fmt: skip
    save_model_file(box / "em-x4.safetensors", header, {"weight": np.zeros((2, 2), np.float32)})
    return box / "em-x4.safetensors"


def test_an_empty_box_says_so(box: Path) -> None:
    result = run("models", "list")
    assert result.exit_code == 0
    assert "This package holds no models; 'superres train" in result.stderr
    assert json.loads(run("models", "list", "--json").stdout)["models"] == []


def test_list_shows_a_line_for_each(model: Path) -> None:
    run("models", "describe", model, "--for", "tissue", "--licence", "CC0-1.0")
    (line,) = (line for line in run("models", "list").stdout.splitlines() if line.startswith("em-x4"))
    for words in ("tissue", "1 x 4 x 4", "CC0-1.0", "kB"):
        assert words in line
    (told,) = json.loads(run("models", "list", "--json").stdout)["models"]
    assert (told["name"], told["purpose"], told["path"]) == ("em-x4", "tissue", str(model))


def test_info_shows_the_card_and_writes_a_page(model: Path, tmp_path: Path) -> None:
    shown = run("models", "info", "em-x4", "--page", tmp_path / "em.html")
    assert shown.exit_code == 0
    for words in ("Nobody said what it is for.", "makes images 4 times finer", "A. Person", "it has no card: superres"):
        assert words in " ".join(shown.stdout.split())
    assert "<title>Model card of em-x4</title>" in (tmp_path / "em.html").read_text()
    told = json.loads(run("models", "info", model, "--json").stdout)
    assert told["identity"] == load_model_file(model).identity
    wrong = run("models", "info", "em-x4", "--page", tmp_path / "em.txt")
    assert wrong.exit_code == 2
    assert "expected a name that ends with .html or .md" in wrong.stderr
    assert (
        "em-x3: no such model file, run folder or model in the package; did you mean em-x4?"
        in run("models", "info", "em-x3").stderr
    )


def test_describe_says_what_the_card_lacks(model: Path) -> None:
    made = run("models", "describe", model, "--for", "tissue", "--not-for", "cells", "--machine", "2 cores")
    assert made.exit_code == 0
    assert "has its card (header only; the weights are as they were)" in made.stdout
    assert "lacks: under which licence it may be used (--licence)" in made.stdout
    assert "lacks: what it is for" not in made.stdout
    assert "Not for cells" in run("models", "info", model).stdout
    told = json.loads(run("models", "describe", model, "--licence", "CC0-1.0", "--json").stdout)
    assert told["card"]["licence"] == "CC0-1.0"
    for wrong, words in (("--modality=x", "expected electron or light"), ("--picture=a.png", "say what it shows")):
        result = run("models", "describe", model, wrong)
        assert result.exit_code == 2
        assert words in result.stderr


def test_verify_returns_1_where_something_is_wrong(model: Path) -> None:
    run("models", "describe", model, "--for", "tissue")
    good = run("models", "verify", "em-x4")
    assert good.exit_code == 0
    assert "weights and pictures are those of the card" in good.stdout
    file = load_model_file(model)
    save_model_file(model, file.header, {"weight": np.ones((2, 2), np.float32)})
    bad = run("models", "verify", "em-x4")
    assert bad.exit_code == 1
    assert "wrong: the weights are not those of the card" in bad.stderr
    assert json.loads(run("models", "verify", "em-x4", "--json").stdout)["good"] is False


def test_what_came_from_elsewhere_is_not_written_into(model: Path, tmp_path: Path) -> None:
    kept = model.read_bytes()
    for command in (["models", "describe", "em-x4", "--for", "x"], ["calibrate", "em-x4", "--manifest", "m.yaml"]):
        result = run(*command)
        assert result.exit_code == 2
        assert "em-x4: is kept as it came" in result.stderr
        assert "superres models describe em-x4 --out mine.safetensors" in result.stderr
    assert run("models", "describe", "em-x4", "--for", "x", "--out", tmp_path / "mine.safetensors").exit_code == 0
    assert model.read_bytes() == kept


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Write a plane without empty area, as an electron microscope records it."""
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(96, 96)), 0.8)
    grey = (1000 + 5000 * (texture - texture.min())).astype(np.uint16)
    save_hyperstack(tmp_path / "stack 1.tif", grey[None, None, None], voxel_size=(None, 0.04, 0.04))
    return tmp_path / "stack 1.tif"


def test_without_a_model_one_is_suggested_and_nothing_is_done(model: Path, image: Path, tmp_path: Path) -> None:
    run("models", "describe", model, "--modality", "electron")
    for source in (image, image.parent):
        result = run("upscale", source, "--out", tmp_path / "out.ome.zarr", "--set", "device=cpu")
        assert result.exit_code == 2
        told = result.stderr
        assert "no model was given" in told
        assert "of it is darker than 15% of its range, as in electron micrographs" in told
        command = shlex.split(told.splitlines()[-1])
        assert command[:2] == ["superres", "upscale"]
        assert command[2:] == [
            str(source), "--model", "em-x4", "--out", str(tmp_path / "out.ome.zarr"), "--set", "device=cpu"
        ]  # fmt: skip
        assert not (tmp_path / "out.ome.zarr").exists()
    assert "--out 'stack 1.ome.zarr'" in run("upscale", image).stderr


def test_without_a_model_in_the_package_one_is_asked_for(box: Path, image: Path) -> None:
    result = run("upscale", image, "--out", "o.ome.zarr")
    assert result.exit_code == 2
    assert "give --model: a file or run folder (this package holds no models of its own)" in result.stderr
    result = run("upscale", image, "--model", "em-x4")
    assert result.exit_code == 2
    assert "give --out" in result.stderr
    result = run("upscale", image, "--model", "em-x4", "--out", "o.ome.zarr")
    assert result.exit_code == 2
    assert "em-x4: no such model file, run folder or model in the package" in result.stderr


def test_info_takes_a_name_too(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(model) in run("info", "em-x4").stdout.replace("\n", "")
    Path("em-x4").mkdir()  # what is called so here is meant
    assert run("info", "em-x4").exit_code == 2
