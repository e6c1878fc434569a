"""How the work of one command is shared: a part of a job array, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from superres.cli import output
from superres.errors import ConfigError

if TYPE_CHECKING:
    from superres.inference.engine import RunUnits
    from superres.inference.parts import Part


def share_of(part: str | None, scheduler: str | None, cluster: Path | None) -> Part | None:
    """Read ``--part``, and refuse it together with ``--scheduler`` or ``--cluster``, or these two together.

    Raises
    ------
    ConfigError
        When more than one is given, or the part is none.
    """
    given = {"--part": part, "--scheduler": scheduler, "--cluster": cluster}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)}: give one of them; each says in its own way who does the work")
    if part is None:
        return None
    from superres.inference.parts import Part

    return Part.parse(part)


def dealt(stores: Mapping[Path, Path], share: Part | None) -> tuple[dict[Path, Path], Part | None]:
    """Choose what of several inputs a part of a job array does.

    Where there are as many inputs as parts, or more, they are dealt out whole; fewer are each split.

    Returns
    -------
    tuple
        The inputs of this part and their stores, and which part of each of them, None for all.
    """
    if share is None or len(stores) < share.count or len(stores) == 1:
        return dict(stores), share
    own = share.of(list(stores.items()))
    output.show_note(f"part {share}: {len(own)} of {len(stores)} inputs, whole ones")
    return dict(own), None


@contextmanager
def workers(scheduler: str | None, cluster: Path | None) -> Iterator[RunUnits | None]:
    """Connect to the workers that are wanted; give what has them do shards, None where this process does them.

    Raises
    ------
    ClusterError, ConfigError, MissingFileError
        When they cannot be reached or started, or the cluster file is wrong.
    """
    if scheduler is None and cluster is None:
        yield None
        return
    from superres.config import ClusterConfig, load_config

    config = None if cluster is None else load_config(ClusterConfig, cluster)
    from superres.inference.cluster import open_cluster

    with open_cluster(scheduler, config) as found:
        yield found.run
