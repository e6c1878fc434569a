"""An output that lies on the disk already, scored as it stands: what a person sees and measures, rounding included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition
from superres.datasets.pairs import open_pair
from superres.errors import ConfigError, InputError
from superres.evaluation.sampling import Sample, Setup
from superres.evaluation.scoring import Run
from superres.evaluation.settings import EvaluateConfig
from superres.volumes import Volume, open_volume


def stored_run(config: EvaluateConfig, acquisitions: Sequence[Acquisition], setup: Setup) -> Run:
    """Return what reads the planes of ``config.result`` in the place of a method that predicts them.

    Parameters
    ----------
    config : EvaluateConfig
        With a result.
    acquisitions : sequence of Acquisition
        What is scored: one, of one pair of files, of whose low file the result was made.
    setup : Setup
        How images are read.

    Raises
    ------
    ConfigError
        When several images are to be scored.
    InputError
        When the result cannot be read, or has not the voxels or channels of truth.
    """
    assert config.result is not None
    if len(acquisitions) != 1 or len(acquisitions[0].low) != 1:
        files = sum(len(one.high) for one in acquisitions)
        raise ConfigError(
            f"{config.result}: a result is of one recording, and {files} images are to be scored, "
            f"{sum(len(one.low) for one in acquisitions)} of them with a recording; give a manifest with one pair, low "
            "and high, in the split that is scored"
        )
    _, high = open_pair(acquisitions[0], 0, factor=setup.factor)
    result = open_volume(config.result)
    channels = tuple(range(result.shape[1])) if config.result_channels is None else config.result_channels
    _check(result, high, channels, config.result)

    def run(sample: Sample) -> NDArray[Any]:
        y, x = (slice(0, n) for n in sample.truth.shape[-2:])
        parts = _parts(sample, setup)
        planes = [np.concatenate([result.read(t=t, c=c, z=z, y=y, x=x) for t, z in parts]) for c in channels]
        return np.stack(planes).astype(np.float32)

    return run


def describe_result(path: Path) -> dict[str, Any]:
    """Return what a report says of a result in the place of a model."""
    return {"name": path.name, "path": str(path), "sha256": None, "version": None}


def _parts(sample: Sample, setup: Setup) -> list[tuple[int, slice]]:
    """Return time points and planes of the result that a sample holds, in its order."""
    if setup.whole_stacks:
        return [(sample.places[0].t, slice(0, sample.truth.shape[1]))]
    return [(place.t, slice(place.z, place.z + 1)) for place in sample.places]


def _check(result: Volume, high: Volume, channels: Sequence[int], path: Path) -> None:
    (nt, _, *found), (mt, count, *wanted) = result.shape, high.shape
    if (nt, found) != (mt, wanted):
        raise InputError(
            f"{path}: {nt} time points of {_times(found)} voxels (ZYX), but truth, {high.source}, has {mt} of "
            f"{_times(wanted)}; give the result of the recording that truth belongs to"
        )
    if max(channels) >= result.shape[1] or len(channels) != count:
        raise InputError(
            f"{path}: {result.shape[1]} channels, of which {list(channels)} were to be compared with the {count} of "
            "truth; give result_channels, one for each channel of truth, counted from 0"
        )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
