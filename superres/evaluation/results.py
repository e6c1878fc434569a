"""What an evaluation found: figures per acquisition, their means, and gains with intervals; to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError, MissingFileError
from superres.evaluation.controls import Control
from superres.evaluation.metrics import Scores, mean_scores
from superres.evaluation.statistics import DRAWS, EXACT_UP_TO, Comparison, Interval, compare, too_few

SCHEMA = "superres-report-3"
MODEL = "superres"
"""The name of the model's row in every table."""

LARGER_IS_BETTER = {
    "psnr": True,
    "si_psnr": True,
    "ssim": True,
    "ms_ssim": True,
    "micro_ssim": True,
    "resolution": False,
    "nrmse": False,
    "error_below": False,
    "error_above": False,
}
"""The figures that are compared between methods."""

Metric = Literal[
    "psnr", "si_psnr", "ssim", "ms_ssim", "micro_ssim", "resolution", "nrmse", "error_below", "error_above"
]
Headline = Literal["psnr", "si_psnr", "ssim", "micro_ssim", "resolution"]

HEADLINES: tuple[Headline, ...] = get_args(Headline)
"""The figures in which the model is compared with the baselines."""

PRIMARY: Headline = "psnr"
"""The one of them that is tested; the others describe."""

UNGUARDED = f"{MODEL} without guard"
"""The name of the row that shows what the net makes by itself."""

NAMES: dict[Headline, str] = {
    "psnr": "PSNR",
    "si_psnr": "SI-PSNR",
    "ssim": "SSIM",
    "micro_ssim": "MicroSSIM",
    "resolution": "Resolution (FRC with truth)",
}
"""What the headline figures are called."""

FREQUENCIES: NDArray[np.float64] = np.arange(51) / 100
"""Cycles per voxel at which reports give the correlation with truth."""


@dataclass(frozen=True, slots=True)
class GuardEffect:
    """What the guard (`superres.inference.guard`) did on the scored planes of one acquisition.

    Parameters
    ----------
    kept : float
        Mean share of the net's residual over interpolation that is kept.
    damped : float
        Share of the low voxels at which less than half of it is kept.
    unguarded : Scores
        Of what the net makes by itself.
    """

    kept: float
    damped: float
    unguarded: Scores


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a prediction, recorded again, agrees with its recording on the shown plane; see `Consistency`."""

    chi2: float
    largest: float
    suspicious: float


@dataclass(frozen=True, slots=True)
class AcquisitionResult:
    """Scores of one acquisition: the mean over its scored planes and channels.

    Parameters
    ----------
    manifest, id : str
        Name of the manifest and id in it.
    source, licence, credit : str
        Origin of the images.
    planes : tuple of str
        The scored planes, e.g. ``"slice_07.tif, z 3"``.
    channels : int
        Channels scored on each plane.
    shape : tuple of int
        (y, x) of the first truth plane, in voxels, cut to a multiple of the factor.
    voxel_size : tuple of float or None
        ZYX of truth in micrometre.
    data_range : tuple of float
        R of PSNR and SSIM per channel, in grey levels.
    data_range_from : str
        How R was obtained.
    scores : mapping
        Method to scores.
    resolution_um : mapping
        Method to its resolution in micrometre; NaN where the voxel size is unknown.
    correlation : mapping
        Method to its Fourier ring correlation with truth at `FREQUENCIES`; empty for planes too small, NaN beyond the
        Nyquist frequency of the coarser axis.
    dtype : str
        Of the first truth plane in its file.
    psnr_ceiling : float
        About the PSNR that noise in truth alone allows, measured on one plane; NaN where it cannot be measured.
    warnings : tuple of str
        What was left out or looks wrong.
    guard : GuardEffect or None
        What the guard did to the model's output; None without a model.
    agreement : mapping
        Method, and ``"truth"``, to how it agrees with the recording; empty where it is not known how recordings come
        about.
    without_value : mapping
        Figures that no method has here, with the reason.
    """

    manifest: str
    id: str
    source: str
    licence: str
    credit: str
    planes: tuple[str, ...]
    channels: int
    shape: tuple[int, int]
    voxel_size: tuple[float | None, float | None, float | None]
    data_range: tuple[float, ...]
    data_range_from: str
    scores: Mapping[str, Scores]
    resolution_um: Mapping[str, float] = field(default_factory=dict)
    correlation: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dtype: str = ""
    psnr_ceiling: float = math.nan
    warnings: tuple[str, ...] = ()
    guard: GuardEffect | None = None
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    without_value: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the model is better than one baseline, in each of `HEADLINES`.

    Differences are signed so that positive ones favour the model: for the resolution, voxels by which it is finer.
    """

    psnr: Comparison
    si_psnr: Comparison
    ssim: Comparison
    micro_ssim: Comparison
    resolution: Comparison

    def of(self, metric: Headline) -> Comparison:
        """Return the comparison in one figure."""
        found: Comparison = getattr(self, metric)
        return found


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation and where its report lies.

    Parameters
    ----------
    report, data : Path
        ``report.html`` and ``report.json``.
    methods : tuple of str
        Baselines, weakest first, then ``"superres"`` when a model was scored.
    reference : str
        The baseline that `gains` are usually quoted against: ``"bicubic"``, or ``"input"`` without upscaling.
    acquisitions : tuple of AcquisitionResult
        Those that could be scored.
    skipped : mapping
        Acquisitions that could not, with the reason.
    mean : mapping
        Method to the mean of its scores over acquisitions.
    gains : mapping
        Baseline to the model's gain over it; empty without a model.
    conventions : mapping
        Everything that a figure depends on, JSON-able.
    controls : tuple of Control
        What the model makes of recordings without structure; empty without a model or without noise in its
        degradation.
    """

    report: Path
    data: Path
    methods: tuple[str, ...]
    reference: str
    acquisitions: tuple[AcquisitionResult, ...]
    skipped: Mapping[str, str]
    mean: Mapping[str, Scores]
    gains: Mapping[str, Gain]
    conventions: Mapping[str, Any]
    controls: tuple[Control, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader of the figures should know, each line naming its acquisition."""
        lines = list(self.conventions.get("warnings", ()))
        lines += [f"{name} left out: {reason}" for name, reason in self.skipped.items()]
        lines += [f"{a.id}: {warning}" for a in self.acquisitions for warning in a.warnings]
        return tuple(lines)


