"""A folder becomes the acquisitions in it, each once, and one that is broken does not hide the others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from superres.errors import InputError, MissingFileError
from superres.volumes import collection, open_volume
from superres.volumes.collection import Found, find_acquisitions, holds_several


def plane(path: Path, shape: tuple[int, ...] = (6, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack")
    return path


def store(path: Path) -> Path:
    """Write a small OME-Zarr 0.5."""
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", shape=(4, 4), chunks=(4, 4), dtype="uint8", dimension_names=["y", "x"])
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"name": "a", "axes": axes, "datasets": datasets}]}
    return path


def names(found: tuple[Found, ...]) -> list[str]:
    return [one.name for one in found]


def test_a_folder_is_searched_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for name in ("b10.tif", "b9.tif", "a.TIF", "sub/deep/c.tif", "sub/b.tif", ".hidden.tif", ".git/x.tif", "notes.txt"):
        plane(tmp_path / name)
    found = find_acquisitions([tmp_path])
    assert names(found) == ["a", "b9", "b10", "sub/b", "sub/deep/c"]
    assert [one.error for one in found] == [None] * 5
    for one in found:
        assert one.volume is not None
        assert open_volume(one.path).shape == one.volume.shape


def test_stores_are_not_entered(tmp_path: Path) -> None:
    store(tmp_path / "a.ome.zarr")
    store(tmp_path / "unnamed")
    plane(tmp_path / "a.ome.zarr.records" / "x.tif")
    found = find_acquisitions([tmp_path])
    assert names(found) == ["a", "unnamed"]
    assert not holds_several(str(tmp_path / "unnamed"))
    assert holds_several(str(tmp_path))


def test_what_cannot_be_read_carries_its_reason(tmp_path: Path) -> None:
    plane(tmp_path / "good.tif")
    (tmp_path / "bad.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "empty.tif").touch()
    found = find_acquisitions([tmp_path, tmp_path / "gone.tif"])
    assert [one.error is None for one in found] == [False, False, True, False]
    assert [Path(one.path).name for one in found] == ["bad.tif", "empty.tif", "good.tif", "gone.tif"]
    for one in found:
        assert one.error is None or str(tmp_path) in one.error


@pytest.mark.parametrize("what", ["empty", "*.tif"])
def test_nothing_found_is_said(tmp_path: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"holds no image|no file matches"):
        find_acquisitions([tmp_path / what])


def test_symbolic_links_that_loop_end(tmp_path: Path) -> None:
    plane(tmp_path / "a" / "x.tif")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "broken.tif").symlink_to(tmp_path / "none.tif")
    (tmp_path / "twin.tif").symlink_to(tmp_path / "a" / "x.tif")
    assert len(find_acquisitions([tmp_path])) == 1


def test_a_search_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_MOST_ENTRIES", 10)
    for number in range(11):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(InputError, match="more than 10 files"):
        find_acquisitions([tmp_path])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_passed_over(tmp_path: Path) -> None:
    plane(tmp_path / "a.tif")
    plane(tmp_path / "shut" / "b.tif").parent.chmod(0)
    try:
        assert names(find_acquisitions([tmp_path])) == ["a"]
    finally:
        (tmp_path / "shut").chmod(0o700)


def test_folders_that_are_left_out_are_not_searched(tmp_path: Path) -> None:
    plane(tmp_path / "a.tif")
    plane(tmp_path / "out" / "b.tif")
    assert names(find_acquisitions([tmp_path], leave_out=[tmp_path / "out"])) == ["a"]
    assert names(find_acquisitions([tmp_path], leave_out=[tmp_path])) == ["a", "out/b"]


def test_patterns_files_and_folders_together_give_each_once(tmp_path: Path) -> None:
    one = plane(tmp_path / "x.tif")
    plane(tmp_path / "y.tif")
    (tmp_path / "notes.txt").touch()
    assert names(find_acquisitions([one, tmp_path / "*", tmp_path])) == ["x", "y"]


def test_a_name_with_odd_characters_is_itself(tmp_path: Path) -> None:
    path = plane(tmp_path / "é [1] :: *x* #2.tif")
    (found,) = find_acquisitions([path])
    assert (found.path, found.error) == (str(path), None)


# --- series ----------------------------------------------------------------------------------------------------------


def test_numbered_planes_are_one_acquisition(tmp_path: Path) -> None:
    for t in range(2):
        for z in range(3):
            plane(tmp_path / f"scan_t{t:02}_z{z:03}.tif")
    plane(tmp_path / "other.tif")
    found = find_acquisitions([tmp_path])
    assert names(found) == ["other", "scan"]
    series = found[1]
    assert series.path == str(tmp_path / "scan_t*_z*.tif")
    assert series.volume is not None
    assert series.volume.shape == (2, 1, 3, 6, 5)
    assert find_acquisitions([tmp_path / "scan_*.tif"])[0].path == series.path


def test_numbers_that_do_not_differ_stay_in_the_pattern(tmp_path: Path) -> None:
    for scan in ("s1", "s2"):
        for z in range(2):
            plane(tmp_path / f"{scan}_t5_z{z}.tif")
    found = find_acquisitions([tmp_path])
    assert [Path(one.path).name for one in found] == ["s1_t5_z*.tif", "s2_t5_z*.tif"]
    assert names(found) == ["s1_t5", "s2_t5"]


def test_a_hole_in_a_series_is_named(tmp_path: Path) -> None:
    for t, z in ((0, 0), (0, 1), (1, 0)):
        plane(tmp_path / f"scan_t{t}_z{z}.tif")
    (found,) = find_acquisitions([tmp_path])
    assert found.error is not None
    assert "scan_t1_z1" in found.error or "missing" in found.error


@pytest.mark.parametrize("second", ["cell_2.tif", "nuclei.tif"])
def test_bare_numbers_are_acquisitions_of_their_own(tmp_path: Path, second: str) -> None:
    plane(tmp_path / "cell_1.tif")
    plane(tmp_path / second)
    assert len(find_acquisitions([tmp_path])) == 2


def test_files_of_different_shape_are_no_series(tmp_path: Path) -> None:
    plane(tmp_path / "a_z1.tif", (6, 5))
    plane(tmp_path / "a_z2.tif", (7, 5))
    assert names(find_acquisitions([tmp_path])) == ["a_z1", "a_z2"]


def test_stacks_are_no_series(tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / f"a_t{number}.tif"
        tifffile.imwrite(path, np.zeros((3, 6, 5), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    assert len(find_acquisitions([tmp_path])) == 2


# --- several images in one -------------------------------------------------------------------------------------------


def test_every_image_of_a_store_is_one(tmp_path: Path) -> None:
    root = tmp_path / "many.zarr"
    zarr.open_group(root, mode="w", zarr_format=3).attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    for number in range(2):
        store(root / str(number))
    found = find_acquisitions([root])
    assert [one.path for one in found] == [f"{root}::0", f"{root}::1"]
    assert names(found) == ["many_0", "many_1"]
    assert holds_several(str(root))
    assert not holds_several(f"{root}::0")


@pytest.mark.realdata
def test_real_folders(data_root: Path) -> None:
    (celegans,) = find_acquisitions([data_root / "formats" / "tiff-series-em-celegans"])
    assert celegans.volume is not None
    assert celegans.volume.shape[2] == 21
    found = find_acquisitions([data_root / "formats" / "ome-tiff"])
    sets = [one for one in found if "multifile" in one.path]
    assert len(sets) == 1
    assert sets[0].volume is not None
    assert sets[0].volume.shape[2] == 5
    ndtiff = find_acquisitions([data_root / "formats" / "ndtiff"])
    assert sum(one.volume is not None for one in ndtiff) >= 3
    assert not any("Downsampled" in one.path for one in ndtiff)
    assert json.dumps([one.path for one in ndtiff])
