"""HDF5 data sets by their path in the file, and Imaris files written to their layout."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.opening import list_images

MAGIC = b"\x89HDF\r\n\x1a\n"
DATA = np.random.default_rng(0).integers(0, 999, (4, 20, 30)).astype(np.uint16)


@pytest.mark.parametrize("name", ["a.h5", "a.ims", "a.tif"])
def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / name).write_bytes(MAGIC + bytes(100))
    for attempt in (open_volume, list_images):
        with pytest.raises(InputError, match=r"which the package h5py reads \(licence: BSD.*'pip install h5py'"):
            attempt(tmp_path / name)


@pytest.fixture
def h5py() -> Any:
    return pytest.importorskip("h5py", reason="needs h5py, an optional package")


@pytest.fixture
def file(tmp_path: Path, h5py: Any) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("volumes/raw", data=DATA, chunks=(1, 8, 8), compression="gzip")
        file.create_dataset("volumes/plane", data=DATA[0].astype(">u2"))
        file.create_dataset("table", data=np.arange(7))
        file.create_dataset("text", data="hello")
        file.create_dataset("pairs", data=np.zeros((3, 4), dtype=[("a", "<u2"), ("b", "<f4")]))
        file.create_dataset("flags", data=np.zeros((3, 4), dtype=bool))
    return tmp_path / "a.h5"


def test_data_sets_are_listed_and_chosen(file: Path) -> None:
    assert list_images(file) == ("volumes/plane", "volumes/raw")
    with pytest.raises(InputError, match=r"holds 2 images \(volumes/plane, volumes/raw\).*a\.h5::volumes/plane'"):
        open_volume(file)
    for part in ("volumes/raw", "/volumes/raw/"):
        volume = open_volume(f"{file}::{part}", axes="ZYX")
        assert (volume.format, volume.part, volume.source) == ("HDF5", "volumes/raw", file)
        np.testing.assert_array_equal(volume.levels[0][0, 0].compute(), DATA)
    plane = open_volume(f"{file}::volumes/plane")
    assert plane.dtype == np.uint16
    np.testing.assert_array_equal(plane.levels[0][0, 0, 0].compute(), DATA[0])
    with pytest.raises(InputError, match=r"holds 2 images"):
        open_volume(f"{file}::volumes")
    with pytest.raises(InputError, match=r"holds no image 'nothing'"):
        open_volume(f"{file}::nothing")


def test_axes_are_asked_for(file: Path) -> None:
    with pytest.raises(InputError, match=r"a\.h5::volumes/raw: cannot tell what the axes are .*axes=ZYX"):
        open_volume(f"{file}::volumes/raw")


@pytest.mark.parametrize("part", ["text", "pairs", "flags", "table"])
def test_what_is_no_image_is_refused(file: Path, part: str) -> None:
    with pytest.raises(InputError, match=r"a\.h5"):
        open_volume(f"{file}::{part}")


def test_axes_and_voxel_size_in_the_file(tmp_path: Path, h5py: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        labelled = file.create_dataset("labelled", data=DATA)
        for dimension, label in zip(labelled.dims, ("z", "y", "x"), strict=True):
            dimension.label = label
        labelled.attrs["element_size_um"] = [0.5, 0.1, 0.2]
        tagged = file.create_dataset("tagged", data=DATA)
        tagged.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "tyx"]})
    volume = open_volume(f"{tmp_path / 'a.h5'}::labelled")
    assert (volume.axes, volume.voxel_size) == ("ZYX", (0.5, 0.1, 0.2))
    tagged = open_volume(f"{tmp_path / 'a.h5'}::tagged")
    assert (tagged.axes, tagged.voxel_size) == ("TYX", (None, None, None))


def test_pickled_volume_reads_in_a_spawned_process(file: Path) -> None:
    volume = open_volume(f"{file}::volumes/raw", axes="ZYX")
    assert volume.levels[0].chunksize[2:] != (4, 20, 30) or volume.finest.block == (1, 1, 1, 8, 8)  # type: ignore[union-attr]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).levels[0][0, 0].compute(), DATA)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        block = pool.submit(volume.read, t=0, c=0, z=slice(1, 3), y=slice(0, 9), x=slice(0, 9)).result(timeout=60)
    np.testing.assert_array_equal(block, DATA[1:3, :9, :9])


def test_truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"a\.h5: HDF5 that cannot be read"):
        open_volume(file)


def test_other_files_are_not_followed(tmp_path: Path, h5py: Any) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(range(64)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("data", data=DATA)
    (tmp_path / "in").mkdir()
    layout = h5py.VirtualLayout(shape=DATA.shape, dtype=DATA.dtype)
    layout[:] = h5py.VirtualSource("../other.h5", "data", shape=DATA.shape)
    missing = h5py.VirtualLayout(shape=DATA.shape, dtype=DATA.dtype)
    missing[:] = h5py.VirtualSource("gone.h5", "data", shape=DATA.shape)
    with h5py.File(tmp_path / "in" / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("../other.h5", "/data")
        file["group/link"] = h5py.ExternalLink("../other.h5", "/")
        file.create_virtual_dataset("virtual", layout)
        file.create_virtual_dataset("missing", missing)
        file.create_dataset("raw", shape=(8, 8), dtype="u1", external=[(str(tmp_path / "secret.bin"), 0, 64)])
    path = tmp_path / "in" / "a.h5"
    for part, message in {
        "link": "a link to another file",
        "group/link/data": "a link to another file",
        "virtual": r"outside the folder \(\.\./other\.h5\)",
        "missing": r"gone\.h5 is missing",
        "raw": "its voxels lie in other files",
    }.items():
        with pytest.raises(InputError, match=message):
            open_volume(f"{path}::{part}", axes="ZYX" if part != "raw" else None)


# --- Imaris ----------------------------------------------------------------------------------------------------------


def letters(text: str) -> np.ndarray[Any, Any]:
    return np.array([letter.encode() for letter in text], dtype="S1")


def write_imaris(h5py: Any, path: Path, *, times: int = 2, channels: int = 2, **image: str) -> np.ndarray[Any, Any]:
    """Write two levels to the published layout: padded to chunks of 8, all attributes as arrays of letters."""
    data = np.random.default_rng(0).integers(1, 999, (times, channels, 5, 20, 30)).astype(np.uint16)
    with h5py.File(path, "w") as file:
        for level, step in enumerate((1, 2)):
            for t in range(times):
                for c in range(channels):
                    voxels = data[t, c, :, ::step, ::step]
                    group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}")
                    padded = np.pad(voxels, [(0, -n % 8) for n in voxels.shape])
                    group.create_dataset("Data", data=padded, chunks=(8, 8, 8), compression="gzip")
                    for axis, size in zip("ZYX", voxels.shape, strict=True):
                        group.attrs[f"ImageSize{axis}"] = letters(str(size))
        facts = {"X": "30", "Y": "20", "Z": "5", "Unit": "um"}
        facts |= {"ExtMin0": "10", "ExtMax0": "16", "ExtMin1": "-1", "ExtMax1": "1", "ExtMin2": "0", "ExtMax2": "2.5"}
        info = file.create_group("DataSetInfo/Image")
        for name, text in (facts | image).items():
            info.attrs[name] = letters(text)
        for channel in range(channels):
            file.create_group(f"DataSetInfo/Channel {channel}").attrs["Name"] = letters(f"dye {channel}")
        clock = file.create_group("DataSetInfo/TimeInfo")
        for t in range(times):
            clock.attrs[f"TimePoint{t + 1}"] = letters(f"2026-01-31 23:59:{50 + 3 * t:02}.500")
    return data


def test_imaris(tmp_path: Path, h5py: Any) -> None:
    data = write_imaris(h5py, tmp_path / "a.ims")
    volume = open_volume(tmp_path / "a.ims")
    assert (volume.format, volume.axes, volume.channel_names) == ("Imaris", "TCZYX", ("dye 0", "dye 1"))
    assert volume.voxel_size == pytest.approx((0.5, 0.1, 0.2))
    assert volume.translation == pytest.approx((0.25, -0.95, 10.1))
    assert volume.time_step == pytest.approx(3)
    np.testing.assert_array_equal(volume.levels[0].compute(), data)
    np.testing.assert_array_equal(volume.levels[1].compute(), data[..., ::2, ::2])
    block = volume.read(t=1, c=0, z=slice(2, 4), y=slice(3, 19), x=slice(20, 40))
    np.testing.assert_array_equal(block, data[1, 0, 2:4, 3:19, 20:30])
    assert list_images(tmp_path / "a.ims") == ()
    with pytest.raises(InputError, match="an Imaris file holds one image"):
        open_volume(f"{tmp_path / 'a.ims'}::1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Unit": "nm"}, (0.0005, 0.0001, 0.0002)),
        ({"Unit": ""}, (0.5, 0.1, 0.2)),
        ({"Unit": "furlong"}, (None, None, None)),
        ({"ExtMax0": "10"}, (0.5, 0.1, None)),
        ({"ExtMax2": "much"}, (None, 0.1, 0.2)),
    ],
)
def test_imaris_voxel_size(tmp_path: Path, h5py: Any, changes: dict[str, str], expected: Any) -> None:
    write_imaris(h5py, tmp_path / "a.ims", times=1, **changes)
    volume = open_volume(tmp_path / "a.ims")
    assert volume.voxel_size == tuple(None if size is None else pytest.approx(size) for size in expected)
    assert volume.time_step is None


def test_incomplete_imaris(tmp_path: Path, h5py: Any) -> None:
    write_imaris(h5py, tmp_path / "a.ims")
    with h5py.File(tmp_path / "a.ims", "a") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 1"]
    with pytest.raises(InputError, match="TimePoint 1/Channel 1 of level 0 is missing; the file is incomplete"):
        open_volume(tmp_path / "a.ims")
