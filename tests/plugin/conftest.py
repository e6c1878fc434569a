"""A real napari viewer for the tests of the plugin, with the manifest of this very package."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import superres.plugin
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.volumes.hyperstack import save_hyperstack

if TYPE_CHECKING:
    import napari
    from pytestqt.qtbot import QtBot

MakeModel = Callable[..., Path]

if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # enough where no viewer is opened

MANIFEST = Path(superres.plugin.__file__).with_name("napari.yaml")
HERE = Path(__file__).parent
# What napari and the libraries below it find old-fashioned about themselves; ours stay errors.
NOT_OURS = (
    "ignore:`json_encoders` is deprecated:DeprecationWarning:pydantic",
    "ignore::DeprecationWarning:npe2",
    "ignore::DeprecationWarning:napari",
    "ignore::FutureWarning:napari",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for warning in NOT_OURS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture
def manifest() -> Any:
    """Return the plugin's manifest, known to npe2 as it is where superres is installed."""
    from npe2 import PluginManager, PluginManifest

    manager = PluginManager.instance()
    manager.discover()
    if "superres" not in manager:
        manager.register(PluginManifest.from_file(MANIFEST))
    return manager.get_manifest("superres")


@pytest.fixture
def viewer(manifest: Any, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[napari.Viewer]:
    """Return a napari viewer that is shown, 1000 x 700 pixels, and closed after the test."""
    import napari
    from napari._qt.threads.status_checker import StatusChecker

    # It looks at the viewer from a thread of its own, also while that is being closed.
    monkeypatch.setattr(StatusChecker, "start", lambda self: None)
    shown = napari.Viewer(show=False)
    window = shown.window._qt_window
    window.resize(1000, 700)
    with qtbot.waitExposed(window, timeout=30_000):
        shown.show()
    yield shown
    shown.close()
    gc.collect()


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model file with random weights."""

    def make(factor: tuple[int, int, int] = (1, 2, 2), *, preset: str = "XS", **header: object) -> Path:
        torch.manual_seed(0)
        architecture = Architecture.of_preset(preset, factor=factor)
        net = UNet(architecture)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.04)
        radius, stride = architecture.receptive_radius, architecture.stride
        made = ModelHeader(
            name="random",
            architecture=architecture.to_json(),
            factor=factor,
            channels=1,
            receptive_radius=(0, radius, radius),
            stride=(1, stride, stride),
            intensity={"percentiles": [0.5, 99.9], "average": 4},
            **header,  # type: ignore[arg-type]
        )
        path = tmp_path / f"random_{preset}_{'_'.join(map(str, factor))}.safetensors"
        save_model_file(path, made, {name: value.numpy() for name, value in net.state_dict().items()})
        return path

    return make


@pytest.fixture
def make_stack(tmp_path: Path) -> Callable[..., Path]:
    """Write a 16-bit hyperstack of smooth texture, CZYX."""

    def make(c: int = 1, z: int = 1, y: int = 70, x: int = 53, name: str = "stack.tif") -> Path:
        noise = gaussian_filter(np.random.default_rng(0).normal(size=(1, c, z, y, x)), (0, 0, 0, 2, 2))
        image = 1000 + 50_000 * (noise - noise.min()) / np.ptp(noise)
        names = ("actin", "DNA")[:c]
        save_hyperstack(tmp_path / name, image.astype(np.uint16), voxel_size=(0.5, 0.2, 0.2), channel_names=names)
        return tmp_path / name

    return make
