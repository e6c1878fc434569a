"""Draw the pictures of docs/napari: each scene opens images in a viewer as a person would, and takes its picture.

    xvfb-run -a -s "-screen 0 1600x1000x24" python tests/plugin/screenshots.py docs/napari --data $SUPERRES_DATA

Without ``--data`` the scenes show images that ship in scikit-image; so do the tests, which draw all of them. A scene is
a function of the viewer and of `Material`; one more scene is one more entry of `SCENES`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from superres.modelfile import ModelHeader, read_model_header, save_model_file

if TYPE_CHECKING:
    import napari

SIZE = (1280, 800)
_WAIT = 60.0


@dataclass(frozen=True)
class Material:
    """What the scenes show.

    Parameters
    ----------
    folder : Path
        Where a scene may write; emptied afterwards.
    data : Path or None
        The root of real images (see the inventory there); images of scikit-image if None.
    model : Path or None
        What the real images are upscaled with; None for interpolation.
    """

    folder: Path
    data: Path | None = None
    model: Path | None = None

    def upscaled(self) -> tuple[Path, Path, Path]:
        """Return a recording, its result and truth; of the real images with a model, else by interpolation."""
        from superres.config import UpscaleConfig
        from superres.inference import upscale
        from superres.volumes import open_volume
        from superres.volumes.hyperstack import save_hyperstack

        files = [self.folder / name for name in ("fast.tif", "sharp.ome.zarr", "truth.tif")]
        if all(file.exists() for file in files):
            return files[0], files[1], files[2]
        if self.data is None:
            from skimage import data

            truth, size = data.cell()[:320, 100:500], 0.25
        else:
            path = self.data / "em-sem-myelin" / "sem_myelin_2_0.13um_8bit.tif"
            truth, size = open_volume(path).read(t=0, c=0, z=slice(0, 1), y=slice(0, 744), x=slice(0, 1152))[0], 0.13
        model = _interpolation(self.folder / "none.safetensors") if self.model is None else self.model
        fy, fx = read_model_header(model).factor[1:]
        y, x = (n // f for n, f in zip(truth.shape, (fy, fx), strict=True))
        low = truth[: y * fy, : x * fx].reshape(y, fy, x, fx).mean((1, 3))
        low = np.clip(low + np.random.default_rng(0).normal(size=low.shape) * 10, 0, 255)  # as fast scans do
        save_hyperstack(
            files[0], low.round().astype(np.uint8)[None, None, None], voxel_size=(None, size * fy, size * fx)
        )
        save_hyperstack(files[2], truth[None, None, None, : y * fy, : x * fx], voxel_size=(None, size, size))
        upscale(files[0], files[1], UpscaleConfig(model=model, overwrite=True))
        return files[0], files[1], files[2]

    def fluorescence(self) -> Path:
        """Return a fluorescence image with channels and voxel size."""
        if self.data is not None:
            return self.data / "fl-sharp" / "val" / "nup_nuclei_2ch.tif"
        from skimage import data

        from superres.volumes.hyperstack import save_hyperstack

        path = self.folder / "tissue.tif"
        channels = np.moveaxis(255 - data.immunohistochemistry()[:256, :256], -1, 0)
        save_hyperstack(
            path, channels[None, :2, None], voxel_size=(None, 0.2, 0.2), channel_names=("nuclei", "stain"),
        )  # fmt: skip
        return path

    def electron(self) -> Path:
        """Return a stack of planes; real ones are of an electron microscope."""
        if self.data is not None:
            return self.data / "stack3d" / "em_flyem_vol-a_z000-095.tif"
        from skimage import data

        from superres.volumes.hyperstack import save_hyperstack

        path = self.folder / "stack.tif"
        planes = np.stack([data.cell()[shift : shift + 300, :300] for shift in range(0, 24, 2)])
        save_hyperstack(path, planes[None, None], voxel_size=(0.01, 0.01, 0.01))
        return path

    def large(self) -> Path:
        """Return a plane that is too large to be shown whole, without a pyramid."""
        import tifffile

        path = self.folder / "mosaic.tif"
        if self.data is None:
            from skimage import data

            field = data.cell()
        else:
            field = tifffile.imread(self.data / "em-sem-myelin" / "sem_myelin_2_0.13um_8bit.tif")
        times = [-(-4400 // n) for n in field.shape]
        tifffile.imwrite(path, np.tile(field, times), tile=(512, 512), compression="zlib", metadata=None)
        return path


Scene = Callable[["napari.Viewer", Material], None]


def samples(viewer: napari.Viewer, material: Material) -> None:
    """Show a sample, coarse beside sharp."""
    viewer.open_sample("superres", "cell")
    for layer in viewer.layers:
        layer.visible = True
    _canvas(viewer).grid.enabled = True
    viewer.reset_view()
    _show_scale(viewer)


def channels(viewer: napari.Viewer, material: Material) -> None:
    """Show an image of several channels, each with its name and colour."""
    viewer.open(material.fluorescence(), plugin="superres")
    _show_scale(viewer)


def stack(viewer: napari.Viewer, material: Material) -> None:
    """Show the middle plane of a stack."""
    from superres.volumes import open_volume

    axes = open_volume(material.electron()).axes
    assert axes == "ZYX"
    viewer.open(material.electron(), plugin="superres")
    _show_scale(viewer)


def overview(viewer: napari.Viewer, material: Material) -> None:
    """Show a large plane whose overview has been made."""
    (layer,) = viewer.open(material.large(), plugin="superres")
    made = layer.metadata["superres_overview"]
    _until(lambda: made.wait(0))


def upscale(viewer: napari.Viewer, material: Material) -> None:
    """Preview the middle of a recording, and upscale all of it; of real ones, as it takes a while."""
    from superres.plugin.upscale import UpscaleWidget

    low, _, _ = material.upscaled()
    viewer.open(str(low), plugin="superres")
    widget = UpscaleWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Upscale", area="right")
    widget.model_row.box.setCurrentText(str(material.model or material.folder / "none.safetensors"))
    widget.output_row.edit.setText(str(material.folder / "fast_upscaled.ome.zarr"))
    viewer.reset_view()
    _settle()
    if material.data is None:
        return
    widget.run_button.click()
    _until(lambda: widget.rows[0].job is not None and widget.rows[0].job.state == "ended" and not widget.results)
    viewer.layers[-1].visible = False
    widget.preview.button.click()
    _until(lambda: widget.preview.layer is not None)
    widget.preview.release()
    _look_closely(viewer, (0.4, 0.25))


def compare(viewer: napari.Viewer, material: Material) -> None:
    """Swipe between an input and its result, with the deviations from the input and a profile."""
    from superres.plugin.compare import CompareWidget

    low, result, _ = material.upscaled()
    for path in (low, result):
        viewer.open(str(path), plugin="superres")
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare", area="right")
    _until(lambda: not widget.trust.maps.is_empty)
    viewer.reset_view()
    widget.swipe.click()
    widget.trust.z.box.click()
    shown = widget.result.layer
    height, width = shown.extent.world[1]
    widget.point.ask((0.52 * height, 0.61 * width), *widget._sources())
    widget.profile.draw()
    ends = np.array([[0.55, 0.6], [0.7, 0.8]]) * (height, width)
    widget.profile._line.add([ends], shape_type="line")
    widget.profile._drawn()
    _until(lambda: bool(widget.profile.plot.curves) and widget.point.point is not None)
    _look_closely(viewer, (0.6, 0.6))


def evaluate(viewer: napari.Viewer, material: Material) -> None:
    """Score a result against truth; of real images, as it takes a while."""
    from superres.plugin.evaluate import EvaluateWidget

    widget = EvaluateWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Evaluate", area="right")
    for path in material.upscaled():
        viewer.open(str(path), plugin="superres")
    assert None not in (widget.result.layer, widget.input.layer, widget.truth.layer)
    if material.data is not None:
        widget.run_button.click()
        _until(lambda: widget.report is not None, 600)
    viewer.reset_view()


def train(viewer: napari.Viewer, material: Material) -> None:
    """Train on sharp images; of real ones, as it takes a while."""
    from superres.plugin.train import TrainWidget

    viewer.open(str(material.electron()), plugin="superres")
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train", area="right")
    viewer.reset_view()
    widget.folder.setText(str(material.folder / "model"))
    if material.data is not None:
        (material.folder / "sharp").symlink_to(material.data / "em-flyem" / "train")
        widget.choice.folder.setText(str(material.folder / "sharp"))
        widget.settings.setText("steps=2000 model.preset=XS patch.batch=2 sample_every=40 validate_every=40")
        widget.train_button.click()
        _until(lambda: len(widget.watch.losses) > 30, 600)  # it ends with the widget


def marks(viewer: napari.Viewer, material: Material) -> None:
    """Mark places on a result; train on them of real images, as it takes a while."""
    from qtpy.QtWidgets import QScrollArea

    from superres.plugin.train import TrainWidget

    low, result, truth = (viewer.open(str(path), plugin="superres")[0] for path in material.upscaled())
    truth.visible = False
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train", area="right")
    choice = widget.choice.marks
    widget.choice.kind.setCurrentText("What I mark on a result")
    if material.model is not None:
        choice.model.choose(material.model)
    assert (choice.low.layer, choice.result.layer, choice.high.layer) == (low, result, truth)
    choice.mark_button.click()
    height, width = result.data[0].shape if result.multiscale else result.data.shape
    for kind, y, x in (("wrong", 0.2, 0.15), ("wrong", 0.55, 0.3), ("right", 0.25, 0.65), ("right", 0.6, 0.7)):
        corners = [[y, x], [y, x + 0.15], [y + 0.2, x + 0.15], [y + 0.2, x]]
        shapes = viewer.layers[kind]
        shapes.add(np.array(corners) * (height, width), shape_type="ellipse" if kind == "right" else "rectangle")
    widget.folder.setText(str(material.folder / "marked"))
    viewer.reset_view()
    if material.model is not None and material.data is not None:
        widget.settings.setText("device=cpu")
        widget.train_button.click()
        _until(lambda: widget.model is not None, 900)
        _settle()
        widget.findChild(QScrollArea).ensureWidgetVisible(widget.notes, 0, 0)


SCENES: dict[str, Scene] = {"samples": samples, "channels": channels, "stack": stack, "overview": overview}
SCENES |= {"upscale": upscale, "compare": compare, "evaluate": evaluate, "train": train, "marks": marks}
"""What each picture is called, and who sets it up."""


def shoot(viewer: napari.Viewer, name: str, material: Material, out: Path) -> Path:
    """Set up a scene in an empty viewer, take its picture, and empty the viewer again."""
    viewer.window._qt_window.resize(*SIZE)
    SCENES[name](viewer, material)
    _settle()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    # As a palette: a third of the bytes.
    PIL.Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3]).quantize(256).save(path)
    _clear(viewer)
    return path


def _clear(viewer: napari.Viewer) -> None:
    viewer.layers.clear()
    _canvas(viewer).grid.enabled = False
    _show_scale(viewer, shown=False)
    viewer.window.remove_dock_widget("all")


def _canvas(viewer: napari.Viewer) -> Any:
    """Return what has the grid and the overlays: before napari 0.9 the viewer itself."""
    return getattr(viewer, "canvas", viewer)


def _show_scale(viewer: napari.Viewer, *, shown: bool = True) -> None:
    canvas = _canvas(viewer)
    bar = canvas.overlays.scale_bar if hasattr(canvas, "overlays") else canvas.scale_bar
    bar.visible = shown


def _look_closely(viewer: napari.Viewer, place: tuple[float, float]) -> None:
    """Zoom in to a place, Y and X as shares of what is seen when all is."""
    from superres.plugin.placing import camera_of

    viewer.reset_view()
    (top, left), (bottom, right) = viewer.layers[0].extent.world[:, -2:]
    camera = camera_of(viewer)
    camera.center = (0, top + place[0] * (bottom - top), left + place[1] * (right - left))
    camera.zoom *= 3


def _settle(seconds: float = 0.3) -> None:
    """Let the window draw what has changed."""
    end = time.monotonic() + seconds
    _until(lambda: time.monotonic() > end)


def _interpolation(path: Path) -> Path:
    """Write a model that interpolates: its net adds nothing."""
    import torch

    from superres.nets import Architecture, UNet

    kind = Architecture(
        (1, 4, 4), channels=1, widths=(8, 12, 16), blocks=1, middle_blocks=1, interval=True, consistency_sigma=1.0
    )
    net = UNet(kind)
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    header = ModelHeader(
        name="interpolation",
        architecture=kind.to_json(),
        factor=(1, 4, 4),
        channels=1,
        receptive_radius=kind.receptive_radii,
        stride=kind.strides,
        intensity={"percentiles": [0.5, 99.9], "average": 4},
        degradation=({"downsample": "binning"}, {"read_noise": {"sd": [0.02, 0.02]}}),
    )
    save_model_file(path, header, {name: value.numpy() for name, value in net.state_dict().items()})
    return path


def _until(done: Callable[[], bool], seconds: float = _WAIT) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def _manifest() -> None:
    """Let napari find the plugin of this very package, also where another copy of it is installed."""
    from npe2 import PluginManager, PluginManifest

    import superres.plugin

    manager = PluginManager.instance()
    manager.discover()
    if "superres" not in manager:
        manager.register(PluginManifest.from_file(Path(superres.plugin.__file__).with_name("napari.yaml")))


def main() -> None:
    """Draw the scenes that are asked for, or all."""
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/napari.")
    parser.add_argument("out", type=Path)
    parser.add_argument("scenes", nargs="*", help=", ".join(SCENES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--model", type=Path, help="what the real images are upscaled with")
    given: Any = parser.parse_args()
    _manifest()
    import napari

    out, data, model = (None if path is None else path.resolve() for path in (given.out, given.data, given.model))
    viewer = napari.Viewer(show_welcome_screen=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)  # paths of this machine say nothing to those who look at the pictures
        for name in given.scenes or SCENES:
            shoot(viewer, name, Material(Path(), data, None if model is None else _by_name(model)), out)
        viewer.close()
        os.chdir(out)


def _by_name(model: Path) -> Path:
    """Put a model into the working folder, under its own name."""
    file = model / "model.safetensors" if model.is_dir() else model
    link = Path(f"{read_model_header(file).name}.safetensors")
    if not link.is_symlink():
        link.symlink_to(file)
    return link


if __name__ == "__main__":
    main()
