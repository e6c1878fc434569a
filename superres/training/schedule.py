"""One-cycle schedule with inverse momentum (Smith 2018, arXiv 1803.09820), as a function of the share done."""

from __future__ import annotations

import math

from superres.config import OptimiserConfig

# The learning rate starts at 1/25 of its peak, as in fastai's one-cycle.
_START = 25.0


def one_cycle(share: float, config: OptimiserConfig) -> tuple[float, float]:
    """Return learning rate and momentum (beta1) at a share of the training.

    The learning rate rises along a cosine during the warm-up and falls to zero along another one; momentum does the
    opposite.

    Parameters
    ----------
    share : float
        0 at the start, 1 at the end.
    """
    lowest, highest = config.momentum
    if share < config.warmup:
        rise = 0.5 - 0.5 * math.cos(math.pi * share / config.warmup)
        start = config.learning_rate / _START
        return start + (config.learning_rate - start) * rise, highest + (lowest - highest) * rise
    fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, (share - config.warmup) / (1 - config.warmup)))
    return config.learning_rate * fall, highest + (lowest - highest) * fall
