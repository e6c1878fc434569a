"""The Compare widget on what an upscaling wrote: swipe, blink, trust overlays, a click, a profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from superres.config import UpscaleConfig
from superres.inference import consistency, interval, trust, upscale
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.plugin import trust_maps
from superres.plugin.compare import CompareWidget, likely_pair
from superres.plugin.placing import camera_of
from superres.plugin.point_panel import Point, texts
from superres.plugin.trust_maps import open_maps
from superres.volumes import open_volume

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:vispy")


@pytest.fixture
def upscaled(tmp_path: Path, make_stack: Callable[..., Path]) -> tuple[Path, Path]:
    """Return a recording of two channels and its result, with intervals and all trust maps."""
    torch.manual_seed(0)
    architecture = Architecture(
        factor=(1, 2, 2),
        channels=1,
        widths=(8, 12, 16),
        blocks=1,
        middle_blocks=1,
        interval=True,
        consistency_sigma=1.0,
    )
    net = UNet(architecture)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    header = ModelHeader(
        name="thin",
        architecture=architecture.to_json(),
        factor=(1, 2, 2),
        channels=1,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity={"percentiles": [0.5, 99.9], "average": 1},
        degradation=({"downsample": "binning"}, {"read_noise": {"sd": [0.01, 0.01]}}),
    )
    save_model_file(tmp_path / "thin.safetensors", header, {k: v.numpy() for k, v in net.state_dict().items()})
    low, out = make_stack(c=2, y=96, x=120), tmp_path / "sharp.ome.zarr"
    upscale(low, out, UpscaleConfig(model=tmp_path / "thin.safetensors", guard=False))
    return low, out


def show(viewer: Any, path: Path) -> list[Any]:
    return list(viewer.open(str(path), plugin="superres"))


def test_constants_are_those_of_the_stores() -> None:
    assert trust_maps.SUSPICIOUS == consistency.SUSPICIOUS
    assert [one.name for one in trust.MAPS] == ["consistency z", "guard weight", "flags"]
    assert len(interval.SIDES) == 2
    assert set(trust_maps.FLAG_COLOURS) == set(trust.FLAGS) - {"edge", "uncalibrated"}


def test_maps_are_those_of_the_channel(upscaled: tuple[Path, Path]) -> None:
    _, out = upscaled
    maps = open_maps(out, 1, 2)
    stored = open_volume(out.with_name("sharp.trust.ome.zarr")).levels[0].compute()[0, :, 0]
    widths = open_volume(out.with_name("sharp.interval.ome.zarr")).levels[0].compute()[0, :, 0]
    np.testing.assert_array_equal(maps.z[0].compute(), stored[3])
    np.testing.assert_array_equal(maps.flags[0].compute(), stored[5])
    np.testing.assert_array_equal(maps.below.compute(), widths[2])
    np.testing.assert_array_equal(maps.above.compute(), widths[3])
    np.testing.assert_array_equal(maps.interval[0].compute(), widths[2:].mean(axis=0, dtype=np.float32))
    assert maps.bits == dict(trust.FLAGS)
    assert maps.names(16 + 64) == ["edge", "uncalibrated"]
    assert "uncalibrated" in maps.claim
    assert open_maps(out.with_name("other.ome.zarr"), 0, 2).is_empty


def test_a_point_in_words() -> None:
    said = texts(Point((1.25, 3.5, 2.0), "ZYX", "µm", 10, 12, 3, 1.5, -6.5, ("edge",)))
    assert said["Position"] == "y 3.5, x 2 µm, z 1.25"
    assert said["Interval"] == "9 to 13.5 (-3, +1.5)"
    assert said["Consistency"] == "-6.50 standard deviations: suspicious"
    assert said["Flags"] == "edge"
    nothing = texts(Point((0, 0), "YX", "pixel"))
    assert nothing["Result"] == "outside of the image"
    assert nothing["Consistency"] == nothing["Flags"] == nothing["Interval"] == "-"


def edges(layer: Any) -> NDArray[np.float64]:
    """Return where the outer edges of the outermost voxels lie."""
    half = np.asarray(layer.scale) / 2
    return np.asarray(layer.extent.world) + np.stack([-half, half])


class Screen:
    """What a person does and sees in the canvas."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.canvas = viewer.window._qt_viewer.canvas

    def see(self) -> NDArray[np.uint8]:
        self.qtbot.wait(50)
        return np.asarray(self.viewer.screenshot(canvas_only=True, flash=False))

    def place_of(self, layer: Any, index: tuple[float, ...]) -> QPoint:
        """Return the pixel of the screen at which a voxel is."""
        y, x = layer.data_to_world(index)[-2:]
        middle_y, middle_x = camera_of(self.viewer).center[-2:]
        height, width = self.canvas.size
        zoom = camera_of(self.viewer).zoom
        return QPoint(round(width / 2 + (x - middle_x) * zoom), round(height / 2 + (y - middle_y) * zoom))

    def press(self, start: QPoint, *others: QPoint) -> None:
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        self._send(QEvent.Type.MouseButtonPress, start, left, left)
        for other in others:
            self._send(QEvent.Type.MouseMove, other, none, left)
            self.qtbot.wait(100)  # moves that follow at once are put off, and lost when the button is let go
        self._send(QEvent.Type.MouseButtonRelease, others[-1] if others else start, left, none)
        self.qtbot.wait(20)

    def _send(self, kind: Any, place: QPoint, button: Any, buttons: Any) -> None:
        # QTest's own moves come with no button pressed.
        native = self.canvas.native
        at, modifiers = QPointF(place), Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(kind, at, QPointF(native.mapToGlobal(place)), button, buttons, modifiers)
        QApplication.sendEvent(native, event)


