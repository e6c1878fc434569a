"""Files and lazy TCZYX volumes; the OME-Zarr store that results are written to."""

from __future__ import annotations

from superres.volumes.intensity import Intensity, measure_intensity, measure_intensity_of
from superres.volumes.ngff import upscaled_grid
from superres.volumes.opening import open_volume
from superres.volumes.store import OutputStore, StoreLayout, Unit
from superres.volumes.verification import verify_store
from superres.volumes.volume import Volume

__all__ = [
    "Intensity",
    "OutputStore",
    "StoreLayout",
    "Unit",
    "Volume",
    "measure_intensity",
    "measure_intensity_of",
    "open_volume",
    "upscaled_grid",
    "verify_store",
]
