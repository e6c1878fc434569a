"""Run every method on the samples of one acquisition and score it; keep the views that the report shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition
from superres.evaluation.exhibits import Exhibit, make_exhibit
from superres.evaluation.metrics import Scores, inner, mean_scores, score
from superres.evaluation.results import MODEL, AcquisitionResult
from superres.evaluation.sampling import Sample, Setup

Run = Callable[[Sample], NDArray[Any]]
"""A method: a sample's low image to (c, z * fz, y * fy, x * fx) on the same grey scale."""

_SHOWN = ("input", "bicubic", "gaussian", "richardson-lucy", MODEL)
_SCORES_OF_NOTHING = Scores(**dict.fromkeys((item.name for item in fields(Scores)), math.nan))


@dataclass(frozen=True, slots=True)
class Scored:
    """Figures of one acquisition and what the report shows of it."""

    result: AcquisitionResult
    exhibit: Exhibit


def score_acquisition(
    acquisition: Acquisition,
    samples: Sequence[Sample],
    *,
    manifest: str,
    setup: Setup,
    runs: Mapping[str, Run],
    warnings: Sequence[str],
    finished: Callable[[str], None],
) -> Scored:
    """Score every method on every sample; `finished` hears the name of each method that is done.

    At least one sample is needed. `warnings` are handed on to the result, with those that arise here.
    """
    ranges, ranges_from = data_ranges(acquisition, samples, setup=setup)
    shown = len(samples) // 2
    views: dict[str, NDArray[Any]] = {}
    scores: dict[str, Scores] = {}
    notes = list(warnings)
    for name, run in runs.items():
        found: list[Scores] = []
        for index, sample in enumerate(samples):
            prediction = run(sample)
            found += _score_sample(sample, prediction, ranges, setup)
            if index == shown and name in _SHOWN:
                views[name] = prediction[0, _shown_plane(sample)].copy()
        bad = sum(math.isnan(s.psnr) for s in found)
        if bad:
            notes.append(f"{name} gave NaN or infinite values on {bad} of {len(found)} planes")
        scores[name] = mean_scores(found)
        finished(name)
    result = _result(
        acquisition, samples, manifest=manifest, ranges=(ranges, ranges_from), scores=scores, warnings=notes
    )
    return Scored(result, _exhibit(samples[shown], views, setup))


def _result(
    acquisition: Acquisition,
    samples: Sequence[Sample],
    *,
    manifest: str,
    ranges: tuple[tuple[float, ...], str],
    scores: Mapping[str, Scores],
    warnings: Sequence[str],
) -> AcquisitionResult:
    return AcquisitionResult(
        manifest=manifest,
        id=acquisition.id,
        source=acquisition.source,
        licence=acquisition.licence,
        credit=acquisition.credit,
        planes=tuple(label for sample in samples for label in sample.labels),
        channels=len(ranges[0]),
        shape=(samples[0].truth.shape[-2], samples[0].truth.shape[-1]),
        voxel_size=samples[0].voxel_size,
        data_range=ranges[0],
        data_range_from=ranges[1],
        scores=scores,
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


def _score_sample(sample: Sample, prediction: NDArray[Any], ranges: Sequence[float], setup: Setup) -> list[Scores]:
    if prediction.shape != sample.truth.shape:
        raise ValueError(f"prediction of shape {prediction.shape} for truth of shape {sample.truth.shape} (CZYX)")
    found = []
    for channel, data_range in enumerate(ranges):
        for z in sample.scored:
            plane = prediction[channel, z]
            if np.isfinite(plane).all():
                found.append(score(sample.truth[channel, z], plane, data_range=data_range, crop=setup.high_crop))
            else:
                found.append(_SCORES_OF_NOTHING)
    return found


def _shown_plane(sample: Sample) -> int:
    return sample.scored[len(sample.scored) // 2]


def _exhibit(sample: Sample, views: Mapping[str, NDArray[Any]], setup: Setup) -> Exhibit:
    z = _shown_plane(sample)
    channels = sample.truth.shape[0]
    return make_exhibit(
        sample.low[0, z // setup.factor[0]],
        {**views, "truth": sample.truth[0, z]},
        label=sample.labels[len(sample.scored) // 2] + (f", channel 0 of {channels}" if channels > 1 else ""),
        factor=setup.factor,
        crop=setup.high_crop,
        pixel_size=sample.voxel_size[2],
    )
