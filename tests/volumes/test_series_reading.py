"""Series of files: every file at its place, and gaps, doubles and strangers named."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from superres.errors import InputError, MissingFileError
from superres.volumes import Volume, open_volume
from superres.volumes.series import open_series

RNG = np.random.default_rng(0)


def voxels(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return RNG.integers(0, 200, shape).astype(dtype)


def whole(volume: Volume) -> np.ndarray[Any, Any]:
    return np.asarray(volume.levels[0])


def write(path: Path, plane: np.ndarray[Any, Any], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        iio.imwrite(path, plane)
    else:
        tifffile.imwrite(path, plane, photometric="minisblack", **options)


@pytest.mark.parametrize(
    "name", ["scan_z{:04}.tif", "Z{}.tif", "a1 z={}, 16 bit.tif", "slice-{:02}.png", "imageZ{}.tif"]
)
def test_planes_by_number_not_by_spelling(tmp_path: Path, name: str) -> None:
    data = voxels(12, 9, 7)
    for z, plane in enumerate(data):
        write(tmp_path / name.format(z), plane)
    volume = open_volume(str(tmp_path / f"*{Path(name).suffix}"))
    assert (volume.axes, volume.shape) == ("ZYX", (1, 1, 12, 9, 7))
    assert volume.format.endswith(" series")
    np.testing.assert_array_equal(whole(volume)[0, 0], data)
    block = pickle.loads(pickle.dumps(volume)).read(t=0, c=0, z=slice(3, 8), y=slice(2, 5), x=slice(1, 4))
    np.testing.assert_array_equal(block, data[3:8, 2:5, 1:4])


def test_a_folder_per_time_point_and_a_file_per_plane_and_channel(tmp_path: Path) -> None:
    data = voxels(3, 2, 4, 9, 7)
    for t, c, z in np.ndindex(3, 2, 4):
        write(
            tmp_path / f"t{t + 1:03}" / f"cell_{('DAPI', 'GFP')[c]}_z{5 * z:02}.tif", data[t, c, z], compression="zlib"
        )
    volume = open_volume(str(tmp_path / "t*" / "cell_*.tif"))
    assert volume.shape == (3, 2, 4, 9, 7)
    assert volume.channel_names == ("DAPI", "GFP")
    np.testing.assert_array_equal(whole(volume), data)
    assert len(volume.files) == 24
    before = volume.identity()
    os.utime(tmp_path / "t002" / "cell_GFP_z10.tif", (1, 1))
    assert open_volume(str(tmp_path / "t*" / "cell_*.tif")).identity() != before


def test_stacks_as_members_and_a_time_point_that_stands_twice_in_the_name(tmp_path: Path) -> None:
    data = voxels(3, 4, 9, 7)
    for t, stack in enumerate(data):
        write(tmp_path / f"t{t}" / f"stack_t{t}.tif", stack, metadata={"axes": "ZYX"})
    volume = open_series(str(tmp_path / "*" / "*.tif"))
    assert volume.axes == "TZYX"
    np.testing.assert_array_equal(whole(volume)[:, 0], data)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_grid(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("grid")
    counts = [data.draw(st.integers(1, 3)) for _ in "tcz"]
    order = data.draw(st.permutations("tcz"))
    start, step = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 4))
    image = voxels(*counts, 5, 6)
    for t, c, z in np.ndindex(*counts):
        numbers = {"t": t, "c": c, "z": z}
        name = "_".join(f"{letter}{start + step * numbers[letter]}" for letter in order)
        write(folder / f"{name}.tif", image[t, c, z])
    np.testing.assert_array_equal(whole(open_volume(str(folder / "*.tif"))), image)


def test_numbers_without_a_word_need_axes(tmp_path: Path) -> None:
    data = voxels(4, 9, 7)
    for number, plane in enumerate(data):
        write(tmp_path / f"scan_{number:03}.tif", plane)
    pattern = str(tmp_path / "scan_*.tif")
    with pytest.raises(InputError, match=r"cannot tell what 0 to 3 in names like scan_000\.tif count.*axes=ZYX"):
        open_volume(pattern)
    np.testing.assert_array_equal(whole(open_volume(pattern, axes="tyx"))[:, 0, 0], data)
    volume = open_volume(pattern, axes="ZYX", voxel_size=(3, 2, 1))
    assert (volume.shape, volume.voxel_size) == ((1, 1, 4, 9, 7), (3, 2, 1))
    for axes in ("YX", "ZZYX", "QYX"):
        with pytest.raises(InputError, match="axes"):
            open_volume(pattern, axes=axes)


def test_what_is_missing_or_double_or_strange_is_named(tmp_path: Path) -> None:
    for z in range(8):
        write(tmp_path / f"z{z:02}.tif", voxels(9, 7))
    pattern = str(tmp_path / "*.tif")
    (tmp_path / "z03.tif").unlink()
    (tmp_path / "z05.tif").unlink()
    with pytest.raises(InputError, match=r"2 of 8 files of the series are missing \(z03\.tif, z05\.tif\)"):
        open_volume(pattern)
    write(tmp_path / "z03.tif", voxels(9, 7))
    write(tmp_path / "z05.tif", voxels(9, 7))
    write(tmp_path / "z5.tif", voxels(9, 7))
    with pytest.raises(InputError, match=r"z0?5\.tif and z0?5\.tif have the same place"):
        open_volume(pattern)
    (tmp_path / "z5.tif").unlink()
    write(tmp_path / "z06.tif", voxels(8, 7))
    with pytest.raises(InputError, match=r"z06\.tif: 1x1x1x8x7 voxels .* have 1x1x1x9x7"):
        open_volume(pattern)
    write(tmp_path / "z06.tif", voxels(9, 7, dtype="uint8"))
    with pytest.raises(InputError, match=r"z06\.tif: .* type uint8 found.* type uint16"):
        open_volume(pattern)
    write(tmp_path / "overview.tif", voxels(9, 7))
    with pytest.raises(InputError, match="not named alike"):
        open_volume(pattern)
    with pytest.raises(MissingFileError, match="no file matches"):
        open_volume(str(tmp_path / "q*.tif"))


def test_a_gap_in_one_time_point_is_named_with_its_folder(tmp_path: Path) -> None:
    for t, z in np.ndindex(2, 3):
        write(tmp_path / f"t{t}" / f"z{z}.tif", voxels(9, 7))
    (tmp_path / "t1" / "z2.tif").unlink()
    with pytest.raises(InputError, match=r"missing \(t1.z2\.tif\)"):
        open_volume(str(tmp_path / "t*" / "z*.tif"))


def test_dates_are_no_count_of_planes(tmp_path: Path) -> None:
    for date in (20260101, 20260615, 20270101):
        write(tmp_path / f"t{date}.tif", voxels(9, 7))
    with pytest.raises(InputError, match=r"unevenly spaced|missing"):
        open_volume(str(tmp_path / "*.tif"))


def test_a_file_that_is_exchanged_after_opening(tmp_path: Path) -> None:
    for z in range(3):
        write(tmp_path / f"z{z}.png", voxels(9, 7, dtype="uint8"))
    volume = open_volume(str(tmp_path / "*.png"))
    time.sleep(0.01)
    write(tmp_path / "z1.png", voxels(9, 7, dtype="uint8"))
    volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 9), x=slice(0, 7))
    with pytest.raises(InputError, match=r"z1\.png: changed since it was opened"):
        volume.read(t=0, c=0, z=slice(0, 3), y=slice(0, 9), x=slice(0, 7))


def test_names_with_blanks_umlauts_and_brackets(tmp_path: Path) -> None:
    data = voxels(3, 9, 7)
    for z, plane in enumerate(data):
        write(tmp_path / "Zürich 🔬" / f"Präparat z{z}.tif", plane)
    np.testing.assert_array_equal(whole(open_volume(str(tmp_path / "Zürich 🔬" / "*.tif")))[0, 0], data)


@pytest.mark.realdata
def test_real_series(data_root: Path) -> None:
    for pattern, axes in [("formats/tiff-series-em-celegans/*.tif", "ZYX"), ("timelapse/mitocheck-movie/*.tif", "TYX")]:
        reference = np.stack([iio.imread(file, plugin="pillow") for file in sorted(data_root.glob(pattern))])
        volume = open_volume(str(data_root / pattern))
        assert volume.axes == axes
        np.testing.assert_array_equal(np.squeeze(whole(volume)), reference)
    flies = open_volume(str(data_root / "fl-sharp/train/fly_pos002_*.tif"))
    assert (flies.axes, flies.channel_names) == ("CYX", ("D", "F", "R"))
