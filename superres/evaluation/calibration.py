"""Calibrate the intervals of a model on acquisitions that it was not trained on, and check them on others.

The unit of the promise is the acquisition, or, where a lab has too few of them, the image: then it is about further
images of the same acquisitions and about nothing else, and the model file says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from superres.errors import ModelFileError
from superres.evaluation.apart import ALIKE
from superres.evaluation.calibration_job import SAMPLING, CalibrationJob, Measured
from superres.evaluation.coverage import (
    Coverage,
    calibrate_factor,
    coverage_band,
    factor_of_acquisition,
    measure_coverage,
)
from superres.evaluation.settings import CalibrateConfig
from superres.modelfile import load_model_file, save_model_file
from superres.progress import ProgressCallback, silent

LEVEL = 0.9
"""Share of the voxels of a unit, and share of new units, that is to be covered."""


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
        What stands in the header: ``unit``, ``factor``, ``calibrated``, ``level``, ``n``, ``acquisitions``, ``date``,
        ``claim`` and more, all JSON; with unit image also ``images`` and ``apart``.
    skipped : mapping
        What could not be used, and why.
    """

    model: Path
    sha256: str
    record: Mapping[str, Any]
    skipped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CoverageCheck:
    """Coverage on units that were used neither for training nor for calibration.

    Parameters
    ----------
    factor : float
        On the half-widths.
    calibrated : bool
        Whether anything is claimed.
    unit : str
        ``"acquisition"`` or ``"image"``.
    units : mapping
        Name to what was found.
    covered : int
        Units of which at least `level` of the voxels lie inside.
    band : tuple of int or None
        Fewest and most that are to be expected, 95 %; None where nothing is claimed.
    level : float
        See `LEVEL`.
    skipped : mapping
        What could not be used, and why.
    apart : mapping
        With unit image, for each acquisition how many images on the next one is that was used.
    recorded : bool
        Whether the model file now tells of this check; it cannot where it may not be written.
    """

    factor: float
    calibrated: bool
    unit: str
    units: Mapping[str, Coverage]
    covered: int
    band: tuple[int, int] | None
    level: float
    skipped: Mapping[str, str]
    apart: Mapping[str, int]
    recorded: bool

    @property
    def holds(self) -> bool | None:
        """Whether `covered` lies in `band`; None where nothing is claimed."""
        return None if self.band is None else self.band[0] <= self.covered <= self.band[1]

    def to_json(self) -> dict[str, Any]:
        """Return all of it for JSON; what is not a number is null."""
        content = dataclasses.asdict(self) | {"holds": self.holds}
        for figures in content["units"].values():
            for name, value in figures.items():
                if isinstance(value, float) and math.isnan(value):
                    figures[name] = None
        return content


def calibrate(config: CalibrateConfig, *, progress: ProgressCallback = silent) -> Calibration:
    """Find the factor on the half-widths of a model and write it into the header of its file.

    For every unit the smallest factor is found that covers 90 % of its voxels; of n such factors the
    ``ceil((n + 1) * 0.9)``-th smallest is taken. Below 9 units the model stays uncalibrated and gets the factor of the
    median one. A model that was calibrated before gets the new calibration in place of the old one.

    Parameters
    ----------
    config : CalibrateConfig
        Model, manifests, split and unit; `baselines` are not used.

    Raises
    ------
    ConfigError, InputError, ModelFileError
        When an acquisition was trained on, nothing can be used, or the model predicts no intervals.
    """
    job = CalibrationJob(config, "calibration")
    found = [(one, _factor(one)) for one in job.measured(progress)]
    job.require(found)
    factor, calibrated = calibrate_factor([factor for _, factor in found], LEVEL)
    record = {
        "unit": job.unit,
        "factor": factor,
        "calibrated": calibrated,
        "level": LEVEL,
        "n": len(found),
        **_used(found, job),
        "manifests": [{"name": manifest.name, "sha256": manifest.sha256} for manifest in job.manifests],
        "split": config.split,
        "degradation": [step.model_dump(mode="json", exclude_none=True) for step in job.setup.degrade],
        "voxels": SAMPLING,
        "date": datetime.now(UTC).date().isoformat(),
        "kind": sorted({acquisition.modality for acquisition in job.acquisitions if acquisition.modality}),
    }
    record["claim"] = _claim(record)
    return Calibration(*_write(job.model, record), record, job.skipped)


