"""What a reader of the figures of one acquisition must know to read them rightly."""

from __future__ import annotations

import math
from collections.abc import Sequence

from superres.evaluation.metrics import Scores, mean_scores
from superres.evaluation.results import MODEL

# A slope outside says that grey levels are on another scale, which is no matter of resolution.
_SAME_SCALE = (0.5, 2.0)
# Decibel below the limit that noise in truth sets, from where on differences between methods shrink visibly.
_NEAR_CEILING = 3.0


def method_remarks(name: str, planes: Sequence[Scores]) -> list[str]:
    """Return what is remarkable about the scores of one method on the planes of an acquisition."""
    bad = sum(math.isnan(scores.psnr) for scores in planes)
    if bad:
        return [f"{name} gave NaN or infinite values on {bad} of {len(planes)} planes"]
    mean, found = mean_scores(planes), []
    if name == MODEL and not _SAME_SCALE[0] <= mean.slope <= _SAME_SCALE[1]:
        found.append(
            f"{name} = {mean.slope:.3g} * truth {mean.intercept:+.4g}: it is on another grey scale, which PSNR and "
            "SSIM count as error; SI-PSNR and MicroSSIM do not"
        )
    return found


def ceiling_remarks(ceiling: float, methods: Sequence[Scores]) -> list[str]:
    """Return a remark where the best method comes near the limit that noise in truth sets, in decibel."""
    best = max((scores.psnr for scores in methods if math.isfinite(scores.psnr)), default=0.0)
    if math.isnan(ceiling) or best < ceiling - _NEAR_CEILING:
        return []
    return [
        f"noise in truth alone limits PSNR to about {ceiling:.1f} dB, and the best method has {best:.1f} dB: "
        "differences between methods are larger than they look here"
    ]
