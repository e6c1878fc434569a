"""``superres convert``: one file, several, folders; what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from superres.cli import app
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

RUNNER = CliRunner()
VOXELS = np.arange(2 * 3 * 20 * 30, dtype=np.uint16).reshape(1, 2, 3, 20, 30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in put"
    (path / "deeper").mkdir(parents=True)
    for name in ("a.tif", "b.tif", "deeper/a.tif"):
        save_hyperstack(path / name, VOXELS, voxel_size=(0.5, 0.1, 0.1), channel_names=("DAPI", "GFP"))
    return path


def run(*arguments: object) -> Any:
    return RUNNER.invoke(app, ["convert", *map(str, arguments)])


def test_one_file(folder: Path, tmp_path: Path) -> None:
    done = run(folder / "a.tif", tmp_path / "out.ome.zarr")
    assert done.exit_code == 0, done.output
    assert "ome-zarr-0.5" in done.stdout
    assert "0.5, Y 0.1, X 0.1 µm" in done.stdout
    volume = open_volume(tmp_path / "out.ome.zarr")
    np.testing.assert_array_equal(np.asarray(volume.levels[0]), VOXELS)
    assert volume.channel_names == ("DAPI", "GFP")
    again = run(tmp_path / "out.ome.zarr", tmp_path / "back.ome.tif", "--dtype", "float32", "--json")
    (written,) = json.loads(again.stdout)["written"]
    assert (written["format"], written["dtype"], written["clipped"]) == ("ome-tiff", "float32", 0)
    assert open_volume(tmp_path / "back.ome.tif").voxel_size == (0.5, 0.1, 0.1)


def test_a_folder_becomes_a_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.tif").write_bytes((folder / "a.tif").read_bytes()[:3000])
    done = run(folder, tmp_path / "out", "--format", "ome-zarr-0.4", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert len(told["written"]) == 3
    assert [Path(one["input"]).name for one in told["failed"]] == ["broken.tif"]
    for name in ("a", "b", "deeper/a"):
        np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "out" / f"{name}.ome.zarr").levels[0]), VOXELS)
    again = run(folder, tmp_path / "out", "--format", "ome-zarr-0.4", "--json")
    assert all(one["units_done_before"] == one["units"] for one in json.loads(again.stdout)["written"])


def test_results_inside_the_folder_are_no_inputs(folder: Path) -> None:
    for _ in range(2):
        done = run(folder, folder / "converted", "--format", "ome-tiff", "--json")
        assert done.exit_code == 0, done.output
        assert len(json.loads(done.stdout)["written"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.tif"], "give an input and an output"),
        (["a.tif", "b.tif", "out.zarr"], "need a folder"),
        (["a.tif", "out.png"], "cannot tell the format"),
        (["a.tif", "out.zarr", "--format", "zar"], "ome-zarr-0.5"),
        (["a.tif", "out.zarr", "--dtype", "int4"], "uint16"),
        (["missing.tif", "out.zarr"], "missing.tif"),
        (["a.tif", "a.tif"], "never written to"),
    ],
)
def test_wrong_arguments_exit_with_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(folder)
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (folder / "out.zarr").exists()
