"""Schedules of learning rate and momentum, as functions of the share done (`superres.config.OptimiserConfig`)."""

from __future__ import annotations

import math

from superres.config import OptimiserConfig

# The learning rate starts at 1/25 of its peak, as in fastai's one-cycle.
_START = 25.0


def scheduled(share: float, config: OptimiserConfig) -> tuple[float, float]:
    """Return learning rate and momentum (beta1) at a share of the training, by the schedule of the settings.

    ``one-cycle`` is `one_cycle`. The others have its warm-up, and constant momentum, the highest: ``cosine`` falls to
    zero along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts), ``constant`` does not fall.

    Parameters
    ----------
    share : float
        0 at the start, 1 at the end.
    """
    rate, momentum = one_cycle(share, config)
    if config.schedule == "one-cycle":
        return rate, momentum
    falls = config.schedule == "cosine" or share < config.warmup
    return rate if falls else config.learning_rate, config.momentum[1]


def one_cycle(share: float, config: OptimiserConfig) -> tuple[float, float]:
    """Return learning rate and momentum (beta1) of the one-cycle schedule (Smith 2018, arXiv 1803.09820).

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
