"""Lengths in micrometre and times in seconds from the unit names that microscopes write."""

from __future__ import annotations

import math

_MICROMETRE = {
    "angstrom": 1e-4,
    "å": 1e-4,
    "pm": 1e-6,
    "picometer": 1e-6,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "inch": 25400.0,
    "in": 25400.0,
}
_SECOND = {
    "ns": 1e-9,
    "nanosecond": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}


def to_micrometre(value: object, unit: object) -> float | None:
    """Convert a positive length; None where the value or the unit says nothing ("pixel", 0, NaN)."""
    return _convert(value, unit, _MICROMETRE)


def to_second(value: object, unit: object) -> float | None:
    """Convert a positive time; None where the value or the unit says nothing."""
    return _convert(value, unit, _SECOND)


def micrometres_per(unit: object) -> float | None:
    """Micrometre in one `unit`; None for an unknown unit."""
    return to_micrometre(1.0, unit)


def _convert(value: object, unit: object, table: dict[str, float]) -> float | None:
    if not isinstance(value, int | float) or not isinstance(unit, str):
        return None
    # ImageJ escapes the micro sign, and Unicode has two of them.
    name = unit.strip().strip('"').replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\u03bc", "µ").lower()
    name = name.replace("metre", "meter")
    if name not in table and name.endswith("s"):
        name = name[:-1]
    if name not in table or not math.isfinite(value) or value <= 0:
        return None
    return float(value) * table[name]
