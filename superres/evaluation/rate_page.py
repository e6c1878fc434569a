"""The curve of the learning-rate finder as a page."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superres.errors import OutputWriteError
from superres.evaluation.figures import Line, Mark, line_chart
from superres.evaluation.page import page


def write(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    proposed: float,
    path: Path,
    *,
    title: str,
    muon: float | None = None,
) -> None:
    """Write a self-contained page.

    Parameters
    ----------
    rates, losses : ndarray
        (steps,), from `superres.training.find_learning_rate`.
    proposed : float
        The rate to mark.
    path : Path
        The HTML file.
    muon : float, optional
        The rate that is proposed for Muon, which rose in proportion.

    Raises
    ------
    OutputWriteError
        When it cannot be written.
    """
    chart = line_chart(
        [Line("loss, relative to the untrained net", np.log10(rates), losses, "#2166ac", 2.0)],
        title="loss against learning rate",
        x_label="learning rate, as a power of 10",
        y_label="relative loss",
        marks=[Mark(float(np.log10(proposed)), f"proposed: {proposed:g}")],
    )
    body = (
        f"<h1>{escape(title)}: learning rate {proposed:g}</h1>"
        "<p>The rate rose from step to step. Where the line falls, the net learns; where it turns up, steps are too "
        "large. The rate that is proposed is a quarter of the one with the smallest loss, as the peak of a one-cycle "
        f"schedule: <code>{settings(proposed, muon)}</code></p>{chart}"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(f"{title}: learning rate", body), encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot write the page ({error}); give another place with --out") from None


def settings(proposed: float, muon: float | None) -> str:
    """Return what to type to train with the rates that were found."""
    told = f"--set optimiser.learning_rate={proposed:g}"
    return told if muon is None else f"{told} --set optimiser.muon.learning_rate={muon:g}"
