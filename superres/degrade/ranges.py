"""From a fit to the ranges of a recipe: around the fit, and wide enough for every recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from superres.config import DegradeStep
from superres.degrade.microscope import Microscope, steps_between

BLUR_SHARE = 0.2
"""Of a blur, to either side of the fit."""
NOISE_SHARE = 0.3
"""Of noise and line jitter, to either side of the fit."""

_SHARES = {
    "blur": BLUR_SHARE, "haze": BLUR_SHARE, "haze_sigma": BLUR_SHARE, "smoothing": BLUR_SHARE,
    "photons": NOISE_SHARE, "read": NOISE_SHARE, "jitter": NOISE_SHARE,
}  # fmt: skip


def ranges(fitted: Microscope, alone: Sequence[Microscope] = ()) -> tuple[DegradeStep, ...]:
    """Widen a fit to ranges: by a fifth (blur) or 30 % (noise, jitter) to either side, and to hold every recording.

    A net that is trained on one exact microscope fails on the next one.

    Parameters
    ----------
    fitted : Microscope
        Fitted to all recordings together; it says how they are sampled.
    alone : sequence of Microscope
        Fitted to each recording by itself: what varies between recordings. Empty for a single one.
    """
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for name in _SHARES:
        values = _values(name, fitted, alone)
        low[name], high[name] = (float(f"{end(values):.4g}") for end in (min, max))
    return steps_between(replace(fitted, **low), replace(fitted, **high))  # type: ignore[arg-type]


def _values(name: str, fitted: Microscope, alone: Sequence[Microscope]) -> list[float]:
    """Return the ends of the range around the fit, and what the recordings have."""
    known = [one for one in (fitted, *alone) if name != "haze_sigma" or one.haze > 0] or [fitted]
    values = [float(getattr(one, name)) for one in known]
    if known[0] is not fitted:
        return values
    share = _SHARES[name]
    if name == "haze" and fitted.haze > 0:  # no more light can be out of focus than there is
        share = min(share, (1 - fitted.haze) / fitted.haze)
    return [values[0] * (1 - share), values[0] * (1 + share), *values[1:]]
