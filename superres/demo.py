"""The whole way once, on real images that ship inside scikit-image: upscale, fine-tune, upscale again, evaluate.

The model in the package that is taken first knows electron micrographs alone. Parts of a stained tissue slide, of an
eye fundus photograph and of a quantitative phase image are trained on; other parts of them, and a fourth image as a
whole, are not. Their low-resolution versions are 4 times coarser and noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import skimage.data
import yaml
from numpy.typing import NDArray

from superres.config import DegradeStep, TrainConfig, UpscaleConfig
from superres.datasets.checksum import file_sha256
from superres.degrade import degrade_image
from superres.evaluation import Evaluation, evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.inference import UpscaleSummary, load_model, upscale
from superres.progress import ProgressCallback, silent
from superres.sharing import find_model
from superres.training import train
from superres.volumes.hyperstack import save_hyperstack

PARENT = "em-x4"
"""The model in the package that the demo begins with."""
FACTOR = (1, 4, 4)
GREY_RANGE = (0.0, 255.0)
_DEGRADE = (
    DegradeStep(downsample="binning"),
    DegradeStep.model_validate({"poisson": {"photons": [700, 1300]}}),
    DegradeStep.model_validate({"read_noise": {"sd": [0.006, 0.014]}}),
)
_LICENCE = "shipped with scikit-image; see its data README"
_PICTURE_SIDE = 160


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Where everything lies that the demo made.

    Parameters
    ----------
    model, store, report, picture : Path
        Fine-tuned model, upscaled volume, evaluation report, and one picture of low, cubic, superres before and after
        fine-tuning, and truth.
    evaluation : Evaluation
        Scores beside the baselines and the model that was fine-tuned.
    upscaled : UpscaleSummary
        What the upscaling did.
    """

    model: Path
    store: Path
    report: Path
    picture: Path
    evaluation: Evaluation
    upscaled: UpscaleSummary


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an image: its name, split, loader and place."""

    name: str
    split: str
    load: Callable[[], NDArray[np.uint8]]
    rows: slice
    columns: slice

    def pixels(self) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self.load()[self.rows, self.columns])


_WHOLE = slice(None)
_PARTS = (
    _Part("tissue_left", "train", skimage.data.immunohistochemistry, _WHOLE, slice(0, 248)),
    _Part("fundus_left", "train", skimage.data.retina, slice(200, 1200), slice(150, 880)),
    _Part("phase_left", "train", skimage.data.cell, _WHOLE, slice(0, 440)),
    _Part("tissue_right", "val", skimage.data.immunohistochemistry, _WHOLE, slice(256, 512)),
    _Part("fundus_right", "val", skimage.data.retina, slice(448, 960), slice(896, 1152)),
    _Part("phase_right", "val", skimage.data.cell, _WHOLE, slice(446, 550)),
    _Part("microaneurysms", "val", skimage.data.microaneurysms, slice(0, 100), slice(0, 100)),
)


def first_result(out: Path, *, progress: ProgressCallback = silent) -> UpscaleSummary:
    """Upscale a volume that no model in the package ever saw the like of, as one would right after installation.

    Parameters
    ----------
    out : Path
        Folder for the volume and the store.
    progress : callable
        Receives progress events.
    """
    out.mkdir(parents=True, exist_ok=True)
    upscaling = UpscaleConfig(model=find_model(PARENT), overwrite=True)
    return upscale(_write_low_volume(out / "low.tif"), out / "first.ome.zarr", upscaling, progress=progress)


def run_demo(out: Path, *, quick: bool = False, progress: ProgressCallback = silent) -> DemoResult:
    """Fine-tune the model in the package on a few images, upscale again, and score both beside the baselines.

    Parameters
    ----------
    out : Path
        Folder for images, model, store and report; a demo that was stopped goes on.
    quick : bool
        A short training, to see that everything works; the figures are worse.
    progress : callable
        Receives progress events.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest, low = _write_images(out), _write_low_volume(out / "low.tif")
    parent, name = find_model(PARENT), "quick" if quick else "demo"
    trained = train(_train_config(manifest, parent, quick=quick), out / f"run_{name}", progress=progress)
    upscaling = UpscaleConfig(model=trained.model, overwrite=True)
    upscaled = upscale(low, out / f"{name}.ome.zarr", upscaling, progress=progress)
    scoring = EvaluateConfig(manifests=(manifest,), model=trained.model, models={PARENT: parent}, crop=4)
    evaluation = evaluate(scoring, out / f"report_{name}", progress=progress)
    picture = out / f"{name}.png"
    imageio.imwrite(picture, _picture(parent, trained.model))
    return DemoResult(
        model=trained.model,
        store=upscaled.path,
        report=out / f"report_{name}" / "report.html",
        picture=picture,
        evaluation=evaluation,
        upscaled=upscaled,
    )


