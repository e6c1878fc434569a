"""What the guard does to every real image, given to the model of its own modality and of the other one.

The models are the recipes' own, trained for `SUPERRES_GUARD_MINUTES` (default 7) each, or found in the run folders
``em_x4`` and ``fluorescence_x2`` below `SUPERRES_GUARD_RUNS`. Every image is changed as a specimen or microscope might
(contrast, grey levels, dose, empty and saturated areas), recorded by the model's own degradation, and restored.
`SUPERRES_GUARD_EVERY` takes every n-th file of folders of more than 20. Tables are printed:
`pytest -s tests/benchmarks/test_guard.py`. What the guard costs, `make bench` shows.
"""

from __future__ import annotations

import os
import statistics
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from superres.config import DegradeStep, TrainConfig, load_config
from superres.degrade import degrade_image
from superres.errors import InputError
from superres.evaluation.controls import negative_controls
from superres.evaluation.upsampling import upsample
from superres.inference import Predictor, load_model
from superres.training import train
from superres.volumes import open_volume

PIPELINES = Path(__file__).parents[2] / "pipelines"
TOLERANCE = 0.2  # decibel below bicubic
OWN_LOSS = 0.05  # decibel that the model's own kind of images may lose on average
SIDE = 384
CROP = 8
EM = ("em-", "stack3d/em")
# Copies of files that are taken elsewhere, and the noisy halves of pairs.
LEFT_OUT = ("formats", "pairs-snr-gigadb/low", "pairs-fmd-gpl/low", "pairs-2photon-gpl/noisy")
CHANGES = ("plain", "half contrast", "twice the contrast", "quarter of the levels", "quarter of the dose", "empty half")
CHANGES += ("saturated corner",)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> dict[str, Predictor]:
    given = os.environ.get("SUPERRES_GUARD_RUNS")
    made = {}
    for name in ("em_x4", "fluorescence_x2"):
        run = Path(given) / name if given else tmp_path_factory.mktemp(name)
        if not given:
            minutes = os.environ.get("SUPERRES_GUARD_MINUTES", "7")
            changes = [f"time_budget={minutes}min"]
            train(load_config(TrainConfig, PIPELINES / f"{name}.yaml", changes, data_root=data_root), run)
        made[name] = load_model(run, "cpu")
    return made


def files(root: Path) -> list[Path]:
    every = int(os.environ.get("SUPERRES_GUARD_EVERY", "1"))
    found = sorted(file for file in root.rglob("*") if file.suffix.lower() in (".png", ".tif", ".tiff"))
    kept = [
        file for file in found if file.parent != root and not file.relative_to(root).as_posix().startswith(LEFT_OUT)
    ]
    counts: dict[Path, int] = {}
    chosen = []
    for file in kept:
        counts[file.parent] = counts.get(file.parent, -1) + 1
        many = sum(other.parent == file.parent for other in kept) > 20
        if not many or counts[file.parent] % every == 0:
            chosen.append(file)
    return chosen


