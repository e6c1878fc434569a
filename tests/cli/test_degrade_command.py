"""``superres degrade fit``: what it writes, prints and refuses; and that real pairs come closer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from superres.cli import app
from superres.config import TrainConfig, load_config
from superres.degrade.chain import middle
from superres.degrade.fitting import fit_degradation
from superres.degrade.recordings import FitConfig
from superres.volumes.hyperstack import save_hyperstack

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("degrade fit")
    random = np.random.default_rng(0)
    values = gaussian_filter(random.normal(size=(192, 192)), 4)
    light = 200 * np.clip(values / values.std() + 0.5, 0, None)
    blurred = gaussian_filter(light, 1.5).reshape(96, 2, 96, 2).mean(axis=(1, 3))
    low = random.poisson(blurred) + 100 + 2 * random.normal(size=blurred.shape)
    for name, image in (("sharp", light), ("low", low), ("empty", np.ones((96, 96)))):
        save_hyperstack(path / f"{name}.tif", image[None, None, None].astype(np.float32), voxel_size=(1, 0.1, 0.1))
    return path


def run(*arguments: object) -> Any:
    return RUNNER.invoke(app, ["degrade", "fit", *map(str, arguments)])


def test_a_fit_is_written_for_recipes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "fit.yaml"
    words = ("--sharp", folder / "sharp.tif", "--recorded", folder / "low.tif", "--paired", "--out", out)
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["factor"] == [1, 2, 2]
    assert told["gaps"]["fitted"]["spectrum"] < told["gaps"]["default"]["spectrum"] / 3
    assert told["offset"][0] == pytest.approx(100, abs=2)

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("manifests: mine.yaml\nfactor: [1, 2, 2]\nsteps: 1\n" + out.read_text(encoding="utf-8"))
    config = load_config(TrainConfig, recipe)
    assert [next(iter(step.model_dump(exclude_none=True))) for step in config.degrade] == [
        "blur", "downsample", "poisson", "read_noise",
    ]  # fmt: skip
    photons = middle(config.degrade)[2].poisson
    assert photons is not None
    assert photons.photons[0] == pytest.approx(told["microscope"]["photons"], rel=1e-3)

    text = out.read_text(encoding="utf-8")
    assert f"{told['gaps']['default']['spectrum']:.3f}" in text
    html = out.with_suffix(".html").read_text(encoding="utf-8")
    assert html.count("<svg") == html.count("data:image/png") == 4
    assert "http://" not in html.replace("http://www.w3.org", "")

    again = run(*words)
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    shown = run(*words, "--set", "overwrite=true")
    assert shown.exit_code == 0
    assert "grey levels per photon" in shown.stdout
    assert "radial spectrum" in shown.stdout


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--factor": "1,4"}, "whole numbers"),
        ({"--factor": "1,3,3"}, "must be 1x64x64"),
        ({"--factor": "2,2,2"}, "along Z must be 1"),
        ({"--sharp": "missing.tif"}, "missing.tif"),
        ({"--recorded": "empty.tif"}, "constant"),
        ({"--set": "widow=64"}, "did you mean window"),
    ],
)
def test_wrong_arguments_exit_with_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(folder)
    words = {"--sharp": "sharp.tif", "--recorded": "low.tif", "--out": "x.yaml"} | changed
    done = run("--paired", *(part for item in words.items() for part in item))
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (folder / "x.yaml").exists()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("sharp", "recorded", "channel"),
    [
        ("pairs-snr-gigadb/high/nucleus.png", "pairs-snr-gigadb/low/nucleus.png", 0),
        (*["pair-3d-widefield-confocal/dna_confocal_widefield.tif"] * 2, 1),
    ],
)
def test_real_pairs_come_three_times_closer(data_root: Path, sharp: str, recorded: str, channel: int) -> None:
    config = FitConfig(paired=True, recorded_channel=channel)
    found = fit_degradation([str(data_root / sharp)], [str(data_root / recorded)], config)
    assert found.fitted.gaps.spectrum < found.default.gaps.spectrum / 3
    assert found.fitted.gaps.quantiles < found.default.gaps.quantiles