@pytest.fixture
def screen(viewer: Any, qtbot: Any) -> Screen:
    return Screen(viewer, qtbot)


@pytest.fixture
def compare(viewer: Any, qtbot: Any, upscaled: tuple[Path, Path]) -> CompareWidget:
    for path in upscaled:
        show(viewer, path)
    for layer in viewer.layers:
        layer.visible = layer.metadata["superres"]["channel"] == 1
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare", area="right")
    low, result = ([layer for layer in viewer.layers if layer.metadata["superres"]["path"] == str(p)] for p in upscaled)
    widget.input.setCurrentText(low[1].name)
    widget.result.setCurrentText(result[1].name)
    qtbot.waitUntil(lambda: not widget.trust.maps.is_empty, timeout=30_000)
    viewer.reset_view()
    return widget


@pytest.mark.napari
def test_swipe_shows_the_input_left_and_the_result_right(compare: CompareWidget, screen: Screen) -> None:
    viewer = screen.viewer
    low, result = compare.input.layer, compare.result.layer
    low.colormap, result.colormap = "green", "magenta"
    low.blending = result.blending = "translucent"
    result.visible = False
    seen_low = screen.see()
    low.visible, result.visible = False, True
    seen_result = screen.see()
    low.visible = True
    compare.swipe.click()
    for share in (300, 650):
        compare.position.setValue(share)
        seen = screen.see()
        line = round(share / 1000 * seen.shape[1])
        np.testing.assert_array_equal(seen[30:200, : line - 12], seen_low[30:200, : line - 12])
        np.testing.assert_array_equal(seen[30:200, line + 12 :], seen_result[30:200, line + 12 :])
    zoom, centre = camera_of(viewer).zoom, camera_of(viewer).center
    height, width = screen.canvas.size
    screen.press(QPoint(round(0.65 * width), height // 2), QPoint(width // 2, 90), QPoint(width // 4, 90))
    assert abs(compare.position.value() - 250) <= 2
    assert (camera_of(viewer).zoom, camera_of(viewer).center) == (zoom, centre)
    assert camera_of(viewer).mouse_pan
    compare.swipe.click()
    np.testing.assert_array_equal(screen.see(), seen_result)  # the result lies above the input again
    compare._timer.setInterval(3_600_000)  # the test blinks, not the clock
    compare.blink.click()
    np.testing.assert_array_equal(screen.see(), seen_result)
    compare._timer.timeout.emit()
    np.testing.assert_array_equal(screen.see(), seen_low)
    compare.trust.changed.emit()  # maps that were looked for once more do not end the turn of the input
    np.testing.assert_array_equal(screen.see(), seen_low)
    compare._timer.timeout.emit()
    np.testing.assert_array_equal(screen.see(), seen_result)
    viewer.dims.ndisplay = 3
    assert "3-D" in compare.note.text()
    viewer.dims.ndisplay = 2
    assert compare.note.isHidden()
    compare.blink.click()

    # Two images of unknown voxel size lie apart when they are opened.
    for layer in (low, result):
        layer.units, layer.scale, layer.translate = ("pixel",) * 2, (1, 1), (0, 0)
    compare.swipe.click()
    assert compare.align.isVisibleTo(compare)
    compare.align.click()
    np.testing.assert_allclose(edges(result), edges(low))
    assert not compare.align.isVisibleTo(compare)


@pytest.mark.napari
def test_trust_a_click_and_a_line(compare: CompareWidget, screen: Screen) -> None:
    viewer, qtbot = screen.viewer, screen.qtbot
    low, result, trusted = compare.input.layer, compare.result.layer, compare.trust
    for overlay in (trusted.interval, trusted.z, trusted.flags):
        overlay.box.click()
        assert not overlay.legend.isHidden()
        np.testing.assert_allclose(edges(overlay.layer), edges(result))
        assert viewer.layers.index(overlay.layer) > viewer.layers.index(result)
    trusted.z.opacity.setValue(30)
    assert trusted.z.layer.opacity == pytest.approx(0.3)
    trusted.z.box.click()
    assert not trusted.z.layer.visible
    viewer.layers.remove(trusted.flags.layer)
    assert not trusted.flags.box.isChecked()

    index = (101, 77)
    screen.press(screen.place_of(result, index))
    qtbot.waitUntil(lambda: compare.point.point is not None, timeout=10_000)
    point = compare.point.point
    assert point is not None
    at = np.round(result.world_to_data(point.place)).astype(int)
    np.testing.assert_allclose(at, index, atol=1)  # a pixel of the screen is larger than a voxel
    fine, coarse = tuple(at), tuple(at // 2)
    assert point.result == float(result.data[fine] if not result.multiscale else result.data[0][fine])
    assert point.input == float(low.data[coarse])
    assert point.z == pytest.approx(float(trusted.maps.z[0][coarse]))
    assert point.below == float(trusted.maps.below[fine])
    assert "µm" in compare.point.fields["Position"].text()

    compare.profile.button.click()
    ends = [screen.place_of(result, place) for place in ((60, 40), (60, 160))]
    screen.press(ends[0], ends[0] + QPoint(9, 0), ends[1])
    qtbot.waitUntil(lambda: len(compare.profile.plot.curves) == 2 and not compare.profile.is_reading, timeout=10_000)
    of_low, of_result = compare.profile.plot.curves
    step = float(result.scale[-1])
    assert of_low.x[-1] == of_result.x[-1] == pytest.approx(120 * step, abs=2 * step)
    assert viewer.layers.selection.active is not compare.profile._line
    values = np.asarray(result.data[0] if result.multiscale else result.data, float)
    around = values[55:66, 35:165]
    assert around.min() <= np.nanmin(of_result.y) <= np.nanmax(of_result.y) <= around.max()
    assert of_result.low is not None and of_result.high is not None
    assert (of_result.low <= of_result.y).all() and (of_result.y <= of_result.high).all()
    assert compare.profile.plot.grab().toImage().width() > 100

    trusted.interval.box.click()
    viewer.layers.remove(result)
    assert compare.result.layer is None
    assert trusted.layers == []
    screen.press(screen.place_of(low, (20, 20)))
    qtbot.waitUntil(lambda: compare.point.fields["Result"].text() == "outside of the image", timeout=10_000)

    viewer.window.remove_dock_widget(compare)
    assert compare._clicked not in viewer.mouse_drag_callbacks
    before = compare.input.layers
    viewer.layers.clear()
    viewer.add_image(np.zeros((4, 4)))
    assert compare.input.layers == before  # it listens no more


def test_the_input_that_a_result_was_made_of_is_chosen() -> None:
    from napari.layers import Image

    def layer(name: str, scale: float, **told: Any) -> Any:
        return Image(np.zeros((4, 4)), name=name, scale=(scale, scale), metadata={"superres": told} if told else {})

    other = layer("other", 0.01)
    inputs = [layer(f"low {c}", 0.4, path="low.tif", channel=c) for c in (0, 1)]
    results = [layer(f"sharp {c}", 0.1, path="out.zarr", channel=c, predicted_from="low.tif") for c in (0, 1)]
    assert likely_pair([other, *inputs, *results]) == (inputs[1], results[1])
    assert likely_pair([*inputs[:1], other]) == (inputs[0], other)
    assert likely_pair([other]) == (None, None)
