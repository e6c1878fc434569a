from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from superres.config import UpscaleConfig
from superres.inference import upscale
from superres.plugin.job import Jobs
from superres.plugin.placing import camera_of
from superres.plugin.reader import read
from superres.progress import Progress
from superres.volumes import open_volume

if TYPE_CHECKING:
    import napari

    from superres.plugin.upscale import UpscaleWidget

pytestmark = pytest.mark.napari
MakePath = Callable[..., Path]
LONG = 240_000  # milliseconds until a test gives up; a busy machine takes its time


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def make_widget(viewer: napari.Viewer) -> UpscaleWidget:
    from superres.plugin.upscale import UpscaleWidget  # napari warns of itself when it is imported

    return UpscaleWidget(viewer)


@pytest.fixture
def widget(viewer: napari.Viewer, qtbot: QtBot) -> Iterator[UpscaleWidget]:
    made = make_widget(viewer)
    viewer.window.add_dock_widget(made, name="Upscale")
    yield made
    qtbot.waitUntil(lambda: all(row.job is None or row.job.state == "ended" for row in made.rows), timeout=LONG)


def click(qtbot: QtBot, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def show(viewer: napari.Viewer, path: Path) -> list[Any]:
    return [viewer.add_image(data, **arguments) for data, arguments, _ in read(str(path))]


def told(word: str) -> list[str]:
    """Return the notifications with a word."""
    from napari.utils.notifications import notification_manager

    return [str(one.message) for one in notification_manager.records if word in str(one.message)]


def wait_for_end(qtbot: QtBot, widget: UpscaleWidget, row: Any) -> None:
    """Wait until a job has ended, and the viewer shows what it wrote."""
    qtbot.waitUntil(lambda: row.job.state == "ended" and not widget.results, timeout=LONG)


def finest(layer: Any) -> Any:
    return np.asarray(layer.data[0] if layer.multiscale else layer.data)


def borders(layer: Any) -> Any:
    """Return where a layer begins and ends in the world, with its outer voxels whole."""
    corners = layer._extent_data_augmented
    return np.array([layer.data_to_world(corner) for corner in corners])


def test_preview_is_the_output_there_and_follows_the_view(
    widget: UpscaleWidget,
    viewer: napari.Viewer,
    qtbot: QtBot,
    tmp_path: Path,
    make_model: MakePath,
    make_stack: MakePath,
) -> None:
    model, stack = make_model(), make_stack(c=2, z=3, y=400, x=380)
    layers = show(viewer, stack)
    widget.model_row.box.setCurrentText(str(model))
    widget.layer_row.box.setCurrentText(layers[0].name)
    upscale(stack, tmp_path / "cli.ome.zarr", UpscaleConfig(model=model, trust=False, device="cpu"))
    expected = open_volume(tmp_path / "cli.ome.zarr").levels[0]

    def shows_the_output(plane: int) -> bool:
        layer = widget.preview.layer
        assert layer is not None
        first = np.round((layer.translate - borders(layers[0])[0]) / layer.scale - 0.5).astype(int)
        height, width = layer.data.shape[-2:]
        there = expected[0, 0, plane, first[1] : first[1] + height, first[2] : first[2] + width]
        np.testing.assert_allclose(layer.translate[0], plane * 0.5)
        return bool(np.array_equal(layer.data[0], there.compute()))

    viewer.dims.set_current_step(0, 2)
    click(qtbot, widget.preview.button)
    assert widget.preview.previews.is_busy, widget.preview.status.text()
    qtbot.waitUntil(lambda: not widget.preview.previews.is_busy, timeout=LONG)
    assert widget.preview.layer is not None, widget.preview.status.text()
    assert widget.preview.layer.data.shape == (1, 512, 512)
    np.testing.assert_allclose(widget.preview.layer.scale, (0.5, 0.1, 0.1))
    assert shows_the_output(2)
    camera_of(viewer).zoom *= 6
    widget.preview.follow.setChecked(True)
    qtbot.waitUntil(lambda: widget.preview.layer.data.shape[1] < 512, timeout=LONG)
    assert shows_the_output(2)
    before = widget.preview.layer.translate.copy()
    camera_of(viewer).center = (0, 20, 25)
    viewer.dims.set_current_step(0, 1)
    qtbot.waitUntil(lambda: not np.array_equal(widget.preview.layer.translate, before), timeout=LONG)
    assert shows_the_output(1)
    assert widget.layer_row.box.count() == 2  # the preview is no image to work on


def test_run_cancel_resume_and_the_result_is_that_of_the_cli(
    widget: UpscaleWidget,
    viewer: napari.Viewer,
    qtbot: QtBot,
    tmp_path: Path,
    make_model: MakePath,
    make_stack: MakePath,
) -> None:
    model, stack = make_model(), make_stack(c=2, z=24, y=140, x=130)
    layers = show(viewer, stack)
    layers[1].colormap = "green"
    widget.model_row.box.setCurrentText(str(model))
    widget.layer_row.box.setCurrentText(layers[1].name)
    click(qtbot, widget.run_button)
    (row,) = widget.rows
    qtbot.waitUntil(lambda: row.status.text().startswith("upscale") and row.bar.value() > 0, timeout=LONG)
    assert "left" in row.status.text() or row.bar.value() < 100
    click(qtbot, row.button)
    wait_for_end(qtbot, widget, row)
    assert row.button.text() == "Resume"
    (result,) = [layer for layer in viewer.layers if layer.name.endswith("upscaled")]
    click(qtbot, row.button)
    wait_for_end(qtbot, widget, row)
    assert row.status.text().startswith("done in")
    config = UpscaleConfig(model=model, channels=(1,))
    upscale(stack, tmp_path / "cli.ome.zarr", config)
    (result,) = [layer for layer in viewer.layers if layer.name.endswith("upscaled")]
    np.testing.assert_array_equal(finest(result), open_volume(tmp_path / "cli.ome.zarr").levels[0][0, 0].compute())
    assert result.multiscale and result.colormap.name == layers[1].colormap.name
    assert result.contrast_limits == layers[1].contrast_limits
    np.testing.assert_allclose(result.scale, (0.5, 0.1, 0.1))
    np.testing.assert_allclose(borders(result), borders(layers[1]), atol=1e-9)
    assert [str(unit) for unit in result.units] == ["micrometer"] * 3
    assert Path(result.metadata["superres"]["path"]) == tmp_path / "stack_random.ome.zarr"


def test_rectangle_of_the_plane_shown_and_its_command(
    widget: UpscaleWidget,
    viewer: napari.Viewer,
    qtbot: QtBot,
    tmp_path: Path,
    make_model: MakePath,
    make_stack: MakePath,
) -> None:
    model, stack = make_model(), make_stack(z=3, y=90, x=80)
    show(viewer, stack)
    viewer.dims.set_current_step(0, 1)
    viewer.add_shapes([[[0.5, 2, 4], [0.5, 2, 11], [0.5, 9, 11], [0.5, 9, 4]]], name="here")
    widget.model_row.box.setCurrentText(str(model))
    widget.part_row.slices.setCurrentText("the plane shown")
    widget.part_row.area.setCurrentText("rectangle in 'here'")
    click(qtbot, widget.copy_button)
    words = shlex.split(QApplication.clipboard().text())
    assert words[:3] == ["superres", "upscale", str(stack)]
    assert words[words.index("--crop") + 1] == "z=1:2,y=10:46,x=20:56"
    click(qtbot, widget.run_button)
    wait_for_end(qtbot, widget, widget.rows[0])
    (result,) = [one for one in viewer.layers if one.name.endswith("upscaled")]
    assert finest(result).shape == (1, 72, 72)
    np.testing.assert_allclose(borders(result)[:, 1:], [[1.9, 3.9], [9.1, 11.1]])
    np.testing.assert_allclose(result.translate[0], 0.5)


def test_layer_in_memory_is_asked_for_its_voxel_size(
    widget: UpscaleWidget, viewer: napari.Viewer, qtbot: QtBot, make_model: MakePath
) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (60, 50)).astype(np.uint16)
    layer = viewer.add_image(image, name="mine")
    widget.model_row.box.setCurrentText(str(make_model(voxel_size=(None, 0.4, 0.4))))
    click(qtbot, widget.run_button)
    assert told("does not say how large its voxels are") and not widget.rows
    for edit in widget.layer_row.sizes[1:]:
        assert edit.isVisible()
        qtbot.keyClicks(edit, "0.1")
        qtbot.keyClick(edit, Qt.Key.Key_Return)
    assert "0.1 µm along Y and X" in widget.model_row.warning.text()
    assert "0.4 µm along Y and X" in widget.model_row.warning.text()
    click(qtbot, widget.run_button)
    qtbot.waitUntil(lambda: bool(widget.rows), timeout=LONG)
    wait_for_end(qtbot, widget, widget.rows[0])
    (result,) = [one for one in viewer.layers if one.name.endswith("upscaled")]
    np.testing.assert_allclose(result.scale, layer.scale / 2)
    written = open_volume(result.metadata["superres"]["path"])
    assert written.voxel_size == (1.0, 0.05, 0.05)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("nothing", "There is no image to upscale yet"),
        ("labels", "'cells' is a labels layer"),
        ("colour", "is a colour picture"),
        ("five", "has 5 dimensions"),
        ("no model", "No model is chosen yet"),
        ("not a model", "not a readable .safetensors file"),
        ("name", "give a name that ends with .ome.zarr"),
        ("no shape", "holds no shape yet"),
        ("3D", "switch it to 2D"),
    ],
)
def test_what_is_missing_or_wrong_is_said_plainly(
    widget: UpscaleWidget,
    viewer: napari.Viewer,
    qtbot: QtBot,
    tmp_path: Path,
    make_model: MakePath,
    wrong: str,
    says: str,
) -> None:
    before = len(told(says))
    zeros = np.zeros((30, 20), np.uint8)
    if wrong == "labels":
        viewer.add_labels(zeros, name="cells")
    elif wrong == "colour":
        viewer.add_image(np.zeros((30, 20, 3), np.uint8), rgb=True)
    elif wrong == "five":
        viewer.add_image(zeros[None, None, None])
    elif wrong != "nothing":
        viewer.add_image(np.zeros((3, 30, 20), np.uint8), scale=(0.5, 0.2, 0.2), name="fine")
    if wrong == "not a model":
        (tmp_path / "other.safetensors").write_bytes(b"something else")
        widget.model_row.box.setCurrentText(str(tmp_path / "other.safetensors"))
    elif wrong != "no model":
        widget.model_row.box.setCurrentText(str(make_model()))
    if wrong == "name":
        widget.output_row.edit.setText(str(tmp_path / "result.tif"))
    if wrong == "no shape":
        viewer.add_shapes(name="here")
        widget.part_row.area.setCurrentText("rectangle in 'here'")
    if wrong == "3D":
        viewer.dims.ndisplay = 3
        click(qtbot, widget.preview.button)
    else:
        click(qtbot, widget.run_button)
    # A layer in memory is written down first.
    qtbot.waitUntil(lambda: len(told(says)) > before, timeout=LONG)
    (message,) = told(says)[before:]
    assert "Traceback" not in message
    assert not widget.rows and Jobs.shared()._jobs == []


