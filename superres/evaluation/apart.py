"""How far apart the images of an acquisition must be to count as different ones.

Planes next to each other in a stack, and frames next to each other in time, show the same structures, and what a net
gets wrong in one it gets wrong in the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition
from superres.evaluation.sampling import Place, evenly
from superres.volumes import open_volume

ALIKE = 0.5
"""Pearson correlation of two images from which on they count as the same."""

_DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
# Pairs of images compared per distance, and the side of the window in their middle.
_PAIRS, _WINDOW = 8, 512


def images_apart(acquisition: Acquisition, places: Sequence[Place]) -> int | None:
    """Return how many images on the next one is that shows something else.

    Parameters
    ----------
    acquisition : Acquisition
        Whose sharp images are compared.
    places : sequence of Place
        All of its images, in the order in which they were recorded.

    Returns
    -------
    int or None
        The smallest of a row of distances at which images correlate, on average, by less than `ALIKE`; None where they
        do so at none.
    """
    volumes = [open_volume(path, axes=acquisition.axes) for path in acquisition.high]

    @lru_cache(maxsize=4 * _PAIRS)
    def image(index: int) -> NDArray[np.float32]:
        place, volume = places[index], volumes[places[index].file]
        y, x = (slice(max(0, (n - _WINDOW) // 2), (n + _WINDOW) // 2) for n in volume.shape[3:])
        z = slice(place.z, place.z + 1)
        planes = [volume.read(t=place.t, c=c, z=z, y=y, x=x)[0] for c in range(volume.shape[1])]
        return np.stack(planes).astype(np.float32)

    for distance in _DISTANCES:
        if distance >= len(places):
            return None
        starts = evenly(len(places) - distance, _PAIRS)
        if np.mean([_correlation(image(start), image(start + distance)) for start in starts]) < ALIKE:
            return distance
    return None


def spread(count: int, distance: int, wanted: int, taken: Sequence[int] = ()) -> list[int]:
    """Choose at most `wanted` of `count` positions, `distance` from each other and from those that are taken.

    They are as far apart as so many can be.
    """
    free = [i for i in range(count) if all(abs(i - other) >= distance for other in taken)]
    chosen: list[int] = []
    for i in free:
        if not chosen or i - chosen[-1] >= distance:
            chosen.append(i)
    return [chosen[i] for i in evenly(len(chosen), wanted)] if chosen else []


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlate two images (c, y, x) in the channel in which they are most alike; 0 for images of different size."""
    if one.shape != other.shape:
        return 0.0
    found = []
    for a, b in zip(one, other, strict=True):
        a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
        size = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
        # Two images without any structure do show the same.
        found.append(float(np.sum(a * b)) / size if size > 0 else 1.0)
    return max(found)
