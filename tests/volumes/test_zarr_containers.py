"""Several images in one Zarr: bioformats2raw containers, plates, groups of arrays; and stores in zip files."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.opening import list_images

VERSIONS = ["0.4", "0.5"]


def write_image(path: Path, value: int, *, version: str = "0.5", unit: str = "micrometer") -> None:
    """Write two levels of (2, 16, 16) that hold `value`, at 0.5 µm."""
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for number in range(2):
        side = 16 >> number
        array = group.create_array(str(number), shape=(2, side, side), dtype="uint16", chunks=(1, 8, 8))
        array[...] = value
        scale = [1.0, 0.5 * 2**number, 0.5 * 2**number]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": a, "type": "space", "unit": unit} for a in "zyx"]
    content = {"multiscales": [{"axes": axes, "datasets": datasets, "version": version}]}
    set_ome(path, content, version)


def set_ome(path: Path, content: dict[str, Any], version: str) -> None:
    """Write OME metadata of a version onto a group, which is made where it is not there."""
    group = zarr.open_group(path, mode="a", zarr_format=3 if version == "0.5" else 2)
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", **content}
    else:
        group.attrs.update(content)


def value_of(path: str | Path) -> int:
    values = np.unique(np.asarray(open_volume(path).levels[0]))
    assert len(values) == 1
    return int(values[0])


@pytest.fixture(params=VERSIONS)
def plate(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Write a plate of wells A/1 and B/3 with two fields each."""
    path, version = tmp_path / "plate.zarr", request.param
    wells = ["A/1", "B/3"]
    set_ome(path, {"plate": {"wells": [{"path": well} for well in wells], "field_count": 2}}, version)
    for number, well in enumerate(wells):
        set_ome(path / well, {"well": {"images": [{"path": "0"}, {"path": "1"}]}}, version)
        for field in range(2):
            write_image(path / well / str(field), 10 * number + field, version=version)
    return path


def test_plate_lists_its_fields(plate: Path) -> None:
    assert list_images(plate) == ("A/1/0", "A/1/1", "B/3/0", "B/3/1")
    with pytest.raises(InputError, match=r"holds 4 images \(A/1/0, .*give one of them, e\.g\. '.*plate\.zarr::A/1/0'"):
        open_volume(plate)
    for number, name in enumerate(list_images(plate)):
        volume = open_volume(f"{plate}::{name}")
        assert (volume.part, volume.source, volume.voxel_size) == (name, plate, (1.0, 0.5, 0.5))
        assert value_of(f"{plate}::{name}") == [0, 1, 10, 11][number] == value_of(f"{plate}::{number}")
    with pytest.raises(InputError, match=r"holds no image 'C/1'"):
        open_volume(f"{plate}::C/1")


def test_well_alone_or_within_its_plate(plate: Path) -> None:
    assert list_images(plate / "B/3") == ("0", "1")
    assert value_of(f"{plate / 'B/3'}::1") == 11
    with pytest.raises(InputError, match=r"holds 2 images \(B/3/0, B/3/1\).*'.*plate\.zarr::B/3/0'"):
        open_volume(f"{plate}::B/3")
    shutil.rmtree(plate / "B/3/1")
    assert value_of(f"{plate}::B/3") == 10


def test_missing_wells_and_fields_are_named(plate: Path) -> None:
    shutil.rmtree(plate / "A/1/1")
    shutil.rmtree(plate / "B/3")
    assert list_images(plate) == ("A/1/0",)
    with pytest.raises(InputError, match=r"named in the metadata, but not there: A/1/1, B/3"):
        open_volume(plate)
    with pytest.raises(InputError, match=r"B/3: named in the metadata of .*plate\.zarr, but not there"):
        open_volume(f"{plate}::B/3")
    shutil.rmtree(plate / "A")
    with pytest.raises(InputError, match=r"none of the images that its metadata name is there \(A/1, B/3\)"):
        open_volume(plate)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("names", [["0", "1"], ["0"], ["first", "2", "0"]])
def test_bioformats2raw(tmp_path: Path, version: str, names: list[str]) -> None:
    path = tmp_path / "a.zarr"
    set_ome(path, {"bioformats2raw.layout": 3}, version)
    if names != ["0", "1"]:
        set_ome(path / "OME", {"series": names}, version)
    for number, name in enumerate(names):
        write_image(path / name, number, version=version)
    assert list_images(path) == tuple(names)
    for number, name in enumerate(names):
        assert value_of(f"{path}::{name}") == number
    if len(names) == 1:
        assert value_of(path) == 0
        assert open_volume(path).part is None
    else:
        with pytest.raises(InputError, match=rf"holds {len(names)} images \({names[0]}, .*a\.zarr::{names[0]}'"):
            open_volume(path)


def test_labels_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    set_ome(path, {}, "0.4")
    write_image(path / "raw", 7, version="0.4")
    write_image(path / "labels" / "nuclei", 1, version="0.4")
    write_image(path / "raw" / "labels" / "nuclei", 1, version="0.4")
    assert list_images(path) == ("raw",)
    assert value_of(path) == 7
    assert value_of(f"{path}::labels/nuclei") == 1


