"""What every method of the comparison does alike; runs in the environment of each, so that it needs NumPy alone.

A method is a script with two commands, each in a process of its own, so that the peak memory of the prediction is its
own: ``train WORK SECONDS`` and ``predict WORK``, which writes a prediction for every image and prints its figures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FACTOR = 4
NOISE = 10.0  # standard deviation, grey levels of 255

Image = Any  # an array, (y, x)
Train = Callable[[list[Image], Path, float], "dict[str, Any]"]
Predict = Callable[[list[Image], Path], "list[Image]"]


def recorded(high: Image, random: np.random.Generator) -> Image:
    """Record a sharp image coarser: means of 4 x 4 pixels, Gaussian noise, 8 bits."""
    rows, columns = (n // FACTOR for n in high.shape)
    means = high[: rows * FACTOR, : columns * FACTOR].reshape(rows, FACTOR, columns, FACTOR).mean(axis=(1, 3))
    return np.clip(np.rint(means + random.normal(0, NOISE, means.shape)), 0, 255).astype(np.uint8)


def random_crop(images: list[Image], side: int, random: np.random.Generator) -> Image:
    """Cut a square out of one of the images, turned and mirrored at random."""
    image = images[random.integers(len(images))]
    y, x = (random.integers(n - side + 1) for n in image.shape)
    turned = np.rot90(image[y : y + side, x : x + side], random.integers(4))
    return np.ascontiguousarray(turned[:, ::-1] if random.integers(2) else turned)


def work(train: Train, predict: Predict, name: str) -> None:
    """Do what the command line asks for.

    Parameters
    ----------
    train : callable
        Takes sharp images, a folder for the weights, and seconds; returns what is to be told of it.
    predict : callable
        Takes low images and the folder; gives an image for each.
    name : str
        Of the method.
    """
    command, folder = sys.argv[1], Path(sys.argv[2])
    weights = folder / name
    weights.mkdir(exist_ok=True)
    if command == "train":
        started = time.monotonic()
        told = train(_read(folder / "train"), weights, float(sys.argv[3]))
        print(json.dumps(told | {"seconds": time.monotonic() - started}))
        return
    # First, since what is loaded and chosen once is not to count below.
    for number, image in enumerate(predict(_read(folder / "low"), weights)):
        np.save(weights / f"{number}.npy", np.clip(np.rint(image), 0, 255).astype(np.uint8))
    large = _read(folder / "large")
    started = time.monotonic()
    found = predict(large, weights)
    seconds = time.monotonic() - started
    print(json.dumps({"rate": sum(image.size for image in found) / 1e6 / seconds, "peak": _peak()}))


def _read(folder: Path) -> list[Image]:
    return [np.load(folder / f"{number}.npy") for number in range(len(list(folder.iterdir())))]


def _peak() -> float:
    """Return the peak memory of this process, GB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def without_torchvision_kernels() -> None:
    """Let torchvision be imported beside the CPU build of torch, which has none of the operators that it looks for."""
    import torch

    if not torch.cuda.is_available():
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


_KEPT: list[Any] = []  # the operators go when the library does
