"""Chance that depends on the seed of a training, on what it is for, and on a number, and on nothing drawn before."""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator


def seed_of(seed: int, kind: str, number: int) -> int:
    """Return a seed of 32 bits.

    Torch's generator on the CPU takes no more of a seed than that (``mt19937``), so that seeds which differ above
    would all draw the same.

    Parameters
    ----------
    seed : int
        Of the training.
    kind : str
        What is drawn; each kind has chance of its own.
    number : int
        Of the step, or of what is drawn.
    """
    return int(np.random.SeedSequence([seed, number, *kind.encode()]).generate_state(1)[0])


def generator_of(device: torch.device, seed: int, kind: str, number: int) -> Generator:
    """Return a generator on a device; see `seed_of`."""
    return Generator(device).manual_seed(seed_of(seed, kind, number))
