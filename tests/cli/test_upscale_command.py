"""``superres upscale`` over folders: what is printed, written and returned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.config import IntensityRule
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.volumes import open_volume


def run(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    result = CliRunner().invoke(app, ["upscale", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a net that interpolates."""
    architecture = Architecture.of_preset("XS", factor=(1, 2, 2))
    reach, stride = architecture.receptive_radius, architecture.stride
    header = ModelHeader(
        name="untrained", architecture=architecture.to_json(), factor=(1, 2, 2), channels=1,
        receptive_radius=(0, reach, reach), stride=(1, stride, stride),
        intensity=IntensityRule().model_dump(mode="json"),
    )  # fmt: skip
    weights = {name: value.numpy() for name, value in UNet(architecture).state_dict().items()}
    save_model_file(tmp_path / "model.safetensors", header, weights)
    return tmp_path / "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two images, one of them deeper, and one that is cut short."""
    images = tmp_path / "in"
    (images / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.tif", "sub/b.tif")):
        voxels = np.random.default_rng(number).integers(0, 999, (20, 24)).astype(np.uint16)
        tifffile.imwrite(images / name, voxels)
    (images / "torn.tif").write_bytes((images / "a.tif").read_bytes()[:300])
    return images


def test_a_batch_is_told_in_text_json_and_a_file(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(folder, "--model", model, "--out", out)
    assert first.exit_code == 1
    assert [line.split()[0] for line in first.stdout.splitlines() if "->" in line] == ["done", "done"]
    assert str(out / "sub" / "b.ome.zarr") in first.stdout
    assert "2 done, 1 failed" in first.stderr
    assert "torn.tif: " in first.stderr
    second = run(folder, "--model", model, "--out", out, "--json")
    told = json.loads(second.stdout)
    assert second.exit_code == 1
    assert told["counts"] == {"skipped": 2, "failed": 1}
    assert told["written"] == []
    assert [Path(one["input"]).name for one in told["failed"]] == ["torn.tif"]
    assert json.loads((out / "upscale.json").read_text())["files"] == [
        {**row, "seconds": pytest.approx(row["seconds"], abs=1e-3)} for row in told["files"]
    ]
    (folder / "torn.tif").unlink()
    third = run(folder, "--model", model, "--out", out)
    assert third.exit_code == 0
    assert [line.split()[0] for line in third.stdout.splitlines() if "->" in line] == ["skipped", "skipped"]


def test_two_folders_are_laid_out_apart(folder: Path, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "second"
    other.mkdir()
    (folder / "torn.tif").rename(other / "notes.txt")
    (other / "a.tif").write_bytes((folder / "sub" / "b.tif").read_bytes())
    plan = json.loads(run(folder, other, "--model", model, "--out", tmp_path / "out", "--dry-run", "--json").stdout)
    stores = [str(Path(one["out"]).relative_to(tmp_path / "out")) for one in plan["planned"]]
    assert stores == ["in/a.ome.zarr", "in/sub/b.ome.zarr", "second/a.ome.zarr"]


def test_a_dry_run_writes_nothing(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(folder, "--model", model, "--out", out, "--dry-run")
    assert result.exit_code == 1  # one of them cannot be upscaled
    assert not out.exists()
    for words in ("T 1 C 1 Z 1 Y 40 X 48, uint16", "1 of Z 1 Y 20 X 24", "1 shard", "2 to do", "are free", "estimated"):
        assert words in result.stdout
    assert "the others can be upscaled" in result.stderr
    plan = json.loads(run(folder, "--model", model, "--out", out, "--dry-run", "--json").stdout)
    assert [one["output_shape"] for one in plan["planned"]] == [[1, 1, 1, 40, 48]] * 2
    assert plan["total"]["tiles"] == 2
    assert plan["total"]["disk_bytes"] == sum(one["space"]["packed"] for one in plan["planned"])
    assert plan["total"]["seconds"] > 0
    single = run(folder / "a.tif", "--model", model, "--out", tmp_path / "a.ome.zarr", "--dry-run")
    assert single.exit_code == 0
    assert not (tmp_path / "a.ome.zarr").exists()


@pytest.mark.parametrize("single", [True, False])
def test_what_the_disk_cannot_hold_is_refused(
    single: bool, folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superres.inference import estimate

    monkeypatch.setattr(estimate, "space_free", lambda path: 1000)
    out = tmp_path / ("o.ome.zarr" if single else "out")
    command = [folder / "a.tif" if single else folder, "--model", model, "--out", out]
    result = run(*command)
    assert result.exit_code == 2
    assert "are needed" in result.stderr and "1 kB are free" in result.stderr
    assert not out.exists()
    assert run(*command, "--set", "check_disk=false").exit_code == (0 if single else 1)
    assert out.exists()


def test_a_watch_ends_when_nothing_comes(folder: Path, model: Path, tmp_path: Path) -> None:
    quick = ("watch.interval=0.05", "watch.settle=0.1", "watch.polls=2", "watch.idle=0.4", "watch.overdue=0.2")
    options = [part for text in quick for part in ("--set", text)]
    result = run(folder, "--model", model, "--out", tmp_path / "out", "--watch", *options)
    assert result.exit_code == 1
    assert "a.tif: done in" in result.stderr
    assert "torn.tif: not complete after" in result.stderr
    assert "2 done, 1 waiting" in result.stderr
    (folder / "torn.tif").unlink()
    again = run(folder, "--model", model, "--out", tmp_path / "out", "--watch", *options)
    assert again.exit_code == 0
    assert "a.tif: finished before" in again.stderr


def test_a_part_is_upscaled(folder: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.ome.zarr"
    result = run(folder / "a.tif", "--model", model, "--out", out, "--crop", "y=4:9, x=20:24")
    assert result.exit_code == 0, result.stderr
    assert open_volume(out).shape == (1, 1, 1, 10, 8)


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        (["in"], ["--watch", "--dry-run"], "give one of them"),
        (["in/a.tif"], ["--watch"], "follows folders"),
        (["none"], ["--watch"], "no such folder"),
        (["in"], ["--watch", "--out", "in"], "also searched for inputs"),
        (["in"], ["--out", "in"], "also searched for inputs"),
        (["in/a.tif"], ["--out", "out.zarr", "--crop", "y=3"], "--crop y=3: 'y=3' is not understood"),
        (["in/a.tif"], ["--out", "out.zarr", "--crop", "y=0:9,c=0:1"], "'c=0:1' is not understood"),
        (["in/a.tif"], ["--out", "out.zarr", "--crop", "y=0:9,y=2:9"], "'y=2:9' is not understood"),
        (["in/a.tif"], ["--out", "out.zarr", "--crop", "x=20:30"], "x 20 to 30 asked for, it has 24 along X"),
        (["in"], ["--watch", "--set", "watch.marker=a/b"], "the name of a file"),
        (["in"], ["--watch", "--set", "watch.polls=1"], "greater than or equal to 2"),
    ],
)
def test_what_makes_no_sense_is_refused(
    inputs: list[str], options: list[str], says: str, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    result = run(*inputs, "--model", model, *([] if "--out" in options else ["--out", "out"]), *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (folder.parent / "out").exists()


def test_ctrl_c_ends_a_watch_and_says_how_to_go_on(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superres.inference.watching import Watch

    look = Watch._tell_of_waiting

    def interrupt(self: Watch, arrivals: Any) -> None:
        look(self, arrivals)
        if len(self.batch.rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "_tell_of_waiting", interrupt)
    quick = ["--set", "watch.interval=0.05", "--set", "watch.settle=0.1"]
    result = run(folder, "--model", model, "--out", tmp_path / "out", "--watch", *quick)
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr
    assert "2 done, 1 waiting" in result.stderr
    rows = json.loads((tmp_path / "out" / "upscale.json").read_text())["files"]
    assert {Path(row["file"]).name: row["state"] for row in rows} == {
        "a.tif": "done", "b.tif": "done", "torn.tif": "waiting",
    }  # fmt: skip
