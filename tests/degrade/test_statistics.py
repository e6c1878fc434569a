"""Spectrum, noise and correlation of recordings, and that they tell a right model from wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from skimage.transform import rescale

from superres.config import DegradeStep
from superres.degrade import degrade
from superres.degrade.noise import noise_autocorrelation
from superres.degrade.statistics import compare, measure, spectrum


def white(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


@given(st.floats(0.01, 100), st.integers(64, 130), st.integers(64, 130))
@settings(max_examples=15)
def test_white_noise_has_its_variance_at_every_frequency(sd: float, height: int, width: int) -> None:
    frequency, power, pixels = spectrum(sd * white((6, height, width)))
    assert frequency[0] < 0.06
    assert 0.45 < frequency[-1] < 0.5
    error = (power.mean(axis=0) / sd**2 - 1) * np.sqrt(pixels / 2)
    # A Hann window leaves about half of the Fourier pixels independent of their neighbours.
    assert np.abs(error).max() < 8


def test_a_gaussian_filter_is_seen_in_the_spectrum() -> None:
    frequency, power, _ = spectrum(gaussian_filter(white((8, 256, 256)), (0, 1.5, 1.5), mode="wrap"))
    kept = (frequency > 0.02) & (frequency < 0.25)
    expected = -4 * (np.pi * 1.5 * frequency) ** 2 * np.log10(np.e)
    np.testing.assert_allclose(np.log10(power.mean(axis=0))[kept], expected[kept], atol=0.12)


def test_waves_along_x_are_told_from_those_along_y() -> None:
    _, power, _ = spectrum(gaussian_filter(white((4, 128, 128)), (0, 0, 1)))
    assert power[0, -3] > 10 * power[1, -3]


def test_an_image_has_no_gap_to_itself_and_little_to_its_like() -> None:
    image = 10 + gaussian_filter(20 * white((2, 128, 128)), (0, 3, 3)) + white((2, 128, 128), 1)
    again = 10 + gaussian_filter(20 * white((2, 128, 128)), (0, 3, 3)) + white((2, 128, 128), 2)
    alike = compare(measure(image), measure(image))
    assert (alike.spectrum, alike.noise, alike.quantiles, alike.correlation, alike.direction) == (0, 0, 0, 0, 0)
    gaps = compare(measure(again), measure(image))
    assert gaps.spectrum < 0.05
    assert gaps.correlation < 0.02


def test_a_gap_does_not_depend_on_the_grey_scale() -> None:
    image = 10 + gaussian_filter(20 * white((1, 128, 128)), (0, 3, 3)) + white((1, 128, 128), 1)
    other = gaussian_filter(image, (0, 0.5, 0.5))
    plain = compare(measure(other), measure(image))
    scaled = compare(measure(7 * other - 300), measure(7 * image - 300))
    assert scaled.spectrum == pytest.approx(plain.spectrum, rel=1e-6)
    assert scaled.quantiles == pytest.approx(plain.quantiles, rel=1e-6)
    assert scaled.correlation == pytest.approx(plain.correlation, abs=1e-6)


def test_noise_of_neighbours_correlates_only_when_filtered() -> None:
    noise = 100 + white((256, 256)) + np.linspace(0, 30, 256)
    assert np.abs(noise_autocorrelation(noise)).max() < 0.03
    assert noise_autocorrelation(gaussian_filter(noise, 0.7))[:, 0].min() > 0.1


def test_the_operator_of_downsampling_sets_the_noise() -> None:
    """Unit white noise after 4-fold downsampling: four operators, four noises."""
    noise = white((1024, 1024))
    binned = degrade(
        torch.from_numpy(noise).float()[None, None],
        (DegradeStep(downsample="binning"),),
        factor=(1, 4, 4),
        generator=torch.Generator(),
    )
    assert noise[::4, ::4].std() == pytest.approx(1.00, rel=0.03)
    assert float(binned.std()) == pytest.approx(0.25, rel=0.03)
    assert zoom(noise, 0.25, order=1).std() == pytest.approx(0.67, rel=0.03)
    assert rescale(noise, 0.25, anti_aliasing=True).std() == pytest.approx(0.18, rel=0.06)  # type: ignore[no-untyped-call]


def filaments(side: int) -> NDArray[np.float64]:
    """Thin random lines, photons from 0 to about 200."""
    random = np.random.default_rng(3)
    image = np.zeros((side, side))
    for _ in range(60):
        turns = np.cumsum(random.normal(size=2 * side) * 0.03) + random.random() * 6.28
        path = random.random(2) * side + np.cumsum(np.stack([np.sin(turns), np.cos(turns)], axis=1), axis=0)
        y, x = np.rint(path).astype(int).T
        inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
        np.add.at(image, (y[inside], x[inside]), 0.3 + random.random())
    image = gaussian_filter(image, 1.0)
    return 200 * np.clip(image / np.quantile(image, 0.999), 0, 1)


def test_the_spectrum_ranks_the_right_model_first() -> None:
    """A point spread function of 4 voxels, 4 x 4 binning and counting; a histogram prefers noise of a wrong kind."""
    sharp = filaments(1024)
    random = np.random.default_rng(4)

    def binned(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return image.reshape(256, 4, 256, 4).mean(axis=(1, 3))[None]

    blurred, plain = binned(gaussian_filter(sharp, 4)), binned(sharp)
    real = measure(random.poisson(blurred) + 100.0)
    right = compare(measure(random.poisson(blurred) + 100.0), real)
    counted = compare(measure(random.poisson(plain) + 100.0), real)
    gaussian = compare(measure(plain + 10.5 * random.normal(size=plain.shape) + 100.0), real)
    assert right.spectrum < 0.06
    assert min(counted.spectrum, gaussian.spectrum) >= 5 * right.spectrum
