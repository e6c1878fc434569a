"""Laws of the interpolation baselines: alignment, constants, ramps, and a second implementation."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from superres.evaluation.upsampling import Interpolation, interpolation_taps, upsample

METHODS: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "lanczos")
factors = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=3, max_dims=4, max_side=6)), factors)
def test_nearest_repeats(low: np.ndarray, factor: tuple[int, int, int]) -> None:
    expected = low.astype(np.float64)
    for axis, f in zip((-3, -2, -1), factor, strict=True):
        expected = np.repeat(expected, f, axis=axis)
    np.testing.assert_array_equal(upsample(low, factor, how="nearest"), expected)


@given(st.sampled_from(METHODS), factors, st.floats(-1000, 1000))
def test_constants_stay(how: Interpolation, factor: tuple[int, int, int], value: float) -> None:
    low = np.full((2, 4, 5), value)
    high = upsample(low, factor, how=how)
    assert high.shape == tuple(n * f for n, f in zip(low.shape, factor, strict=True))
    np.testing.assert_allclose(high, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize(("how", "tolerance"), [("bilinear", 1e-9), ("bicubic", 1e-9), ("lanczos", 0.02)])
def test_ramps_continue_at_pixel_centres(how: Interpolation, tolerance: float, factor: int) -> None:
    low = np.arange(24.0).reshape(1, 1, 24)
    position = (np.arange(24 * factor) + 0.5) / factor - 0.5
    inside = slice(3 * factor, -3 * factor)
    found = upsample(low, (1, 1, factor), how=how)[0, 0]
    np.testing.assert_allclose(found[inside], position[inside], atol=tolerance)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("factor", [(1, 2, 2), (1, 3, 3), (1, 4, 2), (2, 2, 2)])
def test_block_means_of_a_smooth_image_are_the_low_image(how: Interpolation, factor: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    low = gaussian_filter(rng.normal(0, 1, (12, 40, 40)), (4 if factor[0] > 1 else 0, 4, 4))
    low /= low.std()
    fz, fy, fx = factor
    high = upsample(low, factor, how=how)
    means = high.reshape(12, fz, 40, fy, 40, fx).mean(axis=(1, 3, 5))
    # Straight lines between samples cut the tops off.
    np.testing.assert_allclose(means, low, atol=0.1 if how == "bilinear" else 0.05)
    shifted = np.roll(high, 1, axis=-1).reshape(12, fz, 40, fy, 40, fx).mean(axis=(1, 3, 5))
    assert np.abs(shifted - low)[:, 4:-4, 4:-4].mean() > 4 * np.abs(means - low)[:, 4:-4, 4:-4].mean()


@pytest.mark.parametrize(("how", "filter_"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC"), ("lanczos", "LANCZOS")])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_pillow_agrees_away_from_the_border(how: Interpolation, filter_: str, factor: int) -> None:
    low = np.random.default_rng(1).normal(100, 20, (30, 34)).astype(np.float32)
    size = (34 * factor, 30 * factor)
    other = np.asarray(Image.fromarray(low).resize(size, getattr(Image.Resampling, filter_)))
    inside = (slice(3 * factor, -3 * factor),) * 2
    np.testing.assert_allclose(upsample(low[None], (1, factor, factor), how=how)[0][inside], other[inside], atol=1e-3)


@pytest.mark.parametrize("how", ["bilinear", "bicubic", "lanczos"])
def test_taps_are_mirror_images(how: Interpolation) -> None:
    for factor in (2, 3, 4, 7):
        taps = interpolation_taps(factor, how)  # type: ignore[arg-type]
        np.testing.assert_allclose(taps, taps[::-1, ::-1], atol=1e-15)
        np.testing.assert_allclose(taps.sum(axis=1), 1)
