from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from superres.config import DegradeStep
from superres.degrade import degrade_image
from superres.evaluation.upsampling import upsample
from superres.inference.consistency import SUSPICIOUS, Consistency, consistency
from superres.volumes import open_volume

FACTOR = (1, 4, 4)
EM = [{"downsample": "binning"}, {"poisson": {"photons": 255}}, {"read_noise": {"sd": 0.04}}]
CONFOCAL = [{"blur": {"sigma": 3.0}}, {"downsample": "subsampling"}, {"poisson": {"photons": 200}}]
NAMES = ("camera", "brick", "grass", "gravel", "moon", "page", "coins", "clock", "cell")


def steps_of(chain: list[dict[str, object]]) -> tuple[DegradeStep, ...]:
    return tuple(DegradeStep.model_validate(step) for step in chain)


def image_of(name: str) -> NDArray[np.float32]:
    image = getattr(data, name)().astype(np.float32)
    y, x = (n // 8 * 8 for n in image.shape)
    return image[:y, :x][:256, :256]


def recorded(truth: NDArray[np.float32], chain: list[dict[str, object]], seed: int) -> NDArray[np.float32]:
    low = degrade_image(truth[None, None], steps_of(chain), factor=FACTOR, grey_range=(0, 255), seed=seed)
    return low[0]


def compare(low: NDArray[np.float32], pred: NDArray[np.float32], chain: list[dict[str, object]]) -> Consistency:
    return consistency(low, pred[None], steps_of(chain), factor=FACTOR, grey_range=(0, 255))


@pytest.mark.parametrize("chain", [EM, CONFOCAL], ids=["em", "confocal"])
def test_truth_has_variance_one_and_raises_no_alarm(chain: list[dict[str, object]]) -> None:
    found = [
        compare(recorded(image_of(name), chain, seed), image_of(name), chain) for seed in (1, 2, 3) for name in NAMES
    ]
    assert len(found) >= 20
    inner = np.concatenate([one.z[:, 8:-8, 8:-8].ravel() for one in found])
    assert inner.var() == pytest.approx(1, abs=0.1)
    assert np.mean([one.chi2 for one in found]) == pytest.approx(1, abs=0.1)
    assert max(one.largest for one in found) < SUSPICIOUS + 0.5
    assert sum(one.suspicious > 0 for one in found) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_blob_is_found_where_it_is(name: str) -> None:
    truth = image_of(name)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    low = recorded(truth, EM, seed=4)
    noise = float(np.sqrt(truth[76:124, 116:164].mean() + (0.04 * 255) ** 2))  # of one low voxel, at that place
    planted = truth + 3 * noise * np.exp(-((y - 100) ** 2 + (x - 140) ** 2) / (2 * 12.0**2))
    found = compare(low, planted.astype(np.float32), EM)
    assert found.largest > 10
    place = np.unravel_index(int(np.abs(found.z[0]).argmax()), found.z[0].shape)
    assert abs(place[0] - 25) <= 2 and abs(place[1] - 35) <= 2


def test_an_erased_structure_is_found() -> None:
    truth = image_of("camera")
    low = recorded(truth, CONFOCAL, seed=5)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    hole = np.exp(-((y - 100) ** 2 + (x - 140) ** 2) / (2 * 8.0**2))
    erased = truth * (1 - hole) + truth.mean() * hole
    assert abs(truth[100, 140] - truth.mean()) > 3 * 11
    assert compare(low, erased.astype(np.float32), CONFOCAL).largest > 10


def test_detail_beyond_the_microscope_passes() -> None:
    """The limit of the method, on record: what the point spread function removes leaves no trace in the recording."""
    truth = image_of("camera")
    low = recorded(truth, CONFOCAL, seed=6)
    stripes = 30 * np.sin(2 * np.pi * np.arange(truth.shape[1]) / 3).astype(np.float32)
    assert compare(low, truth + stripes, CONFOCAL).largest < SUSPICIOUS


def test_a_prediction_that_follows_the_noise_is_too_consistent() -> None:
    truth = image_of("brick")
    low = recorded(truth, CONFOCAL, seed=7)
    noisy = upsample(low[None], FACTOR, how="bicubic")[0, 0].astype(np.float32)
    unblurred = [{"downsample": "subsampling"}, {"poisson": {"photons": 200}}]
    assert compare(low, noisy, unblurred).chi2 < 0.2


def test_grey_scale_does_not_matter() -> None:
    truth = image_of("coins")
    low = recorded(truth, EM, seed=8)
    plain = compare(low, truth, EM)
    scaled = consistency(
        low * 100 + 500, truth[None] * 100 + 500, steps_of(EM), factor=FACTOR, grey_range=(500, 500 + 25500)
    )
    np.testing.assert_allclose(scaled.z, plain.z, atol=1e-3)


@pytest.mark.realdata
def test_truth_of_real_micrographs_has_variance_one(data_root: Path) -> None:
    found = []
    for file in sorted((data_root / "em-flyem" / "val").glob("*.png"))[:8]:
        truth = open_volume(file).read(t=0, c=0, z=slice(0, 1), y=slice(0, 248), x=slice(0, 248))[0].astype(np.float32)
        found.append(compare(recorded(truth, EM, seed=9), truth, EM))
    assert np.concatenate([one.z[:, 8:-8, 8:-8].ravel() for one in found]).var() == pytest.approx(1, abs=0.1)
    assert max(one.largest for one in found) < SUSPICIOUS + 0.5
