"""What is counted of each shard while it is written, kept in a file beside its record, so that a run can resume."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from superres.errors import DiskFullError, OutputWriteError
from superres.volumes import OutputStore, Unit
from superres.volumes.whole_files import write_whole


class Tallies:
    """The counts of one store.

    Parameters
    ----------
    store : OutputStore
        Whose records they lie beside.
    """

    def __init__(self, store: OutputStore) -> None:
        self._folder = store.records.folder / "tally"

    def write(self, unit: Unit, content: Mapping[str, Any]) -> None:
        """Write the counts of a shard; to be done before the shard.

        Raises
        ------
        OutputWriteError
            When the disk is full or cannot be written to.
        """
        path = self._path(unit)
        try:
            # Of what a power failure leaves empty, the shard counts as not written.
            write_whole(path, [json.dumps(dict(content), allow_nan=False).encode()], durable=False)
        except OSError as error:
            raise (DiskFullError if error.errno == errno.ENOSPC else OutputWriteError)(
                f"{path}: writing failed, {error}; mend the cause and run the same command again"
            ) from None

    def read(self, unit: Unit) -> dict[str, Any] | None:
        """Read the counts of a shard; None where there are none or they are damaged."""
        try:
            content = json.loads(self._path(unit).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def _path(self, unit: Unit) -> Path:
        return self._folder / (".".join(map(str, unit)) + ".json")
