"""Tuning finds what was planted, and says when it could not look far enough."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from superres.evaluation.baselines import Recording, restore
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.psf import Optics, Psf
from superres.evaluation.tuning import GRIDS, TuningImage, tune

SAME = Optics((1, 1, 1))
TWICE = Optics((1, 2, 2))
TRUTH = data.brick()[:96, :96].astype(np.float64)[None]


def image(low: np.ndarray, truth: np.ndarray = TRUTH) -> TuningImage:
    return TuningImage(Recording(low, 0.0, (None, 0.1, 0.1)), truth, 255.0)


def noise(sd: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sd, TRUTH.shape)


def halved(sharp: np.ndarray) -> np.ndarray:
    return sharp.reshape(1, 48, 2, 48, 2).mean(axis=(2, 4))


@pytest.mark.parametrize("name", ["wiener", "richardson-lucy"])
@pytest.mark.parametrize("sigma", [0.7, 1.2])
def test_a_planted_blur_is_found(name: str, sigma: float) -> None:
    low = gaussian_filter(TRUTH, (0, sigma, sigma)) + noise(2)
    found = tune(name, [image(low)], SAME, crop=8)
    assert found.values["sigma"] == pytest.approx(sigma, rel=0.25)
    assert found.at_edge == ()


@pytest.mark.parametrize(("name", "gain"), [("nlm", 0.0), ("wiener", 1.0), ("richardson-lucy", 1.5)])
def test_the_result_beats_bicubic_and_every_setting_around_it(name: str, gain: float) -> None:
    low = halved(gaussian_filter(TRUTH, (0, 1.5, 1.5)) + noise(4))
    bicubic = restore("bicubic", Recording(low), TWICE, {})
    found = tune(name, [image(low)], TWICE, crop=8)
    own = restore(name, image(low).recording, TWICE, found.values)
    assert psnr(inner(TRUTH, (16, 16)), inner(own, (16, 16)), data_range=255) == pytest.approx(found.psnr)
    assert found.psnr >= psnr(inner(TRUTH, (16, 16)), inner(bicubic, (16, 16)), data_range=255) + gain
    for key, value in found.values.items():
        for other in (0.7 * value, 1.5 * value):
            if key == "iterations":
                other = max(1.0, round(other))
            near = restore(name, image(low).recording, TWICE, {**found.values, key: other})
            score = psnr(inner(TRUTH, (16, 16)), inner(near, (16, 16)), data_range=255)
            assert score < found.psnr + 0.05


@pytest.mark.parametrize("name", list(GRIDS))
def test_sharp_images_without_noise_are_not_hurt(name: str) -> None:
    found = tune(name, [image(TRUTH)], SAME, crop=8)
    assert found.psnr > 60
    low = halved(TRUTH)
    bicubic = psnr(
        inner(TRUTH, (16, 16)), inner(restore("bicubic", Recording(low), TWICE, {}), (16, 16)), data_range=255
    )
    assert tune(name, [image(low)], TWICE, crop=8).psnr >= bicubic - 1e-6


@pytest.mark.parametrize("name", ["gaussian", "nlm", "wiener", "richardson-lucy"])
def test_noise_is_smoothed(name: str) -> None:
    truth = data.camera()[128:224, 128:224].astype(np.float64)[None]
    low = truth + noise(25)
    found = tune(name, [image(low, truth)], SAME, crop=8)
    assert found.psnr > psnr(inner(truth, (8, 8)), inner(low, (8, 8)), data_range=255) + 2
    assert found.at_edge == ()


def test_the_end_of_the_grid_is_said() -> None:
    flat = np.add.outer(np.arange(96.0), np.arange(96.0))[None]
    low = flat + np.random.default_rng(0).normal(0, 200, flat.shape)
    found = tune("gaussian", [image(low, flat)], SAME, crop=4)
    assert found.values["sigma"] == GRIDS["gaussian"]["sigma"][-1]
    assert found.at_edge == ("sigma",)


def test_a_known_sigma_is_not_tuned() -> None:
    optics = Optics((1, 1, 1), Psf((0, 0.12, 0.12), ""))
    low = gaussian_filter(TRUTH, (0, 1.2, 1.2)) + noise(2)
    for name, key in (("wiener", "balance"), ("richardson-lucy", "iterations")):
        known, tuned = (tune(name, [image(low)], way, crop=8) for way in (optics, SAME))
        assert set(known.values) == set(known.grid) == {key}
        assert known.psnr > tuned.psnr - 0.3
    assert "sigma" in tune("gaussian", [image(low)], optics, crop=8).values


def test_images_count_alike() -> None:
    """The mean over images is tuned, so that the result lies between those of the single ones."""
    blurred = [image(gaussian_filter(TRUTH, (0, s, s)) + noise(2)) for s in (0.5, 1.4)]
    first, second, both = (
        tune("wiener", images, SAME, crop=8).values["sigma"] for images in (blurred[:1], blurred[1:], blurred)
    )
    assert first <= both <= second and first < second