def test_a_layer_deleted_meanwhile_a_bad_folder_and_two_jobs(
    widget: UpscaleWidget,
    viewer: napari.Viewer,
    qtbot: QtBot,
    tmp_path: Path,
    make_model: MakePath,
    make_stack: MakePath,
) -> None:
    (layer,) = show(viewer, make_stack(z=2, y=60, x=60))
    widget.model_row.box.setCurrentText(str(make_model()))
    (tmp_path / "file").write_text("no folder")
    widget.output_row.edit.setText(str(tmp_path / "file" / "result.ome.zarr"))
    click(qtbot, widget.run_button)
    widget.output_row.edit.setText(str(tmp_path / "good.ome.zarr"))
    click(qtbot, widget.run_button)
    bad, good = widget.rows
    assert good.status.text() == "waiting for 1 other job to end"
    viewer.layers.remove(layer)
    wait_for_end(qtbot, widget, bad)
    assert "file" in bad.status.text() and bad.button.text() == "Try again"
    wait_for_end(qtbot, widget, good)
    assert good.status.text().startswith("done in")
    assert (tmp_path / "good.ome.zarr" / "zarr.json").is_file()
    assert [one.name for one in viewer.layers] == ["stack: actin upscaled"]
    click(qtbot, bad.close_button)
    assert widget.rows == [good]


