"""Intervals around fitted numbers: the true ones lie in them about as often as they say."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from superres.degrade.fields import Fields
from superres.degrade.fit import fit_microscope
from superres.degrade.sureness import sureness

FACTOR = (1, 1, 1)
BLUR, PHOTONS, GAIN, OFFSET, READ = 1.5, 150.0, 2.0, 100.0, 4.0


def field(seed: int, side: int) -> Fields:
    random = np.random.default_rng(seed)
    light = gaussian_filter(random.normal(size=(1, side, side)), (0, 3, 3))
    light = np.clip(light / light.std() + 0.5, 0, None)
    light /= light.max()
    counts = random.poisson(PHOTONS * gaussian_filter(light, (0, BLUR, BLUR)))
    low = GAIN * counts + OFFSET + READ * random.normal(size=light.shape)
    return Fields(light.astype(np.float32), low, None, np.zeros(1, np.intp), True, FACTOR)


def test_most_intervals_hold_the_true_value() -> None:
    """Of 20 independent intervals of 90 %, fewer than 15 hold it once in a hundred times."""
    held = []
    for seed in range(4):
        fields = field(seed, 128)
        fit = fit_microscope(fields)
        sure = sureness(fields, fit)
        assert sure is not None
        found = (fit.microscope.blur, fit.microscope.photons, fit.grey_levels_per_photon[0], fit.offset[0])
        widths = (sure.blur, sure.photons, sure.gain, sure.offset)
        true = (BLUR, PHOTONS, GAIN, OFFSET)
        held += [abs(f - t) <= w for f, t, w in zip(found, true, widths, strict=True)]
        held.append(abs(fit.read_noise[0] - READ) <= sure.read_noise)
        assert min(sure.blur, sure.photons, sure.gain, sure.offset, sure.read_noise) > 0
    assert sum(held) >= 15


def test_small_windows_have_no_intervals() -> None:
    fields = field(0, 80)
    assert sureness(fields, fit_microscope(fields)) is None
