"""OME-Zarr 0.1 to 0.5 (Zarr 2 and 3, sharded or not) and plain Zarr arrays, from local folders.

tensorstore moves the voxels; zarr-python opens what tensorstore has no codec for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superres.errors import InputError
from superres.volumes.axes import TCZYX, TczyxArray, resolve_axes
from superres.volumes.records import records_folder
from superres.volumes.units import micrometres_per, to_micrometre, to_second
from superres.volumes.volume import Calibration, Volume, make_volume
from superres.volumes.zarr_arrays import ZarrArray


def open_omezarr(path: Path, *, axes: str | None = None, voxel_size: Sequence[float] | None = None) -> Volume:
    """Open the folder of an OME-Zarr image or a Zarr array lazily.

    Raises
    ------
    InputError
        When the folder is no Zarr, holds several images or a plate, is damaged, or its axes cannot be told.
    """
    node = _read_node(path)
    if node is None:
        raise _not_a_zarr(path)
    if node["array"]:
        return _open_array(path, node, axes, voxel_size)
    attributes = node["attributes"]
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, dict) or not isinstance(ome.get("multiscales"), list) or not ome["multiscales"]:
        return _open_inside(path, ome if isinstance(ome, dict) else {}, axes, voxel_size)
    try:
        return _open_multiscale(path, ome, axes, voxel_size)
    except InputError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise InputError(
            f"{path}: damaged OME-Zarr metadata ({type(error).__name__}: {error}); check its zarr.json or .zattrs"
        ) from None


def _read_node(folder: Path) -> dict[str, Any] | None:
    """Read the metadata of a Zarr group or array of either version; None where there are none."""
    three = _read_json(folder / "zarr.json")
    if three is not None:
        return {**three, "array": three.get("node_type") == "array", "attributes": three.get("attributes") or {}}
    attributes = _read_json(folder / ".zattrs") or {}
    array = _read_json(folder / ".zarray")
    if array is not None:
        return {**array, "array": True, "attributes": attributes}
    if (folder / ".zgroup").is_file() or attributes:
        return {"array": False, "attributes": attributes}
    return None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged Zarr metadata ({error}); copy the store again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged Zarr metadata (a {type(content).__name__} found); copy the store again")
    return content


def _not_a_zarr(path: Path) -> InputError:
    if records_folder(path).is_dir():
        return InputError(
            f"{path}: a store that is not finished; run the command that writes it again, it goes on where it stopped"
        )
    files = sorted(item.name for item in path.iterdir())
    found = f"{len(files)} entries, the first of them {files[0]}" if files else "nothing"
    return InputError(
        f"{path}: a folder that is no Zarr (found {found}; expected zarr.json, .zgroup or .zarray); "
        "give a file, or the folder of an OME-Zarr"
    )


def _open_inside(path: Path, ome: Mapping[str, Any], axes: str | None, voxel_size: Sequence[float] | None) -> Volume:
    """Open the only image of a bioformats2raw container, or say what to give instead."""
    if "plate" in ome or "well" in ome:
        raise InputError(f"{path}: a plate or well of many images; give one field, e.g. {path / 'A' / '1' / '0'}")
    images = sorted(item.name for item in path.iterdir() if item.is_dir() and (_read_node(item) is not None))
    if images == ["0"] and "bioformats2raw.layout" in ome:
        return open_omezarr(path / "0", axes=axes, voxel_size=voxel_size)
    if not images:
        raise InputError(f"{path}: a Zarr group without an image; give the folder of an OME-Zarr image")
    listed = ", ".join(images[:8]) + (", ..." if len(images) > 8 else "")
    raise InputError(
        f"{path}: a Zarr group that is no OME-Zarr image but holds {len(images)} ({listed}); give one of them, "
        f"e.g. {path / images[0]}"
    )


def _open_array(path: Path, node: Mapping[str, Any], axes: str | None, voxel_size: Sequence[float] | None) -> Volume:
    """Open a plain Zarr array; its axes are known only if it names its dimensions."""
    array = ZarrArray.open(path)
    named = node.get("dimension_names") or node["attributes"].get("_ARRAY_DIMENSIONS")
    found = "Q" * len(array.shape)
    if isinstance(named, list) and len(named) == len(array.shape):
        found = "".join(_letter(name, None) for name in named)
    elif len(array.shape) == 2:
        found = "YX"
    letters = resolve_axes(found, array.shape, given=axes, path=path)
    view = TczyxArray(array, letters)
    return make_volume([view], Calibration(), axes=letters, format="Zarr", source=path, voxel_size=voxel_size)


def _open_multiscale(
    path: Path, ome: Mapping[str, Any], axes: str | None, voxel_size: Sequence[float] | None
) -> Volume:
    multiscale = ome["multiscales"][0]
    arrays = [ZarrArray.open(path / str(dataset["path"])) for dataset in multiscale["datasets"]]
    finest = arrays[0]
    for array in arrays[1:]:
        if len(array.shape) != len(finest.shape) or array.dtype != finest.dtype:
            raise InputError(
                f"{array.path}: {array.dtype}, {len(array.shape)} axes, unlike level 0; the store is damaged"
            )
    found, units = _axes_of(multiscale, len(finest.shape))
    letters = resolve_axes(found, finest.shape, given=axes, path=path)
    version = ome.get("version", multiscale.get("version", "0.1"))
    return make_volume(
        [TczyxArray(array, letters) for array in arrays],
        _calibration(multiscale, letters, units, ome.get("omero")),
        axes=letters,
        format=f"OME-Zarr {version}",
        source=path,
        voxel_size=voxel_size,
    )


def _axes_of(multiscale: Mapping[str, Any], count: int) -> tuple[str, list[Any]]:
    """Return a letter and a unit per axis; versions before 0.3 do not name the axes, which are TCZYX."""
    axes = multiscale.get("axes")
    if axes is None:
        return (TCZYX if count == 5 else "Q" * count), [None] * count
    if len(axes) != count:
        raise IndexError(f"{len(axes)} axes named, the arrays have {count}")
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    return "".join(_letter(axis.get("name"), axis.get("type")) for axis in named), [a.get("unit") for a in named]


def _letter(name: object, kind: object) -> str:
    letter = str(name).upper()
    if letter in tuple(TCZYX):
        return letter
    return {"time": "T", "channel": "C"}.get(str(kind), {"TIME": "T", "CHANNEL": "C"}.get(letter, "Q"))


def _calibration(
    multiscale: Mapping[str, Any], letters: str, units: Sequence[Any], omero: Mapping[str, Any] | None
) -> Calibration:
    scale, shift = _transform_of(multiscale, len(letters))
    by_letter = {letter: (scale[i], shift[i], units[i]) for i, letter in enumerate(letters)}
    sizes, translation = [], []
    for letter in "ZYX":
        size, offset, unit = by_letter.get(letter, (1.0, 0.0, None))
        per = micrometres_per(unit)
        sizes.append(to_micrometre(size, unit))
        translation.append(0.0 if per is None else offset * per)
    step, _, unit = by_letter.get("T", (1.0, 0.0, None))
    labels = [channel.get("label") for channel in (omero or {}).get("channels", [])]
    return Calibration(
        voxel_size=(sizes[0], sizes[1], sizes[2]),
        translation=(translation[0], translation[1], translation[2]),
        channel_names=tuple(map(str, labels)) if all(label is not None for label in labels) else (),
        time_step=to_second(step, unit),
    )


def _transform_of(multiscale: Mapping[str, Any], count: int) -> tuple[list[float], list[float]]:
    """Compose the transformations of level 0 with those of the whole image, in the order in which they apply."""
    scale, shift = [1.0] * count, [0.0] * count
    steps = multiscale["datasets"][0].get("coordinateTransformations", [])
    for step in [*steps, *multiscale.get("coordinateTransformations", [])]:
        if step["type"] == "scale" and "scale" in step:
            factors = [float(value) for value in step["scale"]]
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            shift = [a * b for a, b in zip(shift, factors, strict=True)]
        elif step["type"] == "translation" and "translation" in step:
            shift = [a + float(b) for a, b in zip(shift, step["translation"], strict=True)]
    if not all(map(math.isfinite, [*scale, *shift])):
        raise TypeError("a scale or translation is not finite")
    return scale, shift
