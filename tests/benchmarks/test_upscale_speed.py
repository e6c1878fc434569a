"""Speed and memory as ratios within one run; figures are printed, `make bench` shows them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from superres.config import UpscaleConfig
from superres.inference import load_model, upscale
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.volumes.hyperstack import save_hyperstack


def write_model(path: Path, preset: str = "S") -> Path:
    architecture = Architecture.of_preset(preset, factor=(1, 4, 4))
    net = UNet(architecture)
    radius, stride = architecture.receptive_radius, architecture.stride
    header = ModelHeader(
        name="fresh",
        architecture=architecture.to_json(),
        factor=(1, 4, 4),
        channels=1,
        receptive_radius=(0, radius, radius),
        stride=(1, stride, stride),
        intensity={"percentiles": [0.5, 99.9], "average": 4},
    )
    save_model_file(path, header, {k: v.numpy() for k, v in net.state_dict().items()})
    return path


def write_stack(path: Path, planes: int, side: int) -> Path:
    random = np.random.default_rng(0)
    save_hyperstack(path, random.integers(100, 4000, (1, 1, planes, side, side)).astype(np.uint16))
    return path


def test_upscale_over_bare_forward_pass(tmp_path: Path) -> None:
    """End to end (read, halo, predict, write, pyramid) over the net alone on the same voxels; target 1.35."""
    model = write_model(tmp_path / "model.safetensors")
    stack = write_stack(tmp_path / "in.tif", 2, 512)
    predictor = load_model(model, "cpu")
    plane = np.random.default_rng(0).normal(size=(1, 512, 512)).astype(np.float32)
    ratios = []
    for round_number in range(3):
        started = time.perf_counter()
        for _ in range(2):
            predictor.predict(plane)
        bare = time.perf_counter() - started
        started = time.perf_counter()
        upscale(stack, tmp_path / f"{round_number}.zarr", UpscaleConfig(model=model, device="cpu"), predictor=predictor)
        ratios.append((time.perf_counter() - started) / bare)
    megapixels = 2 * 4.194304 / bare
    print(f"\nupscale / bare forward: {statistics.median(ratios):.2f} (bare: {megapixels:.1f} output MP/s)")
    assert statistics.median(ratios) < 3, "something is done twice"


_MEASURE = """
import sys, json, pathlib
from superres.config import UpscaleConfig
from superres.inference import upscale
source, out, model = map(pathlib.Path, sys.argv[1:])
upscale(source, out, UpscaleConfig(model=model, device="cpu"))
# Not what getrusage tells: that begins with the memory of the process that started this one.
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps(int(status.partition("VmHWM:")[2].split()[0]) / 2**20))
"""


@pytest.mark.slow
def test_peak_memory_as_the_volume_grows(tmp_path: Path) -> None:
    """Sixteen times the planes; target: within 10 %, below 2 GB."""
    model = write_model(tmp_path / "model.safetensors", "XS")
    peaks = []
    for planes in (16, 256):
        stack = write_stack(tmp_path / f"{planes}.tif", planes, 128)
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(stack), str(tmp_path / f"{planes}.zarr"), str(model)],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(json.loads(done.stdout))
    print(
        f"\npeak memory: {peaks[0]:.2f} GiB, 16 times the volume {peaks[1]:.2f} GiB, {torch.get_num_threads()} threads"
    )
    assert peaks[1] < 1.25 * peaks[0]
