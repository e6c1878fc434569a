"""File > Save: the same voxels, scale, place and names again, in the viewer and in the files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile

from superres.errors import InputError, OutputExistsError
from superres.plugin.layer_volume import volume_of
from superres.plugin.reader import read
from superres.plugin.writer import write_ometiff, write_omezarr
from superres.volumes import open_volume, verify_store

if TYPE_CHECKING:
    from napari.layers import Image

STACK = np.random.default_rng(1).integers(-500, 30_000, (2, 3, 40, 50), dtype=np.int16)
"""TZYX."""


def layer(*arguments: Any, **more: Any) -> Image:
    from napari.layers import Image

    return Image(*arguments, **more)


def layers() -> list[Image]:
    place = {
        "scale": (5.0, 0.4, 0.2, 0.1),
        "translate": (0.0, 1.0, -2.0, 3.0),
        "units": ("second", "micrometer", "micrometer", "micrometer"),
    }
    return [
        layer(STACK, name="cells: DNA", colormap="#00ff00", **place),
        layer(
            da.from_array(STACK[:, ::-1].copy(), chunks=(1, 1, 20, 50)), name="cells: actin", colormap="red", **place
        ),
    ]


def tuples(images: list[Image]) -> list[Any]:
    return [image.as_layer_data_tuple() for image in images]


@pytest.mark.parametrize(("write", "name"), [(write_omezarr, "out.ome.zarr"), (write_ometiff, "out.ome.tif")])
def test_saved_layers_come_back_as_they_were(write: Any, name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    assert write(str(out), tuples(layers())) == [str(out)]
    volume = open_volume(out)
    np.testing.assert_array_equal(volume.levels[0].compute(), np.stack([STACK, STACK[:, ::-1]], axis=1))
    assert volume.dtype == np.int16
    assert volume.voxel_size == (0.4, 0.2, 0.1)
    assert volume.time_step == 5.0
    assert volume.channel_names == ("DNA", "actin")
    assert volume.channel_colours == ("00FF00", "FF0000")
    back = read(str(out))
    for image, (values, told, _) in zip(layers(), back, strict=True):
        finest = values[0] if told["multiscale"] else values
        np.testing.assert_array_equal(finest.compute(), image.data)
        assert told["scale"] == tuple(image.scale)
        assert told["name"] == image.name.replace("cells", "out")
    if name.endswith(".zarr"):
        assert verify_store(out) == []
        assert back[0][1]["translate"] == (0.0, 1.0, -2.0, 3.0)


def test_what_has_no_unit_is_saved_without_one(tmp_path: Path) -> None:
    write_omezarr(str(tmp_path / "out.ome.zarr"), tuples([layer(np.ones((30, 20), np.float32))]))
    assert open_volume(tmp_path / "out.ome.zarr").voxel_size == (None, None, None)
    nanometres = layer(np.ones((30, 20), np.float32), scale=(200, 100), translate=(50, 0), units="nm")
    volume = volume_of(tuples([nanometres]))
    assert volume.voxel_size == pytest.approx((None, 0.2, 0.1))
    assert volume.translation == pytest.approx((0.0, 0.05, 0.0))


def test_only_the_finest_level_is_saved_and_block_by_block(tmp_path: Path) -> None:
    largest = [0]

    def block(block_info: Any = None) -> np.ndarray[Any, Any]:
        place = block_info[None]["array-location"]
        largest[0] = max(largest[0], np.prod([b - a for a, b in place]))
        return np.full([b - a for a, b in place], place[0][0], np.uint8)

    lazy = da.map_blocks(block, chunks=((1,) * 6, (700,), (600,)), dtype=np.uint8)
    image = layer([lazy, lazy[:, ::2, ::2]], multiscale=True, contrast_limits=(0, 6))
    write_ometiff(str(tmp_path / "out.ome.tif"), tuples([image]))
    assert open_volume(tmp_path / "out.ome.tif").shape == (1, 1, 6, 700, 600)
    assert tifffile.imread(tmp_path / "out.ome.tif")[4, 0, 0] == 4
    assert largest[0] == 700 * 600


def test_what_cannot_be_saved_is_refused_in_words(tmp_path: Path) -> None:
    from napari.layers import Labels

    plane = np.zeros((30, 40), np.uint8)
    refused = [
        ([Labels(plane)], "a labels layer"),
        ([layer(np.zeros((30, 40, 3), np.uint8), rgb=True)], "split it first"),
        ([layer(np.zeros((1, 1, 1, 30, 40), np.uint8))], "5 axes"),
        ([layer(plane), layer(plane, scale=(2, 2))], "save them one by one"),
        ([layer(plane, rotate=30)], "turned or sheared"),
        ([layer(plane.astype(np.int64))], "OME-TIFF knows"),
    ]
    for images, words in refused:
        with pytest.raises(InputError, match=words):
            write_ometiff(str(tmp_path / "out.ome.tif"), tuples(images))
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_a_store_or_over_the_source(tmp_path: Path) -> None:
    image = layer(np.ones((30, 20), np.float32))
    write_omezarr(str(tmp_path / "out.ome.zarr"), tuples([image]))
    with pytest.raises(OutputExistsError, match="choose another name"):
        write_omezarr(str(tmp_path / "out.ome.zarr"), tuples([image]))
    tifffile.imwrite(tmp_path / "source.ome.tif", np.ones((30, 20), np.float32), metadata=None)
    ((values, told, _),) = read(str(tmp_path / "source.ome.tif"))
    with pytest.raises(InputError, match="never written to"):
        write_ometiff(str(tmp_path / "source.ome.tif"), tuples([layer(values, **told)]))


def test_failed_saving_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        raise InputError("the second half is gone")

    lazy = da.ones((40, 50), chunks=20, dtype=np.uint8).map_blocks(broken, dtype=np.uint8, meta=np.empty((0, 0), "u1"))
    image = layer(lazy, contrast_limits=(0, 1), visible=False)
    for write, name in ((write_omezarr, "out.ome.zarr"), (write_ometiff, "out.ome.tif")):
        with pytest.raises(InputError, match="second half"):
            write(str(tmp_path / name), tuples([image]))
    assert not list(tmp_path.iterdir())


@pytest.mark.napari
def test_viewer_saves_by_the_name_and_a_stopped_saving_leaves_nothing(viewer: Any, tmp_path: Path) -> None:
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QProgressDialog, QPushButton

    for image in layers():
        viewer.add_layer(image)
    viewer.layers.save(tmp_path / "both.ome.tif", plugin="superres")
    assert open_volume(tmp_path / "both.ome.tif").channel_names == ("DNA", "actin")
    viewer.layers[0].save(str(tmp_path / "one.ome.zarr"))
    assert open_volume(tmp_path / "one.ome.zarr").shape == (2, 1, 3, 40, 50)

    released = threading.Event()

    def held(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        released.wait(20)
        return block

    lazy = da.zeros((8, 64, 64), chunks=(1, 64, 64), dtype=np.uint8).map_blocks(
        held, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    viewer.layers.clear()
    viewer.add_image(lazy, contrast_limits=(0, 1), visible=False)

    def press_cancel() -> None:
        # Those of earlier savings are there until a loop of events deletes them.
        dialogs = [found for found in viewer.window._qt_window.findChildren(QProgressDialog) if found.isVisible()]
        if dialogs:
            dialogs[0].findChild(QPushButton).click()
            released.set()
        else:  # it comes up after half a second
            QTimer.singleShot(50, press_cancel)

    press_cancel()
    with pytest.warns(UserWarning, match="did not return any written paths"):  # napari's word for it
        assert viewer.layers.save(tmp_path / "stopped.ome.tif", plugin="superres") == []
    assert not list(tmp_path.glob("stopped*"))
