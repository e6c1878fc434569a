"""Peak memory of `upscale` as the volume grows, each in a process of its own, and what running it again costs."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from material import FACTOR, write_recording

pytestmark = pytest.mark.slow

# Bytes for each voxel of the output, before compression: itself and the half-widths below and above it, uint16 each.
VOXEL_BYTES = 6
LIMIT = 2.0  # GB
# Planes and their side: four times the planes, then four times their area. About 0.5, 2 and 8 GB.
SIZES = ((5, 1024), (20, 1024), (20, 2048))
QUICK_SIZES = ((1, 256), (4, 256), (4, 512))


def run(source: Path, out: Path, model: Path) -> dict[str, float]:
    script = Path(__file__).with_name("one_upscale.py")
    command = [sys.executable, str(script), str(source), str(out), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_peak_memory_as_the_volume_grows(
    tmp_path: Path, figures: Any, model_of: Callable[[str], Path], quick: bool
) -> None:
    """By a net that costs little; target: within 10 %. The last store is then finished once more."""
    model = model_of("narrow")
    peaks: list[float] = []
    for planes, side in QUICK_SIZES if quick else SIZES:
        source = write_recording(tmp_path / "in.tif", planes, side)
        out = tmp_path / "out.ome.zarr"
        first = run(source, out, model)
        peaks.append(first["peak"])
        size = planes * side**2 * math.prod(FACTOR) * VOXEL_BYTES / 1e9
        name = f"narrow net, {planes} x {side} x {side}, {size:.1f} GB of output"
        figures.add(f"{name}: peak memory", peaks[-1], "GB", most=LIMIT)
        if (planes, side) == (QUICK_SIZES if quick else SIZES)[-1]:
            again = run(source, out, model)
            assert again["before"] == again["units"]
            figures.add(f"{name}: run again when finished, {again['units']:.0f} shards", again["seconds"], "s")
            figures.add("the same over the first run", 100 * again["seconds"] / first["seconds"], "%")
        for made in tmp_path.iterdir():
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    figures.add("peak memory, 4 times the volume over the smallest", peaks[1] / peaks[0], most=1.1)
    figures.add("peak memory, 16 times the volume over the smallest", peaks[2] / peaks[0], most=1.1)
    assert peaks[2] < 2 * peaks[0]


def test_peak_memory_of_the_default_net(
    tmp_path: Path, figures: Any, model_of: Callable[[str], Path], quick: bool
) -> None:
    """Target: below 2 GB."""
    side = 256 if quick else 1536
    source = write_recording(tmp_path / "in.tif", 1, side)
    found = run(source, tmp_path / "out.ome.zarr", model_of("M"))
    figures.add(f"M 4x, 1 x {side} x {side}, cpu: peak memory", found["peak"], "GB", most=LIMIT)
