"""``superres data`` as a user meets it: what is printed where, exit codes, terms before anything is fetched."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.datasets import fetch as fetching
from superres.datasets.download import Wanted


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUPERRES_DATA", raising=False)


def image(folder: Path, name: str, seed: int, shape: tuple[int, ...] = (40, 48)) -> dict[str, Any]:
    values = np.random.default_rng(seed).integers(0, 1000, shape, np.uint16)
    tifffile.imwrite(folder / name, values, photometric="minisblack")
    content = (folder / name).read_bytes()
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "cells",
        "description": "Cells of two dishes. In colour.",
        "licence": "CC BY 4.0",
        "credit": "A. Biologist",
        "source": "our microscope",
        "unknown": ["the objective"],
        "datasheet": {"why": "to learn", "biases": "bright cells"},
        "acquisitions": [
            {"id": "dish_1", "split": "train", "high": [image(tmp_path, "a.tif", 1)]},
            {
                "id": "dish_2",
                "split": "val",
                "factor": [1, 2, 2],
                "high": [image(tmp_path, "b.tif", 2)],
                "low": [image(tmp_path, "b_low.tif", 3, (20, 24))],
            },
        ],
    }


def write(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "cells.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_good_set_is_good(tmp_path: Path, values: dict[str, Any]) -> None:
    result = run("data", "check", write(tmp_path, values))
    assert result.exit_code == 0, result.output
    for text in ("dish_1", "train", "a.tif", "1x1x1x40x48", "uint16", "CC BY 4.0", "A. Biologist", "the objective"):
        assert text in result.stdout
    assert "All 3 files are there, unchanged and readable; no image in two splits." in result.stdout


def test_json_is_one_document(tmp_path: Path, values: dict[str, Any]) -> None:
    result = run("data", "check", write(tmp_path, values), "--json")
    content = json.loads(result.stdout)
    assert content["ok"] is True
    assert content["root"] == str(tmp_path)
    assert [item["role"] for item in content["files"]] == ["high", "high", "low"]
    assert content["files"][2]["shape"] == [1, 1, 1, 20, 24]


SPOILT = [
    (lambda folder, v: (folder / "a.tif").unlink(), r"missing"),
    (lambda folder, v: (folder / "a.tif").write_bytes(b"not an image"), r"SHA-256 is .* expected"),
    (lambda folder, v: (folder / "a.tif").write_bytes(b"not an image"), r"does not open"),
    (lambda folder, v: v["acquisitions"][0]["high"][0].update(bytes=5), r"has \d+ bytes, expected 5"),
    (
        lambda folder, v: v["acquisitions"][0]["high"][0].update(sha256=None),
        r"no checksum; .*write 'sha256: [0-9a-f]{64}'",
    ),
    (lambda folder, v: v["acquisitions"][1].update(factor=[1, 4, 4]), r"ZYX shape is \(1, 40, 48\), .*\(1, 80, 96\)"),
    (lambda folder, v: v["acquisitions"][0].update(axes="ZYX"), r"does not open"),
    (lambda folder, v: v["acquisitions"][0].update(high=[image(folder, "copy.tif", 2)]), r"two splits"),
    (lambda folder, v: v["acquisitions"][1].update(id="dish_1"), r"more than one acquisition is called dish_1"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT, ids=[message for _, message in SPOILT])
def test_what_is_wrong_is_told(tmp_path: Path, values: dict[str, Any], spoil: Any, message: str) -> None:
    spoil(tmp_path, values)
    path = write(tmp_path, values)
    result = run("data", "check", path)
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.stdout.split())), result.stdout
    content = json.loads(run("data", "check", path, "--json").stdout)
    assert content["ok"] is False


def test_a_voxel_size_that_the_file_denies_is_told(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "c.tif"
    tifffile.imwrite(file, np.zeros((5, 5), np.uint8), imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    entry = {"file": "c.tif", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    values["acquisitions"] = [{"id": "c", "split": "test", "voxel_size": [None, 0.5, 0.25], "high": [entry]}]
    result = run("data", "check", write(tmp_path, values))
    assert "its X voxel size is 0.5 µm, the manifest says 0.25" in result.stdout
    assert "its Y" not in result.stdout


def test_root_option(tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "m").mkdir()
    path = write(tmp_path / "m", values)
    assert run("data", "check", path).exit_code == 2
    assert run("data", "check", path, "--root", tmp_path).exit_code == 0


def test_a_wrong_manifest_is_an_error(tmp_path: Path, values: dict[str, Any]) -> None:
    for command in ("check", "fetch", "card"):
        result = run("data", command, write(tmp_path, values | {"licens": "MIT"}))
        assert result.exit_code == 2
        assert "licens: unknown key; did you mean licence?" in result.stderr
        assert run("data", command, tmp_path / "none.yaml").exit_code == 2


# --- fetch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the download by one that notes the address and writes it as the content; some fail."""
    asked: list[str] = []

    def download(wanted: Wanted, *, progress: Any) -> str:
        from superres.errors import InputError

        asked.append(wanted.url)
        if "gone" in wanted.url:
            raise InputError(f"{wanted.url}: the server answers 404 Not Found")
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        wanted.target.write_text(wanted.url)
        return hashlib.sha256(wanted.url.encode()).hexdigest()

    monkeypatch.setattr(fetching, "download", download)
    return asked