def check_coverage(config: CalibrateConfig, *, progress: ProgressCallback = silent) -> CoverageCheck:
    """Measure coverage with the factor in the model file, on units that were not used to find it, and note it there.

    What the unit is stands in the model file: acquisitions that it was not calibrated with, or images of those that it
    was calibrated with, which lie between the images that were used.

    Raises
    ------
    ConfigError, InputError, ModelFileError
        When an acquisition was trained on or calibrated with, nothing can be used, or the model has no factor.
    """
    job = CalibrationJob(config, "check")
    record = job.record
    if not record:
        raise ModelFileError(
            f"{job.model}: has no calibration to check; run 'superres calibrate {job.model} --manifest ...' first"
        )
    factor, level = float(record["factor"]), float(record["level"])
    found = {one.name: measure_coverage(one.voxels, factor) for one in job.measured(progress)}
    job.require(list(found))
    check = CoverageCheck(
        factor=factor,
        calibrated=bool(record["calibrated"]),
        unit=job.unit,
        units=found,
        covered=sum(item.coverage >= level for item in found.values()),
        band=coverage_band(len(found), int(record["n"]), level) if record["calibrated"] else None,
        level=level,
        skipped=job.skipped,
        apart=job.apart,
        recorded=False,
    )
    return dataclasses.replace(check, recorded=_note(job, check))


def _factor(one: Measured) -> float:
    factor = factor_of_acquisition(one.voxels.ratio, LEVEL)
    if math.isinf(factor):
        raise ModelFileError(f"{one.name}: half-widths of 0 cover too few voxels; train the model longer")
    return factor


def _used(found: Sequence[tuple[Measured, float]], job: CalibrationJob) -> dict[str, Any]:
    """List what was used: acquisitions with their factors, or images with theirs and how far apart they are."""
    if job.unit == "acquisition":
        return {
            "acquisitions": [
                {"id": one.name, "sha256": one.acquisition.sha256, "factor": factor} for one, factor in found
            ]
        }
    acquisitions = {one.acquisition.id: one.acquisition.sha256 for one, _ in found}
    return {
        "acquisitions": [{"id": name, "sha256": sha256} for name, sha256 in acquisitions.items()],
        "images": [{"id": one.name, "factor": factor, **(one.image or {})} for one, factor in found],
        "apart": {name: 2 * job.apart[name] for name in acquisitions},
    }


def _claim(record: Mapping[str, Any]) -> str:
    n, by_image = record["n"], record["unit"] == "image"
    if not record["calibrated"]:
        what = "images that differ" if by_image else "acquisitions"
        return (
            f"uncalibrated: {n} {what}, and 9 are needed; half-widths are a relative uncertainty, scaled by the "
            f"median {record['unit']}, and promise nothing"
        )
    if by_image:
        names = ", ".join(entry["id"] for entry in record["acquisitions"])
        return (
            f"{LEVEL:.0%} of further images of these acquisitions ({names}) have at least {LEVEL:.0%} of their voxels "
            f"inside. Promises nothing of any other acquisition. From {n} images, at least "
            f"{min(record['apart'].values())} images from one to the next: nearer than half of that they show much the "
            f"same (a correlation of {ALIKE:g} or more)"
        )
    return (
        f"{LEVEL:.0%} of new acquisitions of this kind have at least {LEVEL:.0%} of their voxels inside. Holds only "
        "for the microscope, sample and settings of the acquisitions it was calibrated with; calibrate again for others"
    )


def _write(model: Path, record: Mapping[str, Any]) -> tuple[Path, str]:
    file = load_model_file(model)
    save_model_file(file.path, dataclasses.replace(file.header, calibration=record), file.weights)
    return file.path, load_model_file(file.path).sha256


def _note(job: CalibrationJob, check: CoverageCheck) -> bool:
    """Write what a check found beside the claim; return whether that could be."""
    found = {
        "n": len(check.units),
        "covered": check.covered,
        "band": check.band,
        "holds": check.holds,
        "units": list(check.units),
        "date": datetime.now(UTC).date().isoformat(),
    }
    try:
        _write(job.model, {**job.record, "checked": found})
    except OSError:
        return False
    return True
