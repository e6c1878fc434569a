"""What an evaluation found: figures per acquisition, their means, and gains with intervals; to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scipy.special import stdtrit

from superres.errors import InputError, MissingFileError
from superres.evaluation.metrics import Scores, mean_scores

SCHEMA = "superres-report-1"
MODEL = "superres"
"""The name of the model's row in every table."""

LARGER_IS_BETTER = {"psnr": True, "si_psnr": True, "ssim": True, "nrmse": False}
"""The figures that are compared between methods."""

Metric = Literal["psnr", "si_psnr", "ssim", "nrmse"]


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
    warnings : tuple of str
        What was left out or looks wrong.
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
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of paired differences over `n` acquisitions, and its 95 % interval; NaN bounds for fewer than two."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the model is better than one baseline; `wins` counts acquisitions with the higher PSNR."""

    psnr: Interval
    ssim: Interval
    wins: int


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

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader of the figures should know, each line naming its acquisition."""
        lines = [f"{name} left out: {reason}" for name, reason in self.skipped.items()]
        lines += [f"{a.id}: {warning}" for a in self.acquisitions for warning in a.warnings]
        return tuple(lines)


def mean_over_acquisitions(acquisitions: Sequence[AcquisitionResult], methods: Sequence[str]) -> dict[str, Scores]:
    """Average each method over acquisitions, every acquisition counting once."""
    if not acquisitions:
        return {}
    return {method: mean_scores([a.scores[method] for a in acquisitions]) for method in methods}


def gains_over(acquisitions: Sequence[AcquisitionResult], baselines: Sequence[str]) -> dict[str, Gain]:
    """Compare the model with every baseline, pairing by acquisition."""
    gains = {}
    for name in baselines:
        psnr = [_difference(a.scores[MODEL].psnr, a.scores[name].psnr) for a in acquisitions]
        ssim = [a.scores[MODEL].ssim - a.scores[name].ssim for a in acquisitions]
        gains[name] = Gain(paired_interval(psnr), paired_interval(ssim), sum(value > 0 for value in psnr))
    return gains


def paired_interval(differences: Sequence[float]) -> Interval:
    """Return the mean and its 95 % t interval; the unit is the acquisition, never the patch."""
    n = len(differences)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = math.fsum(differences) / n
    if n == 1 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, n)
    deviation = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def best_methods(scores: Mapping[str, Scores], metric: Metric) -> set[str]:
    """Return the method with the best figure; several when they tie, none when all are NaN."""
    values = {name: getattr(s, metric) for name, s in scores.items() if not math.isnan(getattr(s, metric))}
    if not values:
        return set()
    best = max(values.values()) if LARGER_IS_BETTER[metric] else min(values.values())
    return {name for name, value in values.items() if value == best}


def evaluation_to_json(evaluation: Evaluation) -> str:
    """Write every figure and convention; NaN and infinity become the strings "nan", "inf" and "-inf"."""
    content = dataclasses.asdict(evaluation) | {"warnings": list(evaluation.warnings)}
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
    )


def _difference(a: float, b: float) -> float:
    """Subtract decibels; two perfect images differ by nothing."""
    return 0.0 if a == b else a - b


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


def _interval(entry: Mapping[str, Any]) -> Interval:
    return Interval(float(entry["mean"]), float(entry["low"]), float(entry["high"]), entry["n"])


def _gain(entry: Mapping[str, Any]) -> Gain:
    return Gain(_interval(entry["psnr"]), _interval(entry["ssim"]), entry["wins"])


def _acquisition(entry: Mapping[str, Any]) -> AcquisitionResult:
    tuples = {name: tuple(entry[name]) for name in ("planes", "shape", "voxel_size", "warnings")}
    ranges = tuple(float(value) for value in entry["data_range"])
    scores = {name: _scores(value) for name, value in entry["scores"].items()}
    return AcquisitionResult(**{**entry, **tuples, "data_range": ranges, "scores": scores})
