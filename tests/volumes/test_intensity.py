"""Black and white of a volume: laws of `measure_intensity` and `Intensity`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as images

from superres.config import IntensityRule
from superres.errors import InputError
from superres.volumes import Intensity, measure_intensity, measure_intensity_of, open_volume

RULE = IntensityRule()
CAMERA = images.camera().astype(np.float64)


def measure(image: np.ndarray[Any, Any], factor: tuple[int, int, int] = (1, 1, 1)) -> Intensity:
    (intensity,) = measure_intensity_of(image[None, None], RULE, factor=factor)
    return intensity


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-1e4, 1e4))
def test_gain_and_offset_of_the_image_are_those_of_black_and_white(gain: float, offset: float) -> None:
    image = CAMERA[::4, ::4]
    plain, changed = measure(image), measure(image * gain + offset)
    scale = gain * (plain.white - plain.black)
    assert changed.black == pytest.approx(plain.black * gain + offset, abs=1e-6 * scale)
    assert changed.white == pytest.approx(plain.white * gain + offset, abs=1e-6 * scale)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float16", "float32", "float64"])
def test_dtype_does_not_matter(dtype: str) -> None:
    assert measure(CAMERA.astype(dtype)) == measure(CAMERA)


def test_noise_barely_moves_it() -> None:
    noisy = np.random.default_rng(0).poisson(CAMERA / 10) * 10.0
    clean, measured = measure(CAMERA), measure(noisy)
    contrast = clean.white - clean.black
    # The noise itself has a standard deviation of 0.1 to 0.2 of the contrast.
    assert abs(measured.black - clean.black) < 0.02 * contrast
    assert abs(measured.white - clean.white) < 0.07 * contrast


@pytest.mark.parametrize("shape", [(128, 128), (100, 132), (30, 10)])
def test_low_and_high_recordings_of_one_object_agree(shape: tuple[int, int]) -> None:
    low = images.camera()[: shape[0], : shape[1]].astype(float)
    high = low.repeat(2, axis=0).repeat(4, axis=1)
    assert measure(high, factor=(1, 2, 4)) == measure(low)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_ignored(bad: float) -> None:
    image = CAMERA.copy()
    image[np.random.default_rng(0).random(image.shape) < 0.01] = bad
    clean, measured = measure(CAMERA), measure(image)
    assert measured.black == pytest.approx(clean.black, abs=3)
    assert measured.white == pytest.approx(clean.white, abs=3)
    image[100:300] = bad
    assert np.isfinite([measure(image).black, measure(image).white]).all()


def test_constant_and_empty_channels_are_named(tmp_path: Path) -> None:
    stack = np.stack([images.camera(), np.full_like(images.camera(), 7)])
    with pytest.raises(InputError, match=r"channel 1 is constant, every voxel is 7"):
        measure_intensity_of(stack[:, None], RULE)
    with pytest.raises(InputError, match=r"channel 0 holds no finite value"):
        measure_intensity_of(np.full((1, 1, 8, 8), np.nan), RULE)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, stack, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}})
    with pytest.raises(InputError, match=r"a\.ome\.tif: channel 1 \(GFP\) is constant"):
        measure_intensity(open_volume(path), RULE)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (3, 3), (21, 21), (5, 300)])
def test_small_images(shape: tuple[int, int]) -> None:
    image = np.linspace(10, 20, shape[0] * shape[1]).reshape(shape)
    assert 20 >= measure(image).white > measure(image).black >= 10
    high = measure(image.repeat(2, axis=0).repeat(4, axis=1), factor=(1, 2, 4))
    assert [high.black, high.white] == pytest.approx([measure(image).black, measure(image).white])


def test_pattern_that_averages_level() -> None:
    assert measure(np.indices((64, 64)).sum(axis=0) % 2 * 10.0) == Intensity(0, 10)


def test_sparse_objects_on_an_even_background() -> None:
    image = np.full((400, 400), 100.0)
    image[40:44, 80:84] = 500
    assert measure(image) == Intensity(100, 500)


def test_object_that_a_sample_would_miss(tmp_path: Path) -> None:
    stack = np.full((1, 200, 16, 16), 3, np.uint8)
    stack[0, 101, 4:8, 4:8] = 90
    assert measure_intensity_of(stack, RULE) == (Intensity(3, 90),)
    tifffile.imwrite(tmp_path / "a.tif", stack[0], metadata={"axes": "ZYX"}, photometric="minisblack")
    assert measure_intensity(open_volume(tmp_path / "a.tif"), RULE) == (Intensity(3, 90),)


def test_volume_and_array_agree_and_large_planes_are_sampled(tmp_path: Path) -> None:
    plane = np.tile(images.camera(), (5, 5))
    stack = np.stack([plane, 255 - plane])
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "CYX"}, photometric="minisblack")
    found = measure_intensity(open_volume(tmp_path / "a.tif"), RULE)
    assert found == measure_intensity_of(stack[:, None], RULE)
    whole = measure(CAMERA)
    assert found[0].black == pytest.approx(whole.black, abs=3)
    assert found[0].white == pytest.approx(whole.white, abs=3)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int32", "float16", "float32", "float64"])
def test_normalise_and_back(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 120, (3, 5)).astype(dtype)
    intensity = Intensity(20.0, 95.0)
    normal = intensity.normalise(values)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal, (values.astype(float) - 20) / 75, atol=1e-6)
    np.testing.assert_allclose(intensity.denormalise(normal), values.astype(float), atol=1e-4)
    if dtype != "uint32":
        tensor = intensity.normalise(torch.from_numpy(values))
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(tensor.numpy(), normal, atol=1e-6)
        np.testing.assert_allclose(intensity.denormalise(tensor).numpy(), values.astype(float), atol=1e-4)


def test_wide_integers_keep_their_contrast() -> None:
    values = np.arange(2**30, 2**30 + 100, dtype=np.int32)
    intensity = Intensity(2.0**30, 2.0**30 + 100)
    np.testing.assert_allclose(intensity.normalise(values), np.arange(100) / 100, atol=1e-6)
    np.testing.assert_allclose(intensity.normalise(torch.from_numpy(values)).numpy(), np.arange(100) / 100, atol=1e-6)