def mean_over_acquisitions(acquisitions: Sequence[AcquisitionResult], methods: Sequence[str]) -> dict[str, Scores]:
    """Average each method over acquisitions, every acquisition counting once."""
    if not acquisitions:
        return {}
    return {method: mean_scores([a.scores[method] for a in acquisitions]) for method in methods}


def gains_over(acquisitions: Sequence[AcquisitionResult], baselines: Sequence[str]) -> dict[str, Gain]:
    """Compare the model with every baseline, pairing by acquisition; Holm's correction is over the baselines."""
    found = {
        metric: compare(
            [[_advantage(a, name, metric) for a in acquisitions] for name in baselines], is_tested=metric == PRIMARY
        )
        for metric in HEADLINES
    }
    return {
        name: Gain(**{metric: comparisons[place] for metric, comparisons in found.items()})
        for place, name in enumerate(baselines)
    }


def verdict(evaluation: Evaluation) -> tuple[str, ...]:
    """Say in plain words what the comparison with the baselines shows: what is tested, then what is described."""
    if not evaluation.acquisitions:
        return ("No acquisition could be scored; the warnings say why.",)
    if not evaluation.gains:
        return ("Baselines only: no model was scored, so there is nothing to compare.",)
    few = too_few(len(evaluation.acquisitions), len(evaluation.gains))
    if few:
        return (few,)
    drawn = f" p values are from {DRAWS} drawn patterns of signs." if len(evaluation.acquisitions) > EXACT_UP_TO else ""
    return _tested(evaluation.gains) + drawn, _described(evaluation.gains)


def _described(gains: Mapping[str, Gain]) -> str:
    """Say which baselines are ahead on average in the figures that are not tested."""
    parts = []
    for metric in HEADLINES:
        if metric == PRIMARY:
            continue
        means = {name: gain.of(metric).interval.mean for name, gain in gains.items()}
        ahead = [name for name, mean in means.items() if mean < 0]
        if all(math.isnan(mean) for mean in means.values()):
            parts.append(f"{NAMES[metric]} has no value")
        else:
            parts.append(f"in {NAMES[metric]} {', '.join(ahead) or 'no baseline'}")
    return f"Ahead of {MODEL} on average, described and not tested: {'; '.join(parts)}."


