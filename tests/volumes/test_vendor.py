"""Files of microscope makers: recognised by content, read through a plugin, and what a plugin invents is dropped."""

from __future__ import annotations

import pickle
import sys
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest

from superres.errors import InputError
from superres.volumes import open_volume
from superres.volumes.opening import list_images

Sizes = namedtuple("Sizes", "Z Y X")
CZI = b"ZISRAWFILE" + bytes(300)
DATA = np.random.default_rng(0).integers(0, 999, (2, 3, 4, 20, 30)).astype(np.uint16)


class Reader:
    """What all of bioio's plugins offer, as far as it is used."""

    scenes: ClassVar[tuple[str, ...]] = ("first", "second")
    data: ClassVar[np.ndarray[Any, Any]] = DATA
    order: ClassVar[str] = "TCZYX"
    physical_pixel_sizes: ClassVar[Any] = Sizes(0.5, 0.1, 0.2)
    channel_names: ClassVar[Any] = ["DAPI", "GFP", "Cy5"]
    time_interval: ClassVar[Any] = timedelta(seconds=2)
    planes_read: ClassVar[int] = 0

    def __init__(self, image: str, chunk_dims: list[str] | None = None) -> None:
        if b"broken" in Path(image).read_bytes():
            raise RuntimeError("bad segment")
        self.number = 0
        self.chunk_dims = chunk_dims

    def set_scene(self, scene: str) -> None:
        self.number = self.scenes.index(scene)

    @property
    def dims(self) -> SimpleNamespace:
        return SimpleNamespace(order=self.order)

    @property
    def dask_data(self) -> da.Array:
        assert self.chunk_dims == ["Y", "X"]
        chunks = tuple(1 if letter not in "YXS" else -1 for letter in self.order)

        def count(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            type(self).planes_read += 1
            return block

        voxels = da.from_array(self.data + self.number, chunks=chunks)
        return voxels.map_blocks(count, dtype=self.data.dtype, meta=np.empty(0))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> type[Reader]:
    """Stand in for the plugin that reads CZI; it cannot be a dependency, because of its licence."""
    module = ModuleType("bioio_czi")
    reader = type("Reader", (Reader,), {})
    module.Reader = reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bioio_czi", module)
    return reader


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "probe 1.czi"
    path.write_bytes(CZI)
    return path


def test_images_are_listed_and_chosen(plugin: type[Reader], file: Path) -> None:
    assert list_images(file) == ("first", "second")
    with pytest.raises(InputError, match=r"holds 2 images \(first, second\); give one of them, e\.g\. '.*czi::first'"):
        open_volume(file)
    for part in ("second", "1"):
        volume = open_volume(f"{file}::{part}")
        assert (volume.format, volume.part, volume.source) == ("Zeiss CZI", part, file)
        np.testing.assert_array_equal(volume.levels[0].compute(scheduler="synchronous"), DATA + 1)
    plugin.scenes = ("same", "same", "", "7")
    assert list_images(file) == ("0", "1", "2", "3")


def test_calibration(plugin: type[Reader], file: Path) -> None:
    plugin.scenes = ("only",)
    volume = open_volume(file)
    assert (volume.voxel_size, volume.time_step) == ((0.5, 0.1, 0.2), 2.0)
    assert volume.channel_names == ("DAPI", "GFP", "Cy5")
    assert open_volume(file, voxel_size=(1, 2, 3)).voxel_size == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((1.0, 1.0, 1.0), (None, None, None)),
        ((None, 1.0, 1.0), (None, None, None)),
        ((None, 0.1, 0.1), (None, 0.1, 0.1)),
        ((1.0, 0.1, 0.1), (1.0, 0.1, 0.1)),
        ((0.0, -0.1, float("nan")), (None, None, None)),
        ((None, None, None), (None, None, None)),
    ],
)
def test_invented_voxel_sizes_are_unknown(plugin: type[Reader], file: Path, sizes: Any, expected: Any) -> None:
    plugin.scenes, plugin.physical_pixel_sizes = ("only",), Sizes(*sizes)
    assert open_volume(file).voxel_size == expected


@pytest.mark.parametrize("names", [["Channel:0:0", "Channel:0:1", "Channel:0:2"], None, [], ["a", "b"]])
def test_invented_channel_names_are_dropped(plugin: type[Reader], file: Path, names: Any) -> None:
    plugin.scenes, plugin.channel_names = ("only",), names
    assert open_volume(file).channel_names == ()


