"""Settings of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from superres.config import DegradeStep, Device, Factor, Paths, Settings

Baseline = Literal["nearest", "bilinear", "bicubic", "lanczos", "nlm", "gaussian", "wiener", "richardson-lucy"]

PLAIN_NET = "unet"
"""The name that a plain U-Net usually has among the models; see pipelines/README.md."""

# What the rows and pictures of a report are called otherwise.
_TAKEN = (*get_args(Baseline), "input", "low", "truth", "superres", "mean")


class PointSpread(Settings):
    """Point spread function of Wiener and Richardson-Lucy: from the optics, or measured on a stack of beads.

    Give `na` and `wavelength`, and `immersion` for its extent along Z; or `beads`. It is that of the low recordings
    relative to truth: where truth is blurred itself, it describes a blur that is too wide.
    """

    na: float | None = Field(None, gt=0)
    wavelength: float | None = Field(None, gt=0, lt=5, description="of the emitted light, in micrometre")
    immersion: float | None = Field(None, ge=1, description="refractive index; without it planes are independent")
    beads: Path | None = Field(None, description="file with a stack of beads smaller than the resolution")
    beads_voxel_size: tuple[float, float, float] | None = Field(
        None, description="ZYX in micrometre, where the file of the beads does not tell"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        optics = (self.na is not None, self.wavelength is not None)
        if (self.beads is not None) == any(optics) or (any(optics) and not all(optics)):
            raise ValueError("give either na and wavelength (in micrometre), or beads (a file)")
        if self.beads is not None and self.immersion is not None:
            raise ValueError("immersion goes with na and wavelength, not with beads")
        if self.beads is None and self.beads_voxel_size is not None:
            raise ValueError("beads_voxel_size goes with beads")
        if self.na is not None and self.immersion is not None and self.na >= self.immersion:
            raise ValueError(f"na {self.na:g} must be below the refractive index {self.immersion:g}")
        return self


class EvaluateConfig(Settings):
    """What is scored against truth, beside which baselines."""

    manifests: Paths
    data_root: Path | None = None
    model: Path | None = None
    models: dict[str, Path] = Field({}, description="other models that stand beside it, by name; {unet: runs/plain}")
    result: Path | None = Field(None, description="in the place of a model: an output to score as it stands")
    result_channels: tuple[int, ...] | None = Field(
        None, description="of the output, counted from 0, one per channel that is scored; default all"
    )
    factor: Factor | None = Field(None, description="default: the model's")
    degrade: tuple[DegradeStep, ...] | None = Field(None, description="default: the model's; unused for real pairs")
    split: Literal["train", "val", "test"] = "val"
    baselines: tuple[str, ...] = ("nearest", "bicubic", "lanczos", "richardson-lucy")
    psf: PointSpread | None = Field(None, description="default: the sigma of a Gaussian is tuned")
    planes: int = Field(8, ge=1, description="planes scored per acquisition, evenly spread")
    crop: int = Field(8, ge=0, description="low-resolution voxels left out at every border")
    seed: int = Field(0, ge=0)
    device: Device = "auto"

    @model_validator(mode="after")
    def _one_to_score(self) -> Self:
        if self.result is not None and self.model is not None:
            raise ValueError("give a model, or a result that is scored as it stands, not both")
        if self.result is None and self.result_channels is not None:
            raise ValueError("result_channels goes with result")
        return self

    @field_validator("models")
    @classmethod
    def _names_are_free(cls, models: dict[str, Path]) -> dict[str, Path]:
        taken = [name for name in models if name in _TAKEN or not name.strip()]
        if taken:
            raise ValueError(f"{taken[0]!r} cannot be the name of a model; taken are {', '.join(_TAKEN)}")
        return models

    @field_validator("baselines")
    @classmethod
    def _baselines_are_known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        models: dict[str, Any] = info.data.get("models", {})
        known = (*get_args(Baseline), *models)
        unknown = [name for name in names if name not in known]
        if not unknown:
            return names
        if unknown[0] == PLAIN_NET:
            raise ValueError(
                "unet is a trained net: train a plain one with the budget of the model (pipelines/README.md says how) "
                "and name its run, for example --set models.unet=runs/plain"
            )
        raise ValueError(f"unknown baseline {unknown[0]!r}; known are {', '.join(known)}, and models by their name")


class CalibrateConfig(EvaluateConfig):
    """Which intervals are calibrated or checked, with which images."""

    by: Literal["acquisition", "image"] = Field(
        "acquisition", description="what the promise is about: new acquisitions, or further images of these"
    )
    images: int = Field(20, ge=1, description="by image: images of an acquisition, as far apart as they can be")

    @model_validator(mode="after")
    def _has_no_result(self) -> Self:
        if self.result is not None:
            raise ValueError("intervals are calibrated with a model, which result has no part in; leave it out")
        return self