def _tested(gains: Mapping[str, Gain]) -> str:
    metric = PRIMARY
    groups: dict[str, list[str]] = {"better than": [], "worse than": [], "not shown to differ from": []}
    for name, gain in gains.items():
        found = gain.of(metric)
        better = "better than" if found.interval.mean > 0 else "worse than"
        group = better if found.is_significant else "not shown to differ from"
        groups[group].append(f"{name} (p {found.p_holm:.2g})")
    parts = [f"{words} {', '.join(names)}" for words, names in groups.items() if names]
    counts = {gain.of(metric).interval.n for gain in gains.values()}
    n = str(counts.pop()) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"{NAMES[metric]}, {n} acquisitions: {MODEL} is {'; '.join(parts)}."


def best_methods(scores: Mapping[str, Scores], metric: Metric) -> set[str]:
    """Return the method with the best figure; several when they tie, none when all are NaN."""
    values = {name: getattr(s, metric) for name, s in scores.items() if not math.isnan(getattr(s, metric))}
    if not values:
        return set()
    best = max(values.values()) if LARGER_IS_BETTER[metric] else min(values.values())
    return {name for name, value in values.items() if value == best}


def evaluation_to_json(evaluation: Evaluation) -> str:
    """Write every figure and convention; NaN and infinity become the strings "nan", "inf" and "-inf"."""
    content = dataclasses.asdict(evaluation)
    content |= {"warnings": evaluation.warnings, "verdict": verdict(evaluation), "frequencies": FREQUENCIES.tolist()}
    del content["report"], content["data"]
    return json.dumps({"schema": SCHEMA} | _plain(content), indent=1, allow_nan=False) + "\n"


def load_evaluation(path: Path) -> Evaluation:
    """Read a ``report.json`` back.

    Raises
    ------
    MissingFileError, InputError
        When there is no file, or it is no report of this version.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such report; give the path of a report.json written by 'superres evaluate'")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error}); run 'superres evaluate' again") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: schema {found!r}, expected {SCHEMA!r}; run 'superres evaluate' again")
    return Evaluation(
        report=path.with_name("report.html"),
        data=path,
        methods=tuple(content["methods"]),
        reference=content["reference"],
        acquisitions=tuple(_acquisition(entry) for entry in content["acquisitions"]),
        skipped=content["skipped"],
        mean={name: _scores(entry) for name, entry in content["mean"].items()},
        gains={name: _gain(entry) for name, entry in content["gains"].items()},
        conventions=content["conventions"],
        controls=tuple(Control(**entry) for entry in content["controls"]),
    )


def _advantage(acquisition: AcquisitionResult, baseline: str, metric: Headline) -> float:
    """Return by how much the model is better; two perfect images differ by nothing."""
    a, b = (getattr(acquisition.scores[name], metric) for name in (MODEL, baseline))
    if a == b:
        return 0.0
    return float(a - b if LARGER_IS_BETTER[metric] else b - a)


def _plain(value: Any) -> Any:
    """Replace what strict JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _scores(entry: Mapping[str, Any]) -> Scores:
    return Scores(**{name: float(value) for name, value in entry.items()})


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    bounds = {name: float(entry["interval"][name]) for name in ("mean", "low", "high")}
    interval = Interval(**bounds, n=entry["interval"]["n"])
    return Comparison(interval, entry["wins"], float(entry["p"]), float(entry["p_holm"]))


def _gain(entry: Mapping[str, Any]) -> Gain:
    return Gain(**{metric: _comparison(entry[metric]) for metric in HEADLINES})


def _acquisition(entry: Mapping[str, Any]) -> AcquisitionResult:
    tuples = {name: tuple(entry[name]) for name in ("planes", "shape", "voxel_size", "warnings")}
    ranges = tuple(float(value) for value in entry["data_range"])
    scores = {name: _scores(value) for name, value in entry["scores"].items()}
    um = {name: float(value) for name, value in entry["resolution_um"].items()}
    curves = {name: tuple(float(value) for value in curve) for name, curve in entry["correlation"].items()}
    found: dict[str, Any] = {"data_range": ranges, "scores": scores, "resolution_um": um, "correlation": curves}
    found["agreement"] = {
        name: Agreement(**{key: float(value) for key, value in one.items()}) for name, one in entry["agreement"].items()
    }
    guard = entry["guard"]
    found["guard"] = guard and GuardEffect(float(guard["kept"]), float(guard["damped"]), _scores(guard["unguarded"]))
    return AcquisitionResult(**{**entry, **tuples, **found, "psnr_ceiling": float(entry["psnr_ceiling"])})
