"""The tuned baselines do what they are for, and leave alone what they must."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from superres.evaluation.baselines import (
    Tuning,
    TuningImage,
    apply_baseline,
    gaussian,
    methods_for,
    richardson_lucy,
    tune_gaussian,
    tune_richardson_lucy,
)
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.upsampling import upsample

FACTOR = (1, 2, 2)


def blurred_pair(*, sigma: float, noise: float, black: float = 0.0) -> TuningImage:
    truth = data.brick()[:128, :128].astype(np.float64)[None] + black
    sharp = gaussian_filter(truth, (0, sigma, sigma))
    low = sharp.reshape(1, 64, 2, 64, 2).mean(axis=(2, 4))
    return TuningImage(low + np.random.default_rng(0).normal(0, noise, low.shape), truth, black, 255.0)


def decibel(image: TuningImage, prediction: np.ndarray) -> float:
    return psnr(inner(image.truth, (16, 16)), inner(prediction, (16, 16)), data_range=255)


def test_methods_depend_on_whether_there_is_upscaling() -> None:
    everything = ("nearest", "bicubic", "lanczos", "richardson-lucy")
    assert methods_for(everything, (1, 4, 4)) == everything
    assert methods_for(("nearest",), (1, 4, 4)) == ("nearest", "bicubic")
    assert methods_for(everything, (1, 1, 1)) == ("input", "gaussian", "richardson-lucy")
    assert methods_for(("nearest",), (1, 1, 1)) == ("input", "gaussian")


def test_tuned_deconvolution_beats_bicubic_on_a_blurred_image() -> None:
    image = blurred_pair(sigma=1.5, noise=0.5)
    tuning = tune_richardson_lucy([image], FACTOR, crop=8)
    sharp = richardson_lucy(image.low, FACTOR, sigma=tuning.sigma, iterations=tuning.iterations, black=image.black)
    assert decibel(image, sharp) > decibel(image, upsample(image.low, FACTOR, how="bicubic")) + 2
    assert decibel(image, sharp) == pytest.approx(tuning.psnr)
    assert tuning.iterations > 4


def test_tuned_gaussian_beats_the_noisy_input() -> None:
    truth = data.camera()[128:256, 128:256].astype(np.float64)[None]
    image = TuningImage(truth + np.random.default_rng(0).normal(0, 25, truth.shape), truth, 0.0, 255.0)
    tuning = tune_gaussian([image], (1, 1, 1), crop=8)
    smooth = gaussian(image.low, (1, 1, 1), sigma=tuning.sigma)
    assert decibel(image, smooth) > decibel(image, image.low) + 2
    assert 0.5 < tuning.sigma < 3


def test_tuning_finds_no_blur_where_smoothing_only_harms() -> None:
    truth = data.brick()[:128, :128].astype(np.float64)[None]
    assert tune_gaussian([TuningImage(truth, truth, 0.0, 255.0)], (1, 1, 1), crop=8).sigma == 0.125


@pytest.mark.parametrize("black", [0.0, 100.0, -50.0])
def test_deconvolution_follows_the_black_level(black: float) -> None:
    image = blurred_pair(sigma=1.5, noise=0.0)
    plain = richardson_lucy(image.low, FACTOR, sigma=0.7, iterations=4, black=0.0)
    raised = richardson_lucy(image.low + black, FACTOR, sigma=0.7, iterations=4, black=black)
    np.testing.assert_allclose(raised - black, plain, atol=0.01)


def test_deconvolution_keeps_light_and_is_not_negative() -> None:
    image = blurred_pair(sigma=1.5, noise=3.0, black=100.0)
    sharp = richardson_lucy(image.low, FACTOR, sigma=0.7, iterations=8, black=100.0)
    assert sharp.min() >= 100.0 - 1e-3
    assert sharp.mean() == pytest.approx(image.low.mean(), rel=0.01)


def test_deconvolution_survives_darkness() -> None:
    low = np.full((1, 32, 32), 7.0)
    np.testing.assert_array_equal(richardson_lucy(low, FACTOR, sigma=0.5, iterations=4, black=7.0), 7.0)
    low[0, 16, 16] = 500.0
    assert np.isfinite(richardson_lucy(low, FACTOR, sigma=0.5, iterations=32, black=7.0)).all()


def test_planes_are_independent_unless_z_is_upscaled() -> None:
    low = np.random.default_rng(0).uniform(10, 200, (3, 24, 24))
    changed = low.copy()
    changed[2] += 50
    for factor, same in (((1, 2, 2), True), ((2, 2, 2), False)):
        a, b = (richardson_lucy(x, factor, sigma=0.7, iterations=2, black=0.0) for x in (low, changed))
        assert np.allclose(a[2 * factor[0] - 1], b[2 * factor[0] - 1], atol=1e-3) == same


@pytest.mark.parametrize("name", ["nearest", "bicubic", "lanczos", "gaussian", "richardson-lucy"])
def test_every_baseline_gives_the_high_grid(name: str) -> None:
    low = np.random.default_rng(0).integers(0, 4000, (2, 3, 20, 24), dtype=np.uint16)
    tuned = {"gaussian": Tuning(0.5), "richardson-lucy": Tuning(0.5, 2)}
    high = apply_baseline(name, low, factor=(1, 4, 2), tuned=tuned, black=(0.0, 10.0))
    assert high.shape == (2, 3, 80, 48)
    assert high.dtype == np.float64


def test_input_is_the_input() -> None:
    low = np.random.default_rng(0).integers(0, 255, (1, 2, 8, 9), dtype=np.uint8)
    np.testing.assert_array_equal(apply_baseline("input", low, factor=(1, 1, 1), tuned={}, black=(0.0,)), low)
