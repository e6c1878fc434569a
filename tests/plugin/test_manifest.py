"""The manifest is valid, all that it names is there, and it costs the viewer's start next to nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

HEAVY = {
    "torch",
    "napari",
    "qtpy",
    "PySide6",
    "dask",
    "zarr",
    "tifffile",
    "skimage",
    "scipy",
    "pydantic",
    "tensorstore",
}


def test_all_that_the_manifest_names_is_there(manifest: Any) -> None:
    manifest.validate_imports()
    assert manifest.contributions.readers


def test_what_the_manifest_names_is_light(manifest: Any) -> None:
    """What napari imports before it opens or saves anything; the widgets load Qt, which is loaded by then."""
    names = {command.python_name.partition(":")[0] for command in manifest.contributions.commands}
    modules = sorted(name for name in names if name.rpartition(".")[2] in ("reader", "writer", "samples"))
    assert len(modules) == 3
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not HEAVY & set(done.stdout.split())


def test_every_kind_of_file_that_is_searched_for_is_offered(manifest: Any) -> None:
    from superres.volumes.collection import IMAGE_SUFFIXES

    (reader,) = manifest.contributions.readers
    assert {f"*{suffix}" for suffix in IMAGE_SUFFIXES} <= set(reader.filename_patterns)


@pytest.mark.napari
def test_viewer_opens_with_the_plugin(viewer: Any) -> None:
    assert viewer.window._qt_window.isVisible()
