"""``superres models export`` and ``import``: what is passed on to the rooms, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.sharing import bioimageio_export, onnx
from superres.sharing.bioimageio_export import Exported


def run(*arguments: str | Path) -> Result:
    """Run the command line in this process, 100 columns wide."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"")
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path, Path, Any]]:
    """Note what is asked for, and answer at once."""
    noted: list[tuple[str, Path, Path, Any]] = []

    def to_package(model: Path, out: Path, *, authors: list[str], progress: Any) -> Exported:
        noted.append(("bioimageio", model, out, authors))
        return Exported(out, 2_000_000, 2e-7, 3e-7, "bioimageio.core 1.2 (16 tests)")

    def to_onnx(model: Path, out: Path) -> Exported:
        noted.append(("onnx", model, out, None))
        return Exported(out, 1_000_000, 1e-7, None, "onnxruntime 3.4")

    monkeypatch.setattr(bioimageio_export, "export_bioimageio", to_package)
    monkeypatch.setattr(onnx, "export_onnx", to_onnx)
    return noted


def test_export_by_the_name_of_the_output(
    model: Path, tmp_path: Path, calls: list[tuple[str, Path, Path, Any]]
) -> None:
    package, graph = tmp_path / "m.zip", tmp_path / "m.onnx"
    first = run("models", "export", model, package, "--author", "Ada Lovelace", "--author", "Mary Somerville")
    second = run("models", "export", model, graph)
    assert calls == [("bioimageio", model, package, ["Ada Lovelace", "Mary Somerville"]), ("onnx", model, graph, None)]
    for words in (str(package), "2 MB", "bioimageio.core 1.2 (16 tests)", "2e-07", "3e-07", "guard and trust maps"):
        assert words in first.stdout
    assert "onnxruntime 3.4" in second.stdout
    assert "in blocks" not in second.stdout
    assert first.exit_code == second.exit_code == 0


def test_export_as_json(model: Path, tmp_path: Path, calls: list[tuple[str, Path, Path, Any]]) -> None:
    told = json.loads(run("models", "export", model, tmp_path / "m.onnx", "--json").stdout)
    assert told == {
        "path": str(tmp_path / "m.onnx"), "size": 1_000_000, "difference": 1e-7, "block_difference": None,
        "tested": "onnxruntime 3.4",
    }  # fmt: skip


def test_another_kind_is_refused(model: Path, tmp_path: Path) -> None:
    result = run("models", "export", model, tmp_path / "m.h5", "--to", "keras")
    assert result.exit_code == 2
    assert "--to keras: expected bioimageio or onnx" in result.stderr


def test_a_model_without_a_card_is_an_error_and_no_traceback(model: Path, tmp_path: Path) -> None:
    result = run("models", "export", model, tmp_path / "m.zip", "--author", "Ada Lovelace")
    assert result.exit_code == 2
    assert "not a readable .safetensors file" in result.stderr


def test_import_of_what_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_bytes(b"no zip")
    result = run("models", "import", tmp_path / "p.zip", tmp_path / "m.safetensors")
    assert result.exit_code == 2
    assert "not a readable .zip" in result.stderr
    assert not (tmp_path / "m.safetensors").exists()
