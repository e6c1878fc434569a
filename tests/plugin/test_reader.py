"""What napari's File > Open shows: values, scale in micrometres, colours; lazily; and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
from skimage import data

from superres.errors import InputError, UnknownAxesError
from superres.plugin.layers import origin_of, voxel_size_of
from superres.plugin.reader import get_reader, read
from superres.volumes import open_volume
from superres.volumes.convert import convert
from superres.volumes.hyperstack import save_hyperstack

IMAGE = np.arange(2 * 3 * 4 * 20 * 30, dtype=np.uint16).reshape(2, 3, 4, 20, 30)
"""TCZYX."""


@pytest.fixture
def hyperstack(tmp_path: Path) -> Path:
    path = tmp_path / "cells.tif"
    save_hyperstack(path, IMAGE, voxel_size=(0.5, 0.2, 0.1), channel_names=("DNA", "actin", "ER"), time_step=3.0)
    return path


@pytest.fixture
def pyramid(hyperstack: Path, tmp_path: Path) -> Path:
    """Return an OME-Zarr of several levels that does not begin at zero."""
    plane = np.tile(data.camera(), (2, 2))
    save_hyperstack(tmp_path / "plane.tif", plane[None, None, None], voxel_size=(None, 0.25, 0.25))
    convert(open_volume(tmp_path / "plane.tif"), tmp_path / "plane.ome.zarr")
    return tmp_path / "plane.ome.zarr"


def test_layers_are_lazy_channels_in_micrometres(hyperstack: Path) -> None:
    opened = get_reader(str(hyperstack))
    assert opened is not None
    layers = opened(str(hyperstack))
    assert len(layers) == 3
    for channel, (image, told, kind) in enumerate(layers):
        assert kind == "image"
        assert isinstance(image, da.Array)
        np.testing.assert_array_equal(image.compute(), IMAGE[:, channel])
        assert told["scale"] == (3.0, 0.5, 0.2, 0.1)
        assert told["units"] == ("second", "micrometer", "micrometer", "micrometer")
        assert told["name"] == f"cells: {('DNA', 'actin', 'ER')[channel]}"
        assert told["metadata"]["superres"] == {
            "path": str(hyperstack),
            "axes": "TZYX",
            "voxel_size": [0.5, 0.2, 0.1],
            "channel": channel,
            "given_axes": None,
        }
        low, high = told["contrast_limits"]
        assert IMAGE.min() <= low < high <= IMAGE.max()
    assert len({told["colormap"] for _, told, _ in layers}) == 3


def test_unknown_voxel_size_stays_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", data.cell(), metadata=None)
    ((image, told, _),) = read(str(tmp_path / "plain.tif"))
    assert image.shape == (660, 550)
    assert told["scale"] == (1.0, 1.0)
    assert told["units"] == ("pixel", "pixel")
    assert told["metadata"]["superres"]["voxel_size"] is None


def test_store_keeps_levels_place_colours_and_window(tmp_path: Path) -> None:
    from dataclasses import replace

    plane = np.tile(data.camera(), (2, 2)).astype(np.uint16) * 10
    save_hyperstack(tmp_path / "plane.tif", plane[None, None, None], voxel_size=(None, 0.25, 0.25))
    volume = replace(
        open_volume(tmp_path / "plane.tif"), translation=(0.0, 5.0, -2.0), channel_colours=("FF8000",),
        channel_names=("GFP",),
    )  # fmt: skip
    convert(volume, tmp_path / "plane.ome.zarr")
    ((levels, told, _),) = read(str(tmp_path / "plane.ome.zarr"))
    assert [level.shape for level in levels] == [(1024, 1024), (512, 512), (256, 256)]
    np.testing.assert_array_equal(levels[0].compute(), plane)
    assert told["multiscale"]
    assert told["scale"] == (0.25, 0.25)
    assert told["translate"] == (5.0, -2.0)
    assert told["colormap"] == "#ff8000"
    assert told["name"] == "plane: GFP"
    window = open_volume(tmp_path / "plane.ome.zarr").channel_windows[0]
    assert told["contrast_limits"] == window
    assert window == tuple(np.percentile(levels[-1].compute(), (0.1, 99.9)))


def test_images_of_a_file_with_several_are_all_there(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as file:
        for number, size in enumerate((40, 50)):
            image = np.full((size, size), 7 + number, np.uint8)
            file.write(image, metadata={"axes": "YX", "Name": f"field {number}"})
    layers = read(str(tmp_path / "two.ome.tif"))
    assert [image.shape for image, _, _ in layers] == [(40, 40), (50, 50)]
    assert [told["visible"] for _, told, _ in layers] == [True, False]
    assert [told["name"] for _, told, _ in layers] == ["two field 0", "two field 1"]
    for image, told, _ in layers:
        again = open_volume(told["metadata"]["superres"]["path"])
        np.testing.assert_array_equal(image.compute(), again.levels[0].compute()[0, 0, 0])


def test_files_chosen_together_are_a_series_told_by_one_name(tmp_path: Path) -> None:
    files = [tmp_path / f"scan_z{z:02}.tif" for z in range(5)]
    for z, file in enumerate(files):
        tifffile.imwrite(file, np.full((16, 18), z, np.uint8), metadata=None)
    ((image, told, _),) = read([str(file) for file in files])
    np.testing.assert_array_equal(image.compute()[:, 0, 0], np.arange(5))
    assert open_volume(told["metadata"]["superres"]["path"]).shape == (1, 1, 5, 16, 18)
    with pytest.raises(InputError, match="choose all files of the series"):
        read([str(file) for file in (files[0], files[2], files[4])])


def test_folder_of_planes_is_opened_as_the_series_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "planes"
    folder.mkdir()
    for z in range(4):
        tifffile.imwrite(folder / f"scan_z{z}.tif", np.full((16, 18), z, np.uint8), metadata=None)
    opened = get_reader(str(folder))
    assert opened is not None
    ((image, _, _),) = opened(str(folder))
    assert image.shape == (4, 16, 18)


def test_foreign_files_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no image")
    (tmp_path / "photo.png").write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "empty").mkdir()
    for name in ("text.tif", "photo.png", "empty"):
        assert get_reader(str(tmp_path / name)) is None


def test_damage_and_unknown_axes_are_told_in_words(tmp_path: Path, hyperstack: Path) -> None:
    cut = tmp_path / "cut.tif"
    cut.write_bytes(hyperstack.read_bytes()[:9000])
    opened = get_reader(str(cut))
    assert opened is not None
    with pytest.raises(InputError, match="truncated"):
        opened(str(cut))
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 16, 18), np.uint8))
    with pytest.raises(UnknownAxesError, match="give axes") as told:
        read(str(tmp_path / "stack.tif"))
    assert (told.value.found, told.value.shape) == ("QYX", (5, 16, 18))


def test_layer_tells_its_origin_and_voxel_size(hyperstack: Path, tmp_path: Path) -> None:
    from napari.layers import Image, Layer

    layer = Layer.create(*read(str(hyperstack))[1])
    origin = origin_of(layer)
    assert origin is not None
    assert (origin.path, origin.axes, origin.channel) == (str(hyperstack), "TZYX", 1)
    assert voxel_size_of(layer) == pytest.approx((0.5, 0.2, 0.1))
    plane = np.zeros((8, 9))
    assert origin_of(Image(plane)) is None
    assert voxel_size_of(Image(plane)) == (None, None, None)
    assert voxel_size_of(Image(plane, scale=(0.2, 0.3))) == (None, 0.2, 0.3)
    assert voxel_size_of(Image(plane, scale=(200, 300), units="nm")) == pytest.approx((None, 0.2, 0.3))


@pytest.mark.napari
def test_viewer_opens_images_at_their_place(viewer: Any, hyperstack: Path, pyramid: Path) -> None:
    stack = viewer.open(hyperstack, plugin="superres")
    assert [layer.name for layer in stack] == ["cells: DNA", "cells: actin", "cells: ER"]
    assert viewer.dims.axis_labels == ("t", "z", "y", "x")
    (plane,) = viewer.open(pyramid, plugin="superres")
    assert plane.multiscale
    # 1024 pixels of 0.25 micrometre; an extent reaches from centre to centre and half a pixel beyond.
    np.testing.assert_allclose(np.ptp(plane.extent.world, axis=0), (255.75, 255.75))
    np.testing.assert_allclose(stack[0].extent.world[1][-2:] - stack[0].extent.world[0][-2:], (3.8, 2.9))
    assert [str(unit) for unit in plane.units] == ["micrometer", "micrometer"]


@pytest.mark.napari
def test_viewer_tells_what_is_wrong_in_our_words(viewer: Any, tmp_path: Path) -> None:
    from napari.errors import ReaderPluginError

    (tmp_path / "broken.lsm").write_bytes(b"II*\0\x08\0\0\0" + bytes(8))
    with pytest.raises((InputError, ReaderPluginError), match=r"broken\.lsm"):
        viewer.open(tmp_path / "broken.lsm", plugin="superres")
    assert not viewer.layers


@pytest.mark.napari
def test_viewer_asks_for_axes_that_the_file_does_not_tell(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication, QComboBox, QInputDialog

    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 16, 18), np.uint8))
    offered: list[str] = []

    def answer(accept: bool, tries: int = 200) -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QInputDialog) and tries:  # it has not come up yet
            QTimer.singleShot(50, lambda: answer(accept, tries - 1))
            return
        box = dialog.findChild(QComboBox)
        offered[:] = [box.itemText(i) for i in range(box.count())]
        box.setCurrentIndex(1)
        dialog.accept() if accept else dialog.reject()

    answer(True)
    (layer,) = viewer.open(tmp_path / "stack.tif", plugin="superres")
    assert offered[0] == "5 planes in depth (Z), 16 x 18 pixels"
    assert layer.ndim == 4  # time points of one plane
    origin = origin_of(layer)
    assert origin is not None
    assert (origin.axes, origin.given_axes) == ("TZYX", "TYX")
    answer(False)
    with pytest.raises(UnknownAxesError):
        viewer.open(tmp_path / "stack.tif", plugin="superres")


@pytest.mark.napari
def test_viewer_shows_the_overview_of_a_large_plane_as_it_is_made(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    plane = np.add.outer(np.arange(4200), np.arange(4500)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "large.tif", plane, tile=(512, 512), compression="zlib", metadata=None)
    (layer,) = viewer.open(tmp_path / "large.tif", plugin="superres")
    overview = layer.metadata["superres_overview"]
    assert overview is not None
    # Of a plane napari keeps the coarsest level; it is black before there is anything.
    qtbot.waitUntil(lambda: bool(layer.thumbnail[..., :3].max() > 200), timeout=120_000)
    assert overview.wait(120)
    for _ in range(100):
        qtbot.wait(20)
    canvas = viewer.screenshot(flash=False)
    assert canvas[200:-200, 200:-200, :3].min() > 0, "no part is missing"
