"""CAREamics by its method CARE, which keeps the grid: it restores recordings that were interpolated to the fine one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import worker

worker.without_torchvision_kernels()

from careamics import CAREamist  # noqa: E402
from careamics.config import create_care_config  # noqa: E402
from lightning.pytorch.callbacks import Timer  # noqa: E402
from skimage.transform import resize  # noqa: E402

EPOCH = 100  # steps; the time ends the training


def interpolated(low: Any) -> Any:
    """Interpolate cubically to the fine grid."""
    shape = [n * worker.FACTOR for n in low.shape]
    return resize(low.astype(np.float32), shape, order=3, mode="reflect", anti_aliasing=False, preserve_range=True)


def train(images: list[Any], weights: Path, seconds: float) -> dict[str, Any]:
    random = np.random.default_rng(0)
    lows = np.stack([interpolated(worker.recorded(image, random)) for image in images]).astype(np.float32)
    config = create_care_config(
        experiment_name="peer", data_type="array", axes="SYX", patch_size=(64, 64), batch_size=8, num_epochs=10_000,
        num_steps=EPOCH,
    )  # fmt: skip
    careamist = CAREamist(config, work_dir=weights, callbacks=[Timer({"seconds": seconds})], enable_progress_bar=False)
    careamist.train(train_data=lows, train_data_target=np.stack(images).astype(np.float32))
    careamist.trainer.save_checkpoint(weights / "last.ckpt")
    return {"steps": careamist.trainer.global_step, "parameters": sum(p.numel() for p in careamist.model.parameters())}


def predict(images: list[Any], weights: Path) -> list[Any]:
    careamist = CAREamist(checkpoint_path=weights / "last.ckpt", work_dir=weights, enable_progress_bar=False)
    found = []
    for image in images:
        fine = interpolated(image).astype(np.float32)[None]
        tile = {} if min(fine.shape[1:]) < 256 else {"tile_size": (256, 256)}
        (pred, *_), _ = careamist.predict(fine, num_workers=0, **tile)
        found.append(np.asarray(pred).squeeze())
    return found


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    worker.work(train, predict, "careamics")
