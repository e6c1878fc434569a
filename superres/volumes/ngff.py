"""OME-Zarr 0.5 and 0.4 metadata: the specification of an array, the group of a multiscale image, where voxels lie.

Another version of the format is one more case in three functions here. Nothing in this module touches a disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

VoxelSize = tuple[float | None, float | None, float | None]
Triple = tuple[float, float, float]

Version = Literal["0.5", "0.4"]
_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")


def upscaled_grid(voxel_size: VoxelSize, translation: Triple, factor: tuple[int, int, int]) -> tuple[VoxelSize, Triple]:
    """Return voxel size and translation of an image upscaled by `factor`.

    The centre of an input voxel is the mean of the centres of its sub-voxels, so the first of them lies
    ``(p - p / s) / 2`` before it.

    Parameters
    ----------
    voxel_size : tuple of float or None
        Of the input, ZYX, micrometre; None stays None, and the translation stays too.
    translation : tuple of float
        Centre of the input's voxel 0, ZYX, micrometre.
    factor : tuple of int
        Upscaling, ZYX.

    Examples
    --------
    >>> upscaled_grid((None, 0.4, 0.4), (0.0, 0.0, 0.0), (1, 4, 2))
    ((None, 0.1, 0.2), (0.0, -0.15000000000000002, -0.1))
    """
    sizes = [None if p is None else p / s for p, s in zip(voxel_size, factor, strict=True)]
    shifts = [
        o if p is None or q is None else o - (p - q) / 2 for o, p, q in zip(translation, voxel_size, sizes, strict=True)
    ]
    return (sizes[0], sizes[1], sizes[2]), (shifts[0], shifts[1], shifts[2])


def array_metadata(
    shape: Sequence[int], dtype: str, *, shard: Sequence[int], chunk: Sequence[int], version: Version = "0.5"
) -> dict[str, Any]:
    """Specify a TCZYX array, blosc zstd-1, of integers with their bits shuffled, of other numbers with their bytes.

    Against bytes, bits make predictions of 16 bits 13 % smaller and integers a quarter faster to compress; 8 bits take
    about as much room either way, and floating-point numbers a few per cent more by bits.

    For OME-Zarr 0.5 it is a Zarr 3 array, sharded and with a checksum on every chunk, for 0.4 a Zarr 2 array, of which
    every chunk is a file; `shard` is not used then.
    """
    kind = np.dtype(dtype)
    fill = 0.0 if kind.kind == "f" else 0
    if version == "0.4":
        return {
            "shape": list(shape),
            "dtype": kind.newbyteorder("<").str,
            "fill_value": fill,
            "chunks": [1, 1, *chunk],
            "dimension_separator": "/",
            "compressor": {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": shuffle_of(kind), "blocksize": 0},
            "filters": None,
            "order": "C",
        }
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    shuffle = ("noshuffle", "shuffle", "bitshuffle")[shuffle_of(kind)]
    blosc = {"cname": "zstd", "clevel": 1, "shuffle": shuffle, "typesize": kind.itemsize, "blocksize": 0}
    sharding = {
        "chunk_shape": [1, 1, *chunk],
        "codecs": [little, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "shape": list(shape),
        "data_type": kind.name,
        "fill_value": fill,
        "dimension_names": list("tczyx"),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, *shard]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
    }


def shuffle_of(dtype: np.dtype[Any]) -> int:
    """Return what blosc shuffles of numbers of a type, as it counts: 1 are their bytes, 2 their bits."""
    return 2 if dtype.kind in "iu" else 1


def group_metadata(
    *,
    name: str,
    voxel_size: VoxelSize,
    translation: Triple,
    time_step: float | None,
    level_factors: Sequence[tuple[int, int, int]],
    channels: Sequence[Mapping[str, Any]],
    extra: Mapping[str, Any],
    version: Version = "0.5",
    reductions: Sequence[str] = (),
) -> dict[str, Any]:
    """Build the attributes of the group that holds a multiscale image.

    An axis whose voxel size is unknown gets scale 1 at level 0 and no unit, so that no reader takes it for a length.

    Parameters
    ----------
    name : str
        Name of the image.
    voxel_size, translation, time_step
        Of level 0, micrometre and seconds.
    level_factors : sequence of tuple of int
        Voxels of level 0 per voxel of each level, ZYX; the first is (1, 1, 1).
    channels : sequence of mapping
        Entries of ``omero.channels`` (see `channel_display`).
    extra : mapping
        What goes under the attribute ``superres``.
    version : str
        Of OME-Zarr; decides where in the attributes the rest stands.
    reductions : sequence of str
        What the levels of each channel keep, where it is not the mean.
    """
    axes: list[dict[str, str]] = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    if time_step is not None:
        axes[0]["unit"] = "second"
    for axis, size in zip("zyx", voxel_size, strict=True):
        axes.append({"name": axis, "type": "space"} | ({} if size is None else {"unit": "micrometer"}))
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "type": "mean",
        "metadata": {"description": "each level averages the level before it; integers are rounded half to even"},
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transforms(voxel_size, translation, time_step, factor)}
            for level, factor in enumerate(level_factors)
        ],
    }
    if reductions:
        multiscale["type"] = "reduce"
        multiscale["metadata"] = {
            "description": "each level keeps of the level before it, per channel",
            "keeps": list(reductions),
        }
    ome: dict[str, Any] = {"multiscales": [multiscale], "omero": {"channels": list(channels)}}
    if version == "0.4":
        return {"multiscales": [{"version": version} | multiscale], "omero": ome["omero"], "superres": dict(extra)}
    return {"ome": {"version": version} | ome, "superres": dict(extra)}


def group_files(attributes: Mapping[str, Any], version: Version) -> dict[str, dict[str, Any]]:
    """Return the metadata files of the group, in the order in which they are written; the last makes it an image."""
    if version == "0.4":
        return {".zgroup": {"zarr_format": 2}, ".zattrs": dict(attributes)}
    return {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}}


def _transforms(
    voxel_size: VoxelSize, translation: Triple, time_step: float | None, factor: tuple[int, int, int]
) -> list[dict[str, Any]]:
    finest = [1.0 if size is None else size for size in voxel_size]
    scale = [size * f for size, f in zip(finest, factor, strict=True)]
    # The centre of a mean voxel is the mean of the centres that it averages.
    shift = [o + (s - p) / 2 for o, s, p in zip(translation, scale, finest, strict=True)]
    return [
        {"type": "scale", "scale": [time_step or 1.0, 1.0, *scale]},
        {"type": "translation", "translation": [0.0, 0.0, *shift]},
    ]


def channel_display(
    names: Sequence[str],
    count: int,
    windows: Sequence[tuple[float, float, float, float]],
    *,
    colours: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Describe how channels are shown: colour, and lowest, highest, first and last grey level of the window."""
    colours = colours or channel_colours(count)
    channels = []
    for index, (lowest, highest, start, end) in zip(range(count), windows, strict=True):
        window = {"min": lowest, "max": highest, "start": start, "end": end}
        channel: dict[str, Any] = {"active": True, "color": colours[index % len(colours)], "window": window}
        channels.append(channel | ({"label": names[index]} if names else {}))
    return channels


