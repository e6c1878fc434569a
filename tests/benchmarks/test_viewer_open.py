"""What the plugin costs napari: its start, opening large images and moving about in them; `make bench` shows them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from superres.volumes import open_volume
from superres.volumes.convert import convert

ROUNDS = 5
SCRIPT = Path(__file__).with_name("one_viewer.py")
pytestmark = pytest.mark.napari


def viewer(*arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=True,
        timeout=600,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_plugin_costs_the_start_of_napari_next_to_nothing(figures: Any, quick: bool) -> None:
    pairs = [(viewer("with")["start"], viewer("without")["start"]) for _ in range(1 if quick else ROUNDS)]
    figures.add("napari's start with the plugin", statistics.median(a for a, _ in pairs), "s")
    figures.add("what the plugin adds to it", statistics.median(a - b for a, b in pairs), "s", most=0.3)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> dict[str, Path]:
    """Return a plane of 20 000 x 20 000 pixels, plain, in compressed tiles, and with a pyramid."""
    folder = tmp_path_factory.mktemp("planes")
    side = 5_000 if quick else 20_000
    field = np.random.default_rng(0).poisson(300, (1000, 1000)).astype(np.uint16)
    plane = np.tile(field, (side // 1000, side // 1000))
    tifffile.imwrite(folder / "plain.tif", plane, metadata=None)
    tifffile.imwrite(folder / "tiled.tif", plane, tile=(512, 512), compression="zlib", metadata=None)
    convert(open_volume(folder / "plain.tif"), folder / "pyramid.ome.zarr")
    return {name.partition(".")[0]: folder / name for name in ("plain.tif", "tiled.tif", "pyramid.ome.zarr")}


@pytest.mark.parametrize("kind", ["plain", "tiled", "pyramid"])
def test_large_plane_opens_at_once_and_can_be_moved(kind: str, planes: dict[str, Path], figures: Any) -> None:
    report(figures, f"plane of 0.8 GB, {kind}", viewer("with", planes[kind]))


def test_stack_opens_at_once_and_can_be_moved(figures: Any, quick: bool, tmp_path: Path) -> None:
    shape = (4 if quick else 24, 10, 2, 1024, 1024)  # TZCYX, 1 GB of uint16
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, shape=shape, dtype=np.uint16, imagej=True, metadata={"axes": "TZCYX"})
    stack = tifffile.memmap(path)
    stack[...] = np.random.default_rng(0).poisson(300, shape[-2:])
    stack.flush()
    del stack
    report(figures, "stack of 1 GB", viewer("with", path))


def report(figures: Any, name: str, found: dict[str, float]) -> None:
    figures.add(f"opening, {name}", found["open"], "s", most=1.0)
    figures.add("  until it is shown", found["shown"], "s")
    figures.add("  until its overview is made", found["complete"], "s")
    figures.add("  longest block of the window meanwhile", 1000 * found["longest_block"], "ms", most=100.0)
    figures.add("  memory taken by opening", found["opened_mb"], "MB", most=100.0)
    figures.add("  a step through it", 1000 * found["step"], "ms")
    figures.add("  memory taken after all steps", found["moved_mb"], "MB")
    assert found["opened_mb"] < 500
