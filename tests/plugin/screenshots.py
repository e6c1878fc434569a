"""Draw the pictures of docs/napari: each scene opens images in a viewer as a person would, and takes its picture.

    xvfb-run -a -s "-screen 0 1600x1000x24" python tests/plugin/screenshots.py docs/napari --data $SUPERRES_DATA

Without ``--data`` the scenes show images that ship in scikit-image; so do the tests, which draw all of them. A scene is
a function of the viewer and of `Material`; one more scene is one more entry of `SCENES`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    """

    folder: Path
    data: Path | None = None

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
    viewer.grid.enabled = True
    viewer.scale_bar.visible = True


def channels(viewer: napari.Viewer, material: Material) -> None:
    """Show an image of several channels, each with its name and colour."""
    viewer.open(material.fluorescence(), plugin="superres")
    viewer.scale_bar.visible = True


def stack(viewer: napari.Viewer, material: Material) -> None:
    """Show the middle plane of a stack."""
    from superres.volumes import open_volume

    axes = open_volume(material.electron()).axes
    assert axes == "ZYX"
    viewer.open(material.electron(), plugin="superres")
    viewer.scale_bar.visible = True


def overview(viewer: napari.Viewer, material: Material) -> None:
    """Show a large plane whose overview has been made."""
    (layer,) = viewer.open(material.large(), plugin="superres")
    made = layer.metadata["superres_overview"]
    _until(lambda: made.wait(0))


SCENES: dict[str, Scene] = {"samples": samples, "channels": channels, "stack": stack, "overview": overview}
"""What each picture is called, and who sets it up."""


def shoot(viewer: napari.Viewer, name: str, material: Material, out: Path) -> Path:
    """Set up a scene in an empty viewer, take its picture, and empty the viewer again."""
    viewer.window._qt_window.resize(*SIZE)
    SCENES[name](viewer, material)
    viewer.reset_view()
    _settle()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    _clear(viewer)
    return path


def _clear(viewer: napari.Viewer) -> None:
    viewer.layers.clear()
    viewer.grid.enabled = False
    viewer.scale_bar.visible = False
    viewer.window.remove_dock_widget("all")


def _settle(seconds: float = 0.3) -> None:
    """Let the window draw what has changed."""
    end = time.monotonic() + seconds
    _until(lambda: time.monotonic() > end)


def _until(done: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + _WAIT
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
    given: Any = parser.parse_args()
    _manifest()
    import napari

    viewer = napari.Viewer(show_welcome_screen=False)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.scenes or SCENES:
            shoot(viewer, name, Material(Path(folder), given.data), given.out)
    viewer.close()


if __name__ == "__main__":
    main()
