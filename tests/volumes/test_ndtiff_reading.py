"""NDTiff: planes at their place on the axes, positions as images of their own, and nothing missing unnoticed."""

from __future__ import annotations

import itertools
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.ndtiff import images_in_ndtiff, open_ndtiff

RNG = np.random.default_rng(0)
Planes = list[tuple[dict[str, Any], np.ndarray[Any, Any]]]


def write_ndtiff(folder: Path, planes: Planes, *, per_file: int = 100, metadata: dict[str, Any] | None = None) -> Path:
    """Write a data set after the description of the format: magic and summary, then per plane voxels and metadata."""
    folder.mkdir(exist_ok=True)
    summary = json.dumps({"PixelSize_um": 0.5, "Interval_ms": 250}).encode()
    index = b""
    for number in range(0, len(planes), per_file):
        name = f"stack_NDTiffStack{'' if number == 0 else f'_{number // per_file}'}.tif"
        content = struct.pack("<2sHIIII4xI", b"II", 42, 0, 483729, 3, 3, 2355492)[:24]
        content = struct.pack("<2sHIIIIII", b"II", 42, 0, 483729, 3, 1, 2355492, len(summary)) + summary
        for place, plane in planes[number : number + per_file]:
            position = len(content)
            content += plane.astype(plane.dtype.newbyteorder("<")).tobytes()
            text = json.dumps(
                {"PixelSizeUm": 0.25, "ZPosition_um_Intended": place.get("z", 0) * -0.4} | (metadata or {})
            )
            axes = json.dumps(place).encode()
            kind = {1: 0, 2: 1}[plane.dtype.itemsize]
            index += struct.pack("<I", len(axes)) + axes + struct.pack("<I", len(name)) + name.encode()
            index += struct.pack("<IiiiiIii", position, *plane.shape[::-1], kind, 0, len(content), len(text), 0)
            content += text.encode()
        (folder / name).write_bytes(content)
    (folder / "NDTiff.index").write_bytes(index)
    return folder


def planes_of(data: np.ndarray[Any, Any], names: tuple[str, ...], **extra: Any) -> Planes:
    """Put time and z in reverse order into the index, as real acquisitions do."""
    places = itertools.product(reversed(range(data.shape[0])), range(data.shape[1]), reversed(range(data.shape[2])))
    return [({"channel": names[c], "z": z, "time": t, **extra}, data[t, c, z]) for t, c, z in places]


