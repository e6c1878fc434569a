"""What `upscale` takes beside the bare forward pass of the same net on the same voxels, in one run, and where it goes.

The bare pass is the net alone, in the precision and on the device of `upscale`, on pieces of the image without any
halo, of the side at which it is fastest; what is normalised and copied is not counted. It makes the image only: the
head that makes half-widths is part of the net, and of what `upscale` does by default, and has a line of its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from material import FACTOR, write_recording

from superres.config import UpscaleConfig
from superres.inference import Predictor, load_model, upscale
from superres.inference.upscaling import Upscaling
from superres.nets.device import heap_kept
from superres.volumes import OutputStore, Volume

PIECES = (256, 512, 1024)
LARGEST = {"cpu": 1.35, "cuda": 1.5}
# Beyond it something is done twice; the target is another matter, and stands in the table.
ABSURD = 4.0


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("preset", ["S", "M"])
def test_upscale_over_bare_forward_pass(
    tmp_path: Path, figures: Any, model_of: Callable[[str], Path], quick: bool, preset: str, device: str
) -> None:
    planes, side = 16 if device == "cuda" else 2, 256 if quick else 2048
    source = write_recording(tmp_path / "in.tif", planes, side)
    warm = write_recording(tmp_path / "warm.tif", 1, 256)
    predictor = load_model(model_of(preset), device)
    upscale(warm, tmp_path / "warm.zarr", settings(predictor, True), predictor=predictor)
    piece = fastest_piece(predictor, side)
    pieces = planes * (side // piece) ** 2
    bare = bare_seconds(predictor, piece, pieces)
    head = pieces * bare_seconds(predictor, piece, 1, head=True)
    seconds: dict[bool, float] = {}
    for whole in (False, True):
        with parts_measured() as parts:
            started = time.perf_counter()
            upscale(source, tmp_path / f"{whole}.zarr", settings(predictor, whole), predictor=predictor)
            seconds[whole] = time.perf_counter() - started
    name = f"{preset} 4x, {planes} x {side} x {side}, {device}"
    megapixels = planes * side * side * math.prod(FACTOR) / 1e6
    figures.add(f"{name}: bare forward pass", megapixels / bare, "output MP/s")
    figures.add(f"{name}: upscale", megapixels / seconds[True], "output MP/s")
    figures.add(f"{name}: upscale over bare", seconds[True] / bare, most=LARGEST[device])
    figures.add(f"{name}: head for half-widths over bare", head / bare)
    figures.add(f"{name}: the same without guard and maps", seconds[False] / bare, most=LARGEST[device])
    figures.add(f"{name}: guard and maps over without", seconds[True] / seconds[False], most=1.15)
    for part, took in sorted(parts.items()):
        figures.add(f"{name}: busy with {part}", 100 * took / seconds[True], "% of the time")
    assert seconds[False] < ABSURD * bare, "something is done twice"


def settings(predictor: Predictor, whole: bool) -> UpscaleConfig:
    """Return the default settings, or those without guard and maps."""
    return UpscaleConfig.model_validate(
        {"model": predictor.header.name, "device": predictor.device.type, "guard": whole, "trust": whole}
    )


def fastest_piece(predictor: Predictor, side: int) -> int:
    """Return the side at which the net is fastest, per voxel."""
    sides = [piece for piece in PIECES if piece <= side]
    for piece in sides:
        bare_seconds(predictor, piece, 1)  # kernels are chosen, and memory is taken, by the first pass
    return min(sides, key=lambda piece: bare_seconds(predictor, piece, 1) / piece**2)


def bare_seconds(predictor: Predictor, piece: int, count: int, *, head: bool = False) -> float:
    """Return the seconds that the net, or its second head alone, takes for so many square pieces of this side."""
    low = np.random.default_rng(0).normal(size=(1, piece, piece)).astype(np.float32)
    marks: list[float] = []

    def mark(*_: object) -> None:
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    net = predictor._net.interval_head if head else predictor._net
    assert net is not None
    handles = [net.register_forward_pre_hook(mark), net.register_forward_hook(mark)]
    try:
        # The net gets its memory as in `upscale`, so that what this gains is not counted as the engine's.
        with heap_kept(predictor.device):
            for _ in range(count):
                (predictor.predict_interval if head else predictor.predict)(low)
    finally:
        for handle in handles:
            handle.remove()
    return sum(marks[1::2]) - sum(marks[::2])


@contextmanager
def parts_measured() -> Iterator[dict[str, float]]:
    """Measure opening, reading, writing and the pyramid of whatever runs inside, in seconds, all threads together."""
    seconds: dict[str, float] = defaultdict(float)
    lock = threading.Lock()

    def measured(method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                with lock:
                    seconds[part] += time.perf_counter() - started

        return timed

    with pytest.MonkeyPatch.context() as patch:
        for kind, name, part in (
            (Upscaling, "open", "opening, noise and trials, once"),
            (Volume, "read", "reading"),
            (OutputStore, "write", "compressing and writing"),
            (OutputStore, "finish", "pyramids and metadata"),
        ):
            patch.setattr(kind, name, measured(getattr(kind, name), part))
        yield seconds
