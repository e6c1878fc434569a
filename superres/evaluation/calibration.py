"""Calibrate the intervals of a model on acquisitions that it was not trained on, and check them on others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition, load_manifest, refuse_duplicates
from superres.errors import InputError, ModelFileError
from superres.evaluation.coverage import (
    Coverage,
    Voxels,
    calibrate_factor,
    coverage_band,
    factor_of_acquisition,
    gradient_of,
    measure_coverage,
    ratios,
)
from superres.evaluation.metrics import inner
from superres.evaluation.protocol import plan
from superres.evaluation.sampling import Sample, Setup, draw_samples
from superres.evaluation.settings import EvaluateConfig
from superres.inference import Predictor, load_model
from superres.modelfile import load_model_file, save_model_file
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import measure_intensity_of

LEVEL = 0.9
"""Share of the voxels of an acquisition, and share of new acquisitions, that is to be covered."""

# Voxels of one plane and channel that are kept, at random where there are more; 2**22 in all at most for 8 planes.
_VOXELS_PER_PLANE = 2**19
_SAMPLING = f"all voxels of a plane, at random {_VOXELS_PER_PLANE} where there are more"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a calibration found.

    Parameters
    ----------
    model : Path
        The model file, whose header now holds `record`.
    sha256 : str
        Of the model file after it was written; the weights are as they were.
    record : mapping
        What stands in the header: ``factor``, ``calibrated``, ``level``, ``n``, ``acquisitions``, ``date``, ``claim``
        and more, all JSON.
    skipped : mapping
        Acquisitions that could not be used, and why.
    """

    model: Path
    sha256: str
    record: Mapping[str, Any]
    skipped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CoverageCheck:
    """Coverage on acquisitions that were used neither for training nor for calibration.

    Parameters
    ----------
    factor : float
        On the half-widths.
    calibrated : bool
        Whether anything is claimed.
    acquisitions : mapping
        Name to what was found.
    covered : int
        Acquisitions of which at least `level` of the voxels lie inside.
    band : tuple of int or None
        Fewest and most that are to be expected, 95 %; None where nothing is claimed.
    level : float
        See `LEVEL`.
    skipped : mapping
        Acquisitions that could not be used, and why.
    """

    factor: float
    calibrated: bool
    acquisitions: Mapping[str, Coverage]
    covered: int
    band: tuple[int, int] | None
    level: float
    skipped: Mapping[str, str]

    @property
    def holds(self) -> bool | None:
        """Whether `covered` lies in `band`; None where nothing is claimed."""
        return None if self.band is None else self.band[0] <= self.covered <= self.band[1]

    def to_json(self) -> dict[str, Any]:
        """Return all of it for JSON; what is not a number is null."""
        content = dataclasses.asdict(self) | {"holds": self.holds}
        for figures in content["acquisitions"].values():
            for name, value in figures.items():
                if isinstance(value, float) and math.isnan(value):
                    figures[name] = None
        return content


