"""OME-Zarr 0.1 to 0.5 (Zarr 2 and 3, sharded or not), plates, and plain Zarr arrays: in folders, zip files, or remote.

tensorstore moves the voxels; zarr-python opens what tensorstore has no codec or driver for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superres.errors import InputError
from superres.volumes.axes import TczyxArray, resolve_axes
from superres.volumes.ngff_reading import axes_of, axis_letter, calibration_of
from superres.volumes.parts import choose_image, several_images
from superres.volumes.volume import Calibration, Volume, make_volume
from superres.volumes.zarr_arrays import ZarrArray
from superres.volumes.zarr_place import Place

# Groups within groups: plates go three deep. A link that leads back to its own folder ends here, too.
_DEPTH = 4
_MOST_NODES = 2_000
_NOT_IMAGES = {"labels", "OME"}
_DAMAGE = (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class _Node:
    """A group or array: where it is and what it says of itself."""

    place: Place
    is_array: bool
    content: Mapping[str, Any]
    attributes: Mapping[str, Any]

    @property
    def ome(self) -> Mapping[str, Any]:
        """What OME-Zarr says, which version 0.5 puts one level deeper."""
        found = self.attributes.get("ome", self.attributes)
        return found if isinstance(found, dict) else {}

    @property
    def multiscale(self) -> Mapping[str, Any] | None:
        found = self.ome.get("multiscales")
        if not isinstance(found, list) or not found:
            return None
        return found[0] if isinstance(found[0], dict) else {}


@dataclass(frozen=True, slots=True)
class Given:
    """What the user says about an image, which wins over its file."""

    source: Path
    axes: str | None = None
    voxel_size: Sequence[float] | None = None
    part: str | None = None


def open_omezarr(
    path: Path, *, part: str | None = None, axes: str | None = None, voxel_size: Sequence[float] | None = None
) -> Volume:
    """Open an OME-Zarr image, one field of a plate, or a Zarr array lazily; a folder or a zip file.

    Raises
    ------
    InputError
        When it is no Zarr, holds several images of which none is chosen, is damaged, or its axes cannot be told.
    """
    return open_zarr_at(Place.of(path), Given(path, axes, voxel_size, part))


def images_in_omezarr(path: Path) -> tuple[str, ...]:
    """List the images of a container, the fields of a plate, or the arrays of a group; nothing for a single image."""
    return images_at(Place.of(path))


def open_zarr_at(place: Place, given: Given) -> Volume:
    """Open an image of a store, wherever that lies (see `open_omezarr`)."""
    node = _read_node(place)
    if node is None:
        raise InputError(f"{place}: no Zarr here (zarr.json, .zgroup or .zarray expected); check the path")
    if given.part is not None:
        return _open_part(node, given)
    if node.is_array or node.multiscale is not None:
        return _open_node(node, given)
    names, missing = _images_in(node)
    if not names:
        what = f"none of the images that its metadata name is there ({missing})" if missing else "no image in it"
        raise InputError(f"{place}: a Zarr group, but {what}; give the folder of an OME-Zarr image")
    if len(names) == 1 and not missing:
        return _open_inside(node, names[0], given)
    error = several_images(names, place)
    raise InputError(f"{error}{f'; named in the metadata, but not there: {missing}' if missing else ''}")


def images_at(place: Place) -> tuple[str, ...]:
    """List the images of a store, wherever that lies (see `images_in_omezarr`)."""
    node = _read_node(place)
    if node is None or node.is_array or node.multiscale is not None:
        return ()
    return _images_in(node)[0]


def _open_part(node: _Node, given: Given) -> Volume:
    """Open what stands after ``::``: a path in the store, or the number of an image."""
    assert given.part is not None
    multiscale = node.multiscale
    paths = [str(dataset["path"]) for dataset in _datasets(node)] if multiscale is not None else []
    if given.part in paths:
        return _open_node(node, given, level=paths.index(given.part))
    if _read_node(node.place / given.part) is not None:
        return _open_inside(node, given.part, given)
    names, missing = ((), "") if node.is_array else _images_in(node)
    if given.part in missing.split(", "):
        raise InputError(f"{node.place / given.part}: named in the metadata of {node.place}, but not there")
    if multiscale is not None or not names:
        levels = f", its levels are {', '.join(paths)}" if paths else ""
        raise InputError(f"{node.place}: holds one image{levels}; {given.part!r} is not in it")
    return _open_inside(node, names[choose_image(names, given.part, node.place)], given)


def _open_inside(node: _Node, name: str, given: Given) -> Volume:
    inner = _read_node(node.place / name)
    if inner is None:
        raise InputError(f"{node.place / name}: named in the metadata of {node.place}, but not there")
    if inner.is_array or inner.multiscale is not None:
        return _open_node(inner, given)
    # A group within: say what is in it, by names that can be typed.
    names = tuple(f"{name}/{image}" for image in _images_in(inner)[0])
    if len(names) == 1:
        return _open_inside(node, names[0], given)
    if not names:
        raise InputError(f"{inner.place}: a Zarr group without an image; give the folder of an OME-Zarr image")
    raise several_images(names, node.place)


def _read_node(place: Place) -> _Node | None:
    """Read the metadata of a Zarr group or array of either version; None where there are none."""
    three = place.read_json("zarr.json")
    if three is not None:
        return _Node(place, three.get("node_type") == "array", three, _mapping(three.get("attributes")))
    attributes = place.read_json(".zattrs") or {}
    array = place.read_json(".zarray")
    if array is not None:
        return _Node(place, True, array, attributes)
    group = place.read_json(".zgroup") if not attributes else {}
    return None if group is None else _Node(place, False, group, attributes)


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _images_in(node: _Node) -> tuple[tuple[str, ...], str]:
    """List the images below a group, and those that its metadata name but that are not there."""
    try:
        if "plate" in node.ome:
            return _fields_of_plate(node)
        if "well" in node.ome:
            return _present(node.place, [str(image["path"]) for image in node.ome["well"]["images"]])
        if "bioformats2raw.layout" in node.ome:
            return _series(node)
        return tuple(_walk(node.place)), ""
    except InputError:
        raise
    except _DAMAGE as error:
        raise _damaged(node.place, error) from None


def _fields_of_plate(node: _Node) -> tuple[tuple[str, ...], str]:
    """Return the fields of all wells, in the order of the metadata."""
    fields: list[str] = []
    missing: list[str] = []
    for entry in node.ome["plate"]["wells"]:
        well = str(entry["path"])
        inner = _read_node(node.place / well)
        if inner is None or "well" not in inner.ome:
            missing.append(well)
            continue
        found, lost = _images_in(inner)
        fields += [f"{well}/{name}" for name in found]
        missing += [f"{well}/{name}" for name in filter(None, lost.split(", "))]
    return tuple(fields), ", ".join(missing)


def _series(node: _Node) -> tuple[tuple[str, ...], str]:
    """Return the images of bioformats2raw: as its OME group lists them, else numbered from 0."""
    listed = _read_node(node.place / "OME")
    series = listed.ome.get("series") if listed is not None else None
    if isinstance(series, list) and series:
        return _present(node.place, [str(name) for name in series])
    count = 0
    while count < _MOST_NODES and _read_node(node.place / str(count)) is not None:
        count += 1
    return tuple(map(str, range(count))), ""


def _present(place: Place, names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    there = {name: _read_node(place / name) is not None for name in names}
    return tuple(name for name in there if there[name]), ", ".join(name for name in there if not there[name])


def _walk(place: Place) -> list[str]:
    """Find images and arrays below a plain group; the levels of an image are no images of their own."""
    found: list[str] = []
    looked = 0
    waiting = [(place, "", 0)]
    while waiting and looked < _MOST_NODES:
        here, name, depth = waiting.pop()
        looked += 1
        node = _read_node(here)
        if node is None:
            continue
        if node.is_array or node.multiscale is not None:
            found.append(name)
        elif depth < _DEPTH:
            inner = [child for child in here.names() if child not in _NOT_IMAGES]
            waiting += [(here / child, f"{name}/{child}".strip("/"), depth + 1) for child in reversed(inner)]
    return found


def _damaged(place: Place, error: Exception) -> InputError:
    return InputError(
        f"{place}: damaged OME-Zarr metadata ({type(error).__name__}: {error}); check its zarr.json or .zattrs"
    )


def _datasets(node: _Node) -> list[Any]:
    datasets = (node.multiscale or {}).get("datasets")
    if not isinstance(datasets, list) or not all(isinstance(one, dict) and "path" in one for one in datasets):
        raise _damaged(node.place, KeyError("datasets"))
    return datasets


def _open_node(node: _Node, given: Given, *, level: int = 0) -> Volume:
    try:
        return _open_array(node, given) if node.is_array else _open_multiscale(node, given, level)
    except InputError:
        raise
    except _DAMAGE as error:
        raise _damaged(node.place, error) from None


def _open_array(node: _Node, given: Given) -> Volume:
    """Open a plain Zarr array; its axes are known only if it names its dimensions."""
    array = ZarrArray(node.place)
    named = node.content.get("dimension_names") or node.attributes.get("_ARRAY_DIMENSIONS")
    found = "Q" * len(array.shape)
    if isinstance(named, list) and len(named) == len(array.shape):
        found = "".join(axis_letter(name) for name in named)
    elif len(array.shape) == 2:
        found = "YX"
    return _volume([array], Calibration(), resolve_axes(found, array.shape, given=given.axes, path=_where(node)), given)


def _where(node: _Node) -> Path:
    return Path(str(node.place))


def _open_multiscale(node: _Node, given: Given, level: int) -> Volume:
    multiscale = node.multiscale
    assert multiscale is not None
    arrays = [ZarrArray(node.place / str(dataset["path"])) for dataset in _datasets(node)[level:]]
    finest = arrays[0]
    for array in arrays[1:]:
        if len(array.shape) != len(finest.shape) or array.dtype != finest.dtype:
            raise InputError(
                f"{array.place}: {array.dtype}, {len(array.shape)} axes, unlike level 0; the store is damaged"
            )
        if any(small > large for small, large in zip(array.shape, finest.shape, strict=True)):
            raise InputError(f"{array.place}: shape {array.shape}, larger than level 0; the store is damaged")
        if min(array.shape, default=1) < 1:
            raise InputError(f"{array.place}: shape {array.shape}, a level without voxels; the store is damaged")
    found, units = axes_of(multiscale, len(finest.shape))
    letters = resolve_axes(found, finest.shape, given=given.axes, path=_where(node))
    calibration = calibration_of(multiscale, level, letters, units=units, omero=node.ome.get("omero"))
    version = node.ome.get("version", multiscale.get("version", "0.1"))
    return _volume(arrays, calibration, letters, given, format=f"OME-Zarr {version}")


def _volume(
    arrays: Sequence[ZarrArray], calibration: Calibration, letters: str, given: Given, *, format: str = "Zarr"
) -> Volume:
    return make_volume(
        [TczyxArray(array, letters) for array in arrays],
        calibration,
        axes=letters,
        format=format,
        source=given.source,
        voxel_size=given.voxel_size,
        part=given.part,
    )
