"""The baselines do what they are for, and leave alone what they must."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from skimage import data

from superres.evaluation.baselines import DESCRIPTIONS, Recording, methods_for, noise_level, non_local_means, restore
from superres.evaluation.metrics import psnr
from superres.evaluation.psf import Optics
from superres.evaluation.settings import Baseline
from superres.evaluation.tuning import GRIDS
from superres.evaluation.upsampling import RESAMPLERS, upsample

FACTOR = (1, 2, 2)
VALUES = {"sigma": 0.5, "strength": 1.0, "balance": 0.1, "iterations": 2.0}


def test_methods_depend_on_whether_there_is_upscaling() -> None:
    everything = get_args(Baseline)
    assert methods_for(everything, (1, 4, 4)) == everything
    assert methods_for(("nearest",), (1, 4, 4)) == ("nearest", "bicubic")
    assert methods_for(("richardson-lucy", "unet", "nearest"), (1, 4, 4)) == ("nearest", "bicubic", "richardson-lucy")
    assert methods_for(everything, (1, 1, 1)) == ("input", "nlm", "gaussian", "wiener", "richardson-lucy")
    assert methods_for(("nearest",), (1, 1, 1)) == ("input", "gaussian")


def test_every_baseline_is_described_and_tuned_where_it_has_settings() -> None:
    assert set(RESAMPLERS) | set(DESCRIPTIONS) == {"input", *get_args(Baseline)}
    assert set(GRIDS) == set(DESCRIPTIONS) - {"input"}


@pytest.mark.parametrize("name", get_args(Baseline))
def test_every_baseline_gives_the_high_grid(name: str) -> None:
    low = np.random.default_rng(0).integers(0, 4000, (3, 20, 24), dtype=np.uint16)
    high = restore(name, Recording(low, 10.0), Optics((1, 4, 2)), VALUES)
    assert high.shape == (3, 80, 48)
    assert high.dtype == np.float64
    assert np.isfinite(high).all()


@pytest.mark.parametrize("name", get_args(Baseline))
@pytest.mark.parametrize("level", [0.0, 7.0, -3.5])
def test_constants_stay(name: str, level: float) -> None:
    high = restore(name, Recording(np.full((2, 12, 16), level), -5.0), Optics(FACTOR), VALUES)
    np.testing.assert_allclose(high, level, atol=1e-4)


@pytest.mark.parametrize("name", get_args(Baseline))
def test_values_below_zero_are_values(name: str) -> None:
    low = np.random.default_rng(0).normal(0, 5, (1, 24, 24))
    plain, lowered = (restore(name, Recording(low + b, b - 20.0), Optics(FACTOR), VALUES) for b in (0.0, -100.0))
    np.testing.assert_allclose(lowered + 100, plain, atol=1e-3)


@pytest.mark.parametrize("name", get_args(Baseline))
def test_nan_is_not_hidden(name: str) -> None:
    low = np.full((1, 24, 24), 5.0)
    low[0, 12, 12] = np.nan
    low[0, :6] = 9.0
    assert np.isnan(restore(name, Recording(low), Optics(FACTOR), VALUES)).any()


def test_input_is_the_input() -> None:
    low = np.random.default_rng(0).integers(0, 255, (2, 8, 9), dtype=np.uint8)
    np.testing.assert_array_equal(restore("input", Recording(low), Optics((1, 1, 1)), {}), low)


@pytest.mark.parametrize("sd", [2.0, 20.0])
def test_noise_is_measured(sd: float) -> None:
    y, x = np.indices((256, 256))
    plane = 3.0 * y - x + np.random.default_rng(0).normal(0, sd, (256, 256))
    assert noise_level(plane) == pytest.approx(sd, rel=0.03)


def test_non_local_means_removes_noise_and_keeps_edges() -> None:
    truth = np.where(data.camera()[::4, ::4] > 100, 200.0, 50.0)[None]
    low = truth + np.random.default_rng(0).normal(0, 15, truth.shape)
    found = non_local_means(low, (1, 1, 1), strength=0.8)
    assert psnr(truth, found, data_range=255) > psnr(truth, low, data_range=255) + 4
    np.testing.assert_array_equal(non_local_means(low, FACTOR, strength=0), upsample(low, FACTOR, how="bicubic"))
