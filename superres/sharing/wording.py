"""What a model's header says, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def factor_text(factor: Sequence[int]) -> str:
    """Say what a factor along Z, Y, X does to images."""
    if max(factor) == 1:
        return "restores images without making them finer"
    if factor[0] == 1 and factor[1] == factor[2]:
        return f"makes images {factor[1]} times finer along Y and X"
    parts = [f"{times} times along {axis}" for axis, times in zip("ZYX", factor, strict=True) if times > 1]
    return "makes images finer: " + ", ".join(parts)


def range_text(ranges: Sequence[tuple[float, float] | None]) -> str:
    """Write voxel sizes along Z, Y, X, equal ones together: ``0.05 to 0.1 µm along Y and X``; empty where unknown."""
    axes: dict[str, list[str]] = {}
    for axis, ends in zip("ZYX", ranges, strict=True):
        if ends:
            text = " to ".join(dict.fromkeys(f"{size:.4g}" for size in ends))
            axes.setdefault(text, []).append(axis)
    return ", ".join(f"{text} µm along {' and '.join(names)}" for text, names in axes.items())


def step_text(step: Mapping[str, Any]) -> str:
    """Write a step of a degradation: ``poisson (photons 50 to 400)``."""
    ((name, value),) = ((key, item) for key, item in step.items() if item is not None)
    if not isinstance(value, Mapping):
        return str(value)
    inner = ", ".join(f"{key} {_interval_text(item)}" for key, item in value.items() if item is not None)
    return f"{name.replace('_', ' ')} ({inner})"


def _interval_text(value: object) -> str:
    if isinstance(value, list | tuple):
        smallest, largest = value
        return f"{smallest:g}" if smallest == largest else f"{smallest:g} to {largest:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
