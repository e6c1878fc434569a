"""A survey tells of a volume what NumPy tells of all its voxels, from as few bytes as it may read."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from superres.volumes import open_volume
from superres.volumes.axes import Region, TczyxArray
from superres.volumes.grey_levels import Tally, estimate_noise
from superres.volumes.picture import draw_picture, write_picture
from superres.volumes.remarks import remarks
from superres.volumes.survey import PERCENTILES, sample_regions, survey
from superres.volumes.volume import Calibration, Volume, make_volume


class Counted:
    """An array that is made up when it is read, and counts the bytes."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "uint16", block: tuple[int, ...] = ()) -> None:
        self.shape, self.dtype, self.block = shape, np.dtype(dtype), block
        self.bytes = 0
        self.regions: list[Region] = []

    def __getitem__(self, region: Region) -> NDArray[Any]:
        self.regions.append(region)
        result = np.full([item.stop - item.start for item in region], 7, self.dtype)
        self.bytes += result.nbytes
        return result


class Held:
    """An array in memory as if in a file."""

    def __init__(self, values: NDArray[Any], block: tuple[int, ...] = ()) -> None:
        self.values, self.shape, self.dtype, self.block = values, values.shape, values.dtype, block

    def __getitem__(self, region: Region) -> NDArray[Any]:
        return self.values[region]


def volume_of(array: Any, axes: str = "TCZYX", calibration: Calibration | None = None, source: str = "here") -> Volume:
    return make_volume(
        [TczyxArray(array, axes)], calibration or Calibration(), axes=axes, format="TIFF", source=Path(source)
    )


NUMBERS = st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "int64", "float32", "float64"])
BLOCKS = st.tuples(*[st.integers(1, 4)] * 5)
VOLUMES = NUMBERS.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        st.tuples(*[st.integers(1, 5)] * 5),
        elements=st.integers(0, 100) if dtype[0] != "f" else st.floats(-1e6, 1e6, width=32),
    )
)


@given(VOLUMES, BLOCKS)
def test_a_small_volume_is_surveyed_exactly_as_numpy_does(values: NDArray[Any], block: tuple[int, ...]) -> None:
    result = survey(volume_of(Held(values, block)))
    assert result.exact
    assert result.bytes_read == result.unpacked_bytes == values.nbytes
    for c, channel in enumerate(result.channels):
        own = values[:, c]
        np.testing.assert_allclose(channel.percentiles, np.percentile(own.astype(np.float64), PERCENTILES), rtol=1e-9)
        assert channel.values == np.unique(own).size
        assert channel.at_highest == pytest.approx(np.mean(own == own.max()))
        assert channel.at_lowest == pytest.approx(np.mean(own == own.min()))
        if values.dtype.kind in "iu":
            assert channel.at_type_highest == pytest.approx(np.mean(own == np.iinfo(values.dtype).max))


@given(VOLUMES, BLOCKS, st.integers(0, 2**31))
def test_the_order_of_the_blocks_does_not_matter(values: NDArray[Any], block: tuple[int, ...], seed: int) -> None:
    regions = sample_regions(volume_of(Held(values, block)))
    shuffled = regions[:]
    random.Random(seed).shuffle(shuffled)
    results = []
    for order in (regions, shuffled):
        tally = Tally(values.dtype)
        for region in order:
            tally.add(values[region])
        results.append(tally.levels())
    np.testing.assert_array_equal(results[0].values, results[1].values)
    np.testing.assert_array_equal(results[0].counts, results[1].counts)
    assert results[0].counts.sum() == values.size


LARGE = [
    ((1, 1, 1, 100_000, 100_000), (), "uint16"),
    ((500, 2, 60, 2048, 2048), (1, 1, 1, 512, 512), "uint16"),
    ((500, 4, 60, 2048, 2048), (1, 4, 16, 256, 256), "uint16"),
    ((1, 1, 4096, 4096, 4096), (1, 1, 64, 1024, 1024), "float32"),
    ((1, 3000, 1, 2048, 2048), (1, 1, 1, 2048, 2048), "uint16"),
    ((1_000_000, 1, 1, 64, 64), (1, 1, 1, 64, 64), "uint8"),
    ((1, 1, 1, 3, 10_000_000_000), (), "uint8"),
    ((1, 1, 2000, 2000, 2000), (1, 1, 2000, 2000, 2000), "uint8"),
]


