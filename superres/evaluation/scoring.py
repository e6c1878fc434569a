"""Run every method on the samples of one acquisition and score it; keep the views that the report shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition
from superres.evaluation.ceiling import psnr_ceiling
from superres.evaluation.exhibits import Exhibit, make_exhibit
from superres.evaluation.metrics import Scores, inner, mean_scores
from superres.evaluation.plane_scores import Frame, PlaneScore, score_plane
from superres.evaluation.remarks import ceiling_remarks, method_remarks
from superres.evaluation.resolution import SMALLEST_SIDE, Correlation, mean_correlation
from superres.evaluation.results import (
    FREQUENCIES,
    MODEL,
    UNGUARDED,
    AcquisitionResult,
    Agreement,
    GuardEffect,
)
from superres.evaluation.sampling import Sample, Setup
from superres.evaluation.similarity import MS_SSIM_SIDE, MicroCurve, at_factor, best_factor, black_level, mean_curve
from superres.evaluation.spectral import truth_resolution
from superres.inference.consistency import Consistency, consistency

Examine = Callable[[Sample], tuple[NDArray[Any], NDArray[np.float32]]]
"""The model without its guard: a sample's low image to its prediction, and the share of it that the guard keeps."""

Run = Callable[[Sample], NDArray[Any]]
"""A method: a sample's low image to (c, z * fz, y * fy, x * fx) on the same grey scale."""

# Too many pictures are too small to be looked at.
_NOT_SHOWN = ("nearest", "bilinear", "lanczos", "nlm", "wiener")
_SCORES_OF_NOTHING = Scores(**dict.fromkeys((item.name for item in fields(Scores)), math.nan))
_NOTHING = PlaneScore(_SCORES_OF_NOTHING, None, None)
# Share of the residual below which the guard is said to have damped it.
_DAMPED = 0.5


@dataclass(frozen=True, slots=True)
class Scored:
    """Figures of one acquisition, without MicroSSIM, what the report shows of it, and its MicroSSIM curves."""

    result: AcquisitionResult
    exhibit: Exhibit
    micro: Mapping[str, MicroCurve | None]


@dataclass(frozen=True, slots=True)
class _Summary:
    """One method on one acquisition."""

    scores: Scores
    correlation: Correlation | None
    micro: MicroCurve | None


@dataclass(frozen=True, slots=True)
class _Guarded:
    """The model without its guard on one acquisition, and what the guard keeps of the shown plane, (y, x)."""

    summary: _Summary
    effect: GuardEffect
    weight: NDArray[np.float32]


def score_acquisition(
    acquisition: Acquisition,
    samples: Sequence[Sample],
    *,
    manifest: str,
    setup: Setup,
    runs: Mapping[str, Run],
    examine: Examine | None,
    warnings: Sequence[str],
    finished: Callable[[str], None],
) -> Scored:
    """Score every method on every sample; `finished` hears the name of each method that is done.

    At least one sample is needed. `warnings` are handed on to the result, with those that arise here. `examine` is the
    model without its guard, where there is a model.
    """
    ranges, ranges_from = data_ranges(acquisition, samples, setup=setup)
    black = [_black([s.truth[c, z] for s in samples for z in s.scored], setup) for c in range(len(ranges))]
    channels = list(zip(ranges, black, strict=True))
    views: dict[str, NDArray[Any]] = {}
    found: dict[str, _Summary] = {}
    notes = list(warnings)
    for name, run in runs.items():
        predictions, view = _predictions(run, samples)
        if name not in _NOT_SHOWN:
            views[name] = view
        planes = _score_planes(samples, predictions, channels, setup)
        notes += method_remarks(name, [plane.scores for plane in planes])
        found[name] = _summary(planes)
        finished(name)
    shown = _shown_sample(samples)
    ceiling = _ceiling(shown, ranges, setup)
    notes += ceiling_remarks(ceiling, [summary.scores for summary in found.values()])
    limits = (ranges, ranges_from, ceiling)
    result = _result(acquisition, samples, manifest=manifest, limits=limits, found=found, warnings=notes)
    guarded = None if examine is None else _guarded(examine, samples, channels, setup)
    micro = {name: summary.micro for name, summary in found.items()}
    if guarded is not None:
        micro[UNGUARDED] = guarded.summary.micro
    compared = {name: _compared(plane, shown, setup) for name, plane in _shown_planes(shown, views).items()}
    result = replace(
        result,
        guard=None if guarded is None else guarded.effect,
        agreement={
            name: Agreement(one.chi2, one.largest, one.suspicious) for name, one in compared.items() if one is not None
        },
        without_value=_without_value(samples, setup),
    )
    weight = None if guarded is None else guarded.weight
    return Scored(result, _exhibit(shown, views, compared, weight, setup), micro)


