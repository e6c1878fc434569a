"""The models in the package over a grid of blur and noise around what they were trained for, and on empty recordings.

Every validation acquisition is recorded at every place of the grid, restored as `superres upscale` does, and compared
with cubic interpolation (or the input, where the grid stays as it is). The tables are printed:
`pytest -s tests/benchmarks/test_bundled_models.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figures import markdown
from numpy.typing import NDArray

from superres.config import DegradeStep
from superres.datasets import load_manifest
from superres.degrade import degrade_image
from superres.evaluation.controls import negative_controls
from superres.inference import Predictor, load_model
from superres.sharing import bundled_models
from superres.volumes import open_volume

MANIFESTS = Path(__file__).parents[2] / "data_manifests"
TOLERANCE = 0.2  # decibel below interpolation
SIDE, CROP = 256, 8
# Between the weakest (0) and the strongest (1) blur and noise of the training; other places are outside of it.
BLURS = (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
NOISES = (0.0, 0.33, 0.67, 1.0, 1.25)


def between(ends: tuple[float, float], place: float) -> float:
    """Go from one end to the other in equal ratios."""
    first, last = (max(end, 1e-3) for end in ends)
    return math.exp(math.log(first) + place * (math.log(last) - math.log(first)))


def recorded(step: DegradeStep, blur: float, noise: float) -> DegradeStep:
    """Take one value out of every range of a step."""
    changes: dict[str, Any] = step.model_dump(exclude_none=True)
    if step.blur is not None:
        sigma, haze = (max(0.0, least + blur * (most - least)) for least, most in (step.blur.sigma, step.blur.haze))
        changes["blur"] |= {"sigma": [sigma] * 2, "haze": [haze] * 2}
        changes["blur"]["haze_sigma"] = [max(step.blur.haze_sigma)] * 2
    if step.poisson is not None:
        least, most = step.poisson.photons
        changes["poisson"] = {"photons": [between((most, least), noise)] * 2}
    if step.read_noise is not None:
        changes["read_noise"]["sd"] = [between(step.read_noise.sd, noise)] * 2
    return DegradeStep.model_validate(changes)


def truths(manifest: Path, data_root: Path, multiple: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Give the middle of the middle plane of the first file of every validation acquisition, (c, 1, y, x), 0 to 1."""
    for acquisition in load_manifest(manifest, data_root).acquisitions:
        if acquisition.split != "val":
            continue
        volume = open_volume(acquisition.high[0], axes=acquisition.axes)
        size = [min(n, SIDE) // multiple * multiple for n in volume.shape[3:]]
        y, x = (slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(volume.shape[3:], size, strict=True))
        t, z = volume.shape[0] // 2, volume.shape[2] // 2
        planes = [
            volume.read(t=t, c=channel, z=slice(z, z + 1), y=y, x=x).astype(np.float32)
            for channel in range(volume.shape[1])
        ]
        high = np.stack(planes)
        if acquisition.grey_range is not None:
            black, white = acquisition.grey_range
        else:
            black, white = np.percentile(high, (0.1, 99.9))
        yield acquisition.id, ((high - black) / (white - black)).astype(np.float32)


def psnr(found: NDArray[Any], truth: NDArray[Any]) -> float:
    inner = (..., slice(CROP, -CROP), slice(CROP, -CROP))
    return -10 * math.log10(float(np.mean((found[inner] - truth[inner]) ** 2)))


def gain(predictor: Predictor, truth: NDArray[np.float32], steps: tuple[DegradeStep, ...], seed: int) -> float:
    low = degrade_image(truth, steps, factor=predictor.header.factor, grey_range=(0, 1), seed=seed)
    return psnr(predictor.restore(low), truth) - psnr(predictor.interpolate(low), truth)


def steps_of(predictor: Predictor) -> tuple[DegradeStep, ...]:
    return tuple(DegradeStep.model_validate(step) for step in predictor.header.degradation)


def models() -> list[Any]:
    return [pytest.param(path, id=name) for name, path in bundled_models().items()]


@pytest.mark.realdata
@pytest.mark.parametrize("path", models())
def test_nowhere_on_the_grid_worse_than_interpolation(path: Path, data_root: Path) -> None:
    predictor = load_model(path, "cpu")
    header = predictor.header
    steps = steps_of(predictor)
    if not steps:
        pytest.skip("learnt from real pairs: there is no degradation to vary")
    multiple = int(np.lcm.reduce(header.stride)) * max(header.factor)
    worst: dict[tuple[float, float], tuple[float, str]] = {}
    sums: dict[tuple[float, float], list[float]] = {}
    for told in header.training["manifests"]:
        for name, truth in truths(MANIFESTS / f"{told['name']}.yaml", data_root, multiple):
            for blur in BLURS:
                for noise in NOISES:
                    found = gain(predictor, truth, tuple(recorded(one, blur, noise) for one in steps), seed=1)
                    place = blur, noise
                    worst[place] = min(worst.get(place, (math.inf, "")), (found, name))
                    sums.setdefault(place, []).append(found)
    rows = [
        [f"{blur:g}"]
        + [
            f"{np.mean(sums[blur, noise]):+.2f} ({worst[blur, noise][0]:+.2f} {worst[blur, noise][1]})"
            for noise in NOISES
        ]
        for blur in BLURS
    ]
    print(f"\n{path.stem}: gain in dB, mean over acquisitions (worst); blur down, noise across\n")
    print(markdown(["blur", *map("{:g}".format, NOISES)], rows))
    assert min(worst.values())[0] > -TOLERANCE


@pytest.mark.parametrize("path", models())
def test_nothing_is_made_of_nothing(path: Path) -> None:
    predictor = load_model(path, "cpu")
    steps = steps_of(predictor) or (DegradeStep.model_validate({"read_noise": {"sd": [0.03, 0.03]}}),)
    found = negative_controls(predictor, steps)
    print(
        f"\n{path.stem}: "
        + ", ".join(f"{one.name} noise {one.noise:.2f}, invented {one.invention:.2f}" for one in found)
    )
    assert all(one.is_passed for one in found)
