"""Tables of the HTML report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from superres.evaluation.metrics import Scores
from superres.evaluation.page import number, signed
from superres.evaluation.results import AcquisitionResult, Evaluation, Interval, Metric, best_methods

_COMPARED: tuple[tuple[Metric, str, int], ...] = (
    ("psnr", "PSNR (dB)", 2),
    ("ssim", "SSIM", 4),
    ("si_psnr", "Scale-invariant PSNR (dB)", 2),
    ("nrmse", "NRMSE (smaller is better)", 4),
)
_DETAILS = (
    ("psnr", "PSNR (dB)", 2),
    ("si_psnr", "SI-PSNR (dB)", 2),
    ("ssim", "SSIM", 4),
    ("nrmse", "NRMSE", 4),
    ("slope", "slope", 3),
    ("intercept", "intercept", 2),
    ("r2", "R²", 4),
    ("intensity_ratio", "total intensity", 4),
)


def score_tables(evaluation: Evaluation) -> str:
    """Return one table per metric: acquisitions down, methods across, the mean last."""
    return '<div class="tables">' + "".join(_metric_table(evaluation, *metric) for metric in _COMPARED) + "</div>"


def gain_table(evaluation: Evaluation) -> str:
    """Return the model's gain over every baseline with its interval."""
    rows = [
        (
            escape(name),
            [
                signed(gain.psnr.mean, 2),
                bounds(gain.psnr, 2),
                signed(gain.ssim.mean, 4),
                bounds(gain.ssim, 4),
                f"{gain.wins} of {gain.psnr.n}",
            ],
        )
        for name, gain in evaluation.gains.items()
    ]
    body = [f"<tr><th>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" for name, cells in rows]
    head = ("PSNR (dB)", "95 % interval", "SSIM", "95 % interval", "higher PSNR")
    return _table("over", head, body, caption="Gain of superres, paired by acquisition")


def detail_table(result: AcquisitionResult, methods: Sequence[str]) -> str:
    """Return every figure of every method for one acquisition."""
    best = {metric: best_methods(result.scores, metric) for metric, _, _ in _COMPARED}
    body = []
    for method in methods:
        cells = [
            _cell(getattr(result.scores[method], name), digits, best=any(name == m and method in best[m] for m in best))
            for name, _, digits in _DETAILS
        ]
        body.append(f"<tr><th>{escape(method)}</th>{''.join(cells)}</tr>")
    return _table("method", [title for _, title, _ in _DETAILS], body)


def bounds(interval: Interval, digits: int) -> str:
    """Write the ends of an interval; a dash where there is none."""
    if math.isnan(interval.low):
        return "\N{EN DASH}"
    return f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def _metric_table(evaluation: Evaluation, metric: Metric, title: str, digits: int) -> str:
    body = [_row(a.id, a.scores, evaluation.methods, metric, digits) for a in evaluation.acquisitions]
    if evaluation.mean:
        body.append(_row("mean", evaluation.mean, evaluation.methods, metric, digits))
    return _table("acquisition", evaluation.methods, body, caption=title)


def _row(name: str, scores: Mapping[str, Scores], methods: Sequence[str], metric: Metric, digits: int) -> str:
    best = best_methods(scores, metric)
    cells = [_cell(getattr(scores[method], metric), digits, best=method in best) for method in methods]
    css = ' class="mean"' if name == "mean" else ""
    return f'<tr{css}><th title="{escape(name)}">{escape(name)}</th>{"".join(cells)}</tr>'


def _cell(value: float, digits: int, *, best: bool) -> str:
    return f'<td class="best">{number(value, digits)}</td>' if best else f"<td>{number(value, digits)}</td>"


def _table(corner: str, head: Sequence[str], body: Sequence[str], *, caption: str = "") -> str:
    cells = "".join(f"<th>{escape(title)}</th>" for title in head)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr><th>{corner}</th>{cells}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
