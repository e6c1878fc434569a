"""superres as a user runs it: `train` with the preset for measurement, `upscale` as by default.

The last argument is the preset of the net; ``plain`` behind it leaves guard and maps out.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import worker
import yaml

from superres.config import TrainConfig, UpscaleConfig
from superres.datasets.checksum import file_sha256
from superres.inference import load_model, upscale
from superres.training import train as train_net
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

PLAIN = sys.argv[-1] == "plain" and bool(sys.argv.pop())
PRESET = sys.argv.pop()
FACTOR = (1, worker.FACTOR, worker.FACTOR)


def train(images: list[Any], weights: Path, seconds: float) -> dict[str, Any]:
    entries = []
    for number, image in enumerate(images):
        file = weights / f"{number}.png"
        imageio.imwrite(file, image)
        high = [{"file": file.name, "sha256": file_sha256(file)}]
        entries.append({"id": f"image_{number}", "split": "train", "grey_range": [0, 255], "high": high})
    about = dict.fromkeys(("description", "licence", "credit", "source"), "made by the benchmark")
    (weights / "manifest.yaml").write_text(yaml.safe_dump({"name": "peers", **about, "acquisitions": entries}))
    settings = {
        "manifests": [weights / "manifest.yaml"],
        "data_root": weights,
        "factor": FACTOR,
        "model": {"preset": PRESET},
        "degrade": [{"downsample": "binning"}, {"read_noise": {"sd": [worker.NOISE / 255] * 2}}],
        "preset": "quantitative",
        "time_budget": seconds,
        "validate_every": 1_000_000,
        "sample_every": 1_000_000,
    }
    shutil.rmtree(weights / "run", ignore_errors=True)
    result = train_net(TrainConfig.model_validate(settings), weights / "run")
    net = load_model(result.model, "cpu")._net
    return {"steps": result.steps, "parameters": sum(p.numel() for p in net.parameters())}


def predict(images: list[Any], weights: Path) -> list[Any]:
    predictor = load_model(weights / "run", "cpu")
    found = []
    for number, image in enumerate(images):
        save_hyperstack(weights / "low.tif", image[None, None, None], voxel_size=(None, None, None))
        out = weights / f"{number}.ome.zarr"
        config = UpscaleConfig(model=weights, overwrite=True, device="cpu", guard=not PLAIN, trust=not PLAIN)
        upscale(weights / "low.tif", out, config, predictor=predictor)
        y, x = (slice(0, n * worker.FACTOR) for n in image.shape)
        found.append(np.asarray(open_volume(out).read(t=0, c=0, z=slice(0, 1), y=y, x=x)[0]))
        for made in weights.glob(f"{number}.*zarr*"):
            shutil.rmtree(made)
    return found


if __name__ == "__main__":
    worker.work(train, predict, f"superres_{PRESET}")
