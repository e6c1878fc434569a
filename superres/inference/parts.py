"""One output written by several jobs that know nothing of each other: which shards are whose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from superres.errors import ConfigError
from superres.inference.upscaling import Upscaling
from superres.progress import Progress, ProgressCallback
from superres.volumes import Unit

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Part:
    """One of several parts of a job.

    Parameters
    ----------
    number : int
        Which, from 1.
    count : int
        Of how many.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"3/8"``.

        Raises
        ------
        ConfigError
            When it is something else.
        """
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        part = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= part.number <= part.count:
            raise ConfigError(f"--part {text}: expected which part of how many, from 1/8 to 8/8 for eight parts")
        return part

    def of(self, items: Sequence[ItemT], *, together: int = 1) -> list[ItemT]:
        """Return the items of this part, which lie behind each other; all parts share them as evenly as can be.

        Neighbouring shards read the same planes and blocks of the input, and the planes around theirs, so that a part
        in one piece reads each of them once.

        Parameters
        ----------
        items : sequence
            In the same order for all parts.
        together : int
            So many, from the first on, are never parted.
        """
        groups = -(-len(items) // together)
        start, stop = ((groups * number // self.count) * together for number in (self.number - 1, self.number))
        return list(items[start:stop])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def of_part(progress: ProgressCallback, upscaling: Upscaling, own: Sequence[Unit]) -> ProgressCallback:
    """Leave the shards of other parts out of what is reported of tiles."""
    others = upscaling.all_tiles() - sum(upscaling.tiles(unit) for unit in own)

    def report(event: Progress) -> None:
        of_tiles = event.stage == "upscale" and others
        progress(replace(event, done=event.done - others, total=event.total - others) if of_tiles else event)

    return report
