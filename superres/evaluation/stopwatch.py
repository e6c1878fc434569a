"""How long each method takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from superres.evaluation.sampling import Sample
from superres.evaluation.scoring import Run


class Stopwatch:
    """Measures methods as they run.

    Parameters
    ----------
    runs : mapping
        Name to method; `runs` of the watch are the same ones, measured.
    """

    def __init__(self, runs: Mapping[str, Run]) -> None:
        self.runs = {name: self._measured(name, run) for name, run in runs.items()}
        self._seconds = dict.fromkeys(runs, 0.0)
        self._voxels = dict.fromkeys(runs, 0)

    @property
    def seconds_per_megavoxel(self) -> dict[str, float]:
        """Seconds per million voxels of output; methods that have not run are missing."""
        return {name: round(1e6 * self._seconds[name] / n, 4) for name, n in self._voxels.items() if n}

    def _measured(self, name: str, run: Run) -> Run:
        def measured(sample: Sample) -> NDArray[Any]:
            started = time.perf_counter()
            prediction = run(sample)
            self._seconds[name] += time.perf_counter() - started
            self._voxels[name] += prediction.size
            return prediction

        return measured