@pytest.mark.parametrize("closes", ["widget", "viewer"])
def test_closing_ends_the_job(
    viewer: napari.Viewer, qtbot: QtBot, make_model: MakePath, make_stack: MakePath, closes: str
) -> None:
    made = make_widget(viewer)
    dock = viewer.window.add_dock_widget(made, name="Upscale")
    show(viewer, make_stack(z=2, y=60, x=60))
    made.model_row.box.setCurrentText(str(make_model()))
    click(qtbot, made.run_button)
    job = made.rows[0].job
    if closes == "widget":
        viewer.window.remove_dock_widget(dock)
    else:
        viewer.close()
    qtbot.waitUntil(lambda: job.state == "ended", timeout=LONG)
    if closes == "widget":
        viewer.add_image(np.zeros((9, 9)))  # nobody listens who is gone


def test_what_holds_a_job_up_is_told_once(viewer: napari.Viewer, tmp_path: Path) -> None:
    from superres.plugin.upscale import _noting

    note, before = "the disk is full; waiting until there is room", len(told("the disk is full"))
    take = _noting(tmp_path / "result.ome.zarr")
    for event in ("", note, note, "", note):
        take(Progress("upscale", 1, 9, "tiles", note=event))
    assert told("the disk is full")[before:] == [f"result.ome.zarr: {note}"] * 2
