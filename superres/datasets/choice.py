"""Learning from few images: which ones of all that the manifests list."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from superres.datasets.acquisition import Acquisition
from superres.errors import ConfigError


def choose_images(acquisitions: Sequence[Acquisition], count: int | None, seed: int) -> list[tuple[int, ...]]:
    """Choose images by a seed, as many as possible from different acquisitions.

    An image is a file of `high`, with all its planes and channels. Each acquisition in turn gives one, in an order
    drawn by the seed, until there are enough. What is chosen at a smaller count is also chosen at a larger one.

    Parameters
    ----------
    acquisitions : sequence of Acquisition
        Of one split.
    count : int or None
        How many images; None for all.

    Returns
    -------
    list of tuple of int
        For each acquisition, in their order, the indices of its chosen images, ascending; empty for none.

    Raises
    ------
    ConfigError
        When there are fewer.
    """
    sizes = [len(acquisition.high) for acquisition in acquisitions]
    if count is None:
        return [tuple(range(size)) for size in sizes]
    if count > sum(sizes):
        raise ConfigError(
            f"image_count={count}: the manifests list {sum(sizes)} images (files) of the split train; give "
            f"image_count={sum(sizes)} or less, or leave it out to learn from all"
        )
    random = np.random.default_rng([seed, len(sizes)])
    order = random.permutation(len(sizes)).tolist()
    queues = {index: random.permutation(sizes[index]).tolist() for index in order}
    rounds = itertools.zip_longest(*([(index, image) for image in queues[index]] for index in order))
    in_turn = (one for row in rounds for one in row if one is not None)
    chosen = sorted(itertools.islice(in_turn, count))
    return [tuple(image for index, image in chosen if index == own) for own in range(len(sizes))]
