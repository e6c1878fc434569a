"""What a job costs the viewer: how long its window is blocked, how soon Cancel is done, what memory stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from material import write_recording

SCRIPT = Path(__file__).with_name("one_widget.py")
pytestmark = pytest.mark.napari


def test_viewer_stays_usable_while_a_job_runs(
    figures: Any, quick: bool, tmp_path: Path, model_of: Callable[[str], Path]
) -> None:
    image = write_recording(tmp_path / "image.tif", planes=1 if quick else 4, side=512)
    model = model_of("XS" if quick else "M")
    jobs = 2 if quick else 10
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", SCRIPT, *map(str, (image, model, tmp_path, jobs))],
        capture_output=True, text=True, timeout=3600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    figures.add("first preview of 256 x 256 pixels, with starting and loading", found["first_preview"], "s")
    figures.add("  each further one", found["preview"], "s", most=2.0)
    figures.add(
        "  longest block of the window, once its layer is there", 1000 * found["preview_block"], "ms", most=100.0
    )
    figures.add("longest block of the window while napari adds any layer", 1000 * found["napari_layer"], "ms")
    figures.add("  the layer of a result", 1000 * found["run_layer"], "ms")
    figures.add("longest block of the window while a job fills it", 1000 * found["run_block"], "ms", most=100.0)
    figures.add("  of 99 % of its ticks", 1000 * found["run_99"], "ms")
    figures.add("from Cancel to idle", found["cancel"], "s", most=2.0)
    growth = found["memory_last"] / found["memory_first"] - 1
    figures.add(f"memory that {jobs} jobs leave behind in the viewer", 100 * growth, "%", most=5.0)
    assert found["cancel"] < 10
