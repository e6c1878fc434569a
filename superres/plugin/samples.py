"""File > Open Sample: real images that ship in scikit-image, as a fast scan would have recorded them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LayerData = tuple[Any, dict[str, Any], str]

FACTOR = (1, 4, 4)
"""How much coarser the recordings are, ZYX."""

# Of the hologram from which the phase image was computed, as scikit-image documents it.
_CELL_PIXEL = 0.107
_GREY_RANGE = (0.0, 255.0)
_COLOURS = (("red", "#ff0000"), ("green", "#00ff00"), ("blue", "#0000ff"))


def cell() -> list[LayerData]:
    """Return a cell in saline, quantitative phase: recorded 4 times coarser, and the sharp image, hidden."""
    sharp = _image("cell")[:, :548]
    pixel, low_pixel = _CELL_PIXEL, _CELL_PIXEL * FACTOR[1]
    # The centre of a coarse pixel lies in the middle of the fine ones that it covers.
    shift = (low_pixel - pixel) / 2
    return [
        _layer(_recorded(sharp[None])[0], "cell", pixel=low_pixel, shift=shift),
        _layer(sharp, "cell: sharp image", pixel=pixel, visible=False),
    ]


def tissue() -> list[LayerData]:
    """Return stained tissue of the colon, recorded 4 times coarser; three channels, voxel size unknown."""
    return _coloured(_recorded(_channels(_image("immunohistochemistry"))), "tissue")


def tissue_sharp() -> list[LayerData]:
    """Return the sharp image of the stained tissue; three channels, voxel size unknown."""
    return _coloured(_channels(_image("immunohistochemistry")), "tissue, sharp image")


def fundus() -> list[LayerData]:
    """Return the fundus of an eye, recorded 4 times coarser; green channel, voxel size unknown."""
    sharp = _channels(_image("retina"))[1:2, :1408, :1408]
    return [_layer(_recorded(sharp)[0], "fundus")]


def microaneurysms() -> list[LayerData]:
    """Return a small part of an eye's fundus with microaneurysms, as it is; voxel size unknown."""
    return [_layer(_image("microaneurysms"), "microaneurysms")]


SAMPLES: tuple[Callable[[], list[LayerData]], ...] = (cell, tissue, tissue_sharp, fundus, microaneurysms)
"""All of them, as the manifest names them."""


def _image(name: str) -> NDArray[np.uint8]:
    """Return an image of scikit-image's by its name there."""
    import skimage.data

    return np.asarray(getattr(skimage.data, name)(), np.uint8)


def _channels(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.moveaxis(picture, -1, 0))


def _recorded(sharp: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make of channels, (c, y, x), what a fast scan would have recorded, rounded to 8 bits as a camera does."""
    from superres.config import DegradeStep
    from superres.degrade import degrade_image

    steps = (
        DegradeStep(downsample="binning"),
        DegradeStep.model_validate({"poisson": {"photons": [700, 1300]}}),
        DegradeStep.model_validate({"read_noise": {"sd": [0.006, 0.014]}}),
    )
    low = degrade_image(sharp[:, None], steps, factor=FACTOR, grey_range=_GREY_RANGE, seed=1)
    return np.asarray(np.rint(low[:, 0]).clip(*_GREY_RANGE), np.uint8)


def _coloured(channels: NDArray[np.uint8], name: str) -> list[LayerData]:
    return [
        _layer(plane, f"{name}: {colour}", colormap=colormap, blending="additive")
        for plane, (colour, colormap) in zip(channels, _COLOURS, strict=True)
    ]


def _layer(
    plane: NDArray[np.uint8], name: str, *, pixel: float | None = None, shift: float = 0.0, **more: Any
) -> LayerData:
    """Make a layer of a plane; `pixel` is its size in micrometre, unknown if None."""
    arguments: dict[str, Any] = {
        "name": name,
        "scale": (pixel or 1.0,) * 2,
        "translate": (shift, shift),
        "units": ("pixel" if pixel is None else "micrometer",) * 2,
        "axis_labels": ("y", "x"),
        "contrast_limits": (float(plane.min()), float(plane.max())),
    }
    return plane, {"colormap": "gray", **arguments, **more}, "image"