def with_micro_ssim(scored: Sequence[Scored]) -> tuple[list[AcquisitionResult], dict[str, float]]:
    """Fit one MicroSSIM factor per method on all acquisitions, and add the figure to every result.

    Returns
    -------
    tuple
        The results, in the same order; method to its factor.
    """
    methods = scored[0].micro if scored else ()
    factors = {
        name: best_factor([curve for one in scored if (curve := one.micro[name]) is not None])
        for name in methods
        if name != UNGUARDED
    }
    if UNGUARDED in methods:  # one model has one factor, guarded or not
        factors[UNGUARDED] = factors[MODEL]
    results = []
    for one in scored:
        scores = {
            name: replace(s, micro_ssim=_micro_ssim(one.micro[name], factors[name]))
            for name, s in one.result.scores.items()
        }
        results.append(replace(one.result, scores=scores, guard=_guard_with_micro_ssim(one, factors)))
    factors.pop(UNGUARDED, None)
    return results, factors


def _guard_with_micro_ssim(one: Scored, factors: Mapping[str, float]) -> GuardEffect | None:
    effect = one.result.guard
    if effect is None:
        return None
    figure = _micro_ssim(one.micro[UNGUARDED], factors[UNGUARDED])
    return replace(effect, unguarded=replace(effect.unguarded, micro_ssim=figure))


def _micro_ssim(curve: MicroCurve | None, factor: float) -> float:
    return math.nan if curve is None else at_factor(curve, factor)


def _result(
    acquisition: Acquisition,
    samples: Sequence[Sample],
    *,
    manifest: str,
    limits: tuple[tuple[float, ...], str, float],
    found: Mapping[str, _Summary],
    warnings: Sequence[str],
) -> AcquisitionResult:
    ranges, ranges_from, ceiling = limits
    step = samples[0].voxel_size[2]
    return AcquisitionResult(
        manifest=manifest,
        id=acquisition.id,
        source=acquisition.source,
        licence=acquisition.licence,
        credit=acquisition.credit,
        planes=tuple(label for sample in samples for label in sample.labels),
        channels=len(ranges),
        shape=(samples[0].truth.shape[-2], samples[0].truth.shape[-1]),
        voxel_size=samples[0].voxel_size,
        dtype=samples[0].dtype,
        data_range=ranges,
        data_range_from=ranges_from,
        scores={name: summary.scores for name, summary in found.items()},
        resolution_um={
            name: math.nan if step is None else summary.scores.resolution * step for name, summary in found.items()
        },
        correlation={name: _curve(summary.correlation) for name, summary in found.items()},
        psnr_ceiling=ceiling,
        warnings=tuple(warnings),
    )


def data_ranges(acquisition: Acquisition, samples: Sequence[Sample], *, setup: Setup) -> tuple[tuple[float, ...], str]:
    """Return R of PSNR and SSIM per channel, one for all methods and planes, and how it was obtained."""
    channels = samples[0].truth.shape[0]
    if acquisition.grey_range is not None and not acquisition.low:
        black, white = acquisition.grey_range
        return (white - black,) * channels, f"width of the grey range in the manifest, {black:g} to {white:g}"
    values = []
    for channel in range(channels):
        parts = [inner(sample.truth[channel, list(sample.scored)], setup.high_crop) for sample in samples]
        values.append(max(float(part.max()) for part in parts) - min(float(part.min()) for part in parts))
    scale = ", brought to the grey scale of the low images" if acquisition.low else ""
    return tuple(values), f"max - min of truth over the scored planes{scale}"


