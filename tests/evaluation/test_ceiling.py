"""The limit that noise in truth sets to a score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from superres.evaluation.ceiling import psnr_ceiling
from superres.evaluation.metrics import psnr


@pytest.mark.parametrize(("peak", "read"), [(200.0, 0.0), (1000.0, 8.0), (0.0, 12.0)])
def test_limit_is_the_score_of_the_scene_against_its_recording(peak: float, read: float) -> None:
    random = np.random.default_rng(0)
    scene = gaussian_filter(data.camera().astype(np.float64), 4) + 20
    photons = random.poisson(scene * peak / 255) * 255 / peak if peak else scene
    truth = photons + random.normal(0, read, scene.shape)
    assert psnr_ceiling(truth, data_range=255) == pytest.approx(psnr(truth, scene, data_range=255), abs=0.5)


def test_no_limit_is_given_where_noise_cannot_be_told_from_structure() -> None:
    random = np.random.default_rng(0)
    scene = gaussian_filter(data.camera().astype(np.float64), 4)
    smoothed = scene + gaussian_filter(random.normal(0, 20, scene.shape), 1)
    assert math.isnan(psnr_ceiling(smoothed, data_range=255))
    assert math.isnan(psnr_ceiling(np.full((64, 64), 3.0), data_range=255))
