"""One viewer in a process of its own: seconds to start, to open an image and to move about in it, and memory taken.

    python one_viewer.py with|without [IMAGE]

Prints one line of JSON. ``without`` starts napari as if superres were not installed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 20


def main(plugin: str, image: str | None) -> dict[str, float]:
    """Start a viewer, and open an image in it if one is given."""
    figures = {}
    started = time.perf_counter()
    viewer = _viewer(plugin == "with")
    figures["start"] = time.perf_counter() - started
    if image is not None:
        # The first layer of a process costs napari two seconds, whatever it shows.
        viewer.add_image(np.random.default_rng(0).random((64, 64)))
        _drawn()
        viewer.layers.clear()
        figures |= _opened(viewer, image)
    viewer.close()
    return figures


def _viewer(with_plugin: bool) -> Any:
    import napari
    from npe2 import PluginManager, PluginManifest

    import superres

    manager = PluginManager.instance()
    manager.discover()
    known = "superres" in manager
    if with_plugin and not known:
        manager.register(PluginManifest.from_file(Path(superres.__file__).parent / "plugin" / "napari.yaml"))
    elif not with_plugin and known:
        manager.disable("superres")
    viewer = napari.Viewer(show_welcome_screen=False)
    _drawn()
    return viewer


def _opened(viewer: Any, image: str) -> dict[str, float]:
    import superres.volumes.display  # so that imports are not taken for opening  # noqa: F401

    before, started = _memory(), time.perf_counter()
    layers = viewer.open(image, plugin="superres")
    opened = time.perf_counter() - started
    taken = _memory() - before
    _drawn()
    shown = time.perf_counter() - started
    overview = layers[0].metadata["superres_overview"]
    longest, last = 0.0, time.perf_counter()
    while overview is not None and not overview.wait(0):
        _drawn()
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        time.sleep(0.005)
    complete = time.perf_counter() - started
    return {
        "open": opened, "shown": shown, "complete": complete, "longest_block": longest, "opened_mb": taken,
        "step": _moved(viewer, layers), "moved_mb": _memory() - before,
    }  # fmt: skip


def _moved(viewer: Any, layers: list[Any]) -> float:
    """Zoom in and go about, through planes where there are any; returns seconds per step, on average."""
    from superres.plugin.placing import camera_of

    _drawn()
    zoom, started = camera_of(viewer).zoom, time.perf_counter()
    for step in range(STEPS):
        camera_of(viewer).zoom = zoom * 2 ** (step % 5)
        extent = layers[0].extent.world
        place = (step + 0.5) / STEPS
        camera_of(viewer).center = (0, *(extent[0] + (extent[1] - extent[0]) * place)[-2:])
        for axis in range(viewer.dims.ndim - 2):
            viewer.dims.set_current_step(axis, step % viewer.dims.nsteps[axis])
        _drawn()
    return (time.perf_counter() - started) / STEPS


def _drawn() -> None:
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    QApplication.processEvents()


def _memory() -> float:
    """Return the resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return float("nan")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)))
