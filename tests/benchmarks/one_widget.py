"""The Upscale widget in a viewer of its own: how long its window is blocked, how soon it stops, what memory it keeps.

    python one_widget.py IMAGE MODEL FOLDER JOBS

Prints one line of JSON. Seconds, and MB of resident memory of the viewer's process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_TICK = 0.010
_PATIENCE = 600.0


class Lateness:
    """The longest that the event loop did not come to its timer."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.longest, self._last = 0.0, time.perf_counter()
        self.late: list[float] = []
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(round(1000 * _TICK))

    def begin(self) -> None:
        self.longest, self._last, self.late = 0.0, time.perf_counter(), []

    def _tick(self) -> None:
        now = time.perf_counter()
        late = now - self._last - _TICK
        self.longest, self._last = max(self.longest, late), now
        self.late.append(late)


def main(image: str, model: str, folder: Path, jobs: int) -> dict[str, float]:
    """Preview, run to the end, cancel, and run small jobs one after another."""
    import napari

    from superres.plugin.reader import read
    from superres.plugin.upscale import UpscaleWidget

    viewer = napari.Viewer()
    widget = UpscaleWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Upscale")
    for data, arguments, _ in read(image):
        layer = viewer.add_image(data, **arguments)
    layer.contrast_limits = layer.contrast_limits
    widget.layer_row.unknown.setChecked(True)
    widget.model_row.box.setCurrentText(model)
    _wait(lambda: False, 2.0)
    lateness = Lateness()
    found = _napari_alone(viewer, lateness)
    found |= _previews(viewer, widget, lateness)
    widget.preview.release()
    found |= _run(viewer, widget, folder / "run.ome.zarr", lateness)
    found |= _cancelled(widget, folder / "cancelled.ome.zarr")
    found |= _memory_of_jobs(viewer, widget, folder, jobs)
    viewer.close()
    return found


def _napari_alone(viewer: Any, lateness: Lateness) -> dict[str, float]:
    """Add layers of noise: what napari itself takes for one, whoever adds it."""
    random, blocks = np.random.default_rng(0), []
    for _ in range(3):
        lateness.begin()
        layer = viewer.add_image(random.integers(0, 9, (1, 512, 512)).astype(np.uint16), contrast_limits=(0, 9))
        _wait(lambda: False, 0.5)
        viewer.layers.remove(layer)
        blocks.append(lateness.longest)
    return {"napari_layer": float(np.median(blocks))}


def _previews(viewer: Any, widget: Any, lateness: Lateness) -> dict[str, float]:
    from superres.plugin.placing import camera_of

    seconds = []
    for number in range(4):
        if number == 1:  # the layer is there
            lateness.begin()
        camera_of(viewer).center = (0, *(np.asarray(viewer.layers[0].extent.world).mean(0)[-2:] + 8 * number))
        started = time.perf_counter()
        widget.preview.button.click()
        _wait(lambda: not widget.preview.previews.is_busy)
        seconds.append(time.perf_counter() - started)
    return {"first_preview": seconds[0], "preview": min(seconds[1:]), "preview_block": lateness.longest}


def _run(viewer: Any, widget: Any, out: Path, lateness: Lateness) -> dict[str, float]:
    lateness.begin()
    row = _start(widget, out)
    _wait(lambda: any("upscaled" in layer.name for layer in viewer.layers) or row.job.state == "ended")
    _wait(lambda: False, 0.5)
    adding = lateness.longest
    lateness.begin()
    _wait(lambda: row.job.state == "ended")
    _wait(lambda: False, 0.5)
    if not row.status.text().startswith("done"):
        raise SystemExit(row.status.text())
    late = np.array(lateness.late)
    return {
        "run_layer": adding,
        "run_block": lateness.longest,
        "run_99": float(np.quantile(late, 0.99)),
        "run_ticks": float(late.size),
    }


def _cancelled(widget: Any, out: Path) -> dict[str, float]:
    row = _start(widget, out)
    _wait(lambda: row.status.text().startswith("upscale"))
    _wait(lambda: False, 0.5)
    started = time.perf_counter()
    row.button.click()
    _wait(lambda: row.job.state == "ended")
    return {"cancel": time.perf_counter() - started}


def _memory_of_jobs(viewer: Any, widget: Any, folder: Path, jobs: int) -> dict[str, float]:
    """Run small jobs; their layers are deleted, as a person who looks at one result after another does."""
    from superres.plugin.placing import camera_of

    widget.part_row.slices.setCurrentText("the plane shown")
    widget.part_row.area.setCurrentText("what is in view")
    camera_of(viewer).zoom *= 8
    taken = []
    for number in range(jobs + 1):
        row = _start(widget, folder / f"small{number}.ome.zarr")
        _wait(lambda row=row: row.job.state == "ended")
        row.close_button.click()
        for layer in [one for one in viewer.layers if "upscaled" in one.name]:
            viewer.layers.remove(layer)
        _wait(lambda: False, 0.3)
        taken.append(_memory())
    return {"memory_first": taken[0], "memory_last": taken[-1]}


def _start(widget: Any, out: Path) -> Any:
    widget.output_row.edit.setText(str(out))
    widget.run_button.click()
    return widget.rows[-1]


def _wait(until: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    """Let the event loop run until something holds, as it runs under a person's hands."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, deadline = QEventLoop(), time.monotonic() + seconds
    timer = QTimer()
    timer.timeout.connect(lambda: loop.quit() if until() or time.monotonic() > deadline else None)
    timer.start(20)
    loop.exec()
    timer.stop()


def _memory() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return float("nan")


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
