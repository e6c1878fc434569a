"""The pictures of the documentation can be drawn, and show something."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

# One of the layers alone, and the widgets.
USUAL = ("channels", "upscale", "compare", "train")
SCRIPT = Path(__file__).with_name("screenshots.py")


def _script() -> ModuleType:
    found = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    # Its dataclass looks its module up.
    sys.modules["screenshots"] = module
    found.loader.exec_module(module)
    return module


@pytest.mark.napari
def test_every_scene_gives_a_picture(viewer: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    script = _script()
    out = Path(os.environ.get("SUPERRES_SCREENSHOTS", tmp_path / "pictures"))
    material = tmp_path / "material"
    material.mkdir()
    for name in script.SCENES if request.config.getoption("--long") else USUAL:
        picture = iio.imread(script.shoot(viewer, name, script.Material(material), out), mode="RGB")
        assert picture.shape[0] > 500
        assert picture.shape[1] > 900
        canvas = picture[100:-100, 500:-100, :3]
        assert canvas.std() > 10, f"{name}: nothing is shown"
        assert len(np.unique(canvas.reshape(-1, 3), axis=0)) > 30, f"{name}: too few colours for an image"
        assert not viewer.layers
