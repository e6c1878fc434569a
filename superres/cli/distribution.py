"""How the work of one command is shared: a part of a job array, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from superres.cli import output
from superres.errors import ConfigError

if TYPE_CHECKING:
    from superres.inference import UpscaleSummary
    from superres.inference.parts import Part

TaskT = TypeVar("TaskT")


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who does the work; by default this process does all of it.

    Parameters
    ----------
    part : Part or None
        Only this part.
    scheduler : str or None
        The workers of this Dask scheduler.
    cluster : Path or None
        The workers of a cluster that is started as this file says.
    """

    part: Part | None = None
    scheduler: str | None = None
    cluster: Path | None = None

    @classmethod
    def of(cls, part: str | None, scheduler: str | None, cluster: Path | None, *, watch: bool) -> Sharing:
        """Read the options.

        Raises
        ------
        ConfigError
            When they do not go together, or the part is none.
        """
        given = {"--part": part, "--scheduler": scheduler, "--cluster": cluster}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)}: give one of them; each says in its own way who does the work")
        if part is None:
            return cls(None, scheduler, cluster)
        if watch:
            raise ConfigError("--part and --watch: a part is of what is there; give one of them")
        from superres.inference.parts import Part

        return cls(Part.parse(part))

    @property
    def is_alone(self) -> bool:
        """Whether this process does whole inputs by itself."""
        return self.part is None and self.scheduler is None and self.cluster is None

    def name_of(self, file: str) -> str:
        """Name a file that every part writes for itself: ``upscale.3-of-8.json``."""
        if self.part is None:
            return file
        stem, dot, ending = file.partition(".")
        return f"{stem}.{self.part.number}-of-{self.part.count}{dot}{ending}"

    def deal(self, tasks: Sequence[TaskT]) -> tuple[list[TaskT], Sharing]:
        """Choose what of several inputs is to be done here, and how.

        Where there are as many inputs as parts, or more, they are dealt out whole; fewer are each split.
        """
        if self.part is None or len(tasks) < self.part.count:
            return list(tasks), self
        own = self.part.of(tasks)
        output.show_note(f"part {self.part}: {len(own)} of {len(tasks)} inputs, whole ones")
        return own, replace(self, part=None)

    @contextmanager
    def upscaling(self) -> Iterator[Callable[..., UpscaleSummary]]:
        """Connect to the workers that are wanted; give `superres.upscale`, for this part or done by them.

        Raises
        ------
        ClusterError, ConfigError, MissingFileError
            When workers cannot be reached or started, or the cluster file is wrong.
        """
        from superres import inference

        if self.scheduler is None and self.cluster is None:
            yield partial(inference.upscale, part=self.part)
            return
        from superres.config import ClusterConfig, load_config

        config = None if self.cluster is None else load_config(ClusterConfig, self.cluster)
        from superres.inference.cluster import open_cluster

        with open_cluster(self.scheduler, config) as found:
            yield partial(inference.upscale, run=found.run)