def test_a_tile_reads_its_plane_only(plugin: type[Reader], file: Path) -> None:
    plugin.scenes = ("only",)
    volume = open_volume(file)
    plugin.planes_read = 0
    block = volume.read(t=1, c=2, z=slice(3, 4), y=slice(2, 9), x=slice(5, 7))
    np.testing.assert_array_equal(block, DATA[1, 2, 3:4, 2:9, 5:7])
    assert plugin.planes_read == 1
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.read(t=1, c=2, z=slice(3, 4), y=slice(2, 9), x=slice(5, 7)), block)


def test_axes_beyond_tczyx(plugin: type[Reader], file: Path) -> None:
    plugin.scenes, plugin.order, plugin.data = ("only",), "MTCZYX", DATA[None]
    assert open_volume(file).shape == DATA.shape
    plugin.data = np.stack([DATA, DATA])
    with pytest.raises(InputError, match=r"cannot tell what the axes are \(found QTCZYX"):
        open_volume(file)
    plugin.order, plugin.data = "TCZYXS", np.stack([DATA] * 3, axis=-1)
    with pytest.raises(InputError, match="3 samples per pixel"):
        open_volume(file)


def test_damaged_file(plugin: type[Reader], file: Path) -> None:
    file.write_bytes(CZI + b"broken")
    for attempt in (open_volume, list_images):
        with pytest.raises(InputError, match=r"czi: bioio-czi cannot read this Zeiss CZI file \(RuntimeError: bad"):
            attempt(file)


def at(place: int, magic: bytes) -> bytes:
    return bytes(place) + magic + bytes(300)


FORMATS = {
    "czi": ("a.czi", CZI, "Zeiss CZI", "bioio-czi", "GPL-3"),
    "czi by another name": ("a.tif", CZI, "Zeiss CZI", "bioio-czi", "GPL-3"),
    "nd2": ("a.nd2", b"\xda\xce\xbe\x0a" + bytes(300), "Nikon ND2", "bioio-nd2", "MIT"),
    "old nd2": ("a.nd2", b"\0\0\0\x0cjP  \r\n" + bytes(300), "Nikon ND2", "bioio-nd2", "MIT"),
    "lif": ("a.lif", b"\x70\0\0\0\x10\0\0\0\x2a" + bytes(300), "Leica LIF", "bioio-lif", "BSD-3-Clause"),
    "oir": ("a.oir", b"OLYMPUSRAWFORMAT" + bytes(300), "Olympus OIR", "bioio-bioformats", "GPL-2"),
    "oib": ("a.oib", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(300), "Olympus OIB", "bioio-bioformats", "GPL-2"),
    "oif": ("a.oif", "[Profile]".encode("utf-16") + bytes(300), "Olympus OIF", "bioio-bioformats", "GPL-2"),
    "dv": ("a.dv", at(96, b"\xa0\xc0"), "DeltaVision DV", "bioio-dv", "MIT"),
    "mrc": ("a.mrc", at(208, b"MAP "), "MRC", "bioio-bioformats", "GPL-2"),
    "dicom": ("a.dcm", at(128, b"DICM"), "DICOM", "bioio-bioformats", "GPL-2"),
    "vsi": ("a.vsi", b"II*\0" + bytes(300), "Olympus VSI", "bioio-bioformats", "GPL-2"),
}


@pytest.mark.parametrize(("name", "content", "format", "package", "licence"), FORMATS.values(), ids=FORMATS.keys())
def test_missing_package_is_named_with_its_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, format: str, package: str, licence: str
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    (tmp_path / name).write_bytes(content)
    message = rf"a {format}.* file, which the package {package} reads \(licence: .*{licence}.*'pip install {package}'"
    for attempt in (open_volume, list_images):
        with pytest.raises(InputError, match=message):
            attempt(tmp_path / name)


@pytest.mark.realdata
def test_real_file_without_its_package(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bioio_czi", None)
    with pytest.raises(InputError, match=r"multiple_images\.czi: a Zeiss CZI file, which the package bioio-czi reads"):
        open_volume(data_root / "formats" / "vendor" / "multiple_images.czi")


@pytest.mark.realdata
def test_real_file(data_root: Path) -> None:
    pytest.importorskip("bioio_czi", reason="needs bioio-czi (GPL-3), which is installed by its users only")
    path = data_root / "formats" / "vendor" / "multiple_images.czi"
    for name in list_images(path):
        volume = open_volume(f"{path}::{name}")
        assert volume.read(t=0, c=0, z=slice(0, 1), y=slice(0, 64), x=slice(0, 64)).std() > 0