def listed(values: dict[str, Any], *addresses: str | None) -> dict[str, Any]:
    items = [
        {"id": f"i{n}", "split": "test", "high": [{"file": f"f{n}.tif", "sha256": None, "url": address}]}
        for n, address in enumerate(addresses)
    ]
    return values | {"acquisitions": items}


def test_terms_are_shown_and_checksums_given(tmp_path: Path, values: dict[str, Any], server: list[str]) -> None:
    path = write(tmp_path, listed(values, "https://example.org/a"))
    result = run("data", "fetch", path, "--to", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for text in ("CC BY 4.0", "A. Biologist", "1 download, size not known"):
        assert text in result.stderr
    digest = hashlib.sha256(b"https://example.org/a").hexdigest()
    assert f"f0.tif\n    sha256: {digest}" in result.stdout
    assert f"1 fetched; in {tmp_path / 'out'}" in result.stdout
    assert server == ["https://example.org/a"]


def test_dry_run_fetches_nothing(tmp_path: Path, values: dict[str, Any], server: list[str]) -> None:
    path = write(tmp_path, listed(values, "https://example.org/a", None))
    result = run("data", "fetch", path, "--to", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert "f0.tif: https://example.org/a" in result.stdout
    assert "f1.tif: no address, by hand" in result.stdout
    assert server == []
    assert not (tmp_path / "out").exists()
    content = json.loads(run("data", "fetch", path, "--to", tmp_path / "out", "--dry-run", "--json").stdout)
    assert content["missing"][1] == {"file": "f1.tif", "url": None, "bytes": None}


def test_some_that_fail_are_exit_code_1(tmp_path: Path, values: dict[str, Any], server: list[str]) -> None:
    path = write(tmp_path, listed(values, "https://example.org/a", "https://example.org/gone", None))
    result = run("data", "fetch", path, "--to", tmp_path / "out")
    assert result.exit_code == 1
    assert "the server answers 404" in result.stdout
    assert "fetch it by hand (source: our microscope)" in result.stdout
    assert "1 fetched, 2 not to be had" in result.stdout
    assert run("data", "fetch", write(tmp_path, listed(values, None)), "--to", tmp_path / "new").exit_code == 2


def test_fetch_json(tmp_path: Path, values: dict[str, Any], server: list[str]) -> None:
    result = run("data", "fetch", write(tmp_path, listed(values, "https://example.org/a")), "--json")
    content = json.loads(result.stdout)
    assert content["ok"] is True
    assert content["files"][0]["state"] == "fetched"


def test_a_set_known_by_its_page_is_by_hand(tmp_path: Path, values: dict[str, Any]) -> None:
    path = write(tmp_path, values | {"acquisitions": [], "url": "https://example.org/page"})
    result = run("data", "fetch", path)
    assert result.exit_code == 2
    assert "lists no images yet; fetch them by hand (see https://example.org/page)" in result.stderr


# --- card ------------------------------------------------------------------------------------------------------------


def test_card_is_printed_and_written(tmp_path: Path, values: dict[str, Any]) -> None:
    path = write(tmp_path, values)
    result = run("data", "card", path)
    assert result.exit_code == 0
    for text in (
        "# cells",
        "**Licence:** CC BY 4.0",
        "## Known biases\n\nbright cells",
        "the objective",
        "| dish_2 | val",
    ):
        assert text in result.stdout
    run("data", "card", path, "--out", tmp_path / "sub" / "card.md", "--croissant", tmp_path / "cells.json")
    assert (tmp_path / "sub" / "card.md").read_text() == result.stdout
    assert json.loads((tmp_path / "cells.json").read_text())["name"] == "cells"


def test_a_folder_gives_a_table(tmp_path: Path, values: dict[str, Any]) -> None:
    write(tmp_path, values)
    result = run("data", "card", tmp_path)
    assert "| [cells](cells.yaml) | Cells of two dishes | 1 / 1 / 0 | 3 files, " in result.stdout
    (tmp_path / "empty").mkdir()
    assert "holds no manifest" in run("data", "card", tmp_path / "empty").stderr


@pytest.mark.parametrize("command", ["check", "fetch", "card"])
def test_help_shows_an_example(command: str) -> None:
    assert f"superres data {command}" in run("data", command, "--help").stdout
