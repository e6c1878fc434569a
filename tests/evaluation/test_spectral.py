"""Spectral errors by band and the resolution against truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal.windows import tukey

from superres.errors import InputError
from superres.evaluation.resolution import (
    Correlation,
    correlate_spectra,
    fourier_correlation,
    mean_correlation,
    windowed_spectrum,
)
from superres.evaluation.spectral import band_errors, truth_correlation, truth_resolution

Plane = NDArray[np.float64]


def field(shape: tuple[int, int], seed: int) -> Plane:
    return np.random.default_rng(seed).normal(10, 3, shape)


@pytest.mark.parametrize("shape", [(64, 64), (65, 48), (40, 63)])
@pytest.mark.parametrize("factor", [(4, 4), (1, 2), (3, 1)])
def test_equals_sums_over_the_whole_transform(shape: tuple[int, int], factor: tuple[int, int]) -> None:
    g, x = field(shape, 0), field(shape, 1)
    window = np.outer(tukey(shape[0], 0.25), tukey(shape[1], 0.25))
    fg, fx = (np.fft.fft2((image - image.mean()) * window) for image in (g, x))
    qy, qx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])
    below = (abs(qy) <= 0.5 / factor[0]) & (abs(qx) <= 0.5 / factor[1])
    found = band_errors(g, x, factor=factor)
    for error, band in zip(found, (below, ~below), strict=True):
        assert error == pytest.approx(math.sqrt((abs(fx - fg)[band] ** 2).sum() / (abs(fg)[band] ** 2).sum()))


def test_perfect_nothing_and_gain() -> None:
    g = field((64, 64), 0)
    assert band_errors(g, g + 7, factor=(2, 2)) == pytest.approx((0, 0), abs=1e-12)
    assert band_errors(g, np.full_like(g, 3.0), factor=(2, 2)) == pytest.approx((1, 1))
    assert band_errors(g, 0.9 * g, factor=(2, 2)) == pytest.approx((0.1, 0.1))


def test_without_upscaling_there_is_no_band_above() -> None:
    below, above = band_errors(field((64, 64), 0), field((64, 64), 1), factor=(1, 1))
    assert below > 0 and math.isnan(above)


def test_invention_is_an_error_above_only() -> None:
    g, other = field((128, 128), 0), field((128, 128), 1)
    fg, fo = np.fft.fft2(g), np.fft.fft2(other)
    inside = (abs(np.fft.fftfreq(128)) <= 0.125)[:, None] & (abs(np.fft.fftfreq(128)) <= 0.125)
    invented, blurred = (np.fft.ifft2(np.where(inside, fg, rest)).real for rest in (fo, 0 * fg))
    below, above = band_errors(g, invented, factor=(4, 4))
    assert below < 0.25  # the window leaks a little across the edge of the band
    assert above == pytest.approx(math.sqrt(2), abs=0.05)
    assert band_errors(g, blurred, factor=(4, 4))[1] == pytest.approx(1, abs=0.05)


def test_missing_values_and_other_grids_are_refused() -> None:
    g = field((64, 64), 0)
    with pytest.raises(InputError, match="truth holds 1 NaN"):
        band_errors(np.where(np.arange(64 * 64).reshape(64, 64) == 9, np.nan, g), g, factor=(2, 2))
    with pytest.raises(InputError, match=r"a factor of \[4, 2\] is missing"):
        band_errors(g, g[:16, :32], factor=(4, 2))


def correlated(spacing: tuple[float | None, float | None], shape: tuple[int, int] = (128, 128)) -> Correlation:
    g = field(shape, 0)
    x = g + np.random.default_rng(1).normal(0, 3, shape)
    return truth_correlation(windowed_spectrum(g), windowed_spectrum(x), shape, voxel_size=spacing)


def test_correlation_is_that_of_two_images() -> None:
    g, x = field((64, 80), 0), field((64, 80), 1)
    from_spectra = correlate_spectra(windowed_spectrum(g), windowed_spectrum(x), g.shape)
    np.testing.assert_array_equal(from_spectra.correlation, fourier_correlation(g, x).correlation)


def test_noise_of_the_power_of_truth_correlates_by_the_root_of_a_half() -> None:
    found = correlated((None, None))
    assert found.correlation[5:].mean() == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_resolution_of_a_lowpass_is_its_period() -> None:
    g = field((256, 256), 0)
    q = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256))
    for cut in (0.1, 0.2, 0.3):
        x = np.fft.ifft2(np.fft.fft2(g) * (q <= cut)).real + np.random.default_rng(2).normal(0, 0.3, g.shape)
        found = truth_correlation(windowed_spectrum(g), windowed_spectrum(x), g.shape, voxel_size=(0.1, 0.1))
        assert truth_resolution(found) == pytest.approx(1 / cut, rel=0.03)


def test_a_perfect_prediction_has_two_voxels() -> None:
    g = field((64, 64), 0)
    spectrum = windowed_spectrum(g)
    assert truth_resolution(truth_correlation(spectrum, spectrum, g.shape, voxel_size=(None, None))) == 2


def test_rings_are_round_in_space() -> None:
    assert correlated((0.2, 0.1)).frequency[-1] == pytest.approx(0.25, abs=0.01)  # cycles per voxel along X
    assert correlated((0.1, 0.1)).frequency[-1] == correlated((None, None)).frequency[-1] == 0.5


def test_curves_of_planes_of_other_sizes_are_averaged_ring_by_ring() -> None:
    small, large = correlated((None, None), (64, 64)), correlated((None, None), (128, 100))
    found = mean_correlation([large, small])
    np.testing.assert_array_equal(found.frequency, small.frequency)
    expected = np.interp(small.frequency, large.frequency, large.correlation)
    np.testing.assert_allclose(found.correlation, (small.correlation + expected) / 2)
