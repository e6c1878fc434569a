"""Truth changed as another specimen or microscope might, and recorded anew: what a net was perhaps not trained for."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from superres.degrade import degrade_image
from superres.errors import ConfigError
from superres.evaluation.sampling import Sample, Setup
from superres.volumes import measure_intensity_of

Change = Literal["half contrast", "twice the contrast", "quarter of the levels", "empty half", "saturated corner"]

CHANGES: tuple[Change, ...] = get_args(Change)
"""All changes."""

_ALMOST_BLACK = 0.02  # of the range: an area without specimen still holds some light


def altered(sample: Sample, change: Change, setup: Setup) -> Sample:
    """Return a sample with a changed truth, recorded anew with noise of its own.

    Parameters
    ----------
    sample : Sample
        One whose low image was made from truth.
    change : str
        Contrast is about the mean and cut off at the ends of the grey range; half of the field gets almost black, or a
        quarter of it white.

    Raises
    ------
    ConfigError
        When the low image was recorded: there is no changed recording.
    """
    if not sample.grey_ranges:
        raise ConfigError(
            f"{sample.labels[0]}: recorded low images cannot be had of a changed truth; leave change={change} out, or "
            "score images without recorded low ones"
        )
    truth = np.stack(
        [_changed(channel, change, *limits) for channel, limits in zip(sample.truth, sample.grey_ranges, strict=True)]
    )
    seed = zlib.crc32(f"{setup.seed}/{sample.labels[0]}/{change}".encode())
    low = np.concatenate(
        [
            degrade_image(
                truth[i : i + 1],
                setup.degrade,
                factor=setup.factor,
                grey_range=limits,
                voxel_size=sample.voxel_size,
                seed=seed + i,
            )
            for i, limits in enumerate(sample.grey_ranges)
        ]
    )
    black = tuple(one.black for one in measure_intensity_of(low, setup.rule))
    return replace(sample, truth=truth, low=low, black=black)


def _changed(truth: NDArray[np.float32], change: Change, black: float, white: float) -> NDArray[np.float32]:
    """Change one channel, (z, y, x)."""
    height, width = truth.shape[-2:]
    values: NDArray[Any] = truth.astype(np.float64)
    if change in ("half contrast", "twice the contrast"):
        mean = values.mean()
        values = np.clip((values - mean) * (0.5 if change == "half contrast" else 2.0) + mean, black, white)
    elif change == "quarter of the levels":
        values = black + (values - black) / 4
    elif change == "empty half":
        values[..., width // 2 :] = black + _ALMOST_BLACK * (white - black)
    else:
        values[..., : height // 2, : width // 2] = white
    return values.astype(np.float32)
