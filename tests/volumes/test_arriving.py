"""Images that are being written: nothing is taken before it is whole, nothing whole is left behind."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.config import WatchConfig
from superres.errors import MissingFileError
from superres.volumes import open_volume
from superres.volumes.arriving import Arrivals
from superres.volumes.complete import Signature, is_marked, why_incomplete


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Watched:
    """A folder that is watched, a second passing with every look."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = Clock()
        chosen = WatchConfig.model_validate({"interval": 1, "settle": 3, "polls": 2} | settings)
        self.arrivals = Arrivals([folder], chosen, clock=self.clock)

    def look(self, times: int = 1) -> list[str]:
        found: list[str] = []
        for _ in range(times):
            self.clock.time += 1
            found += [one.name for one in self.arrivals.look()]
        return found

    def waits(self) -> dict[str, str]:
        return {one.name: one.reason for one in self.arrivals.waiting()}


def image(path: Path, shape: tuple[int, ...] = (6, 5), **options: Any) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ones(shape, np.uint8), photometric="minisblack", **options)
    return path.read_bytes()


def test_an_image_is_taken_once_when_it_has_settled(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert watched.look(3) == []
    image(tmp_path / "day" / "a.tif")
    assert watched.look(3) == []
    assert "written" in watched.waits()["day/a"]
    assert watched.look() == ["day/a"]
    assert watched.look(10) == []
    assert watched.waits() == {}


@settings(max_examples=10)
@given(cuts=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=3))
def test_what_grows_slowly_is_taken_when_it_is_whole(
    cuts: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However a file grows, and however long it rests on the way, it is taken once, and whole."""
    folder = tmp_path_factory.mktemp("grows")
    content = image(folder / "a.tif", (4, 30, 30), metadata={"axes": "ZYX"})
    with tifffile.TiffFile(folder / "a.tif") as file:
        end = max(page.dataoffsets[-1] + page.databytecounts[-1] for page in file.pages)  # type: ignore[union-attr]
    (folder / "a.tif").unlink()
    watched = Watched(folder)
    for cut in sorted(cuts):
        (folder / "a.tif").write_bytes(content[: int(cut * end)])
        assert watched.look(5) == []
    assert watched.waits()["a"]
    (folder / "a.tif").write_bytes(content)
    assert watched.look(8) == ["a"]


def test_what_is_written_to_again_is_returned_again(tmp_path: Path) -> None:
    image(tmp_path / "a.tif")
    watched = Watched(tmp_path)
    assert watched.look(5) == ["a"]
    image(tmp_path / "a.tif", (7, 5))
    assert watched.look() == []
    assert list(watched.waits()) == ["a"]
    assert watched.look(5) == ["a"]


def test_what_was_put_back_comes_again_after_a_while(tmp_path: Path) -> None:
    image(tmp_path / "a.tif")
    watched = Watched(tmp_path)
    watched.clock.time += 1
    watched.arrivals.look()
    watched.clock.time += 4
    (one,) = watched.arrivals.look()
    watched.arrivals.put_back(one)
    assert watched.look(2) == []
    assert watched.look(1) == ["a"]


def test_planes_of_a_series_wait_for_each_other(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    for z in range(4):
        image(tmp_path / f"scan_z{z}.tif")
        assert watched.look(2) == []
    assert watched.look(4) == ["scan"]
    image(tmp_path / "scan_z4.tif")  # late
    assert watched.look(5) == ["scan"]


def test_stacks_with_numbers_need_not_wait_for_each_other(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    image(tmp_path / "scan_t1.tif", (3, 6, 5), metadata={"axes": "ZYX"})
    assert watched.look(2) == []
    image(tmp_path / "scan_t2.tif", (3, 6, 5), metadata={"axes": "ZYX"})
    assert watched.look(2) == ["scan_t1"]
    assert watched.look(2) == ["scan_t2"]


def test_all_files_of_an_ome_set_must_be_there(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    names = _ome_set(whole)
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(whole / names[0], folder)
    watched = Watched(folder)
    assert watched.look(8) == []
    assert names[1] in watched.waits()["set_1"]
    shutil.copy(whole / names[1], folder)
    assert watched.look(8) == ["set_1"]


def _ome_set(folder: Path) -> list[str]:
    """Write two planes into two files whose OME-XML names both."""
    folder.mkdir()
    names = ["set_1.ome.tif", "set_2.ome.tif"]
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    pixels = (
        f'<Pixels ID="P" DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="6" SizeZ="2" SizeC="1" SizeT="1">{data}'
    )
    for z, name in enumerate(names):
        text = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{z}">'
            f'<Image ID="I">{pixels}</Pixels></Image></OME>'
        )
        tifffile.imwrite(folder / name, np.ones((6, 5), np.uint8), description=text, metadata=None)
    return names


@pytest.mark.parametrize("marker", ["{stem}.done", "{name}.ok", "*.finished"])
def test_a_marker_is_waited_for(marker: str, tmp_path: Path) -> None:
    image(tmp_path / "a[1].ome.tif")
    watched = Watched(tmp_path, marker=marker)
    assert watched.look(8) == []
    assert marker in watched.waits()["a[1]"]
    (
        tmp_path / {"{stem}.done": "a[1].done", "{name}.ok": "a[1].ome.tif.ok", "*.finished": "x.finished"}[marker]
    ).touch()
    assert watched.look(2) == ["a[1]"]


def test_a_marker_of_another_image_does_not_count(tmp_path: Path) -> None:
    image(tmp_path / "a[1].tif")
    (tmp_path / "a1.done").touch()
    assert not is_marked(tmp_path / "a[1].tif", "{stem}.done")
    assert not is_marked(tmp_path / "a[1].tif", "*.tif")  # itself


def test_a_zarr_without_all_its_chunks_is_not_complete(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 6), chunks=(2, 3), dtype="uint8", dimension_names=["y", "x"]
    )
    array[:] = 1
    chunk = tmp_path / "a.zarr" / "c" / "1" / "1"
    content = chunk.read_bytes()
    chunk.unlink()
    watched = Watched(tmp_path)
    assert watched.look(8) == []
    assert watched.waits()["a"] == "1 of 4 chunks are not there yet"
    chunk.write_bytes(content)
    assert watched.look(5) == ["a"]


def test_a_zarr_without_metadata_is_not_complete(tmp_path: Path) -> None:
    (tmp_path / "a.zarr" / "c").mkdir(parents=True)
    watched = Watched(tmp_path)
    assert watched.look(8) == []
    assert "without an image" in watched.waits()["a"]


def test_an_ndtiff_whose_index_is_not_closed_is_not_complete(tmp_path: Path) -> None:
    """While it records, the index is longer than what is in it, and the rest is zero."""
    folder = tmp_path / "acq"
    folder.mkdir()
    image(folder / "acq_NDTiffStack.tif", (6, 5))
    entry = _index_entry({"z": 0}, "acq_NDTiffStack.tif", 8)
    (folder / "NDTiff.index").write_bytes(entry + bytes(200))
    watched = Watched(tmp_path)
    assert watched.look(8) == []
    assert "index is truncated or damaged" in watched.waits()["acq"]
    (folder / "NDTiff.index").write_bytes(entry)
    assert watched.look(8) == ["acq"]


def _index_entry(axes: dict[str, int], file: str, offset: int) -> bytes:
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (json.dumps(axes).encode(), file.encode()))
    return texts + struct.pack("<IiiiiIii", offset, 5, 6, 0, 0, 0, 0, 0)


def test_what_is_there_tells_its_signature(tmp_path: Path) -> None:
    assert Signature.of(tmp_path / "nothing") is None
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "a").write_bytes(b"123")
    before = Signature.of(tmp_path / "d")
    assert before is not None
    (tmp_path / "d" / "e" / "b").write_bytes(b"45")
    after = Signature.of(tmp_path / "d")
    assert after is not None
    assert (before.files, before.size, after.files, after.size) == (1, 3, 2, 5)


def test_what_opens_and_can_be_read_to_its_end_is_complete(tmp_path: Path) -> None:
    image(tmp_path / "a.tif", (3, 6, 5), metadata={"axes": "ZYX"})
    assert why_incomplete(open_volume(tmp_path / "a.tif")) is None


def test_folders_must_be_there_and_files_may_go(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such folder"):
        Arrivals([tmp_path / "none"], WatchConfig())
    image(tmp_path / "a.tif")
    watched = Watched(tmp_path)
    watched.look()
    (tmp_path / "a.tif").unlink()
    assert watched.look(8) == []
    assert watched.waits() == {}
