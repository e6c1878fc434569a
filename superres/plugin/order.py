"""What a person chose in the Upscale widget, ready to be done."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from superres.config import UpscaleConfig
from superres.modelfile import ModelHeader
from superres.plugin.job import Job
from superres.plugin.result import Look
from superres.plugin.sources import Source, temporary_folder
from superres.plugin.upscale_task import request

if TYPE_CHECKING:
    from napari.layers import Image


@dataclass(frozen=True, slots=True)
class Order:
    """One upscaling that was asked for.

    Parameters
    ----------
    layer : Image
        The input.
    source : Source
        What the layer is made of.
    out : Path
        The store.
    config : UpscaleConfig
        The settings.
    header : ModelHeader
        Of the model.
    """

    layer: Image
    source: Source
    out: Path
    config: UpscaleConfig
    header: ModelHeader

    @property
    def path(self) -> str:
        """The file of the input."""
        assert self.source.path is not None
        return self.source.path

    @property
    def look(self) -> Look:
        """How the result is to look."""
        return Look(self.layer.name, self.source.axes, self.layer, self.source.channel, self.path, self.header.factor)

    def with_path(self, path: str) -> Order:
        """Return the same order, for voxels that were written to a file."""
        return replace(self, source=replace(self.source, path=path))

    def job(self) -> Job:
        """Make a job of it."""
        pictures = Path(tempfile.mkdtemp(prefix="pictures_", dir=temporary_folder()))
        job = Job(request(self.path, self.out, self.config, pictures=pictures))
        job.ended.connect(lambda: shutil.rmtree(pictures, ignore_errors=True))
        return job