@pytest.mark.parametrize(("shape", "block", "dtype"), LARGE)
def test_a_large_volume_is_read_in_bounded_bytes(shape: Any, block: Any, dtype: str) -> None:
    limit = 8 * 2**20
    array = Counted(shape, dtype, block)
    result = survey(volume_of(array), limit=limit)
    assert not result.exact
    assert array.bytes == result.bytes_read <= limit
    assert array.bytes > limit / 8
    assert len(array.regions) <= 512
    assert survey(volume_of(Counted(shape, dtype, block)), limit=limit) == result


def test_a_sample_holds_whole_chunks_spread_over_all_axes() -> None:
    shape, block = (40, 3, 64, 2048, 2048), (1, 1, 8, 256, 256)
    array = Counted(shape, "uint16", block)
    survey(volume_of(array), limit=48 * 2**20)
    for region in array.regions:
        for item, step, size in zip(region, block, shape, strict=True):
            assert item.start % step == 0
            assert item.stop % step == 0 or item.stop == size
    assert len({str(region) for region in array.regions}) == len(array.regions)
    for axis, least in zip((0, 2, 3, 4), (12, 4, 6, 6), strict=True):
        starts = [region[axis].start for region in array.regions]
        assert len(set(starts)) >= least
        assert min(starts) < 0.25 * shape[axis] and max(starts) >= 0.65 * shape[axis]
    assert {region[1].start for region in array.regions} == {0, 1, 2}


def test_not_a_number_and_infinity_are_counted_and_left_out() -> None:
    values = np.arange(400, dtype=np.float32).reshape(1, 1, 1, 20, 20)
    values[0, 0, 0, 0, :4] = [np.nan, np.inf, -np.inf, np.nan]
    (channel,) = survey(volume_of(Held(values))).channels
    assert (channel.not_a_number, channel.infinite) == (2 / 400, 2 / 400)
    assert channel.percentiles[0] == 4 and channel.percentiles[-1] == 399
    nothing = survey(volume_of(Held(np.full((1, 1, 1, 4, 4), np.nan)))).channels[0]
    assert (nothing.percentiles, nothing.noise, nothing.not_a_number) == ((), None, 1.0)


# --- saturation ------------------------------------------------------------------------------------------------------


def recorded(top: float, *, dtype: str = "uint16", step: int = 1) -> NDArray[Any]:
    """Return a bright noisy image that is cut off at `top`."""
    rng = np.random.default_rng(1)
    image = rng.gamma(2.0, top / 8, (256, 256)) // step * step
    return np.minimum(image, top).astype(dtype)[None, None, None]


@pytest.mark.parametrize(
    ("top", "dtype", "step"), [(4095, "uint16", 1), (65535, "uint16", 1), (255, "uint8", 1), (3000, "uint16", 1),
                               (64000, "uint16", 250), (1.0, "float32", 1)],
)  # fmt: skip
def test_what_piles_up_at_the_top_is_saturated(top: float, dtype: str, step: int) -> None:
    values = recorded(top, dtype=dtype, step=step) if top > 1 else (recorded(4095) / np.float32(4095)).astype(dtype)
    (channel,) = survey(volume_of(Held(values))).channels
    assert channel.saturated_at == top
    assert channel.saturated == pytest.approx(np.mean(values == top))
    assert channel.saturated > 0.001


@pytest.mark.parametrize("seed", range(5))
def test_what_only_ends_is_not_saturated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (1, 1, 1, 256, 256)
    kinds = [rng.poisson(40, shape).astype("uint8"), rng.normal(500, 50, shape), rng.integers(0, 256, shape)]
    for values in (*kinds, rng.gamma(2, 100, shape).astype("uint16")):
        (channel,) = survey(volume_of(Held(values))).channels
        assert (channel.saturated_at, channel.clipped_at) == (None, None)


def test_a_cut_off_dark_end_is_seen() -> None:
    noise = np.random.default_rng(0).normal(5, 20, (1, 1, 1, 200, 200))
    (channel,) = survey(volume_of(Held(noise.clip(0).astype("uint16")))).channels
    assert channel.clipped_at == 0
    assert channel.clipped > 0.3


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.7, 2.0, 15.0, 400.0])
def test_noise_alone_is_measured(sigma: float) -> None:
    noise = np.random.default_rng(3).normal(1000, sigma, (400, 300))
    assert estimate_noise([noise]) == pytest.approx(sigma, rel=0.02)
    rounded = estimate_noise([noise.round().astype(np.uint16)])
    assert rounded == pytest.approx(math.hypot(sigma, 12**-0.5), rel=0.15 if sigma < 1 else 0.06)


