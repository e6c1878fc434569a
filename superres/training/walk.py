"""The walk through the phases of a training: which one it is in, and how fast it learns there.

Both depend on the share of the training that is done, and on nothing that happened before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from superres.config import OptimiserConfig, Phase
from superres.training.schedule import scheduled


class Walk:
    """The phases of a training, laid end to end from 0 to 1.

    Parameters
    ----------
    phases : sequence of Phase
        In their order; their shares add up to 1.
    optimiser : OptimiserConfig
        Of the generator.
    """

    def __init__(self, phases: Sequence[Phase], optimiser: OptimiserConfig) -> None:
        self.phases = tuple(phases)
        self._optimiser = optimiser
        self._ends = [math.fsum(phase.share for phase in phases[: i + 1]) for i in range(len(phases))]
        self._ends[-1] = math.inf  # whatever the shares add up to in floating point, the last phase lasts to the end
        alone = [phase.share for phase in phases if phase.trains == "generator"]
        self._cycle = min(1.0, math.fsum(alone)) if len(alone) < len(phases) else 1.0

    def at(self, share: float) -> Phase:
        """Return the phase at a share of the training, 0 at the start and 1 at the end."""
        return next(phase for phase, end in zip(self.phases, self._ends, strict=True) if share < end)

    def progress(self, share: float) -> float:
        """Return how much of the phase at `share` is done, 0 to 1."""
        phase = self.at(share)
        start = 0.0 if phase is self.phases[0] else self._ends[self.phases.index(phase) - 1]
        return min(1.0, (share - start) / phase.share)

    def rate(self, share: float) -> tuple[float, float]:
        """Return learning rate and momentum (beta1) of the generator.

        The schedule spans the phases of the generator alone. With a critic the rate is constant, and there is
        no momentum, as is usual where two nets chase each other.
        """
        phase = self.at(share)
        if phase.trains == "generator":
            rate, momentum = scheduled(share / self._cycle, self._optimiser)
            return rate * phase.rate, momentum
        return self._optimiser.learning_rate * phase.rate, 0.0
