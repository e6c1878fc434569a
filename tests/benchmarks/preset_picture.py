"""Draw what nets of the three presets make of images that they never saw: the picture in docs/ablations.md.

::

    python tests/benchmarks/preset_picture.py OUT.png ABLATION [ABLATION ...]

An ``ABLATION`` is the folder of ``superres ablate ... --arms pipelines/ablations/presets.yaml``; of each, its first
seed. The images are the middle ones of the validation split, cut to where the contrast is, at one grey scale a row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from superres.config import TrainConfig, load_config
from superres.datasets import load_manifest
from superres.evaluation.sampling import Sample, Setup, draw_samples
from superres.evaluation.upsampling import upsample
from superres.inference import load_model
from superres.recipe_files import read_yaml

ARMS = ("quantitative", "balanced", "display")
SIDE, SCALE = 128, 2  # high voxels of a crop, and pixels for each


def rows(ablation: Path) -> Iterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Give name and planes, (y, x), for one image of every validation acquisition."""
    runs = {arm: ablation / "runs" / arm / "seed_0" for arm in ARMS}
    config = load_config(TrainConfig, None, **read_yaml(runs[ARMS[0]] / "config.yaml"))
    setup = Setup(config.factor, config.degrade, config.intensity, 1, 8, 0, False)
    models = {arm: load_model(run, "cpu") for arm, run in runs.items()}
    for manifest in (load_manifest(path, config.data_root) for path in config.manifests):
        for acquisition in manifest.of_split("val"):
            (sample, *_), _ = draw_samples(acquisition, setup)
            planes = {"input": upsample(sample.low, config.factor, how="nearest")}
            planes["bicubic"] = upsample(sample.low, config.factor, how="bicubic")
            planes |= {arm: model.restore(sample.low, guarded=False) for arm, model in models.items()}
            yield acquisition.id, crops(sample, planes | {"truth": sample.truth})


def crops(sample: Sample, planes: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Cut every plane where truth has most contrast, on a coarse grid."""
    truth, z = sample.truth[0, sample.scored[0]], sample.scored[0]
    places = [
        (y, x)
        for y in range(0, max(1, truth.shape[0] - SIDE + 1), SIDE // 2)
        for x in range(0, max(1, truth.shape[1] - SIDE + 1), SIDE // 2)
    ]
    y, x = max(places, key=lambda place: float(truth[place[0] : place[0] + SIDE, place[1] : place[1] + SIDE].std()))
    return {name: image[0, z, y : y + SIDE, x : x + SIDE] for name, image in planes.items()}


def main(out: Path, ablations: list[Path]) -> None:
    found = [row for ablation in ablations for row in rows(ablation)]
    names = list(found[0][1])
    step, head = SIDE * SCALE + 6, 24
    picture = Image.new("L", (step * len(names) - 6, (step + head) * len(found)), 255)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for number, (name, planes) in enumerate(found):
        top = (step + head) * number
        black, white = np.percentile(planes["truth"], (0.5, 99.7))
        for column, (title, plane) in enumerate(planes.items()):
            grey = np.clip((plane - black) / (white - black), 0, 1) * 255
            tile = Image.fromarray(np.rint(grey).astype(np.uint8)).resize((SIDE * SCALE,) * 2, Image.Resampling.NEAREST)
            picture.paste(tile, (step * column, top + head))
            draw.text((step * column + 2, top + 3), f"{name}: {title}" if column == 0 else title, fill=0, font=font)
    picture.save(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
