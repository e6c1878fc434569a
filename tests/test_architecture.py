"""The house rules that code alone can hold: imports go down, light things stay light, public names exist."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import superres

PACKAGE = Path(superres.__file__).parent
PROJECT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "napari", "qtpy", "PySide6", "dask", "zarr", "tifffile", "skimage", "scipy"}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "registry", "misc"}


def modules_loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the top-level names of all modules that it loaded."""
    report = "import sys; print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_import_contract_holds() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=PROJECT, capture_output=True, text=True, timeout=120,
        env=os.environ | {"COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_superres_is_light() -> None:
    loaded = modules_loaded_by("import superres")
    assert "superres" in loaded
    assert not loaded & (HEAVY | {"numpy", "pydantic", "typer", "rich"})


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["info", "--help"], ["train", "--help"], ["upscale", "--help"], ["models", "--help"]],
)
def test_help_is_light(arguments: list[str]) -> None:
    code = f"from superres.cli import app\napp({arguments!r}, standalone_mode=False)"  # else it would end Python
    loaded = modules_loaded_by(code)
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"numpy"})


def test_config_and_model_header_need_no_torch() -> None:
    assert not modules_loaded_by("import superres.config, superres.modelfile") & HEAVY


@pytest.mark.parametrize("name", superres.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(superres, name) is not None


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'upscaled'"):
        _ = superres.upscaled


@pytest.mark.parametrize("room", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_rooms_hand_on_what_they_promise(room: str) -> None:
    module = importlib.import_module(f"superres.{room}")
    assert module.__doc__
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_the_house_rules(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.stem not in FORBIDDEN_NAMES, "name a file after a noun of the field"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, "a file that passes 400 lines is two files"
    assert tree.body, "an empty module"
    assert ast.get_docstring(tree), "a module begins by saying what it does"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            is_print = node.func.id == "print"
            assert not is_print, f"line {node.lineno}: only the CLI prints, through rich"


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("torch", {"degrade", "nets", "datasets", "training", "inference", "evaluation", "sharing", "plugin"}),
        ("napari", {"plugin"}),
        ("qtpy", {"plugin"}),
        ("tifffile", {"volumes"}),
        ("zarr", {"volumes"}),
        ("tensorstore", {"volumes"}),
        ("typer", {"cli"}),
    ],
)
def test_libraries_stay_in_their_rooms(library: str, rooms: set[str]) -> None:
    strangers = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if library in _imported(path) and path.relative_to(PACKAGE).parts[0] not in rooms
    }
    assert not strangers, f"{library} belongs in {sorted(rooms)} only"


@cache
def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
