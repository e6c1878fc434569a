from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from superres.errors import InputError
from superres.evaluation.decorrelation import decorrelation
from superres.evaluation.resolution import (
    Threshold,
    fourier_correlation,
    reference_correlation,
    rolling_resolution,
    split_counts,
    threshold_curve,
)


def filtered_noise(shape: tuple[int, ...], sigma: float, seed: int) -> NDArray[np.float64]:
    """White noise through a Gaussian: its correlation with noise of variance v added is S / (S + v) in closed form."""
    white = np.random.default_rng(seed).normal(size=shape)
    squares = sum(np.meshgrid(*(np.fft.fftfreq(n) ** 2 for n in shape), indexing="ij"))
    return np.fft.ifftn(np.fft.fftn(white) * np.exp(-2 * np.pi**2 * sigma**2 * squares)).real


def two_recordings(
    shape: tuple[int, ...], sigma: float, noise: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    field, random = filtered_noise(shape, sigma, seed), np.random.default_rng(seed + 10_000)
    return field + noise * random.normal(size=shape), field + noise * random.normal(size=shape)


@pytest.mark.parametrize(
    ("side", "count", "tolerance"), [(64, 20, 0.08), (128, 20, 0.03), (256, 20, 0.02), (512, 5, 0.02), (1024, 2, 0.02)]
)
@pytest.mark.parametrize(("sigma", "noise", "half_bit"), [(2.0, 0.02, 4.16), (1.0, 0.3, 3.26)])
def test_closed_form(side: int, count: int, tolerance: float, sigma: float, noise: float, half_bit: float) -> None:
    expected = 2 * math.pi * sigma / math.sqrt(math.log(6 / noise**2))
    assert expected == pytest.approx({2.0: 4.05, 1.0: 3.07}[sigma], abs=0.015)
    curves = [fourier_correlation(*two_recordings((side, side), sigma, noise, seed)) for seed in range(count)]
    found = [curve.resolution() for curve in curves]
    assert np.mean(found) == pytest.approx(expected, rel=tolerance)
    if side == 256:
        # Of single images 2 %; a standard deviation from 20 of them is itself uncertain by a sixth.
        assert np.std(found) < 0.02 * expected * (1 + 3 / math.sqrt(2 * 19))
    if side == 512:
        assert np.mean([curve.resolution("half-bit") for curve in curves]) == pytest.approx(half_bit, rel=0.02)


def test_closed_form_of_a_shell_correlation() -> None:
    expected = 2 * math.pi / math.sqrt(math.log(6 / 0.3**2))
    found = [fourier_correlation(*two_recordings((64, 64, 64), 1.0, 0.3, seed)).resolution() for seed in range(3)]
    assert np.mean(found) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (48, 80), (31, 64), (16, 20, 24)])
def test_equals_an_implementation_by_masks(shape: tuple[int, ...]) -> None:
    """The same quantity, ring after ring from full transforms."""
    a, b = two_recordings(shape, 1.0, 0.5, seed=1)
    found = fourier_correlation(a, b)
    window = np.ones(shape)
    for axis, n in enumerate(shape):
        taper = np.ones(n)
        edge = 0.25 * (n - 1) / 2
        near = np.minimum(np.arange(n), n - 1 - np.arange(n))
        rising = near < edge
        taper[rising] = 0.5 * (1 + np.cos(np.pi * (near[rising] / edge - 1)))
        window = window * taper.reshape([n if i == axis else 1 for i in range(len(shape))])
    fa, fb = (np.fft.fftn((image - image.mean()) * window) for image in (a, b))
    grids = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(grid**2 for grid in grids)) * min(shape)
    for ring in range(len(found.frequency)):
        mask = np.rint(radius) == ring
        cross = (fa[mask] * fb[mask].conj()).sum().real
        expected = cross / math.sqrt((abs(fa[mask]) ** 2).sum() * (abs(fb[mask]) ** 2).sum())
        assert found.correlation[ring] == pytest.approx(expected, abs=1e-9)
        assert found.count[ring] == mask.sum()


@given(gain=st.floats(0.01, 100), offset=st.floats(-1000, 1000), swap=st.booleans())
def test_gain_offset_and_order_do_not_matter(gain: float, offset: float, swap: bool) -> None:
    a, b = two_recordings((32, 40), 1.0, 0.3, seed=2)
    changed = gain * b + offset
    first, second = (changed, a) if swap else (a, changed)
    np.testing.assert_allclose(
        fourier_correlation(first, second).correlation, fourier_correlation(a, b).correlation, atol=1e-7
    )


def test_an_image_correlates_with_itself_and_never_crosses() -> None:
    image = filtered_noise((64, 64), 0.5, seed=3)
    found = fourier_correlation(image, image)
    np.testing.assert_allclose(found.correlation, 1)
    assert math.isnan(found.resolution("0.5"))


def test_spacing_gives_physical_units() -> None:
    a, b = two_recordings((128, 128), 2.0, 0.05, seed=4)
    in_voxels, in_um = fourier_correlation(a, b), fourier_correlation(a, b, spacing=(0.1, 0.1))
    assert in_um.resolution() == pytest.approx(0.1 * in_voxels.resolution())
    coarse_z = fourier_correlation(*two_recordings((32, 64, 64), 1.0, 0.3, seed=5), spacing=(0.5, 0.1, 0.1))
    assert coarse_z.frequency[-1] == pytest.approx(1.0, abs=0.1)  # the Nyquist frequency of Z, the coarsest axis


def test_reference_correlation_of_a_seventh_is_a_half() -> None:
    assert reference_correlation(np.array([1 / 7]))[0] == pytest.approx(0.5, abs=1e-15)