def calibrate(config: EvaluateConfig, *, progress: ProgressCallback = silent) -> Calibration:
    """Find the factor on the half-widths of a model and write it into the header of its file.

    For every acquisition the smallest factor is found that covers 90 % of its voxels; of n such factors the
    ``ceil((n + 1) * 0.9)``-th smallest is taken. Below 9 acquisitions the model stays uncalibrated and gets the factor
    of the median acquisition. A model that was calibrated before gets the new calibration in place of the old one.

    Parameters
    ----------
    config : EvaluateConfig
        Model, manifests and split; `baselines` are not used.

    Raises
    ------
    ConfigError, InputError, ModelFileError
        When an acquisition was trained on, nothing can be used, or the model predicts no intervals.
    """
    job = _Job(config, "calibration")
    factors: dict[str, float] = {}
    used: list[dict[str, str | float]] = []
    for acquisition, voxels in job.measured(progress):
        factor = factor_of_acquisition(voxels.ratio, LEVEL)
        if math.isinf(factor):
            raise ModelFileError(f"{acquisition.id}: half-widths of 0 cover too few voxels; train the model longer")
        factors[acquisition.id] = factor
        used.append({"id": acquisition.id, "sha256": acquisition.sha256, "factor": factor})
    job.require(used)
    factor, calibrated = calibrate_factor(list(factors.values()), LEVEL)
    record = {
        "factor": factor,
        "calibrated": calibrated,
        "level": LEVEL,
        "n": len(used),
        "acquisitions": used,
        "manifests": [{"name": manifest.name, "sha256": manifest.sha256} for manifest in job.manifests],
        "split": config.split,
        "degradation": [step.model_dump(mode="json", exclude_none=True) for step in job.setup.degrade],
        "voxels": _SAMPLING,
        "date": datetime.now(UTC).date().isoformat(),
        "claim": _claim(len(used), calibrated),
        "kind": sorted({acquisition.modality for acquisition in job.acquisitions if acquisition.modality}),
    }
    file = load_model_file(job.model)
    save_model_file(file.path, dataclasses.replace(file.header, calibration=record), file.weights)
    return Calibration(file.path, load_model_file(file.path).sha256, record, job.skipped)


def check_coverage(config: EvaluateConfig, *, progress: ProgressCallback = silent) -> CoverageCheck:
    """Measure coverage with the factor in the model file, on acquisitions that were not used to find it.

    Raises
    ------
    ConfigError, InputError, ModelFileError
        When an acquisition was trained on or calibrated with, nothing can be used, or the model has no factor.
    """
    job = _Job(config, "check")
    record = job.predictor.header.calibration
    if not record:
        raise ModelFileError(
            f"{job.model}: has no calibration to check; run 'superres calibrate {job.model} --manifest ...' first"
        )
    factor, level = float(record["factor"]), float(record["level"])
    found = {acquisition.id: measure_coverage(voxels, factor) for acquisition, voxels in job.measured(progress)}
    job.require(list(found))
    return CoverageCheck(
        factor=factor,
        calibrated=bool(record["calibrated"]),
        acquisitions=found,
        covered=sum(item.coverage >= level for item in found.values()),
        band=coverage_band(len(found), int(record["n"]), level) if record["calibrated"] else None,
        level=level,
        skipped=job.skipped,
    )


def _claim(n: int, calibrated: bool) -> str:
    if not calibrated:
        return (
            f"uncalibrated: {n} acquisitions, and 9 are needed; half-widths are a relative uncertainty, scaled by the "
            "median acquisition, and promise nothing"
        )
    return (
        f"{LEVEL:.0%} of new acquisitions of this kind have at least {LEVEL:.0%} of their voxels inside. Holds only "
        "for the microscope, sample and settings of the acquisitions it was calibrated with; calibrate again for others"
    )


