"""The grey scale of real pairs is found again where it is known, and stated shifts are applied when they are opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.datasets import Acquisition, fit_intensity
from superres.datasets.pairs import match_intensity, open_pair
from superres.errors import InputError
from superres.volumes import Volume

CAMERA: NDArray[np.float64] = gaussian_filter(skimage.data.camera()[128:384, 160:400].astype(np.float64), 1.0)


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


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape 256x240 and high image of shape 255x240"):
        fit_intensity(CAMERA, CAMERA[1:])
    with pytest.raises(InputError, match=r"at factor \[1, 2, 2\] it must be 1x512x480"):
        match_intensity(CAMERA[None], CAMERA[None], (1, 2, 2))


def store(path: Path, image: NDArray[Any]) -> Path:
    tifffile.imwrite(path, image.astype(np.float32))
    return path


def pair(low: Path, high: Path, shift: tuple[float, float, float] | None) -> Acquisition:
    return Acquisition(
        "a", "test", (high,), (low,), None, (None,) * 3, None, "s", "l", "c",
        high_sha256=("",), low_sha256=("",), shifts=(shift,),
    )  # fmt: skip


def test_pair_on_a_coarser_grid(tmp_path: Path) -> None:
    """Move high by (2, -1) of its own voxels, bin 2 x 2: under that shift the grey scale comes back exactly."""
    high = skimage.data.camera()[100:356, 120:376].astype(np.float64)
    low = np.roll(high, (2, -1), (0, 1)).reshape(128, 2, 128, 2).mean((1, 3)) * 0.5 + 40
    files = store(tmp_path / "low.tif", low), store(tmp_path / "high.tif", high)
    recorded, sharp = open_pair(pair(*files, (0, 2, -1)), 0, factor=(1, 2, 2))
    assert recorded.shape[3:] == (127, 127)
    assert sharp.shape[3:] == (254, 254)
    images = [read(volume) for volume in (recorded, sharp)]
    assert match_intensity(*images, (1, 2, 2)) == pytest.approx((0.5, 40), rel=1e-4)
    with pytest.raises(InputError, match=r"\[1,2,2\] times as large .* is \[1, 4, 4\]; give --set factor=\[1,2,2\]"):
        open_pair(pair(*files, None), 0, factor=(1, 4, 4))


def test_exchanged_images_and_other_channels_are_named(tmp_path: Path) -> None:
    image = skimage.data.camera()[:64, :64]
    small, large = store(tmp_path / "small.tif", image[::2, ::2]), store(tmp_path / "large.tif", image)
    with pytest.raises(InputError, match=r"small.tif: 1x32x32 voxels .*: exchange low and high in the manifest"):
        open_pair(pair(large, small, None), 0, factor=(1, 2, 2))
    tifffile.imwrite(tmp_path / "two.tif", np.stack([image, image]), metadata={"axes": "CYX"})
    with pytest.raises(InputError, match=r"1 time points and 1 channels, but .*two.tif has 1 and 2.*'channels'"):
        open_pair(pair(tmp_path / "two.tif", large, None), 0, factor=(1, 1, 1))


def test_both_images_may_be_channels_of_one_file(tmp_path: Path) -> None:
    image = skimage.data.camera()[:96, :80].astype(np.float64)
    path = tmp_path / "both.ome.tif"
    stack = np.stack([image, image * 2 + 5, image * 3])
    tifffile.imwrite(path, stack.astype(np.float32), metadata={"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}})
    both = replace(pair(path, path, None), high_channels=((0,),), low_channels=((2,),))
    low, high = open_pair(both, 0, factor=(1, 1, 1))
    assert low.shape == high.shape == (1, 1, 1, 96, 80)
    assert (low.channel_names, high.channel_names) == (("c",), ("a",))
    assert np.array_equal(read(low), stack[2:].astype(np.float32))
    assert np.array_equal(read(high), stack[:1].astype(np.float32))
    moved = replace(both, shifts=((0, 1, 0),), low_channels=((1,),))
    low, high = open_pair(moved, 0, factor=(1, 1, 1))
    assert np.array_equal(read(low)[0], stack[1, 1:].astype(np.float32))
    assert np.array_equal(read(high)[0], stack[0, :-1].astype(np.float32))
    with pytest.raises(InputError, match=r"tif: channels \[3\] asked for in the manifest, it has 3 \(0 to 2\)"):
        open_pair(replace(both, low_channels=((3,),)), 0, factor=(1, 1, 1))


def read(volume: Volume) -> NDArray[Any]:
    everything = slice(None)
    return volume.read(t=0, c=0, z=everything, y=everything, x=everything)
