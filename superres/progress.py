"""One event type and one callback for everything that takes time.

The CLI draws events with rich, the plugin feeds a bar, tests append to a list. A callback stops the job by raising
`superres.errors.Cancelled`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stage of a job is.

    Parameters
    ----------
    stage : str
        What is being done, e.g. ``"train"`` or ``"upscale"``; one bar per stage.
    done, total : float
        Position and end, in `unit`. Work is finished when ``done == total``.
    unit : str
        What is counted, e.g. ``"tiles"`` or ``"steps"``.
    note : str
        One short line for a person.
    values : mapping of str to float
        Figures that go with the event (loss, validation PSNR, ...).
    """

    stage: str
    done: float
    total: float
    unit: str = ""
    note: str = ""
    values: Mapping[str, float] = field(default_factory=dict)


ProgressCallback = Callable[[Progress], None]


def silent(event: Progress) -> None:
    """Ignore a progress event; the default callback."""


def duration_text(seconds: float) -> str:
    """Write a time in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