def _predictions(run: Run, samples: Sequence[Sample]) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Return the scored planes that a method gives for each sample, (c, z, y, x), and the one that is shown, (y, x)."""
    kept = []
    for sample in samples:
        prediction = run(sample)
        if prediction.shape != sample.truth.shape:
            raise ValueError(f"prediction {prediction.shape} for truth {sample.truth.shape} (CZYX)")
        kept.append(prediction[:, list(sample.scored)])
    middle = len(samples) // 2
    return kept, kept[middle][0, len(samples[middle].scored) // 2].copy()  # a view would keep all the others


def _guarded(
    examine: Examine, samples: Sequence[Sample], channels: Sequence[tuple[float, float]], setup: Setup
) -> _Guarded:
    """Score the model without its guard, and sum up what the guard keeps in the scored part of the scored planes."""
    shown, fz, crop = _shown_sample(samples), setup.factor[0], (setup.crop, setup.crop)
    predictions, kept = [], []
    view = np.zeros(0, np.float32)
    for sample in samples:
        prediction, weight = examine(sample)
        predictions.append(prediction[:, list(sample.scored)])
        kept.append(inner(weight[:, sorted({z // fz for z in sample.scored})], crop).ravel())
        if sample is shown:
            view = weight[0, _shown_plane(sample) // fz].copy()
    shares = np.concatenate(kept)
    summary = _summary(_score_planes(samples, predictions, channels, setup))
    effect = GuardEffect(float(shares.mean()), float(np.mean(shares < _DAMPED)), summary.scores)
    return _Guarded(summary, effect, view)


def _without_value(samples: Sequence[Sample], setup: Setup) -> dict[str, str]:
    """Say which figures no method can have on planes of this size."""
    side = min(min(inner(sample.truth, setup.high_crop).shape[-2:]) for sample in samples)
    needed = {"ms_ssim": MS_SSIM_SIDE, "resolution": SMALLEST_SIDE}
    return {name: f"below {least} voxels" for name, least in needed.items() if side < least}


def _score_planes(
    samples: Sequence[Sample],
    predictions: Sequence[NDArray[Any]],
    channels: Iterable[tuple[float, float]],
    setup: Setup,
) -> list[PlaneScore]:
    """Score the planes of every channel.

    Parameters
    ----------
    predictions : sequence of ndarray
        The scored planes of each sample, (c, z, y, x).
    channels : iterable of tuple
        R and the black level of truth, per channel.
    """
    found = []
    for channel, (data_range, black) in enumerate(channels):
        pairs = [
            (sample.truth[channel, z], predicted[channel, i], sample.voxel_size)
            for sample, predicted in zip(samples, predictions, strict=True)
            for i, z in enumerate(sample.scored)
        ]
        usable = [(g, x, voxel_size) for g, x, voxel_size in pairs if np.isfinite(x).all()]
        found += [_NOTHING] * (len(pairs) - len(usable))
        levels = black, _black([x for _, x, _ in usable], setup)
        for g, x, voxel_size in usable:
            frame = Frame(data_range, setup.high_crop, setup.factor[1:], voxel_size[1:])
            found.append(score_plane(g, x, frame, black=levels))
    return found


def _black(planes: Sequence[NDArray[Any]], setup: Setup) -> float:
    return black_level([inner(plane, setup.high_crop) for plane in planes]) if planes else math.nan


def _summary(planes: Sequence[PlaneScore]) -> _Summary:
    """Average planes; the resolution is that of the mean correlation, not the mean of single crossings."""
    scores = mean_scores([plane.scores for plane in planes])
    curves = [plane.correlation for plane in planes if plane.correlation is not None]
    measured = [plane.micro for plane in planes if plane.micro is not None]
    micro = mean_curve(measured) if len(measured) == len(planes) else None
    if len(curves) < len(planes):
        return _Summary(replace(scores, resolution=math.nan), None, micro)
    correlation = mean_correlation(curves)
    return _Summary(replace(scores, resolution=truth_resolution(correlation)), correlation, micro)


def _curve(correlation: Correlation | None) -> tuple[float, ...]:
    if correlation is None:
        return ()
    curve = np.interp(FREQUENCIES, correlation.frequency, correlation.correlation, right=math.nan)
    return tuple(round(float(value), 4) for value in curve)


def _ceiling(sample: Sample, ranges: Sequence[float], setup: Setup) -> float:
    """Return the mean over channels, as for the scores, on the plane that the report shows."""
    planes = [inner(sample.truth[channel, _shown_plane(sample)], setup.high_crop) for channel in range(len(ranges))]
    found = [psnr_ceiling(plane, data_range=width) for plane, width in zip(planes, ranges, strict=True)]
    return math.fsum(found) / len(found)


def _shown_sample(samples: Sequence[Sample]) -> Sample:
    return samples[len(samples) // 2]


def _shown_plane(sample: Sample) -> int:
    return sample.scored[len(sample.scored) // 2]


def _shown_planes(sample: Sample, views: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the shown plane of every shown method, and of truth."""
    return {**views, "truth": sample.truth[0, _shown_plane(sample)]}


def _exhibit(
    sample: Sample,
    views: Mapping[str, NDArray[Any]],
    compared: Mapping[str, Consistency | None],
    weight: NDArray[np.float32] | None,
    setup: Setup,
) -> Exhibit:
    channels = sample.truth.shape[0]
    return make_exhibit(
        sample.low[0, _shown_plane(sample) // setup.factor[0]],
        _shown_planes(sample, views),
        label=sample.labels[len(sample.scored) // 2] + (f", channel 0 of {channels}" if channels > 1 else ""),
        factor=setup.factor,
        crop=setup.high_crop,
        pixel_size=sample.voxel_size[2],
        deviations={name: one.z[0] for name, one in compared.items() if one is not None},
        not_compared=_why_not_compared(sample, setup),
        weight=weight,
    )


def _why_not_compared(sample: Sample, setup: Setup) -> str:
    """Say why predictions are not recorded again and compared; empty where they are."""
    if not sample.grey_ranges:
        return "of recorded pairs it is not known how a recording and its noise come about"
    return "recordings are compared plane by plane, and Z is upscaled" if setup.factor[0] > 1 else ""


def _compared(plane: NDArray[Any], sample: Sample, setup: Setup) -> Consistency | None:
    """Compare the shown plane, recorded again, with its recording, where it is known how this came about."""
    if _why_not_compared(sample, setup) or not np.isfinite(plane).all():
        return None
    return consistency(
        sample.low[0, _shown_plane(sample) // setup.factor[0]][None],
        plane[None],
        setup.degrade,
        factor=setup.factor,
        grey_range=sample.grey_ranges[0],
        voxel_size=sample.voxel_size,
    )
