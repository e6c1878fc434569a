"""The ground of all settings, and the groups that say what a net is given, what it is, what a patch holds, and when a
file that is still being written is complete.

Each is a frozen pydantic model. `superres.config` hands them on to the rooms.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


def _parse_seconds(value: object) -> object:
    """Read ``"10min"``, ``"90s"``, ``"1.5h"`` or a number of seconds."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9.]+)\s*(s|sec|min|h)?\s*", value)
    if match is None:
        raise ValueError("expected a time such as 90s, 10min or 1.5h")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def parse_range(value: object) -> object:
    """Read one number as the range from it to itself."""
    if isinstance(value, int | float | str):
        return (value, value)
    return value


def _parse_list(value: object) -> object:
    """Read one item as a list of one."""
    return [value] if isinstance(value, str | Path) else value


Seconds = Annotated[float, BeforeValidator(_parse_seconds), Field(gt=0)]
Range = Annotated[tuple[float, float], BeforeValidator(parse_range)]
Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Share, Share], BeforeValidator(parse_range)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_parse_list)]
_Times = Annotated[int, Field(ge=1, le=16)]
Factor = tuple[_Times, _Times, _Times]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")]
Precision = Literal["exact", "fast"]
Halo = Literal["exact", "fast"]


Norm = Literal["none", "weight", "spectral", "batch"]


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name, value in self:
            is_range = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, float) for v in value)
            if is_range and value[0] > value[1]:
                raise ValueError(f"{name}: a range is [smallest, largest], got {list(value)}")
        return self


# --- what is upscaled -------------------------------------------------------------------------------------------------


def _parse_span(value: object) -> object:
    """Read ``"100:300"``; one index alone is refused, for YAML reads ``10:30`` as one number."""
    if isinstance(value, str):
        first, colon, end = value.partition(":")
        if colon and first.strip().isdigit() and end.strip().isdigit():
            return (int(first), int(end))
    if isinstance(value, str | int):
        raise ValueError("expected the first index and the one behind the last, such as [100, 300]")
    return value


Index = Annotated[int, Field(ge=0)]
Span = Annotated[tuple[Index, Index], BeforeValidator(_parse_span)]


class CropConfig(Settings):
    """Which part of the input is upscaled, by ``[first, behind the last]`` in voxels of the input, counted from 0.

    What is upscaled comes out as it does with the whole input, voxel by voxel: grey levels and noise are measured in
    all of it, and the net sees what surrounds the part. Axes that are left out are taken whole.
    """

    t: Span | None = None
    z: Span | None = None
    y: Span | None = None
    x: Span | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        for axis, span in self:
            if span is not None and span[0] >= span[1]:
                raise ValueError(f"{axis}: expected the first index and the one behind the last, got {list(span)}")
        return self


# --- net and patches -------------------------------------------------------------------------------------------------


class Context(Settings):
    """Further images that a two-dimensional net is given to predict one (2.5-D).

    Along ``z`` or ``t`` the planes or time points around the predicted one, an odd number in all; at either end of the
    stack or series they are mirrored. Along ``c`` all channels that the training lists, of which one is predicted.
    """

    axis: Literal["z", "t", "c"]
    frames: int = Field(3, ge=3, le=15, description="planes or time points in all, an odd number; not for axis c")
    predict: int | None = Field(None, ge=0, description="for axis c: the channel that is predicted")

    @model_validator(mode="after")
    def _fits_its_axis(self) -> Self:
        if self.axis != "c" and self.frames % 2 == 0:
            raise ValueError(f"frames={self.frames}: the predicted one stands in the middle; give an odd number")
        if (self.predict is not None) != (self.axis == "c"):
            raise ValueError("predict is the channel to predict, and needed for axis c only")
        return self


