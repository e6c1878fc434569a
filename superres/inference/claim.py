"""What the intervals of a model promise, as its file tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NEVER_CALIBRATED = (
    "uncalibrated: half-widths are those of the net; they compare voxels with each other and promise nothing. "
    "'superres calibrate' finds what they hold for"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the intervals of a model promise.

    Parameters
    ----------
    factor : float
        What the net's half-widths are multiplied by.
    calibrated : bool
        Whether anything is promised.
    level : float or None
        Share of voxels, and of units, that is promised; None before any calibration.
    unit : str or None
        What the promise is about: ``"acquisition"``, any new one, or ``"image"``, further ones of known acquisitions.
    n : int
        Units that it was calibrated with.
    within : tuple of str
        With unit image, the acquisitions that it is about.
    text : str
        The promise in words.
    """

    factor: float = 1.0
    calibrated: bool = False
    level: float | None = None
    unit: str | None = None
    n: int = 0
    within: tuple[str, ...] = ()
    text: str = _NEVER_CALIBRATED

    @classmethod
    def of(cls, calibration: Mapping[str, Any]) -> Claim:
        """Read the record of a calibration from a model file's header; empty before any."""
        if not calibration:
            return cls()
        unit = str(calibration.get("unit", "acquisition"))
        names = [str(entry["id"]) for entry in calibration["acquisitions"]] if unit == "image" else []
        return cls(
            factor=float(calibration["factor"]),
            calibrated=bool(calibration["calibrated"]),
            level=float(calibration["level"]),
            unit=unit,
            n=int(calibration["n"]),
            within=tuple(names),
            text=str(calibration["claim"]),
        )

    def sentence(self) -> str:
        """Say it in a few words."""
        if not self.calibrated or self.level is None:
            return "uncalibrated, so that they compare voxels with each other and promise nothing"
        if self.unit == "image":
            return f"calibrated with {self.n} images, for further images of {', '.join(self.within)} and no others"
        return f"calibrated at {self.level:.0%} with {self.n} acquisitions, for new ones of that kind"