def _train_config(manifest: Path, parent: Path, *, quick: bool) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "demo",
            "manifests": [manifest],
            "factor": FACTOR,
            "start_from": parent,
            "model": {"preset": "XS"},
            "degrade": [step.model_dump(mode="json", exclude_none=True) for step in _DEGRADE],
            "time_budget": "10s" if quick else "120s",
            "validate_every": 100,
            "checkpoint_every": 100,
        }
    )


def _write_images(out: Path) -> Path:
    """Write every part as PNG, and the manifest that lists them."""
    images = out / "images"
    images.mkdir(exist_ok=True)
    entries = []
    for part in _PARTS:
        pixels, file = part.pixels(), images / f"{part.name}.png"
        imageio.imwrite(file, pixels)
        entry: dict[str, Any] = {"id": part.name, "split": part.split, "grey_range": list(GREY_RANGE)}
        if pixels.ndim == 3:
            entry["axes"] = "YXC"
        entries.append(entry | {"high": [{"file": file.name, "sha256": file_sha256(file)}]})
    content = {
        "name": "scikit-image",
        "description": "Parts of real images inside scikit-image; training and validation parts do not overlap",
        "licence": _LICENCE,
        "credit": "the scikit-image team and the authors named there",
        "source": "skimage.data",
        "root": "images",
        "acquisitions": entries,
    }
    path = out / "manifest.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _held_out_volume() -> NDArray[np.uint8]:
    """Return four held-out square parts of tissue and fundus as planes of three channels, (c, z, y, x)."""
    squares = [
        part.pixels()[row : row + 256]
        for part in _PARTS
        if part.name in ("tissue_right", "fundus_right")
        for row in (0, 256)
    ]
    return np.moveaxis(np.stack(squares), -1, 0)


def _write_low_volume(path: Path) -> Path:
    """Write what a fast scan would have recorded of the held-out parts: rounded to 8 bits as a camera does."""
    high = _held_out_volume()
    low = degrade_image(high, _DEGRADE, factor=FACTOR, grey_range=GREY_RANGE, seed=1)
    recorded = np.rint(low).clip(0, 255).astype(np.uint8)
    save_hyperstack(path, recorded[None], channel_names=("red", "green", "blue"))
    return path


def _picture(parent: Path, model: Path) -> NDArray[np.uint8]:
    """Return one row per image that was not trained on: low, cubic, superres before and after, truth."""
    before, after = load_model(parent), load_model(model)
    rows = []
    for part in _PARTS:
        if part.split != "val":
            continue
        pixels = part.pixels()
        high = np.moveaxis(np.atleast_3d(pixels), -1, 0)[:, None]
        low = degrade_image(high, _DEGRADE, factor=FACTOR, grey_range=GREY_RANGE, seed=1)
        panels: list[NDArray[Any]] = [
            low.repeat(4, -1).repeat(4, -2),
            after.interpolate(low),
            before.restore(low),
            after.restore(low),
            high,
        ]
        y, x = _liveliest(high)
        rows.append(np.concatenate([_panel(image, y, x) for image in panels], axis=1))
    return np.concatenate(rows)


def _liveliest(high: NDArray[Any]) -> tuple[int, int]:
    """Return the corner of the window with the most contrast, (y, x): an empty one would show nothing."""
    y, x = (range(0, max(1, n - _PICTURE_SIDE + 1), 16) for n in high.shape[-2:])
    corners = [(row, column) for row in y for column in x]
    contrast = [high[:, 0, r : r + _PICTURE_SIDE, c : c + _PICTURE_SIDE].std() for r, c in corners]
    return corners[int(np.argmax(contrast))]


def _panel(image: NDArray[Any], y: int, x: int) -> NDArray[np.uint8]:
    """Cut the window that starts at (y, x) and give it three colours and a white rim."""
    colours = np.rint(image[:, 0, y : y + _PICTURE_SIDE, x : x + _PICTURE_SIDE]).clip(0, 255).astype(np.uint8)
    colours = np.broadcast_to(colours, (3, *colours.shape[1:]))
    missing = [_PICTURE_SIDE - n for n in colours.shape[1:]]
    padding = ((0, 0), *((gap // 2 + 2, gap - gap // 2 + 2) for gap in missing))
    return np.moveaxis(np.pad(colours, padding, constant_values=255), 0, -1)
