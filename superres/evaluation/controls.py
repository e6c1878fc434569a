"""Negative controls: what a model makes of recordings in which there is nothing to find.

A blank recording must stay blank and noise must come out smoother than interpolation leaves it. Structure that appears
there was invented, and would be invented beside real structure as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import DegradeStep
from superres.degrade import degrade_image
from superres.evaluation.upsampling import upsample
from superres.inference import Predictor

_SIDE = 128  # low-resolution voxels
_CROP = 16  # low-resolution voxels at every border
# Structure is what is left after averaging over this many low-resolution voxels, where single voxels of noise are gone.
_STRUCTURE = 2.0
# Grey levels of the scene without structure, as shares of the grey range.
LEVELS: Mapping[str, float] = {"blank": 0.0, "dim and flat": 0.1, "bright and flat": 0.9}


@dataclass(frozen=True, slots=True)
class Control:
    """One control.

    Parameters
    ----------
    name : str
        What was recorded.
    noise : float
        Standard deviation of the prediction over that of cubic interpolation of the same recording: below 1 where the
        model smoothes, above 1 where it sharpens noise.
    invention : float
        The same for averages over several voxels, where noise has averaged out: above 1, structure was invented.
    """

    name: str
    noise: float
    invention: float

    @property
    def is_passed(self) -> bool:
        """Whether nothing was invented, with 5 % for chance."""
        return self.noise <= 1.05 and self.invention <= 1.05


def negative_controls(predictor: Predictor, steps: tuple[DegradeStep, ...], *, seed: int = 0) -> tuple[Control, ...]:
    """Record scenes without structure, restore them, and compare with interpolation.

    Black and white are measured in the recording, as they are in any other; with nothing but noise in it, the noise
    fills the scale, which is the hardest case.

    Parameters
    ----------
    predictor : Predictor
        The model.
    steps : tuple of DegradeStep
        How its recordings come about; must hold noise.
    seed : int
        Of the noise.
    """
    factor = predictor.header.factor
    side = [_SIDE * f for f in factor[1:]]
    found = []
    for number, (name, level) in enumerate(LEVELS.items()):
        scene = np.full((1, 1, side[0], side[1]), level)
        low = degrade_image(scene, steps, factor=factor, grey_range=(0.0, 1.0), seed=seed + number)
        if np.ptp(low) > 0:  # a blank without read noise is constant, and refused as an input
            found.append(_control(name, low, predictor, factor))
    return tuple(found)


def _control(name: str, low: NDArray[np.float32], predictor: Predictor, factor: tuple[int, int, int]) -> Control:
    pred, plain = predictor.restore(low)[0, 0], upsample(low, factor, how="bicubic")[0, 0]
    sigma = [_STRUCTURE * f for f in factor[1:]]
    return Control(
        name,
        noise=_spread(pred, factor) / _spread(plain, factor),
        invention=_spread(gaussian_filter(pred, sigma), factor) / _spread(gaussian_filter(plain, sigma), factor),
    )


def _spread(image: NDArray[np.floating], factor: tuple[int, int, int]) -> float:
    y, x = (_CROP * f for f in factor[1:])
    return float(np.std(image[y:-y, x:-x], dtype=np.float64))