def test_thresholds() -> None:
    many, few = np.array([1e9]), np.array([40.0])
    expected: dict[Threshold, float] = {"1/7": 1 / 7, "0.5": 0.5, "half-bit": 0.1716, "one-bit": 1 / 3, "3-sigma": 0}
    for name, value in expected.items():
        assert threshold_curve(name, many)[0] == pytest.approx(value, abs=2e-4)
    root = math.sqrt(40)
    assert threshold_curve("half-bit", few)[0] == pytest.approx(
        (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), abs=1e-4
    )
    assert threshold_curve("one-bit", few)[0] == pytest.approx((0.5 + 2.4142 / root) / (1.5 + 1.4142 / root), abs=1e-4)
    assert threshold_curve("3-sigma", few)[0] == pytest.approx(3 / math.sqrt(20))


@pytest.mark.parametrize(("peak", "sigma"), [(20, 2.0), (100, 2.0), (20, 1.2), (500, 3.0)])
def test_split_counts_tell_the_resolution_of_half_the_dose(peak: float, sigma: float) -> None:
    field = filtered_noise((256, 256), sigma, seed=6)
    field = np.clip((field - field.min()) / np.ptp(field), 0, None) * peak
    random, found, wanted = np.random.default_rng(7), [], []
    for seed in range(8):
        recording = 2.2 * random.poisson(field) + 100
        found.append(fourier_correlation(*split_counts(recording, gain=2.2, offset=100, seed=seed)).resolution())
        first, second = (random.poisson(field / 2).astype(float) for _ in range(2))
        wanted.append(fourier_correlation(first, second).resolution())
    assert np.mean(found) == pytest.approx(np.mean(wanted), rel=0.03)


@pytest.mark.parametrize(("peak", "sigma"), [(20, 2.0), (100, 2.0), (20, 1.2), (500, 3.0)])
def test_split_counts_by_a_wrong_gain(peak: float, sigma: float) -> None:
    """Too high a gain makes the halves unlike each other and costs some percent; too low a one makes them agree."""
    field = filtered_noise((512, 512), sigma, seed=6)
    field = (field - field.min()) / np.ptp(field) * peak
    recordings = [2.2 * np.random.default_rng(seed).poisson(field) + 100 for seed in range(3)]

    def found(gain: float) -> float:
        split = [split_counts(image, gain=gain, offset=100, seed=seed) for seed, image in enumerate(recordings)]
        return float(np.mean([fourier_correlation(*pair).resolution() for pair in split]))

    right, high, low = found(2.2), found(2.2 * 1.3), found(2.2 / 1.3)
    assert 1.02 < high / right < 1.16
    assert math.isnan(low) or low < right


@given(seed=st.integers(0, 100))
def test_split_counts_lose_no_photon(seed: int) -> None:
    image = np.random.default_rng(seed).poisson(5, (16, 16)) * 3.0 + 50
    a, b = split_counts(image, gain=3.0, offset=50, seed=seed)
    np.testing.assert_array_equal(a + b, (image - 50) / 3)
    assert a.min() >= 0 <= b.min()


def test_rolling_resolution_finds_the_blurred_side() -> None:
    sharp, soft = filtered_noise((128, 256), 1.0, seed=9), filtered_noise((128, 256), 3.0, seed=10)
    sharp[:, 128:] = soft[:, 128:] * (sharp.std() / soft.std())
    random = np.random.default_rng(11)
    first, second = (sharp + 0.1 * random.normal(size=sharp.shape) for _ in range(2))
    found = rolling_resolution(first, second)
    assert found.shape == (3, 7)
    assert np.nanmax(found[:, :3]) < np.nanmin(found[:, 4:])


def test_constant_squares_say_nothing() -> None:
    a, b = two_recordings((64, 128), 1.0, 0.3, seed=12)
    a[:, 64:] = 0
    found = rolling_resolution(a, b, step=64)
    assert math.isfinite(found[0, 0])
    assert math.isnan(found[0, 1])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros((32, 32)), np.zeros((32, 33)), "same grid"),
        (np.zeros((8, 32)), np.zeros((8, 32)), "at least 16"),
        (np.ones((32, 32)), np.ones((32, 32)), "constant"),
        (np.full((32, 32), np.nan), np.ones((32, 32)), "NaN"),
    ],
)
def test_bad_images_are_named(first: NDArray[np.float64], second: NDArray[np.float64], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fourier_correlation(first, second)


def test_decorrelation_follows_the_blur() -> None:
    random = np.random.default_rng(13)
    found = []
    for sigma in (1.0, 1.5, 2.0, 3.0):
        image = filtered_noise((256, 256), sigma, seed=14)
        found.append(decorrelation(image / image.std() + 0.05 * random.normal(size=image.shape)).resolution)
    assert found == sorted(found)
    assert found[-1] / found[0] == pytest.approx(3, rel=0.25)


def test_decorrelation_is_fooled_by_upsampling() -> None:
    """Why it is shown for recordings only: repeating every voxel reads as finer detail than the image holds."""
    image: NDArray[np.float64] = data.camera().astype(float)  # type: ignore[no-untyped-call]
    low = image.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert decorrelation(low.repeat(4, 0).repeat(4, 1)).resolution < 4 * decorrelation(low).resolution / 1.5


def test_decorrelation_of_gain_and_offset() -> None:
    image: NDArray[np.float64] = data.camera().astype(float)  # type: ignore[no-untyped-call]
    assert decorrelation(3 * image + 100).cutoff == pytest.approx(decorrelation(image).cutoff)


def test_noise_alone_has_no_structure() -> None:
    white = np.random.default_rng(15).normal(size=(256, 256))
    found = decorrelation(white)
    assert math.isnan(found.cutoff) or found.amplitude < 0.2