class ModelConfig(Settings):
    """The generator net; `preset` sets widths and depths (see `superres.nets`)."""

    preset: Literal["XS", "S", "M", "L"] = "M"
    consistency_sigma: float = Field(2.5, ge=0, le=8, description="low voxels; low-pass follows the input; 0 is off")
    interval: bool = Field(True, description="predict also how far off each voxel may be; see 'superres calibrate'")
    dimensions: Literal[2, 3] = Field(2, description="2: plane by plane; 3: convolutions along Z too")
    context: Context | None = Field(None, description="neighbouring planes, time points or channels (2.5-D)")
    together: bool = Field(False, description="predict all channels that are listed at once; default each on its own")
    norm: Norm = Field("none", description="none, or for study weight, spectral or batch norm in every residual block")
    dropblock: float = Field(0.0, ge=0, le=0.5, description="share of features dropped, in blocks, while training")
    attention: bool = Field(False, description="self-attention at the coarsest level; tiles are then not exact")
    grid: Literal["low", "high"] = Field(
        "low",
        description="on which the layers work; high, for study: on the interpolated input, 16 times the work at 4x",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.context is not None and self.dimensions == 3:
            raise ValueError("context is for nets of two dimensions; a net of three sees its neighbours along Z anyway")
        if self.grid == "high" and self.dimensions == 3:
            raise ValueError("grid high is for nets of two dimensions; leave it out, or give dimensions=2")
        if self.context is not None and self.together:
            raise ValueError("context predicts one channel; leave together or context out")
        return self


class PatchConfig(Settings):
    """Size of a training patch in low-resolution voxels, and patches per step."""

    size: int = Field(48, ge=8, description="low-resolution voxels, a multiple of the net's stride")
    depth: int = Field(16, ge=4, description="low-resolution voxels along Z, for nets of three dimensions")
    batch: int = Field(8, ge=1)


# --- batches ---------------------------------------------------------------------------------------------------------


class WatchConfig(Settings):
    """How ``superres upscale --watch`` decides that a file is complete, and when it stops looking for new ones."""

    interval: Seconds = Field(2.0, description="time between two looks at the folders")
    settle: Seconds = Field(10.0, description="a file is taken when size and time have not changed for so long")
    polls: int = Field(3, ge=2, description="and that was seen in so many looks, one after the other")
    marker: str | None = Field(
        None,
        description="a file beside the image that says 'done'; {name} and {stem} are those of the image, * is any text",
    )
    overdue: Seconds = Field(300.0, description="an image that is still not complete after so long is named")
    idle: Seconds | None = Field(None, description="end after so long without news; default only by Ctrl-C")

    @model_validator(mode="after")
    def _marker_is_a_name(self) -> Self:
        if self.marker is not None:
            try:
                name = self.marker.format(name="n", stem="s")
            except (LookupError, ValueError):
                name = ""
            if not name.strip() or "/" in name or "\\" in name:
                raise ValueError(
                    'marker is the name of a file in the folder of the image, for example "{stem}.done" or end.txt'
                )
        return self


def check_net(model: ModelConfig, factor: tuple[int, int, int], channels: tuple[int, ...] | None) -> None:
    """Refuse a net that does not go with the factor, or with the channels that a training lists.

    Raises
    ------
    ValueError
        Saying what to give instead.
    """
    if factor[0] > 1 and model.dimensions == 2:
        raise ValueError(
            f"factor {list(factor)} upscales along Z, and a net of two dimensions works plane by plane; give "
            f"model.dimensions=3, or factor [1, {factor[1]}, {factor[2]}]"
        )
    if channels is not None and (not channels or min(channels) < 0 or len(set(channels)) < len(channels)):
        raise ValueError(f"channels {list(channels)}: give each channel once, counted from 0, for example [0, 1]")
    predict = model.context.predict if model.context is not None else None
    if (model.together or predict is not None) and (channels is None or len(channels) < 2):
        raise ValueError("a net of several channels needs to know them; give two or more, for example channels=[0, 1]")
    if predict is not None and channels is not None and predict not in channels:
        raise ValueError(f"context.predict={predict} is none of the channels {list(channels)}")


# --- workers ---------------------------------------------------------------------------------------------------------


class ClusterConfig(Settings):
    """A Dask cluster that is started for one job: what a file given with ``--cluster`` says.

    `options` are those of distributed.LocalCluster, dask_cuda.LocalCUDACluster, or of SLURMCluster, PBSCluster,
    LSFCluster and SGECluster of dask_jobqueue.
    """

    kind: Literal["local", "cuda", "slurm", "pbs", "lsf", "sge"]
    workers: int = Field(ge=1, description="at most; a job system starts them as there is work")
    options: dict[str, Any] = Field({}, description="of the Dask class of that kind, handed on as they are")

    @model_validator(mode="after")
    def _leaves_workers_alone(self) -> Self:
        for name in ("n_workers", "asynchronous"):
            if name in self.options:
                raise ValueError(f"options.{name}: superres decides that; how many workers there are says 'workers'")
        return self

    @property
    def is_job_system(self) -> bool:
        """Whether workers are jobs of a batch system."""
        return self.kind not in ("local", "cuda")

    @property
    def processes(self) -> int:
        """Workers in one job."""
        return int(self.options.get("processes") or 1)

    @property
    def has_gpus(self) -> bool:
        """Whether its workers say that they have a GPU, so that what is sent there may ask for one."""
        return any("GPU=" in str(argument) for argument in self.options.get("worker_extra_args") or ())
