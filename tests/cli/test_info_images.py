"""``superres info`` of images, folders and stores, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.volumes import OutputStore, StoreLayout


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "stack.tif"
    path.parent.mkdir()
    image = np.random.default_rng(0).gamma(2, 500, (4, 2, 64, 60)).clip(0, 4095).astype("uint16")
    image[:, 1] //= 4
    tifffile.imwrite(path, image, imagej=True, resolution=(10, 10), metadata={"axes": "ZCYX", "unit": "um"})
    return path


def test_info_tells_intensities_saturation_and_what_to_type(stack: Path) -> None:
    result = run("info", stack)
    assert result.exit_code == 0
    for text in (
        "ZCYX, found in the file (ImageJ metadata)",
        "every voxel",
        "saturated at 4095, the highest value of 12 bits",
        "warning: voxel size unknown along Z: give --set voxel_size=[Z,0.1,0.1] in micrometre",
    ):
        assert text in result.stdout
    assert result.stderr == ""
    assert "unknown along Z" not in run("info", stack, "--set", "voxel_size=[1,0.1,0.1]").stdout


def test_info_json_has_it_all(stack: Path, tmp_path: Path) -> None:
    document = json.loads(run("info", stack, "--json", "--picture", tmp_path / "p.png").stdout)
    first, second = document["intensities"]
    image = tifffile.imread(stack)
    assert first["percentiles"]["50"] == np.percentile(image[:, 0], 50)
    assert list(first["percentiles"]) == ["0", "0.1", "1", "50", "99", "99.9", "100"]
    assert first["saturated_at"] == 4095
    assert first["saturated"] == pytest.approx(np.mean(image[:, 0] == 4095))
    assert second["noise"] > 0
    assert document["exact"] is True
    assert document["disk_bytes"] == stack.stat().st_size
    assert document["unpacked_bytes"] == image.nbytes
    assert any("saturated" in text for text in document["warnings"])
    assert document["picture"] == str(tmp_path / "p.png")
    assert (tmp_path / "p.png").is_file()


def test_info_of_a_folder_is_a_table(stack: Path) -> None:
    tifffile.imwrite(stack.with_name("b.tif"), np.zeros((9, 8), np.uint8))
    result = run("info", stack.parent)
    assert result.exit_code == 0
    for text in ("2 images", "stack.tif", "C2 Z4 Y64 X60", "b.tif", "uint8", "unknown"):
        assert text in result.stdout


def test_what_cannot_be_read_is_named_and_the_exit_code_tells(stack: Path) -> None:
    stack.with_name("bad.tif").write_bytes(b"nothing")
    result = run("info", stack.parent)
    assert result.exit_code == 1
    assert "stack.tif" in result.stdout
    assert "1 of 2 cannot be read" in result.stderr
    assert "bad.tif: " in result.stderr
    machine = run("info", stack.parent, "--json")
    assert machine.exit_code == 1
    document = json.loads(machine.stdout)
    assert [entry["shape"] for entry in document["acquisitions"]] == [[1, 2, 4, 64, 60]]
    assert document["acquisitions"][0]["input"] == str(stack)
    assert document["acquisitions"][0]["name"] == "stack"
    assert document["unreadable"][0]["input"] == str(stack.with_name("bad.tif"))


def test_a_folder_of_one_is_shown_in_full(stack: Path) -> None:
    assert "every voxel" in run("info", stack.parent).stdout
    assert json.loads(run("info", stack.parent, "--json").stdout)["kind"] == "folder"


def test_a_picture_needs_a_picture_s_name(stack: Path) -> None:
    result = run("info", stack, "--picture", "stack.tif")
    assert result.exit_code == 2
    assert "ends with .png" in result.stderr


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "sharp.ome.zarr"
    layout = StoreLayout((1, 1, 2, 40, 40), "uint16", (2, 32, 32), (2, 16, 16), fingerprint="abc")
    store = OutputStore.open(path, layout)
    for unit in store.units():
        store.write(unit, np.full([s.stop - s.start for s in store.region(unit)], 3, np.uint16))
    store.finish()
    return path


def test_verify_says_that_a_store_is_whole(written: Path) -> None:
    result = run("info", written, "--verify")
    assert (result.exit_code, "whole" in result.stdout) == (0, True)
    assert json.loads(run("info", written, "--verify", "--json").stdout)["whole"] is True


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_verify_names_what_is_damaged(written: Path, damage: str) -> None:
    shard = written / "0" / "c" / "0" / "0" / "0" / "1" / "0"
    content = bytearray(shard.read_bytes())
    if damage == "missing":
        shard.unlink()
    else:
        content[5] ^= 1
        shard.write_bytes(content[:-3] if damage == "cut" else content)
    result = run("info", written, "--verify")
    assert result.exit_code == 2
    assert str(shard) in result.stderr
    assert "1 problem; run the command" in result.stderr
    assert json.loads(run("info", written, "--verify", "--json").stdout)["problems"]


def test_several_paths_make_one_table(stack: Path, tmp_path: Path) -> None:
    """What a shell makes of ``*.tif``: readable ones in a table, the others with their reasons."""
    (tmp_path / "empty.tif").touch()
    result = run("info", stack, tmp_path / "empty.tif")
    assert result.exit_code == 1
    assert stack.name in result.stdout
    assert "empty.tif: an empty file" in result.stderr
    document = json.loads(run("info", stack, tmp_path / "empty.tif", "--json").stdout)
    assert [one["input"] for one in document["acquisitions"]] == [str(stack)]
    refused = run("info", stack, tmp_path / "empty.tif", "--picture", tmp_path / "p.png")
    assert refused.exit_code == 2
    assert "a picture shows one image" in refused.stderr
    assert not (tmp_path / "p.png").exists()