@pytest.mark.parametrize("name", ["camera", "cell", "brick", "retina"])
@pytest.mark.parametrize("sigma", [10.0, 25.0])
def test_noise_on_structure_is_measured(name: str, sigma: float) -> None:
    image = getattr(skimage.data, name)().astype(float)
    image = image[..., 1] if image.ndim == 3 else image
    own = estimate_noise([image])
    noisy = image + np.random.default_rng(0).normal(0, sigma, image.shape)
    assert own is not None
    assert estimate_noise([noisy]) == pytest.approx(math.hypot(sigma, own), rel=0.12)


def test_ramps_and_cut_off_areas_are_no_noise() -> None:
    y, x = np.mgrid[:50, :60]
    assert estimate_noise([3.0 * y + 7.0 * x + 0.5 * x * x]) == pytest.approx(0, abs=1e-9)
    noisy = np.random.default_rng(0).normal(100, 9, (200, 200))
    noisy[:150] = 0
    assert estimate_noise([noisy], cut_off=[0.0]) == pytest.approx(9, rel=0.06)
    assert estimate_noise([noisy[:150]], cut_off=[0.0]) is None
    assert estimate_noise([noisy[:2]]) is None


# --- remarks ---------------------------------------------------------------------------------------------------------


def remarks_on(values: NDArray[Any], **calibration: Any) -> str:
    volume = volume_of(Held(values), calibration=Calibration(**calibration))
    return "\n".join(remarks(volume, survey(volume)))


def test_remarks_are_silent_where_nothing_is_wrong() -> None:
    values = np.random.default_rng(0).poisson(300, (1, 2, 4, 100, 100)).astype("uint16")
    assert remarks_on(values, voxel_size=(0.5, 0.1, 0.1)) == ""


def test_remarks_say_what_is_wrong_and_what_to_type() -> None:
    cut = recorded(4095)
    assert "of the image is saturated at 4095, the highest value of 12 bits" in remarks_on(cut)
    both = np.concatenate([cut, cut // 2 + 100], axis=1)
    assert "of channel 0 (DAPI) is saturated" in remarks_on(both, channel_names=("DAPI", "GFP"))
    assert "voxel size unknown: give --set voxel_size=[" in remarks_on(cut)
    stack = np.repeat(cut, 3, axis=2)
    assert "unknown along Z: give --set voxel_size=[Z,0.1,0.1]" in remarks_on(stack, voxel_size=(None, 0.1, 0.1))
    assert "unknown" not in remarks_on(cut, voxel_size=(None, 0.1, 0.1))
    assert "voxel size looks wrong" in remarks_on(cut, voxel_size=(None, 25400.0, 25400.0))
    assert "is empty: every voxel is 3" in remarks_on(np.full((1, 1, 1, 9, 9), 3, "uint8"))
    assert "only 2 different values: a mask" in remarks_on((cut > 900).astype("uint8"))
    assert "contrast was stretched" in remarks_on((cut // 20 * 257).astype("uint16"))
    with_nan = cut.astype("float32")
    with_nan[..., :64, :] = np.nan
    assert "25 % of the image is not a number" in remarks_on(with_nan)


# --- size and picture ------------------------------------------------------------------------------------------------


def test_size_on_disk_is_that_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((50, 40), np.uint16), compression="zlib")
    result = survey(open_volume(path))
    assert (result.disk_bytes, result.disk_exact, result.unpacked_bytes) == (path.stat().st_size, True, 4000)


@settings(max_examples=25)
@given(VOLUMES)
def test_every_volume_can_be_drawn(values: NDArray[Any]) -> None:
    picture = draw_picture(volume_of(Held(values)))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


def test_a_picture_of_a_large_volume_reads_bounded_bytes() -> None:
    array = Counted((3, 2, 500, 40_000, 40_000), "uint16")
    picture = draw_picture(volume_of(array, calibration=Calibration(voxel_size=(1.0, 0.1, 0.1))))
    assert max(picture.shape) < 3000
    assert array.bytes <= 6 * 16 * 2**20


def test_a_scale_bar_has_the_length_that_it_claims(tmp_path: Path) -> None:
    values = np.zeros((1, 1, 1, 384, 384), "uint16")
    values[..., 0] = 100
    with_bar = draw_picture(volume_of(Held(values), calibration=Calibration(voxel_size=(None, 0.1, 0.1))))
    without = draw_picture(volume_of(Held(values)))
    thumbnail = slice(12, 12 + 384), slice(13, 12 + 384)
    bar = (with_bar[thumbnail] == 255).all(axis=2)
    assert bar.any(axis=0).sum() == 101  # 10 micrometre at 0.1 per pixel, both ends counted
    assert not (without[thumbnail] == 255).any()
    write_picture(volume_of(Held(values)), tmp_path / "new" / "p.png")
    assert (tmp_path / "new" / "p.png").stat().st_size > 0