@pytest.mark.parametrize("per_file", [100, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_axes_names_and_sizes(tmp_path: Path, per_file: int, dtype: str) -> None:
    data = RNG.integers(0, 250, (2, 2, 3, 9, 7)).astype(dtype)
    folder = write_ndtiff(tmp_path / "set", planes_of(data, ("GFP", "DAPI")), per_file=per_file)
    volume = open_volume(folder)
    assert (volume.format, volume.axes, volume.channel_names) == ("NDTiff", "TCZYX", ("GFP", "DAPI"))
    assert volume.voxel_size == (pytest.approx(0.4), 0.25, 0.25)
    assert volume.time_step == 0.25
    np.testing.assert_array_equal(np.asarray(volume.levels[0]), data)
    block = pickle.loads(pickle.dumps(volume)).read(t=1, c=0, z=slice(1, 3), y=slice(2, 5), x=slice(1, 4))
    np.testing.assert_array_equal(block, data[1, 0, 1:3, 2:5, 1:4])
    assert len(volume.files) == 1 + (3 if per_file == 5 else 1)


def test_positions_are_images(tmp_path: Path) -> None:
    data = RNG.integers(0, 250, (3, 1, 1, 2, 9, 7)).astype(np.uint16)
    planes = [plane for i in (2, 0, 1) for plane in planes_of(data[i], ("GFP",), position=f"Pos{i}")]
    folder = write_ndtiff(tmp_path / "set", planes)
    assert images_in_ndtiff(folder) == ("Pos0", "Pos1", "Pos2")
    with pytest.raises(InputError, match=r"holds 3 images \(Pos0, Pos1, Pos2\).*set::Pos0"):
        open_volume(folder)
    for number, part in [(1, "Pos1"), (2, "2")]:
        np.testing.assert_array_equal(np.asarray(open_ndtiff(folder, part=part).levels[0]), data[number])
    with pytest.raises(InputError, match="holds no image 'Pos7'"):
        open_ndtiff(folder, part="Pos7")


def test_tiles_are_images(tmp_path: Path) -> None:
    data = RNG.integers(0, 250, (2, 9, 7)).astype(np.uint16)
    planes = [({"channel": 0, "row": i, "column": i}, plane) for i, plane in enumerate(data)]
    folder = tmp_path / "tiled"
    folder.mkdir()
    write_ndtiff(folder / "Full resolution", planes)
    assert images_in_ndtiff(folder) == ("column=0,row=0", "column=1,row=1")
    np.testing.assert_array_equal(np.asarray(open_volume(f"{folder}::column=1,row=1").levels[0])[0, 0, 0], data[1])


def damaged(folder: Path, how: str) -> None:
    index = folder / "NDTiff.index"
    content, stack = index.read_bytes(), folder / "stack_NDTiffStack.tif"
    if how == "index truncated":
        index.write_bytes(content[:-20])
    elif how == "planes missing":
        index.write_bytes(content[: len(content) // 2])
    elif how == "index empty":
        index.write_bytes(b"")
    elif how == "voxels truncated":
        stack.write_bytes(stack.read_bytes()[:-1200])
    elif how == "file missing":
        stack.unlink()
    else:
        index.write_bytes(content.replace(b"stack_NDTiffStack.tif", b"../../etc/DTStack.tif"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("index truncated", "truncated or damaged"),
        ("planes missing", r"6 of 12 planes found|9 planes|of \d+ planes found \(.*is missing\)"),
        ("index empty", "names no plane"),
        ("voxels truncated", "truncated, plane"),
        ("file missing", "not there"),
        ("path", "outside the folder"),
    ],
)
def test_damage_is_named(tmp_path: Path, how: str, message: str) -> None:
    planes = planes_of(RNG.integers(0, 250, (2, 2, 3, 9, 7)).astype(np.uint16), ("GFP", "DAPI"))
    # One plane less is an acquisition that was stopped.
    folder = write_ndtiff(tmp_path / "set", planes[:-1] if how == "planes missing" else planes)
    if how != "planes missing":
        damaged(folder, how)
    with pytest.raises(InputError, match=message):
        open_volume(folder)


def test_unlike_planes_and_colours_are_refused(tmp_path: Path) -> None:
    sizes: Planes = [({"z": 0}, np.zeros((9, 7), np.uint8)), ({"z": 1}, np.zeros((9, 8), np.uint8))]
    with pytest.raises(InputError, match=r"plane \{'z': 1\} has 9x8"):
        open_volume(write_ndtiff(tmp_path / "sizes", sizes))


def test_unknown_stays_unknown(tmp_path: Path) -> None:
    planes: Planes = [({"z": z}, np.zeros((9, 7), np.uint8)) for z in range(2)]
    folder = write_ndtiff(tmp_path / "set", planes, metadata={"PixelSizeUm": 0, "ZPosition_um_Intended": 3})
    volume = open_volume(folder)
    assert (volume.voxel_size, volume.time_step, volume.channel_names) == ((None, None, None), None, ())


@pytest.mark.realdata
def test_real_data_sets(data_root: Path) -> None:
    root = data_root / "formats" / "ndtiff"
    folders = sorted(path.parent for path in root.rglob("NDTiff.index"))
    assert len(folders) == 8
    for folder in folders:
        (file,) = folder.glob("*.tif")
        reference = tifffile.imread(file)
        names = images_in_ndtiff(folder)
        for place in (folder, file):
            images = [open_ndtiff(place, part=name) for name in names] or [open_volume(place)]
            assert all(image.voxel_size[1:] == (1.0, 1.0) for image in images)
            for image in images:
                voxels = np.squeeze(np.asarray(image.levels[0]))
                # tifffile keeps positions in the order of recording, and empty tiles of a tiling.
                whole = reference.reshape(-1, *voxels.shape) if names else reference[None]
                assert any(np.array_equal(voxels, part) for part in whole)
    multichannel = open_volume(root / "v3" / "ndtiff3.2_multichannel")
    assert (multichannel.shape, multichannel.channel_names) == ((8, 2, 16, 64, 64), ("DAPI", "FITC"))
    assert multichannel.voxel_size == (pytest.approx(0.4), 1.0, 1.0)