def planes(root: Path) -> Iterator[tuple[str, bool, NDArray[np.float64]]]:
    """Give name, whether it is electron microscopy, and the middle of the middle plane of each channel, 0 to 1."""
    for file in files(root):
        volume = None
        for axes in (None, "YXC", "ZYX"):
            try:
                volume = open_volume(file, axes=axes)
                break
            except InputError:
                continue
        if volume is None:
            continue
        name = file.relative_to(root).as_posix()
        t, channels, z, *size = volume.shape
        side = [min(n, SIDE) // 16 * 16 for n in size]
        y, x = (slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(size, side, strict=True))
        for channel in range(channels if min(side) >= 96 else 0):
            plane = volume.read(t=t // 2, c=channel, z=slice(z // 2, z // 2 + 1), y=y, x=x)[0].astype(np.float64)
            is_em = name.startswith(EM)
            means = plane.reshape(side[0] // 8, 8, side[1] // 8, 8).mean(axis=(1, 3))
            black, white = np.percentile(means, (0.5, 99.9))
            if is_em:
                black, white = 0.0, 255.0 if volume.dtype.itemsize == 1 else 65_535.0
            if white > black and np.ptp(plane) > 0:
                yield f"{name} {channel}", is_em, (plane - black) / (white - black)


def changed(
    truth: NDArray[np.float64], how: str, steps: tuple[DegradeStep, ...]
) -> tuple[NDArray[np.float64], tuple[DegradeStep, ...]]:
    mean, (height, width) = truth.mean(), truth.shape
    if how == "half contrast":
        return (truth - mean) / 2 + mean, steps
    if how == "twice the contrast":
        return np.clip((truth - mean) * 2 + mean, 0, 1), steps
    if how == "quarter of the levels":
        return truth / 4, steps
    if how == "quarter of the dose":
        return truth, tuple(map(weaker, steps))
    made = truth.copy()
    if how == "empty half":
        made[:, width // 2 :] = 0.02
    elif how == "saturated corner":
        made[: height // 2, : width // 2] = 1.0
    return made, steps


def weaker(step: DegradeStep) -> DegradeStep:
    content: dict[str, Any] = step.model_dump(mode="json", exclude_none=True)
    if "poisson" in content:
        content["poisson"]["photons"] = [value / 4 for value in content["poisson"]["photons"]]
    if "read_noise" in content:
        content["read_noise"]["sd"] = [value * 2 for value in content["read_noise"]["sd"]]
    return DegradeStep.model_validate(content)


def steps_of(predictor: Predictor) -> tuple[DegradeStep, ...]:
    return tuple(DegradeStep.model_validate(dict(step)) for step in predictor.header.degradation)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("name", ["em_x4", "fluorescence_x2"])
def test_no_image_is_worse_than_bicubic(models: dict[str, Predictor], data_root: Path, name: str) -> None:
    predictor = models[name]
    factor, steps = predictor.header.factor, steps_of(predictor)
    rows: dict[tuple[bool, str], list[tuple[float, float, str]]] = {}
    for image, is_em, plane in planes(data_root):
        for how in CHANGES:
            truth, recorded_by = changed(plane, how, steps)
            seed = zlib.crc32(f"{image} {how}".encode()) % 1000
            low = degrade_image(truth[None, None], recorded_by, factor=factor, grey_range=(0, 1), seed=seed)
            inner = tuple(slice(CROP * f, -CROP * f) for f in factor[1:])
            errors = [
                float(np.mean((pred[0, 0] - truth)[inner] ** 2))
                for pred in (
                    upsample(low, factor, how="bicubic"),
                    predictor.restore(low, guarded=False),
                    predictor.restore(low),
                )
            ]
            before, after = (10 * np.log10(errors[0] / error) for error in errors[1:])
            rows.setdefault((is_em, how), []).append((before, after, image))
    for (is_em, how), found in sorted(rows.items()):
        columns = list(zip(*found, strict=True))
        texts = [
            f"{statistics.mean(column):+.2f}, worst {min(column):+.2f}, below {sum(v < -TOLERANCE for v in column)}"
            for column in columns[:2]
        ]
        kind = "EM" if is_em else "fluorescence"
        print(f"\n{name} on {kind}, {how}, n {len(found)}: before {texts[0]} | guarded {texts[1]}", end="")
    own = rows[name == "em_x4", "plain"]
    assert statistics.mean(after - before for before, after, _ in own) >= -OWN_LOSS
    worst = sorted((after, image, how) for (_, how), found in rows.items() for _, after, image in found)
    print("\n" + "\n".join(f"{after:+.2f} {how}: {image}" for after, image, how in worst[:20]))
    assert worst[0][0] >= -TOLERANCE


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("name", ["em_x4", "fluorescence_x2"])
def test_nothing_is_made_of_nothing(models: dict[str, Predictor], name: str) -> None:
    predictor = models[name]
    for control in negative_controls(predictor, steps_of(predictor)):
        print(f"\n{name}, {control.name}: noise {control.noise:.3f}, invention {control.invention:.3f}", end="")
        assert control.noise <= 1.001
