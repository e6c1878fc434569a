"""PSSR2's default net by its own training loop and loss, on pairs made as for all others; runs in its environment."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import worker

worker.without_torchvision_kernels()

import torch  # noqa: E402
from pssr.data import ImageDataset  # noqa: E402
from pssr.models import ResUNet  # noqa: E402
from pssr.predict import predict_images  # noqa: E402
from pssr.train import train_paired  # noqa: E402
from pssr.util import SSIMLoss  # noqa: E402

# Smaller than its defaults (512, 16), of which a few minutes on a CPU would see a handful of steps.
SIDE, BATCH = 256, 4
RATE, DECAY = 1e-3, 0.7**10  # its rate, and what its decay leaves of it after its ten epochs


class Pairs(torch.utils.data.Dataset[Any]):
    """Crops with their recordings; what `train_paired` asks of a data set."""

    extra_hr_files = None
    n_frames = None
    crop_res, lr_scale = SIDE, worker.FACTOR

    def __init__(self, images: list[Any]) -> None:
        self._images, self._random = images, np.random.default_rng(0)
        self.val_idx = [0]

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        high = worker.random_crop(self._images, SIDE, self._random)
        low = worker.recorded(high, self._random)
        return tuple(torch.from_numpy(image[None].astype(np.float32)) for image in (high, low))


class Over(Exception):
    """The time is."""


def train(images: list[Any], weights: Path, seconds: float) -> dict[str, Any]:
    torch.manual_seed(0)
    net = ResUNet()
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE)
    end, steps = time.monotonic() + seconds, 0

    def after_step() -> None:
        nonlocal steps
        steps += 1
        left = (end - time.monotonic()) / seconds
        for group in optimiser.param_groups:
            group["lr"] = RATE * DECAY ** (1 - left)
        if left <= 0:
            raise Over

    with contextlib.suppress(Over):
        train_paired(net, Pairs(images), BATCH, SSIMLoss(ms=True), optimiser, 1, callbacks=[after_step])
    torch.save(net.state_dict(), weights / "net.pth")
    return {"steps": steps, "parameters": sum(p.numel() for p in net.parameters())}


def predict(images: list[Any], weights: Path) -> list[Any]:
    net = ResUNet()
    net.load_state_dict(torch.load(weights / "net.pth", weights_only=True))
    return [_predicted(net, image) for image in images]


def _predicted(net: torch.nn.Module, image: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        low, out = Path(folder, "low"), Path(folder, "out")
        low.mkdir()
        tifffile.imwrite(low / "image.tif", image)
        dataset = ImageDataset(low, hr_res=max(image.shape), lr_scale=-1, val_split=1)
        predict_images(net, dataset, out_dir=str(out))
        return tifffile.imread(next(out.iterdir())).squeeze()


if __name__ == "__main__":
    worker.work(train, predict, "pssr2")
