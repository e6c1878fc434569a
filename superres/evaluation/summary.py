"""What an evaluation shows, in sentences: the first screen of a report, for readers who do not think in decibels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from superres.evaluation.metrics import Scores
from superres.evaluation.results import (
    LARGER_IS_BETTER,
    MODEL,
    AcquisitionResult,
    Evaluation,
    GuardEffect,
    Headline,
    verdict,
)

_JUDGED: tuple[Headline, ...] = ("psnr", "ssim", "resolution")
_DIGITS: dict[Headline, int] = {"psnr": 2, "ssim": 3, "resolution": 2}
_WORDS: dict[Headline, str] = {"psnr": "PSNR", "ssim": "SSIM", "resolution": "resolution"}
_LISTED = 2
# Total intensity is called kept up to this share.
_KEPT = 0.02
# Decibel that nobody sees.
_UNSEEN = 0.01


@dataclass(frozen=True, slots=True)
class Ahead:
    """A baseline that is better than the model on one acquisition, in one figure."""

    acquisition: str
    baseline: str
    metric: Headline
    baseline_value: float
    model_value: float

    def __str__(self) -> str:
        digits = _DIGITS[self.metric]
        return (
            f"{self.acquisition}: {self.baseline} {self.baseline_value:.{digits}f}, {MODEL} "
            f"{self.model_value:.{digits}f}"
        )


def in_words(evaluation: Evaluation) -> tuple[str, ...]:
    """Return what the figures say, most important first; the statistical verdict is the last."""
    if not evaluation.gains or not evaluation.acquisitions:
        return verdict(evaluation)
    said = (
        _gain(evaluation),
        _behind(evaluation),
        _no_rival(evaluation),
        _detail(evaluation),
        _intensity(evaluation),
        _empty(evaluation),
        _guard(evaluation),
    )
    return (*filter(None, said), *verdict(evaluation))


def ahead(evaluation: Evaluation) -> tuple[Ahead, ...]:
    """List where a baseline beats the model: per acquisition and figure the best of the baselines, if it is better."""
    found = []
    for result in evaluation.acquisitions if evaluation.gains else ():
        for metric in _JUDGED:
            sign = 1 if LARGER_IS_BETTER[metric] else -1
            values = {name: getattr(result.scores[name], metric) for name in evaluation.gains}
            known = {name: value for name, value in values.items() if not math.isnan(value)}
            own = getattr(result.scores[MODEL], metric)
            if not known:
                continue
            best = max(known, key=lambda name: sign * known[name])
            if math.isnan(own) or sign * known[best] > sign * own:
                found.append(Ahead(result.id, best, metric, known[best], own))
    return tuple(found)


def strongest(evaluation: Evaluation) -> str:
    """Name the baseline with the highest mean PSNR."""
    return max(evaluation.gains, key=lambda name: _number(evaluation.mean[name].psnr))


def ranked(evaluation: Evaluation) -> list[int]:
    """Return the acquisitions' numbers, the one with the largest PSNR gain over the reference first.

    Without a model, or where a figure is missing, in the order of the evaluation.
    """
    reference = evaluation.reference

    def gain(number: int) -> float:
        scores = evaluation.acquisitions[number].scores
        if MODEL not in scores or reference not in scores:
            return 0.0
        a, b = scores[MODEL].psnr, scores[reference].psnr
        return 0.0 if a == b else _number(a - b)

    return sorted(range(len(evaluation.acquisitions)), key=gain, reverse=True)


def _number(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _gain(evaluation: Evaluation) -> str:
    n = len(evaluation.acquisitions)
    seen = sum(was_trained_on(result) for result in evaluation.acquisitions)
    known = f", {seen} of which the model was trained on," if seen else " that the model was not trained on,"
    if evaluation.conventions.get("is_result"):
        known = ", of which the result does not tell whether its model was trained on it,"
    which = f"{n} acquisition{'s' if n > 1 else ''}{known}"
    first = strongest(evaluation)
    names = dict.fromkeys((evaluation.reference, first))
    parts = [_over(evaluation, name, is_strongest=name == first) for name in names if name in evaluation.gains]
    return f"On {which} {MODEL} is {'; '.join(parts)}."


def _over(evaluation: Evaluation, name: str, *, is_strongest: bool) -> str:
    found = evaluation.gains[name].psnr
    mean, n = found.interval.mean, found.interval.n
    called = f"{name} (the strongest baseline)" if is_strongest else name
    if math.isnan(mean):
        return f"not comparable with {called}"
    if mean == 0:
        return f"as close to truth as {called}"
    side = "closer to truth than" if mean > 0 else "further from truth than"
    return f"{side} {called} by {abs(mean):.2f} dB PSNR on average, and better in {found.wins} of {n}"


def was_trained_on(result: AcquisitionResult) -> bool:
    """Say whether the model had seen an acquisition before it was scored on it."""
    return any("the model was trained on this acquisition" in warning for warning in result.warnings)


def _behind(evaluation: Evaluation) -> str:
    found = ahead(evaluation)
    if not found:
        return f"No baseline ({', '.join(evaluation.gains)}) is ahead on any acquisition in PSNR, SSIM or resolution."
    parts = []
    for metric in _JUDGED:
        places = [one for one in found if one.metric == metric]
        if places:
            more = f"; and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
            listed = "; ".join(map(str, places[:_LISTED]))
            parts.append(f"in {_WORDS[metric]} on {len(places)} ({listed}{more})")
    n = len(evaluation.acquisitions)
    return f"Of {n} acquisition{'s' if n > 1 else ''} a baseline is ahead {'; '.join(parts)}."


def _no_rival(evaluation: Evaluation) -> str:
    if evaluation.conventions.get("rivals"):
        return ""
    return "No other trained net stands beside it: whether a plain U-Net of the same budget does as well is not shown."


def _detail(evaluation: Evaluation) -> str:
    model, plain = (evaluation.mean[name].resolution for name in (MODEL, evaluation.reference))
    if math.isnan(model):
        return "The images are too small to tell which detail is right; none should be measured."
    compared = "" if math.isnan(plain) else f", with {evaluation.reference} to {plain:.1f}"
    steps = {result.voxel_size[2] for result in evaluation.acquisitions}
    step = steps.pop() if len(steps) == 1 else None
    length = "" if step is None else f" ({model * step:.3g} µm)"
    return (
        f"Detail is right down to a period of {model:.1f} voxels{length} of the result{compared} (correlation with "
        "truth 0.5, mean). What is finer looks plausible and is guessed: do not measure or count it."
    )


def guard_in_words(effect: GuardEffect, scores: Scores) -> str:
    """Say what the guard did on one acquisition, and what it cost or won; `scores` are those with it."""
    return (
        f"The guard {_kept(effect.kept, effect.damped)} PSNR with it {scores.psnr:.2f} dB, without it "
        f"{effect.unguarded.psnr:.2f} dB."
    )


def _guard(evaluation: Evaluation) -> str:
    """Say how much the guard took back, and what the figures would be without it."""
    effects, costs = [], []
    for result in evaluation.acquisitions:
        if result.guard is not None:
            a, b = result.scores[MODEL].psnr, result.guard.unguarded.psnr
            effects.append(result.guard)
            costs.append(0.0 if a == b else a - b)  # two perfect images differ by nothing
    if not effects or not all(map(math.isfinite, costs)):
        return ""
    mean, kept, damped = (
        math.fsum(values) / len(effects)
        for values in (costs, [effect.kept for effect in effects], [effect.damped for effect in effects])
    )
    words = f"The guard {_kept(kept, damped)}"
    if max(map(abs, costs)) < _UNSEEN:
        return f"{words} It changes PSNR by less than {_UNSEEN:g} dB."
    spread = f" ({min(costs):+.2f} to {max(costs):+.2f})" if len(costs) > 1 else ""
    return f"{words} It changes PSNR by {mean:+.2f} dB on average{spread}."


def _kept(kept: float, damped: float) -> str:
    return (
        f"keeps {100 * kept:.0f} % of what the net adds to interpolation, and less than half of it in "
        f"{100 * damped:.1f} % of the area."
    )


def _empty(evaluation: Evaluation) -> str:
    """Say what the model makes of recordings in which there is nothing."""
    if evaluation.conventions.get("is_result"):
        return ""
    failed = [control for control in evaluation.controls if not control.is_passed]
    if not evaluation.controls:
        return (
            "What it makes of recordings without structure was not tested: the model file tells of no noise to make "
            "them with."
        )
    if not failed:
        return "It invents nothing in recordings without structure."
    listed = ", ".join(f"{c.name} (noise {c.noise:.2f}, structure {c.invention:.2f} of bicubic's)" for c in failed)
    return f"It shows more than was recorded where there is no structure: {listed}."


def _intensity(evaluation: Evaluation) -> str:
    ratios = [a.scores[MODEL].intensity_ratio for a in evaluation.acquisitions]
    slopes = [a.scores[MODEL].slope for a in evaluation.acquisitions]
    if any(math.isnan(value) for value in (*ratios, *slopes)):
        return "Grey levels could not be compared with truth everywhere."
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    kept = abs(worst - 1) <= _KEPT
    return (
        f"Total intensity is {'kept' if kept else 'not kept'}: {min(ratios):.3f} to {max(ratios):.3f} of truth; "
        f"contrast is {min(slopes):.2f} to {max(slopes):.2f} of truth."
    )
