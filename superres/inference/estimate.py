"""How much of a disk an output takes, told before anything is written; an output that cannot fit is refused.

What is written is compressed, by how much depends on the image. An interpolated window of the input stands in for the
prediction: it has the grey levels of the input, and its noise, which a net mostly takes away. On six real images of 8
and 16 bits predictions took 0.65 to 1.2 of what their windows said, half-widths 0.54 to 1.05 of it, and the other maps
0.31 to 0.55 of their unpacked size.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.errors import InputError, ModelFileError, OutputWriteError
from superres.inference.cropping import Crop
from superres.inference.guarded import noise_windows
from superres.inference.interval import SIDES, interval_path, width_dtype
from superres.inference.plan import TilePlan, largest_divisor
from superres.inference.predictor import Predictor
from superres.inference.trust import MAPS, trust_path
from superres.volumes import StoreLayout, Volume, upscaled_grid
from superres.volumes.dtypes import CastTally, cast
from superres.volumes.records import records_folder
from superres.volumes.shard_encoding import encode_chunk

# What is reckoned with: of what the windows say, and for the maps of trust of their unpacked size.
_IMAGE, _INTERVAL, _TRUST = 1.25, 1.1, 0.6
_WINDOWS = 2
# Inputs of a batch whose windows are looked at.
_MEASURED = 4
_PLANES = 8
# A file takes whole blocks of the disk; a shard comes with a record, and each with folders of its own.
_BLOCK = 4096
_BLOCKS_PER_SHARD = 4
_BLOCKS_PER_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of one or several stores.

    Parameters
    ----------
    unpacked : int
        All voxels of all levels.
    packed : int
        What they are expected to take on the disk, with a margin.
    """

    unpacked: int
    packed: int

    def __add__(self, other: Space) -> Space:
        return Space(self.unpacked + other.unpacked, self.packed + other.packed)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the output of one input will be.

    Parameters
    ----------
    plan : TilePlan
        Of every channel and time point.
    layouts : mapping
        ``image``, and where they are wanted and can be had ``trust`` and ``interval``, to the layout of its store. The
        fingerprints are not those of the stores.
    channels : tuple of int
        Of the input, that the net is given.
    is_examined : bool
        Whether a guard looks at what the net makes.
    """

    plan: TilePlan
    layouts: Mapping[str, StoreLayout]
    channels: tuple[int, ...]
    is_examined: bool

    @property
    def image(self) -> StoreLayout:
        """Layout of the output itself."""
        return self.layouts["image"]


def outlook(volume: Volume, predictor: Predictor, config: UpscaleConfig) -> Outlook:
    """Say what the output of a volume will be, from its headers alone.

    Raises
    ------
    InputError, ModelFileError
        When the channels asked for are not there, or the model cannot take them.
    """
    count = volume.shape[1]
    channels = tuple(range(count)) if config.channels is None else config.channels
    if not channels or not all(0 <= channel < count for channel in channels):
        raise InputError(
            f"{volume.source}: channels {list(channels)} asked for, it has 0 to {count - 1}; give e.g. "
            "--set channels=[0]"
        )
    predictor.require_channels(len(channels), str(volume.source))
    crop = Crop.of(volume, config.crop)
    plan = crop.plan(predictor, volume, config)
    voxel_size, translation = upscaled_grid(volume.voxel_size, crop.translation(volume), plan.factor)
    predicted = 1 if predictor.header.context.get("axis") == "c" else len(channels)
    image = StoreLayout(
        shape=(crop.times.stop - crop.times.start, predicted, *crop.output_shape(plan)),
        dtype=str(volume.dtype) if config.dtype == "keep" else config.dtype,
        shard=plan.shard,
        chunk=plan.chunk,
        voxel_size=voxel_size,
        translation=translation,
        fingerprint="0",
    )
    layouts = {"image": image}
    if config.trust and predictor.is_examined(config):
        layouts["trust"] = _of_trust(image, plan, volume)
        if predictor.has_interval:
            nt, c, *space = image.shape
            shape = (nt, c * len(SIDES), space[0], space[1], space[2])
            layouts["interval"] = replace(image, shape=shape, dtype=str(width_dtype(np.dtype(image.dtype))))
    return Outlook(plan, layouts, channels, predictor.is_examined(config))


def _of_trust(image: StoreLayout, plan: TilePlan, volume: Volume) -> StoreLayout:
    nz, ny, nx = (size // f for size, f in zip(plan.shard, plan.factor, strict=True))
    return replace(
        image,
        shape=(image.shape[0], image.shape[1] * len(MAPS), *plan.low_shape(image.shape[2:])),
        dtype="float32",
        shard=(nz, ny, nx),
        chunk=(nz, largest_divisor(ny), largest_divisor(nx)),
        voxel_size=volume.voxel_size,
    )


# --- bytes -----------------------------------------------------------------------------------------------------------


def space_needed(layouts: Mapping[str, StoreLayout], share: float) -> Space:
    """Add up what stores take.

    Parameters
    ----------
    layouts : mapping
        ``image``, ``trust``, ``interval`` to the layout of the store.
    share : float
        Of its unpacked size that the image takes (`packed_share`).
    """
    shares = {"image": _IMAGE * share, "interval": _INTERVAL * share, "trust": _TRUST}
    total = Space(0, 0)
    for kind, layout in layouts.items():
        total += _of_store(layout, shares[kind])
    return total


def _of_store(layout: StoreLayout, share: float) -> Space:
    unpacked = shards = 0
    factors = layout.level_factors()
    for factor in factors:
        t, c, *space = layout.level_shape(factor)
        unpacked += t * c * math.prod(space) * np.dtype(layout.dtype).itemsize
        shards += t * c * math.prod(-(-n // s) for n, s in zip(space, layout.shard, strict=True))
    blocks = shards * _BLOCKS_PER_SHARD + len(factors) * _BLOCKS_PER_LEVEL
    return Space(unpacked, round(unpacked * min(share, 1.0)) + blocks * _BLOCK)


def packed_share(volume: Volume, predictor: Predictor, ahead: Outlook) -> float:
    """Measure which share of its unpacked size an output takes, on interpolated windows of the input.

    Raises
    ------
    InputError
        When the file turns out damaged.
    """
    t, _, z, height, width = volume.shape
    places = noise_windows(t * z, (height, width))
    places = [places[(2 * i + 1) * len(places) // (2 * _WINDOWS)] for i in range(min(_WINDOWS, len(places)))]
    unpacked = packed = 0
    for number, (plane, rows, columns) in enumerate(places):
        first = plane % z
        depth = slice(first, min(z, first + (_PLANES if predictor.is_deep else 1)))
        channel = ahead.channels[number % len(ahead.channels)]
        low = volume.read(t=plane // z, c=channel, z=depth, y=rows, x=columns)
        fine = _as_written(predictor.interpolate(np.nan_to_num(low)[None])[0], np.dtype(ahead.image.dtype))
        unpacked += fine.nbytes
        packed += len(encode_chunk(fine, fine.shape))
    return packed / unpacked


def _as_written(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    return cast(values, dtype, CastTally(), nan=0.0)


def parts_of(out: Path) -> tuple[Path, ...]:
    """Return all that an output may consist of: stores and the summary of the maps, there or not."""
    trust = trust_path(out)
    summary = trust.with_name(trust.name.removesuffix(".zarr").removesuffix(".ome") + ".json")
    return out, trust, interval_path(out), summary


def space_taken(out: Path) -> int:
    """Return the bytes that an output, finished or not, takes on the disk already."""
    parts = parts_of(out)
    return sum(_taken(path) for path in (*parts, *(records_folder(part) for part in parts)))


def _taken(path: Path) -> int:
    try:
        if not path.is_dir():
            return path.stat().st_blocks * 512 if hasattr(path.stat(), "st_blocks") else path.stat().st_size
        with os.scandir(path) as entries:
            return sum(_taken(Path(entry.path)) for entry in entries)
    except OSError:
        return 0


def space_free(out: Path) -> int:
    """Return the bytes that are free on the disk of a path that need not be there yet."""
    path = out.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def require_space(out: Path, outputs: Iterable[Path], need: Space) -> None:
    """Refuse to start what the disk cannot hold.

    Parameters
    ----------
    out : Path
        Store or folder that is written to, for its disk and for the message.
    outputs : iterable of Path
        The stores; what is there of them counts as written, for a resumed run writes only what is missing, and what is
        replaced is deleted first.
    need : Space
        Of all of them.

    Raises
    ------
    OutputWriteError
        Naming what is needed and what is free.
    """
    there = sum(space_taken(path) for path in outputs)
    missing, free = need.packed - there, space_free(out)
    if missing <= free:
        return
    already = f", of which {bytes_text(there)} are there" if there else ""
    raise OutputWriteError(
        f"{out}: about {bytes_text(need.packed)} are needed ({bytes_text(need.unpacked)} before compression){already}, "
        f"and {bytes_text(free)} are free on its disk; free some space, give another --out, write less (--trust off), "
        "or start all the same with --set check_disk=false"
    )


class Room:
    """Whether outputs fit on their disk, under the same settings and, as far as they are alike, with one measurement.

    Parameters
    ----------
    config : UpscaleConfig
        Of all of them.
    """

    def __init__(self, config: UpscaleConfig) -> None:
        self._config = config
        self._shares: dict[str, list[float]] = {}

    def require(self, out: Path, inputs: Mapping[Path, Volume], predictor: Predictor) -> None:
        """Refuse to start what the disk cannot hold.

        Parameters
        ----------
        out : Path
            Store or folder that is written to, for its disk and for the message.
        inputs : mapping
            Store to its opened input. Those that cannot be upscaled are left out, and said when their turn comes.
        predictor : Predictor
            The model.

        Raises
        ------
        OutputWriteError
            Naming what is needed and what is free.
        """
        need = Space(0, 0)
        for volume in inputs.values():
            with contextlib.suppress(InputError, ModelFileError):
                ahead = outlook(volume, predictor, self._config)
                need += space_needed(ahead.layouts, self._share(volume, predictor, ahead))
        require_space(out, inputs, need)

    def _share(self, volume: Volume, predictor: Predictor, ahead: Outlook) -> float:
        """Return the largest share of a few inputs of a type; those that follow are taken to be like them."""
        known = self._shares.setdefault(ahead.image.dtype, [])
        if len(known) < _MEASURED:
            known.append(packed_share(volume, predictor, ahead))
        return max(known)


def bytes_text(number: float) -> str:
    """Write a number of bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
