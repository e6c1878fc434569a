"""What the fast settings cost in exactness, measured on the input itself before anything is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.inference.plan import Region, TilePlan
from superres.inference.unit import Channel

# Tiles that are predicted both ways, and the sides of their cores along Z, Y and X.
_TILES = 2
_CORE = (8, 64, 64)


def measured_shortcuts(channel: Channel, config: UpscaleConfig) -> tuple[str, ...]:
    """Say how far the fast settings are from the exact ones, in tiles of one channel; nothing where all are exact.

    Parameters
    ----------
    channel : Channel
        With the model and the plan that are used.
    config : UpscaleConfig
        Which of them is asked for.
    """
    alone = replace(channel, guard=None, shared=None)
    told = []
    if config.precision == "fast":
        told.append(_precision(alone))
    if config.halo == "fast":
        told.append(_halo(alone))
    return tuple(told)


def _precision(channel: Channel) -> str:
    predictor = channel.predictor
    if not predictor.is_rounded:
        return f"precision=fast: {predictor.device} has no bfloat16 of its own, so that float32 was used"
    exact = replace(channel, predictor=predictor.at("exact"))
    return f"precision=fast: bfloat16 instead of float32 changes {_difference(channel, exact)}"


def _halo(channel: Channel) -> str:
    plan = channel.plan
    exact = replace(channel, plan=replace(channel.predictor.plan(plan.shape), tile=plan.tile))
    near, far = (max(one.halo) for one in (plan, exact.plan))
    return (
        f"halo=fast: {near} voxels are read around tiles instead of {far}, which changes "
        f"{_difference(channel, exact)}; seams of that height are possible"
    )


def _difference(fast: Channel, exact: Channel) -> str:
    """Predict some tiles both ways; state the difference in grey levels and as a share of the range."""
    differences = [_predicted(fast, place) - _predicted(exact, place) for place in _places(fast.plan)]
    share = max(float(np.abs(one).max()) for one in differences)
    rms = float(np.sqrt(np.mean([np.square(one, dtype=np.float64).mean() for one in differences])))
    span = fast.intensity.white - fast.intensity.black
    return (
        f"predictions by {share * span:.3g} grey levels at most ({100 * share:.2g} % of the range; RMS "
        f"{rms * span:.2g}) in {len(differences)} tiles of the input"
    )


def _predicted(channel: Channel, place: Region) -> NDArray[np.float32]:
    found = channel.forward(0, place, place, channel.volume).core
    assert found is not None  # there is no guard
    return found


def _places(plan: TilePlan) -> list[Region]:
    """Return cores that lie evenly along the diagonal of the volume, where a plan may begin tiles."""
    found = []
    for number in range(_TILES):
        place = []
        for length, side, tile, halo in zip(plan.shape, _CORE, plan.tile, plan.halo, strict=True):
            # Halos are multiples of the stride.
            step, side = halo or 1, min(side, tile)
            start = (2 * number + 1) * max(0, length - side) // (2 * _TILES) // step * step
            place.append(slice(start, min(start + side, length)))
        found.append((place[0], place[1], place[2]))
    return found
