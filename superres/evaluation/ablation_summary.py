"""What the trainings of an ablation say: every arm against the reference, and how sure that is.

Two things vary besides the arms, and an interval speaks of one of them. Over seeds, with the images fixed: would
another training on these data come out the same? Over acquisitions, with seeds averaged: would it hold for other
images? The second is the claim that users care for, and a few acquisitions carry it badly.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from superres.evaluation.ablation import FIGURES, Ablation, Outcome
from superres.evaluation.ablation_settings import BICUBIC
from superres.evaluation.statistics import Comparison, Interval, compare, paired_interval

_OnImages = Mapping[str, Mapping[str, float]]  # figures by acquisition


@dataclass(frozen=True, slots=True)
class Row:
    """An arm on one set of images.

    Parameters
    ----------
    arm : str
        Its name, or `BICUBIC`.
    figures : mapping
        Mean over acquisitions, then seeds.
    spread : float
        Standard deviation of the PSNR over seeds, dB; NaN for fewer than two.
    over_seeds : Interval or None
        Of the PSNR's difference to the reference, paired by seed; None for the reference and for bicubic.
    over_acquisitions : Comparison or None
        The same paired by acquisition, seeds averaged, tested and corrected for the number of arms.
    worst : float
        Smallest gain over bicubic in an acquisition, seeds averaged, dB.
    """

    arm: str
    figures: Mapping[str, float]
    spread: float
    over_seeds: Interval | None
    over_acquisitions: Comparison | None
    worst: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What the trainings of an arm cost.

    Parameters
    ----------
    steps : float
        Median over seeds.
    per_step : float
        Median seconds of processor time for a step, feature network, validation and all; by the clock where a training
        was interrupted.
    share : float
        Median share of the training after which the validation PSNR first reached the final one of the reference; NaN
        where it did not in any.
    """

    steps: float
    per_step: float
    share: float


def rows(ablation: Ablation, images: str) -> list[Row]:
    """Return the arms on one set of images, bicubic first."""
    baseline = ablation.baseline[images]
    by_arm = {arm: _scores(ablation, arm, images) for arm in ablation.config.arms}
    reference = by_arm[ablation.config.compared_with]
    others = [arm for arm in by_arm if arm != ablation.config.compared_with and by_arm[arm] and reference]
    tests = compare([_by_acquisition(by_arm[arm], reference) for arm in others]) if others else []
    compared = dict(zip(others, tests, strict=True))
    found = [Row(BICUBIC, _mean([baseline]), math.nan, None, None, 0.0)]
    for arm, scores in by_arm.items():
        if not scores:
            continue
        means = [_mean([one])["psnr"] for one in scores.values()]
        seeds = None
        if arm in compared:
            both = scores.keys() & reference.keys()
            seeds = paired_interval(
                [_mean([scores[seed]])["psnr"] - _mean([reference[seed]])["psnr"] for seed in sorted(both)]
            )
        gains = [
            statistics.fmean(one[name]["psnr"] for one in scores.values()) - figures["psnr"]
            for name, figures in baseline.items()
        ]
        found.append(
            Row(
                arm,
                _mean(list(scores.values())),
                statistics.stdev(means) if len(means) > 1 else math.nan,
                seeds,
                compared.get(arm),
                min(gains),
            )
        )
    return found


def costs(ablation: Ablation) -> dict[str, Cost]:
    """Return what the trainings of every arm cost."""
    finals = {
        one.seed: one.curve[-1][1]
        for one in ablation.outcomes
        if one.arm == ablation.config.compared_with and one.curve
    }
    found = {}
    for arm in ablation.config.arms:
        ours = [one for one in ablation.outcomes if one.arm == arm]
        if not ours:
            continue
        shares = [_share_to(one, finals[one.seed]) for one in ours if one.seed in finals]
        found[arm] = Cost(
            statistics.median(one.steps for one in ours),
            statistics.median((one.cpu_seconds or one.seconds) / max(1, one.steps) for one in ours),
            statistics.median(shares) if shares and all(map(math.isfinite, shares)) else math.nan,
        )
    return found


def _share_to(outcome: Outcome, psnr: float) -> float:
    """Return the share of a training after which it first reached a validation PSNR."""
    reached = [step for step, found in outcome.curve if found >= psnr]
    return reached[0] / outcome.steps if reached else math.nan


def _scores(ablation: Ablation, arm: str, images: str) -> dict[int, _OnImages]:
    return {one.seed: one.scores[images] for one in ablation.outcomes if one.arm == arm}


def _mean(scores: Sequence[_OnImages]) -> dict[str, float]:
    """Average over acquisitions, then trainings."""
    return {
        name: statistics.fmean(statistics.fmean(figures[name] for figures in one.values()) for one in scores)
        for name in FIGURES
    }


def _by_acquisition(scores: Mapping[int, _OnImages], reference: Mapping[int, _OnImages]) -> list[float]:
    """Return the PSNR's difference in every acquisition, averaged over the seeds that both have."""
    seeds = sorted(scores.keys() & reference.keys())
    names = next(iter(reference.values()))
    return [
        statistics.fmean(scores[seed][name]["psnr"] - reference[seed][name]["psnr"] for seed in seeds)
        for name in names
        if seeds
    ]