def channel_colours(count: int) -> tuple[str, ...]:
    """Return the usual colour of each of `count` channels, ``"RRGGBB"``: white for one, distinct ones for several."""
    return ("FFFFFF",) if count == 1 else tuple(_COLOURS[index % len(_COLOURS)] for index in range(count))


def pyramid_factors(
    shape: tuple[int, int, int], voxel_size: VoxelSize, *, smallest: int = 256
) -> list[tuple[int, int, int]]:
    """Choose the levels of a pyramid: voxels of level 0 per voxel of each level, ZYX.

    Y and X are halved until both fit `smallest`. Z is halved only along with them and where its voxels are not
    longer than those of the plane, so that levels get or stay isotropic; never where its voxel size is unknown.
    """
    factors = [(1, 1, 1)]
    while True:
        z, y, x = factors[-1]
        sizes = [-(-n // f) for n, f in zip(shape, (z, y, x), strict=True)]
        if max(sizes[1:]) <= smallest:
            return factors
        halve_z = sizes[0] > 1 and _shorter_in_z(voxel_size, (z, y, x))
        factors.append((z * 2 if halve_z else z, y * 2 if sizes[1] > 1 else y, x * 2 if sizes[2] > 1 else x))


def _shorter_in_z(voxel_size: VoxelSize, factor: tuple[int, int, int]) -> bool:
    z, y, x = (None if p is None else p * f for p, f in zip(voxel_size, factor, strict=True))
    if z is None or y is None or x is None:
        return False
    # Halving brings Z nearer to the plane's spacing up to a ratio of the square root of 2.
    return bool(z <= min(y, x) * 2**0.5)