def test_level_by_its_path(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", 7)
    volume = open_volume(f"{tmp_path / 'a.zarr'}::1")
    assert (volume.shape, volume.voxel_size, len(volume.levels)) == ((1, 1, 2, 8, 8), (1.0, 1.0, 1.0), 1)
    assert len(open_volume(f"{tmp_path / 'a.zarr'}::0").levels) == 2
    with pytest.raises(InputError, match=r"holds one image, its levels are 0, 1; '2' is not in it"):
        open_volume(f"{tmp_path / 'a.zarr'}::2")


def test_identity_differs_between_parts(plate: Path) -> None:
    volumes = [open_volume(f"{plate}::{name}") for name in list_images(plate)]
    assert len({volume.identity() for volume in volumes}) == 4


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_group_of_arrays(tmp_path: Path, zarr_format: Any) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    for number, name in enumerate(("volumes/raw", "volumes/deeper/mask", "z")):
        root.create_array(name, data=np.full((4, 5), number, dtype=np.uint8))
    assert list_images(tmp_path / "a.zarr") == ("volumes/deeper/mask", "volumes/raw", "z")
    assert value_of(f"{tmp_path / 'a.zarr'}::volumes/deeper/mask") == 1
    assert value_of(f"{tmp_path / 'a.zarr'}::volumes/deeper") == 1
    with pytest.raises(InputError, match=r"holds 2 images \(volumes/deeper/mask, volumes/raw\)"):
        open_volume(f"{tmp_path / 'a.zarr'}::volumes")


@pytest.mark.parametrize(
    "escape", ["../other.zarr/0", "0/../../other.zarr/0", "..\\other.zarr\\0", "/other.zarr/0", "C:/0", ""]
)
def test_paths_that_leave_the_store_are_refused(tmp_path: Path, escape: str) -> None:
    write_image(tmp_path / "other.zarr", 9)
    write_image(tmp_path / "a.zarr", 7)
    metadata = tmp_path / "a.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    content["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = escape
    metadata.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"does not lead to something in this store; it is not followed"):
        open_volume(tmp_path / "a.zarr")
    for content in ({"plate": {"wells": [{"path": escape}]}}, {"well": {"images": [{"path": escape}]}}):
        set_ome(tmp_path / "b.zarr", content, "0.5")
        with pytest.raises(InputError, match="does not lead to something in this store"):
            open_volume(tmp_path / "b.zarr")
        shutil.rmtree(tmp_path / "b.zarr")


@pytest.mark.parametrize("content", [{"plate": 3}, {"plate": {"wells": [7]}}, {"well": {}}, {"multiscales": [3]}])
def test_damaged_containers(tmp_path: Path, content: dict[str, Any]) -> None:
    set_ome(tmp_path / "a.zarr", content, "0.5")
    with pytest.raises(InputError, match=r"a\.zarr: damaged OME-Zarr metadata"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("scale", "unit", "expected"),
    [
        (0.25, "micrometer", 0.25),
        (0.25, "Micrometres", 0.25),
        (250, "nanometer", 0.25),
        (0.25, None, None),
        (0.25, "parsec", None),
        (1, "pixel", None),
        (0, "micrometer", None),
        (-0.25, "micrometer", None),
    ],
)
def test_units(tmp_path: Path, scale: float, unit: str | None, expected: float | None) -> None:
    write_image(tmp_path / "a.zarr", 7)
    metadata = tmp_path / "a.zarr" / "zarr.json"
    content = json.loads(metadata.read_text())
    multiscale = content["attributes"]["ome"]["multiscales"][0]
    multiscale["axes"][2] = {"name": "x", "type": "space"} | ({} if unit is None else {"unit": unit})
    multiscale["datasets"][0]["coordinateTransformations"][0]["scale"][2] = scale
    metadata.write_text(json.dumps(content))
    assert open_volume(tmp_path / "a.zarr").voxel_size == (1.0, 0.5, expected)


def test_image_without_z_and_y_before_t(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    data = np.random.default_rng(0).integers(0, 99, (6, 4, 5)).astype(np.uint8)
    group.create_array("0", data=data)
    axes = [{"name": "y", "type": "space"}, {"name": "frame", "type": "time", "unit": "minute"}, {"name": "x"}]
    steps = [{"type": "scale", "scale": [1, 0.5, 1]}]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    set_ome(tmp_path / "a.zarr", {"multiscales": [{"axes": axes, "datasets": datasets}]}, "0.5")
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.axes, volume.time_step, volume.voxel_size) == ("YTX", 30.0, (None, None, None))
    np.testing.assert_array_equal(volume.levels[0][:, 0, 0].compute(), data.transpose(1, 0, 2))


# --- zip files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "a.zarr/"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("version", VERSIONS)
def test_zipped_store(tmp_path: Path, inside: str, compression: int, version: str) -> None:
    write_image(tmp_path / "a.zarr", 7, version=version)
    path = zip_folder(tmp_path / "a.zarr", tmp_path / "a.ozx", inside=inside, compression=compression)
    volume = open_volume(path)
    assert (volume.format, volume.voxel_size, volume.source) == (f"OME-Zarr {version}", (1.0, 0.5, 0.5), path)
    assert value_of(path) == 7
    assert volume.identity() == open_volume(path).identity()


def zip_folder(folder: Path, path: Path, *, inside: str = "", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for item in sorted(folder.rglob("*")):
            if item.is_file():
                file.write(item, inside + item.relative_to(folder).as_posix())
    return path


def test_zipped_plate(plate: Path, tmp_path: Path) -> None:
    path = zip_folder(plate, tmp_path / "p.zip", inside="p.zarr/")
    assert list_images(path) == ("A/1/0", "A/1/1", "B/3/0", "B/3/1")
    assert value_of(f"{path}::B/3/1") == 11


def test_zipped_group(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    root.create_array("x/y", data=np.full((4, 5), 3, dtype=np.uint8))
    root.create_array("z", data=np.full((4, 5), 4, dtype=np.uint8))
    path = zip_folder(tmp_path / "a.zarr", tmp_path / "a.zip")
    assert list_images(path) == ("x/y", "z")
    assert value_of(f"{path}::z") == 4


def test_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("notes.txt", "hello")
    with pytest.raises(InputError, match=r"a zip file without a Zarr at its root; unpack it"):
        open_volume(tmp_path / "a.zip")
