"""What the maps of trust beside an output say in short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from superres.inference.interval import IntervalSummary

FLAGS: Mapping[str, int] = {
    "saturated": 1,
    "out of range": 2,
    "inconsistent": 4,
    "unlike the training data": 8,
    "edge": 16,
    "no value": 32,
    "uncalibrated": 64,
}
"""Bits of the flags, by what they say of a voxel of the input."""

# Voxels at the edge are known less of, but are in every volume, and a model is calibrated or not for all voxels alike:
# these do not count as flagged.
NO_WARNINGS = ("edge", "uncalibrated")
# Shares of what the net adds that the guard took back: from where on it is said, and from where on it is nearly all.
_WORTH_SAYING, _MOST = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class TrustSummary:
    """What the maps of one output say in short.

    Parameters
    ----------
    path : Path
        The store of the maps.
    voxels : int
        Of the input.
    chi2 : float or None
        Mean square of the deviations of single voxels from the net's own prediction, in variances of the noise, edges
        left out: 1 where the prediction explains the input, below it where it follows its noise. None where they
        could not be compared.
    largest : float or None
        Largest absolute deviation averaged over neighbours, in standard deviations, edges left out.
    flagged : float
        Share of the voxels with any flag but those of the edge and of uncalibrated intervals.
    flags : mapping
        Share of the voxels per flag.
    guarded : float
        Share of the net's residual over interpolation that the guard took back, averaged over voxels.
    without : tuple of str
        What could not be examined, and why.
    model : str
        The model's identity (`superres.modelfile.ModelFile.identity`).
    interval : IntervalSummary or None
        Of the half-widths; None where the model gives none.
    """

    path: Path
    voxels: int
    chi2: float | None
    largest: float | None
    flagged: float
    flags: Mapping[str, float]
    guarded: float
    without: tuple[str, ...]
    model: str = ""
    interval: IntervalSummary | None = None

    def sentence(self) -> str:
        """Say it to a person."""
        interval = "" if self.interval is None else self.interval.sentence()
        return "; ".join(filter(None, (self._flagged(), self._taken_back(), interval, f"see {self.path}")))

    def _flagged(self) -> str:
        unseen = "" if self.chi2 is not None else "; the output was not compared with the input"
        if self.flagged == 0:
            return f"no voxel flagged{unseen}"
        named = {name: share for name, share in self.flags.items() if name not in NO_WARNINGS and share > 0}
        ordered = sorted(named.items(), key=lambda item: -item[1])
        reasons = ", ".join(f"{name} {_percent(share)}" for name, share in ordered)
        return f"{_percent(self.flagged)} of voxels flagged ({reasons}){unseen}; do not measure there"

    def _taken_back(self) -> str:
        if self.guarded < _WORTH_SAYING:
            return ""
        said = f"the guard took back {_percent(self.guarded)} of what the net adds to interpolation"
        return f"{said}: this input is hardly what the model was trained for" if self.guarded > _MOST else said


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 1e-3 else "less than 0.1 %"
