"""What every group of settings is: a frozen pydantic model; and the types of fields that several groups share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

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
Paths = Annotated[tuple[Path, ...], BeforeValidator(_parse_list)]
Share = Annotated[float, Field(ge=0, le=1)]
_Times = Annotated[int, Field(ge=1, le=16)]
Factor = tuple[_Times, _Times, _Times]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$")]


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


class PatchConfig(Settings):
    """Size of a training patch in low-resolution voxels, and patches per step."""

    size: int = Field(48, ge=8, description="low-resolution voxels, a multiple of the net's stride")
    batch: int = Field(8, ge=1)
