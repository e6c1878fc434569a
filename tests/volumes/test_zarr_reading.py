"""OME-Zarr and Zarr written by other software: read as it is, or refused in one sentence."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from superres.errors import InputError
from superres.volumes import open_volume

RNG = np.random.default_rng(0)
AXES = {
    "t": {"name": "t", "type": "time", "unit": "millisecond"},
    "c": {"name": "c", "type": "channel"},
    "z": {"name": "z", "type": "space", "unit": "nanometer"},
    "y": {"name": "y", "type": "space", "unit": "micrometer"},
    "x": {"name": "x", "type": "space", "unit": "micrometer"},
}


def write_omezarr(
    path: Path, order: str = "tczyx", *, version: str = "0.5", **changes: Any
) -> list[np.ndarray[Any, Any]]:
    """Write two levels and the metadata of a version by zarr-python; return the voxels of each."""
    sizes = dict(zip("tczyx", (2, 2, 3, 24, 32), strict=True))
    scales = dict(zip("tczyx", (500.0, 1.0, 300.0, 0.1, 0.2), strict=True))
    finest = RNG.integers(0, 1000, [sizes[a] for a in order]).astype(np.uint16)
    levels = [finest, finest[..., ::2, ::2]]
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for number, level in enumerate(levels):
        shards = {"shards": (1,) * (len(order) - 2) + (16, 16)} if version == "0.5" else {}
        chunks = (1,) * (len(order) - 2) + (8, 8)
        names = {"dimension_names": list(order)} if version == "0.5" else {}
        array = group.create_array(str(number), shape=level.shape, dtype=level.dtype, chunks=chunks, **shards, **names)
        array[...] = level
        scale = [scales[a] * (2**number if a in "yx" else 1) for a in order]
        shift = {"type": "translation", "translation": [1.5 if a in "zy" else 0.0 for a in order]}
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}, shift]})
    multiscale = {"axes": [AXES[a] for a in order], "datasets": datasets, "name": "image", **changes}
    omero = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]} if "c" in order else None
    content: dict[str, Any] = {"multiscales": [multiscale]} | ({"omero": omero} if omero else {})
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", **content}
    else:
        multiscale["version"] = version
        group.attrs.update(content)
    return levels


def as_tczyx(data: np.ndarray[Any, Any], axes: str) -> np.ndarray[Any, Any]:
    return data[tuple(slice(None) if letter in axes else None for letter in "tczyx")]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "czyx", "zyx", "tyx", "yx"])
def test_what_other_software_wrote_is_read(tmp_path: Path, version: str, axes: str) -> None:
    levels = write_omezarr(tmp_path / "a.zarr", axes, version=version)
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.format == f"OME-Zarr {version}"
    assert volume.axes == axes.upper()
    assert volume.voxel_size == (0.3 if "z" in axes else None, 0.1, 0.2)
    assert volume.translation == (0.0015 if "z" in axes else 0.0, 1.5, 0.0)
    assert volume.time_step == (0.5 if "t" in axes else None)
    assert volume.channel_names == (("DAPI", "GFP") if "c" in axes else ())
    for level, expected in zip(volume.levels, levels, strict=True):
        np.testing.assert_array_equal(np.asarray(level), as_tczyx(expected, axes))
    block = volume.read(t=0, c=0, z=slice(0, 9), y=slice(5, 30), x=slice(3, 9))
    np.testing.assert_array_equal(block, as_tczyx(levels[0], axes)[0, 0, 0:9, 5:30, 3:9])


def test_transformations_of_the_whole_image_come_after_those_of_the_level(tmp_path: Path) -> None:
    whole = [{"type": "scale", "scale": [1.0, 10.0, 10.0]}, {"type": "translation", "translation": [0.0, 1.0, 2.0]}]
    write_omezarr(tmp_path / "a.zarr", "zyx", coordinateTransformations=whole)
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.voxel_size == (0.3, 1.0, 2.0)
    assert volume.translation == (0.0015, 16.0, 2.0)


def test_axis_without_unit_is_unknown(tmp_path: Path) -> None:
    axes = [{"name": "z", "type": "space"}, AXES["y"], {"name": "x", "type": "space", "unit": "pixel"}]
    write_omezarr(tmp_path / "a.zarr", "zyx", axes=axes)
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.voxel_size == (None, 0.1, None)
    assert volume.translation == (0.0, 1.5, 0.0)
    assert open_volume(tmp_path / "a.zarr", voxel_size=(1, 2, 3)).voxel_size == (1.0, 2.0, 3.0)


def test_versions_without_axes_are_tczyx(tmp_path: Path) -> None:
    levels = write_omezarr(tmp_path / "a.zarr", version="0.1")
    attributes = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())
    attributes["multiscales"] = [{"version": "0.1", "datasets": [{"path": "0"}, {"path": "1"}]}]
    (tmp_path / "a.zarr" / ".zattrs").write_text(json.dumps(attributes))
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.axes, volume.voxel_size) == ("TCZYX", (None, None, None))
    np.testing.assert_array_equal(np.asarray(volume.levels[0]), levels[0])


def test_container_of_one_image_opens_of_several_does_not(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_omezarr(tmp_path / "a.zarr" / "0", "zyx", version="0.4")
    assert open_volume(tmp_path / "a.zarr").shape == (1, 1, 3, 24, 32)
    write_omezarr(tmp_path / "a.zarr" / "1", "zyx", version="0.4")
    with pytest.raises(InputError, match=r"holds 2 images \(0, 1\); give one of them, e\.g\. '.*a\.zarr::0'"):
        open_volume(tmp_path / "a.zarr")


def test_plate_is_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w").attrs["ome"] = {"version": "0.5", "plate": {"wells": []}}
    with pytest.raises(InputError, match="plate"):
        open_volume(tmp_path / "a.zarr")


def test_plain_arrays(tmp_path: Path) -> None:
    data = RNG.normal(size=(3, 20, 30)).astype(np.float32)
    named = zarr.create_array(tmp_path / "n.zarr", data=data, chunks=(1, 8, 8), dimension_names=["c", "y", "x"])
    assert named.shape == data.shape
    assert open_volume(tmp_path / "n.zarr").shape == (1, 3, 1, 20, 30)
    zarr.create_array(tmp_path / "p.zarr", data=data, chunks=(1, 8, 8))
    with pytest.raises(InputError, match=r"found QQQ, shape 3x20x30.*axes=ZYX"):
        open_volume(tmp_path / "p.zarr")
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "p.zarr", axes="ZYX").levels[0])[0, 0], data)


def test_codec_that_only_zarr_python_knows(tmp_path: Path) -> None:
    data = RNG.integers(0, 100, (20, 30)).astype(np.uint16)
    zarr.create_array(
        tmp_path / "a.zarr", data=data, chunks=(8, 8), zarr_format=2, filters=[numcodecs.Delta("u2")], compressors=None
    )
    np.testing.assert_array_equal(np.asarray(open_volume(tmp_path / "a.zarr").levels[0])[0, 0, 0], data)


def test_big_endian_becomes_native(tmp_path: Path) -> None:
    data = RNG.integers(0, 60000, (20, 30)).astype(">u2")
    array = zarr.create_array(tmp_path / "a.zarr", shape=data.shape, dtype=">u2", chunks=(8, 8), zarr_format=2)
    array[...] = data
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.dtype == np.uint16
    block = volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 20), x=slice(0, 30))
    assert block.dtype.isnative
    np.testing.assert_array_equal(block[0], data)


def test_pickled_store_reads_in_a_spawned_process(tmp_path: Path) -> None:
    levels = write_omezarr(tmp_path / "a.zarr", "zyx")
    volume = open_volume(tmp_path / "a.zarr")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        block = pool.submit(volume.read, t=0, c=0, z=slice(0, 2), y=slice(0, 9), x=slice(0, 9)).result(timeout=60)
    np.testing.assert_array_equal(block, levels[0][:2, :9, :9])


def test_identity_follows_content(tmp_path: Path) -> None:
    write_omezarr(tmp_path / "a.zarr", "zyx")
    before = open_volume(tmp_path / "a.zarr").identity()
    assert before == open_volume(tmp_path / "a.zarr").identity()
    zarr.open_array(tmp_path / "a.zarr" / "0", mode="r+")[0, 0, 0] = 7
    assert before != open_volume(tmp_path / "a.zarr").identity()


# --- damage ----------------------------------------------------------------------------------------------------------


def test_folder_that_is_no_zarr(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"a folder without an image \(found 1 entry, the first of them notes\.txt"):
        open_volume(tmp_path)


def break_metadata(path: Path, text: str) -> None:
    (path / "zarr.json").write_text(text)


def remove_level(path: Path) -> None:
    (path / "1").rename(path / "elsewhere")


def edit_multiscale(path: Path, **changes: Any) -> None:
    content = json.loads((path / "zarr.json").read_text())
    content["attributes"]["ome"]["multiscales"][0].update(changes)
    (path / "zarr.json").write_text(json.dumps(content))


DAMAGE: dict[str, Any] = {
    "half the metadata": lambda path: break_metadata(path, '{"zarr_format": 3, "node'),
    "list": lambda path: break_metadata(path, "[]"),
    "empty metadata": lambda path: break_metadata(path, ""),
    "missing level": remove_level,
    "no datasets": lambda path: edit_multiscale(path, datasets=[]),
    "datasets of another kind": lambda path: edit_multiscale(path, datasets=[1, 2]),
    "axes too few": lambda path: edit_multiscale(path, axes=[AXES["y"], AXES["x"]]),
    "axes of unknown name": lambda path: edit_multiscale(path, axes=["foo", "y", "x"]),
    "scale too short": lambda path: edit_multiscale(
        path, coordinateTransformations=[{"type": "scale", "scale": [1.0]}]
    ),
    "damaged array": lambda path: break_metadata(path / "0", '{"zarr_format": 3, "node_type": "array"}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_store_is_an_input_error(tmp_path: Path, damage: Any) -> None:
    write_omezarr(tmp_path / "a.zarr", "zyx")
    damage(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=r"a\.zarr"):
        open_volume(tmp_path / "a.zarr")


def test_damaged_chunk_is_an_input_error(tmp_path: Path) -> None:
    write_omezarr(tmp_path / "a.zarr", "zyx")
    shard = tmp_path / "a.zarr" / "0" / "c" / "1" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:100])
    volume = open_volume(tmp_path / "a.zarr")
    volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 9), x=slice(0, 9))
    with pytest.raises(InputError, match="cannot be read"):
        volume.read(t=0, c=0, z=slice(1, 2), y=slice(0, 9), x=slice(0, 9))
