"""Channel names and colours come back as they were written, however much they look like numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.volumes import Volume, open_volume
from superres.volumes.axes import TczyxArray
from superres.volumes.convert import convert
from superres.volumes.numpy_files import NumpyFile
from superres.volumes.volume import Calibration, make_volume

SUFFIXES = {"ome-zarr-0.5": ".ome.zarr", "ome-zarr-0.4": ".ome.zarr", "ome-tiff": ".ome.tif", "imagej": ".tif"}
ODD_NAMES = ("007", "1e5", "true", "1,2", "NaN", "a&b <c>", '"quoted"', "0x10", "1_000", "None", "2.50", "è 488 nm")
GREY: dict[str, Any] = {"photometric": "minisblack"}


def volume_of(source: Path, shape: tuple[int, ...], calibration: Calibration) -> Volume:
    np.save(source, np.arange(np.prod(shape), dtype=np.uint16).reshape(shape))
    return make_volume(
        [TczyxArray(NumpyFile(source), "TCZYX")], calibration, axes="TCZYX", format="NumPy", source=source
    )


@pytest.mark.parametrize("format", sorted(SUFFIXES))
@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_not_taken_for_numbers(tmp_path: Path, format: Any, name: str) -> None:
    calibration = Calibration((0.5, 0.1, 0.1), channel_names=(name, "other"))
    convert(volume_of(tmp_path / "a.npy", (1, 2, 2, 5, 4), calibration), tmp_path / f"b{SUFFIXES[format]}")
    assert open_volume(tmp_path / f"b{SUFFIXES[format]}").channel_names == (name, "other")


def test_images_with_odd_names_keep_their_own_sizes(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        for name, size in (("007", 0.1), ("true", 0.2), ("1,2", 0.3)):
            metadata = {"axes": "YX", "Name": name, "PhysicalSizeX": size, "PhysicalSizeY": size}
            writer.write(np.zeros((8, 9), np.uint8), metadata=metadata, **GREY)
    assert [open_volume(f"{path}::{name}").voxel_size[2] for name in ("007", "true", "1,2")] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("shape", [(1, 1, 5, 6, 7), (4, 1, 1, 6, 7), (1, 1, 1, 6, 7), (2, 2, 3, 6, 7)])
@pytest.mark.parametrize("format", sorted(SUFFIXES))
def test_names_and_colours_stay_in_every_format(tmp_path: Path, shape: tuple[int, ...], format: Any) -> None:
    calibration = Calibration(
        (0.5, 0.1, 0.1), channel_names=("GFP", "RFP")[: shape[1]], channel_colours=("33CC00", "FF0010")[: shape[1]]
    )
    convert(volume_of(tmp_path / "a.npy", shape, calibration), tmp_path / f"b{SUFFIXES[format]}")
    back = open_volume(tmp_path / f"b{SUFFIXES[format]}")
    assert (back.channel_names, back.channel_colours) == (calibration.channel_names, calibration.channel_colours)


colours = st.integers(0, 0xFFFFFF).map("{:06X}".format)


@settings(max_examples=30)
@given(drawn=st.lists(colours, min_size=1, max_size=9))
def test_colours_survive_imagej(tmp_path_factory: pytest.TempPathFactory, drawn: list[str]) -> None:
    folder = tmp_path_factory.mktemp("lut")
    calibration = Calibration(channel_colours=tuple(drawn))
    convert(volume_of(folder / "a.npy", (1, len(drawn), 2, 3, 4), calibration), folder / "b.tif")
    assert open_volume(folder / "b.tif").channel_colours == tuple(drawn)
    with tifffile.TiffFile(folder / "b.tif") as file:
        tables = np.reshape((file.imagej_metadata or {})["LUTs"], (-1, 3, 256))
    assert len(tables) == len(drawn)
    for table, colour in zip(tables, drawn, strict=True):
        assert "".join(f"{channel[-1]:02X}" for channel in table) == colour
        assert not table[:, 0].any(), "black stays black"
        assert (np.diff(table.astype(int), axis=1) >= 0).all(), "brighter means more"


def test_a_table_of_false_colours_is_no_colour(tmp_path: Path) -> None:
    tables = [np.sort(np.arange(768, dtype=np.uint16).reshape(3, 256) * 7 % 256).astype(np.uint8) ** 2 for _ in "ab"]
    path = tmp_path / "fire.tif"
    tifffile.imwrite(path, np.zeros((2, 5, 6), np.uint8), imagej=True, metadata={"axes": "CYX", "LUTs": tables})
    assert open_volume(path).channel_colours == ()


def test_labels_of_planes_are_no_channel_names(tmp_path: Path) -> None:
    path = tmp_path / "planes.tif"
    labels = ["first", "second", "third"]
    tifffile.imwrite(path, np.zeros((3, 5, 6), np.uint8), imagej=True, metadata={"axes": "ZYX", "Labels": labels})
    assert open_volume(path).channel_names == ()


@pytest.mark.parametrize("name", ["b.ome.tif", "b.tif"])
def test_a_file_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    events: list[tuple[str, int]] = []
    replace, fsync = Path.replace, os.fsync

    def synced(number: int) -> None:
        fsync(number)
        events.append(("sync", os.fstat(number).st_size))

    def renamed(path: Path, target: Path) -> Path:
        events.append(("rename", path.stat().st_size))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    convert(volume_of(tmp_path / "a.npy", (1, 1, 2, 600, 700), Calibration()), tmp_path / name)
    size = (tmp_path / name).stat().st_size
    assert events[-2:] == [("sync", size), ("rename", size)]
