"""A real napari viewer for the tests of the plugin, with the manifest of this very package."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import superres.plugin

if TYPE_CHECKING:
    import napari
    from pytestqt.qtbot import QtBot

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
