"""What the recipes reach on real images: each is trained as it stands, and scored on acquisitions it never saw.

About half an hour on two cores. Tables are printed: `pytest -s tests/benchmarks/test_recipe_quality.py`. The reports
stay in pytest's folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from superres.config import DegradeStep, TrainConfig, load_config
from superres.degrade import degrade_image
from superres.evaluation import Evaluation, evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.evaluation.upsampling import upsample
from superres.inference import load_model
from superres.training import train
from superres.volumes import open_volume

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

PIPELINES = Path(__file__).parents[2] / "pipelines"
TOLERANCE = 0.2  # decibel below bicubic that is allowed outside the trained range


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> dict[str, tuple[Path, Evaluation]]:
    made = {}
    for name in ("em_x4", "fluorescence_x2", "restore_pairs"):
        run = tmp_path_factory.mktemp(name)
        config = load_config(TrainConfig, PIPELINES / f"{name}.yaml", data_root=data_root)
        train(config, run)
        scored = EvaluateConfig(model=run, manifests=config.manifests, data_root=data_root)
        made[name] = run, evaluate(scored, run / "report")
    return made


def test_em_is_above_every_baseline(runs: dict[str, tuple[Path, Evaluation]]) -> None:
    evaluation = show(runs["em_x4"][1])
    assert evaluation.gains["bicubic"].psnr.interval.mean >= 1.5
    for acquisition in evaluation.acquisitions:
        for baseline in ("bicubic", "richardson-lucy"):
            assert acquisition.scores["superres"].psnr > acquisition.scores[baseline].psnr, acquisition.id
            assert acquisition.scores["superres"].ssim > acquisition.scores[baseline].ssim, acquisition.id


def test_fluorescence_is_above_bicubic(runs: dict[str, tuple[Path, Evaluation]]) -> None:
    for acquisition in show(runs["fluorescence_x2"][1]).acquisitions:
        assert acquisition.scores["superres"].psnr > acquisition.scores["bicubic"].psnr, acquisition.id


def test_pairs_are_above_the_input_and_a_tuned_gaussian(runs: dict[str, tuple[Path, Evaluation]]) -> None:
    for acquisition in show(runs["restore_pairs"][1]).acquisitions:
        for baseline in ("input", "gaussian"):
            assert acquisition.scores["superres"].psnr > acquisition.scores[baseline].psnr, acquisition.id


def show(evaluation: Evaluation) -> Evaluation:
    print(f"\n{evaluation.report}\n{'':24}" + "".join(f"{method:>22}" for method in evaluation.methods))
    for acquisition in evaluation.acquisitions:
        cells = (f"{acquisition.scores[m].psnr:.2f} dB {acquisition.scores[m].ssim:.3f}" for m in evaluation.methods)
        print(f"{acquisition.id:24}" + "".join(f"{cell:>22}" for cell in cells))
    return evaluation


def test_nothing_collapses_outside_the_trained_range(runs: dict[str, tuple[Path, Evaluation]], data_root: Path) -> None:
    predictor = load_model(runs["em_x4"][0])
    steps = tuple(DegradeStep.model_validate(step) for step in predictor.header.degradation)
    worst = []
    for file, divisor in (
        ("em-flyem/val/vol-a_z2705.png", 1.0),
        ("em-sem-myelin/sem_myelin_2_0.13um_16bit.tif", 257.0),
    ):
        volume = open_volume(data_root / file)
        image = (
            volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 248), x=slice(0, 248)).astype(np.float64)[None] / divisor
        )
        for name, truth in outside(image).items():
            low = degrade_image(truth, steps, factor=predictor.header.factor, grey_range=(0, 255), seed=5)
            figures = [psnr(pred, truth) for pred in (upsample(low, (1, 4, 4), how="bicubic"), predictor.restore(low))]
            print(f"{file}, {name}: bicubic {figures[0]:.2f} dB, superres {figures[1] - figures[0]:+.2f} dB")
            worst.append(figures[1] - figures[0])
    assert min(worst) >= -TOLERANCE


def outside(image: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return what the training images lack, on a grey range of 0 to 255."""
    mean = image.mean()
    made = {"twice the contrast": (image - mean) * 2 + mean, "half the contrast": (image - mean) / 2 + mean}
    for name, value in (("bright empty half", 250), ("black half", 5)):
        made[name] = image.copy()
        made[name][..., 124:] = value
    made["empty but for an eighth"] = image.copy()
    made["empty but for an eighth"][..., 32:] = 250
    made["saturated corner"] = image.copy()
    made["saturated corner"][..., :80, :80] = 255
    return {name: np.clip(truth, 0, 255) for name, truth in made.items()}


def psnr(pred: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    return float(10 * np.log10(255**2 / np.mean((pred - truth) ** 2)))
