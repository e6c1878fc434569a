"""Grey scale and shift of real pairs are found again where they are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter

from superres.datasets import fit_intensity, measure_shift
from superres.datasets.pairs import check_pair, fit_pair
from superres.errors import InputError
from superres.volumes import Volume, open_volume

CAMERA: NDArray[np.float64] = gaussian_filter(skimage.data.camera()[128:384, 160:400].astype(np.float64), 1.0)


def moved(image: NDArray[np.float64], shift: tuple[float, ...]) -> NDArray[np.float64]:
    """Shift a periodic image by the Fourier theorem: an implementation apart from the measured one."""
    spectrum = fourier_shift(np.fft.fftn(image), shift)
    return np.asarray(np.fft.ifftn(spectrum).real)


def sparse_image() -> NDArray[np.float64]:
    """Spots on 2 % of a dark field, as most fluorescence is."""
    spots = (np.random.default_rng(5).random((256, 256)) < 2e-3) * 4000.0
    return np.asarray(gaussian_filter(spots, 1.5))


@settings(max_examples=25)
@given(gain=st.floats(0.05, 20), offset=st.floats(-1000, 1000), noise=st.floats(0, 0.5), seed=st.integers(0, 99))
@example(gain=1.0, offset=0.0, noise=0.0, seed=0)
def test_gain_and_offset_are_recovered(gain: float, offset: float, noise: float, seed: int) -> None:
    """`noise` is a share of the contrast: at 0.5 pixels of low correlate with high by about 0.9."""
    error = np.random.default_rng(seed).normal(0, noise * gain * CAMERA.std(), CAMERA.shape)
    found_gain, found_offset = fit_intensity(CAMERA * gain + offset + error, CAMERA)
    middle = CAMERA.mean()
    assert found_gain == pytest.approx(gain, rel=0.015)
    assert found_gain * middle + found_offset == pytest.approx(gain * middle + offset, abs=0.01 * gain * CAMERA.std())


def test_sparse_image_keeps_its_gain() -> None:
    sharp = sparse_image()
    low = np.random.default_rng(0).poisson(sharp * 0.3 + 20) * 2.0 + 100
    gain, offset = fit_intensity(low, sharp)
    assert gain == pytest.approx(0.6, rel=0.02)
    assert offset == pytest.approx(140, rel=0.01)


def test_hot_pixels_do_not_decide() -> None:
    low = CAMERA * 0.5 + 10
    low[60, 70] = 65535
    gain, offset = fit_intensity(low, CAMERA)
    assert gain == pytest.approx(0.5, rel=0.02)
    assert offset == pytest.approx(10, abs=2)


def test_missing_voxels_are_left_out() -> None:
    low = CAMERA * 0.5 + 10
    low[:40] = np.nan
    high = CAMERA.copy()
    high[100:120, 50:60] = np.nan
    assert fit_intensity(low, high) == pytest.approx((0.5, 10), rel=1e-6)


def test_volumes_are_fitted_plane_by_plane() -> None:
    high = np.stack([CAMERA, CAMERA[::-1], CAMERA * 2])
    assert fit_intensity(high * 3 - 7, high) == pytest.approx((3, -7), rel=1e-6)


@pytest.mark.parametrize("high", [np.full((32, 32), 7.0), np.full((32, 32), np.nan)])
def test_constant_high_is_refused(high: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match=r"constant \(7\)|all NaN"):
        fit_intensity(CAMERA[:32, :32], high)


@settings(max_examples=20)
@given(y=st.floats(-6, 6), x=st.floats(-6, 6), seed=st.integers(0, 99))
@example(y=0.0, x=0.0, seed=0)
@example(y=0.5, x=-0.25, seed=1)
def test_shift_is_recovered_under_noise(y: float, x: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.2 * CAMERA.std(), CAMERA.shape)
    low = 0.4 * moved(CAMERA, (y, x)) + noise * 0.4 + 300
    assert measure_shift(low, CAMERA) == pytest.approx((y, x), abs=0.06)


def test_shift_of_volumes() -> None:
    random = np.random.default_rng(3)
    high = gaussian_filter(random.random((12, 64, 60)), 1.5, mode="wrap")
    assert measure_shift(moved(high, (1.5, -2.25, 3.1)), high) == pytest.approx((1.5, -2.25, 3.1), abs=0.1)


def test_thin_axes_have_no_shift() -> None:
    down, y, x = measure_shift(moved(CAMERA, (1.0, -2.0))[None], CAMERA[None])
    assert (down, y, x) == pytest.approx((0, 1, -2), abs=0.03)


@pytest.mark.parametrize("spoil", [0.0, np.nan])
def test_nothing_to_register_is_refused(spoil: float) -> None:
    with pytest.raises(InputError, match="low image of a pair is empty, constant or holds NaN"):
        measure_shift(CAMERA * spoil, CAMERA)


def test_other_shapes_are_refused() -> None:
    for measure in (fit_intensity, measure_shift):
        with pytest.raises(InputError, match=r"shape 256x240 and high image of shape 255x240"):
            measure(CAMERA, CAMERA[1:])


def volume(path: Path, image: NDArray[np.float64]) -> Volume:
    tifffile.imwrite(path, image.astype(np.float32))
    return open_volume(path)


def test_pair_on_a_coarser_grid(tmp_path: Path) -> None:
    """Move high by (2, -1) of its own voxels, bin 2 x 2: exactly that shift and grey scale come back."""
    high = skimage.data.camera()[100:356, 120:376].astype(np.float64)
    low = np.roll(high, (2, -1), (0, 1)).reshape(128, 2, 128, 2).mean((1, 3)) * 0.5 + 40
    pair = volume(tmp_path / "low.tif", low), volume(tmp_path / "high.tif", high)
    fit = fit_pair(*pair, factor=(1, 2, 2))
    assert fit.shift == pytest.approx((2, -1), abs=0.1)
    assert fit.gain == pytest.approx(0.5, rel=0.05)
    check_pair(*pair, factor=(1, 2, 2))
    with pytest.raises(InputError, match=r"shape 1x1x1x256x256 .* at factor \[1, 4, 4\] it must be 1x1x1x512x512"):
        check_pair(*pair, factor=(1, 4, 4))
