"""Image layers, whatever they are made of, as a volume that the other rooms read block by block."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError
from superres.plugin.layers import in_unit, voxel_size

if TYPE_CHECKING:
    from superres.volumes import Volume

FullLayerData = tuple[Any, Mapping[str, Any], str]
_LONGEST = 4


class LayerArray:
    """The finest level of image layers of one shape, CTZYX; each layer is a channel.

    Parameters
    ----------
    images : sequence of array
        NumPy, Dask, Zarr or like them; read when indexed.
    """

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = tuple(images)
        own = tuple(int(n) for n in images[0].shape)
        self.shape: tuple[int, ...] = (len(images), *(1,) * (_LONGEST - len(own)), *own)
        self.dtype: np.dtype[Any] = np.dtype(images[0].dtype)
        self._lead = _LONGEST - len(own)
        self._name = uuid.uuid4().hex

    def stamps(self) -> list[str]:
        """Name the content: what is in memory cannot be known again later."""
        return [self._name]

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        channels, inner = region[0], region[1 + self._lead :]
        blocks = [np.asarray(image[inner]) for image in self.images[channels]]
        stacked = np.stack(blocks)
        return stacked.reshape(len(blocks), *(1,) * self._lead, *stacked.shape[1:])


def volume_of(layers: Sequence[FullLayerData]) -> Volume:
    """See image layers as one volume; each becomes a channel. Nothing is read.

    Parameters
    ----------
    layers : sequence of tuple
        As `napari.layers.Layer.as_layer_data_tuple` returns them.

    Raises
    ------
    InputError
        When a layer is no image of grey levels, or the layers do not fit onto each other.
    """
    from superres.volumes.axes import TczyxArray
    from superres.volumes.volume import Calibration, make_volume

    images = [_finest(data, told, kind) for data, told, kind in layers]
    first = layers[0][1]
    _check_alike(images, [told for _, told, _ in layers])
    time_step, sizes, translation = _grid(first)
    calibration = Calibration(
        voxel_size=sizes,
        translation=translation,
        channel_names=_channel_names(layers),
        time_step=time_step,
        channel_colours=_colours([told for _, told, _ in layers]),
    )
    array = TczyxArray(LayerArray(images), "CTZYX")
    return make_volume([array], calibration, axes="TCZYX", format="napari layer", source=_source(first))


def _finest(data: Any, told: Mapping[str, Any], kind: str) -> Any:
    name = told.get("name", "layer")
    if kind != "image":
        raise InputError(f"{name}: a {kind} layer; choose image layers")
    if told.get("rgb"):
        raise InputError(
            f"{name}: a colour picture, grey levels expected; split it first (right click on the layer, Split RGB)"
        )
    if _turned(told):
        raise InputError(
            f"{name}: turned or sheared in the viewer, which an image file cannot tell; reset its transform first "
            "(button Transform of the layer), or save it before it is turned"
        )
    image = data[0] if told.get("multiscale") else data
    if not 2 <= len(image.shape) <= _LONGEST:
        raise InputError(
            f"{name}: {len(image.shape)} axes, two to four expected (T, Z, Y, X); split its channels first"
        )
    return image


def _turned(told: Mapping[str, Any]) -> bool:
    """Whether a layer is placed by more than scale and translation."""
    matrices = [np.asarray(told[key], float) for key in ("rotate", "affine") if told.get(key) is not None]
    plain = all(np.allclose(matrix, np.eye(len(matrix))) for matrix in matrices if matrix.ndim == 2)
    return not plain or not np.allclose(np.asarray(told.get("shear", 0.0), float), 0.0)


def _check_alike(images: Sequence[Any], told: Sequence[Mapping[str, Any]]) -> None:
    def grid(image: Any, told: Mapping[str, Any]) -> tuple[object, ...]:
        numbers = [*told.get("scale", ()), *told.get("translate", ())]
        return (tuple(image.shape), str(np.dtype(image.dtype)), *(round(float(n), 9) for n in numbers))

    grids = [grid(image, one) for image, one in zip(images, told, strict=True)]
    for one, other in zip(grids[1:], told[1:], strict=True):
        if one != grids[0]:
            raise InputError(
                f"{other.get('name')} and {told[0].get('name')}: layers of another shape, type, scale or place "
                "cannot be channels of one image; save them one by one"
            )


def _grid(told: Mapping[str, Any]) -> tuple[float | None, Any, tuple[float, float, float]]:
    """Return time step, voxel size and translation that a layer tells."""
    scale = [float(value) for value in told["scale"]]
    units = list(told.get("units") or ["pixel"] * len(scale))
    starts = [float(value) for value in told.get("translate", (0.0,) * len(scale))]
    sizes = voxel_size(scale, units)
    time_step = in_unit(scale[0], units[0], "second") if len(scale) == _LONGEST else None
    pixels = all(str(unit) == "pixel" for unit in units)
    places = [
        start if pixels else in_unit(start, unit, "micrometer") for start, unit in zip(starts, units, strict=True)
    ]
    z, y, x = ([0.0] * 3 + [place or 0.0 for place in places])[-3:]
    known = [0.0 if size is None else place for size, place in zip(sizes, (z, y, x), strict=True)]
    return time_step, sizes, (known[0], known[1], known[2])


def _channel_names(layers: Sequence[FullLayerData]) -> tuple[str, ...]:
    """Name the channels after the layers, without the name of the file that superres puts before."""
    names = [str(told.get("name", "")) for _, told, _ in layers]
    if len(names) == 1 and ": " not in names[0]:
        return ()
    return tuple(name.rpartition(": ")[2] for name in names)


def _colours(told: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the colours of layers that go from black to one colour; empty where another map is among them."""
    found = [_colour(one.get("colormap")) for one in told]
    return tuple(colour for colour in found if colour) if all(found) else ()


def _colour(colormap: Any) -> str:
    colours = colormap.get("colors") if isinstance(colormap, dict) else None
    if colours is None or len(colours) != 2 or np.any(np.asarray(colours)[0, :3] > 0):
        return ""
    return "".join(f"{round(float(part) * 255):02X}" for part in np.asarray(colours)[-1, :3])


def _source(told: Mapping[str, Any]) -> Path:
    """Return where the image comes from, so that it is never written over itself and keeps what its file says."""
    own = (told.get("metadata") or {}).get("superres") or {}
    from superres.volumes.opening import split_part

    return Path(split_part(own["path"])[0]) if "path" in own else Path(str(told.get("name", "layer")))
