"""One conversion: what is read, in which type, and what is told of where it comes from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from superres.progress import ProgressCallback
from superres.volumes.dtypes import CastTally, cast
from superres.volumes.ometiff import Compression
from superres.volumes.verification import root_attributes
from superres.volumes.volume import Volume

Format = Literal["ome-zarr-0.5", "ome-zarr-0.4", "ome-tiff", "imagej"]


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion."""

    volume: Volume
    out: Path
    format: Format
    dtype: np.dtype[Any]
    nan: float | None
    compression: Compression
    overwrite: bool
    progress: ProgressCallback

    def read(self, tally: CastTally, t: int, c: int, region: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Read a block, (z, y, x), in the type of the output."""
        z, y, x = region
        block = self.volume.read(t=t, c=c, z=z, y=y, x=x)
        return cast(block, self.dtype, tally, nan=self.nan, name=str(self.volume.source))

    def fingerprint(self, *layout: object) -> str:
        """Return a digest of all that decides the bytes of the output: source, settings and `layout`."""
        volume = self.volume
        decisive = [
            "convert 1", volume.identity(), volume.voxel_size, volume.translation, volume.channel_names,
            volume.channel_colours, volume.time_step, self.format, self.dtype.name, self.nan, layout,
            provenance_of(volume),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def provenance_of(volume: Volume) -> dict[str, Any]:
    """Say where an image comes from; what its source says of itself stays with it."""
    from superres import __version__

    told: dict[str, Any] = {"name": volume.source.name, "format": volume.format, "dtype": volume.dtype.name}
    if volume.part is not None:
        told["part"] = volume.part
    own = root_attributes(volume.source)[0].get("superres") if volume.source.is_dir() else None
    if not isinstance(own, dict):
        return {"superres": __version__, "converted_from": told}
    before = {key: value for key, value in own.items() if key != "fingerprint"}
    return {**before, "superres": __version__, "converted_from": told | {"superres": before.get("superres")}}
