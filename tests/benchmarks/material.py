"""What the benchmarks work on: recordings as a camera makes them, and models as a training makes them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import skimage.data
import tifffile
import yaml
from numpy.typing import NDArray

from superres.config import TrainConfig
from superres.datasets.checksum import file_sha256
from superres.modelfile import load_model_file, save_model_file
from superres.nets import Architecture, UNet
from superres.training import train

FACTOR = (1, 4, 4)
# Enough for a net that adds something to interpolation, so that the guard has what to weigh; its quality is not asked.
_STEPS = 12
# So cheap that reading, guarding and writing are what is measured.
_NARROW = (8, 12, 16)


def write_recording(path: Path, planes: int, side: int) -> Path:
    """Write planes of structure under shot noise, uint16 in tiles compressed by zlib."""
    random = np.random.default_rng(0)
    scene = np.tile(skimage.data.camera(), (-(-side // 512),) * 2)[:side, :side].astype(np.float64)
    noisy = [random.poisson(40 + 4 * scene).astype(np.uint16) for _ in range(min(planes, 4))]

    def plane(number: int) -> NDArray[np.uint16]:
        return np.roll(noisy[number % len(noisy)], 13 * number, axis=0)

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(
        path,
        itertools.chain.from_iterable(_tiles(plane(number)) for number in range(planes)),
        shape=(planes, side, side),
        dtype="uint16",
        tile=(256, 256),
        compression="zlib",
        photometric="minisblack",
        metadata={"axes": "ZYX"},
    )
    return path


def _tiles(plane: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    starts = range(0, len(plane), 256)
    return [np.ascontiguousarray(plane[y : y + 256, x : x + 256]) for y in starts for x in starts]


def train_model(folder: Path, preset: str) -> Path:
    """Train a net for a few steps, so that its file holds all that a real one does; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, split in (("camera", "train"), ("moon", "val")):
        image = folder / f"{name}.png"
        imageio.imwrite(image, getattr(skimage.data, name)())
        high = [{"file": image.name, "sha256": file_sha256(image)}]
        entries.append({"id": name, "split": split, "grey_range": [0, 255], "high": high})
    about = dict.fromkeys(("description", "licence", "credit", "source"), "images of scikit-image")
    manifest = folder / "images.yaml"
    manifest.write_text(yaml.safe_dump({"name": "bench", "root": ".", **about, "acquisitions": entries}))
    settings = {
        "name": preset.lower(),
        "manifests": [manifest],
        "factor": FACTOR,
        "model": {"preset": preset},
        "degrade": [{"downsample": "binning"}, {"poisson": {"photons": [300, 900]}}],
        "preset": "quantitative",
        "patch": {"size": 32, "batch": 2},
        "steps": _STEPS,
        "device": "cpu",
    }
    return train(TrainConfig.model_validate(settings), folder / "run").model


def write_narrow_model(path: Path, like: Path) -> Path:
    """Write a net of very few channels that has not learned, with all that `like` says of itself."""
    file = load_model_file(like)
    kept = {
        key: value
        for key, value in file.header.architecture.items()
        if key not in ("widths", "blocks", "middle_blocks", "factor")
    }
    architecture = Architecture.from_json(
        {"factor": FACTOR, "widths": _NARROW, "blocks": 1, "middle_blocks": 1, **kept}
    )
    header = replace(
        file.header,
        name="narrow",
        architecture=architecture.to_json(),
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
    )
    save_model_file(path, header, {name: value.numpy() for name, value in UNet(architecture).state_dict().items()})
    return path