class _Job:
    """What calibrating and checking share: the model, the acquisitions, and their voxels one after the other."""

    def __init__(self, config: EvaluateConfig, purpose: str) -> None:
        if config.model is None:
            raise InputError("no model was given; give a model file or a run folder")
        self.model, self.purpose = config.model, purpose
        self.predictor = load_model(config.model, config.device)
        if not self.predictor.has_interval:
            raise ModelFileError(f"{self.model}: predicts no intervals; train one with --set model.interval=true")
        self.manifests = [load_manifest(path, config.data_root) for path in config.manifests]
        refuse_duplicates(*self.manifests)
        self.acquisitions = [item for manifest in self.manifests for item in manifest.of_split(config.split)]
        if not self.acquisitions:
            places = ", ".join(str(path) for path in config.manifests)
            raise InputError(f"{places}: no acquisition in split {config.split!r}; give another, e.g. --split test")
        self._refuse_known()
        self.setup: Setup = plan(config, self.predictor.header, acquisitions=self.acquisitions)
        self.skipped: dict[str, str] = {}

    def measured(self, progress: ProgressCallback) -> Iterator[tuple[Acquisition, Voxels]]:
        """Predict one acquisition after the other; those that cannot be used are noted in `skipped`."""
        for index, acquisition in enumerate(self.acquisitions):
            progress(Progress(self.purpose, index, len(self.acquisitions), "acquisitions", acquisition.id))
            samples, left_out = draw_samples(acquisition, self.setup)
            if not samples:
                self.skipped[acquisition.id] = "; ".join(left_out) or "no planes"
                continue
            yield acquisition, _voxels(samples, self.predictor, self.setup)
        progress(Progress(self.purpose, len(self.acquisitions), len(self.acquisitions), "acquisitions"))

    def require(self, used: Sequence[object]) -> None:
        """Refuse a job that found nothing to measure."""
        if not used:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise InputError(f"no acquisition can be used for {self.purpose} ({reasons}); give others with truth")

    def _refuse_known(self) -> None:
        """Refuse acquisitions that the model has seen: by the hash of their files, or by manifest and name."""
        header = self.predictor.header
        for manifest in self.manifests:
            for acquisition in manifest.acquisitions:
                if acquisition not in self.acquisitions:
                    continue
                if _listed(acquisition, manifest.name, header.training):
                    self._refuse(acquisition, "the model was trained on it")
                if self.purpose == "check" and _listed(acquisition, manifest.name, header.calibration):
                    self._refuse(acquisition, "the model was calibrated with it")
        doubled = _doubled(self.acquisitions)
        if doubled:
            raise InputError(f"{doubled}: stands twice in the manifests; an acquisition counts once, remove one")

    def _refuse(self, acquisition: Acquisition, why: str) -> None:
        raise InputError(
            f"{acquisition.id}: {why}, so its coverage says nothing about new images; give acquisitions that the model "
            f"has not seen, in another manifest or --split"
        )


def _listed(acquisition: Acquisition, manifest: str, record: Mapping[str, Any]) -> bool:
    """Tell whether a header's record of training or calibration lists an acquisition."""
    entries = record.get("acquisitions", ())
    if acquisition.sha256 and acquisition.sha256 in {entry.get("sha256") for entry in entries}:
        return True
    same_set = manifest in {entry["name"] for entry in record.get("manifests", ())}
    return same_set and acquisition.id in {entry["id"] for entry in entries}


def _doubled(acquisitions: Sequence[Acquisition]) -> str:
    seen: set[str] = set()
    for acquisition in acquisitions:
        for key in {acquisition.id, acquisition.sha256} - {""}:
            if key in seen:
                return acquisition.id
        seen |= {acquisition.id, acquisition.sha256}
    return ""


def _voxels(samples: Sequence[Sample], predictor: Predictor, setup: Setup) -> Voxels:
    """Predict the samples of an acquisition and keep a bounded number of voxels of each plane."""
    kept: list[list[NDArray[Any]]] = []
    random = np.random.default_rng(setup.seed)
    for sample in samples:
        predicted = predictor.restore_interval(sample.low)
        if not all(np.isfinite(array).all() for array in predicted):
            raise ModelFileError(f"the model predicts NaN or infinite values on {sample.labels[0]}; train it anew")
        scales = measure_intensity_of(sample.low, predictor.rule)
        for channel, scale in enumerate(scales):
            span = np.float32(scale.white - scale.black)
            for z in sample.scored:
                planes = [array[channel, z] / span for array in (sample.truth, *predicted)]
                inside = [inner(plane, setup.high_crop) for plane in [*planes, gradient_of(planes[0])]]
                kept.append(_some([plane.ravel() for plane in inside], random))
    truth, pred, below, above, gradient = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return Voxels(pred, truth - pred, below, above, ratios(truth, pred, below, above), gradient)


def _some(arrays: list[NDArray[Any]], random: np.random.Generator) -> list[NDArray[Any]]:
    if arrays[0].size <= _VOXELS_PER_PLANE:
        return arrays
    # Sorted, so that memory is read in order; which voxels are drawn does not depend on it.
    chosen = np.sort(random.choice(arrays[0].size, _VOXELS_PER_PLANE, replace=False))
    return [array[chosen] for array in arrays]
