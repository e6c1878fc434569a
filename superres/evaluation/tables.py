"""Tables of the HTML report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from superres.evaluation.metrics import Scores
from superres.evaluation.page import number, signed
from superres.evaluation.results import (
    HEADLINES,
    NAMES,
    PRIMARY,
    UNGUARDED,
    AcquisitionResult,
    Evaluation,
    Headline,
    Metric,
    best_methods,
)
from superres.evaluation.statistics import Interval

_COMPARED: tuple[tuple[Metric, str, int], ...] = (
    ("psnr", "PSNR (dB)", 2),
    ("ssim", "SSIM", 4),
    ("si_psnr", "Scale-invariant PSNR (dB)", 2),
    ("micro_ssim", "MicroSSIM", 4),
    ("resolution", "Resolution in voxels, FRC with truth at 0.5 (smaller is better)", 2),
    ("nrmse", "NRMSE (smaller is better)", 4),
)
_DETAILS = (
    ("psnr", "PSNR (dB)", 2),
    ("psnr_shifted", "best within 1 voxel", 2),
    ("shift_y", "moved Y", 2),
    ("shift_x", "moved X", 2),
    ("si_psnr", "SI-PSNR (dB)", 2),
    ("ssim", "SSIM", 4),
    ("ms_ssim", "MS-SSIM", 4),
    ("micro_ssim", "MicroSSIM", 4),
    ("resolution", "resolution (voxels)", 2),
    ("error_below", "error below Nyquist", 3),
    ("error_above", "error above Nyquist", 3),
    ("nrmse", "NRMSE", 4),
    ("slope", "slope", 3),
    ("intercept", "intercept", 2),
    ("r2", "R²", 4),
    ("intensity_ratio", "total intensity", 4),
)
# Methods up to which two tables fit beside each other.
_BESIDE = 5
_DIGITS: dict[Headline, int] = {"psnr": 2, "si_psnr": 2, "ssim": 4, "micro_ssim": 4, "resolution": 2}


def score_tables(evaluation: Evaluation) -> str:
    """Return one table per metric: acquisitions down, methods across, the mean last."""
    shape = "tables" if len(evaluation.methods) <= _BESIDE else "tables wide"
    found = "".join(_metric_table(evaluation, *metric) for metric in _COMPARED)
    return f'<div class="{shape}">{found}</div>'


def gain_tables(evaluation: Evaluation) -> str:
    """Return the model's gain over every baseline, a table per headline figure; p values of the one that is tested."""
    return '<div class="tables">' + "".join(_gain_table(evaluation, metric) for metric in HEADLINES) + "</div>"


def _gain_table(evaluation: Evaluation, metric: Headline) -> str:
    body = []
    is_tested = metric == PRIMARY
    for name, gain in evaluation.gains.items():
        found, digits = gain.of(metric), _DIGITS[metric]
        cells = [
            signed(found.interval.mean, digits),
            bounds(found.interval, digits),
            *([number(found.p, 4), number(found.p_holm, 4)] if is_tested else []),
            f"{found.wins} of {found.interval.n}",
        ]
        body.append(f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = ("gain", "95 % interval", *(("p", "p (Holm)") if is_tested else ()), "better in")
    kind = "" if is_tested else " (described, not tested)"
    return table("over", head, body, caption=f"{NAMES[metric]}: gain of superres, paired by acquisition{kind}")


def detail_table(result: AcquisitionResult, methods: Sequence[str]) -> str:
    """Return every figure of every method for one acquisition, and of the model without its guard."""
    best = {metric: best_methods(result.scores, metric) for metric, _, _ in _COMPARED}
    rows = {method: result.scores[method] for method in methods}
    if result.guard is not None:
        rows[UNGUARDED] = result.guard.unguarded
    body = []
    for method, scores in rows.items():
        cells = [
            _cell(
                getattr(scores, name),
                digits,
                best=any(name == m and method in best[m] for m in best),
                missing=result.without_value.get(name),
            )
            for name, _, digits in _DETAILS
        ]
        body.append(f"<tr><th>{escape(method)}</th>{''.join(cells)}</tr>")
    return table("method", [title for _, title, _ in _DETAILS], body)


def bounds(interval: Interval, digits: int) -> str:
    """Write the ends of an interval; a dash where there is none."""
    if math.isnan(interval.low):
        return "\N{EN DASH}"
    return f"{signed(interval.low, digits)} to {signed(interval.high, digits)}"


def _metric_table(evaluation: Evaluation, metric: Metric, title: str, digits: int) -> str:
    body = [
        _row(a.id, a.scores, evaluation.methods, metric, digits, a.without_value.get(metric))
        for a in evaluation.acquisitions
    ]
    if evaluation.mean:
        body.append(_row("mean", evaluation.mean, evaluation.methods, metric, digits))
    return table("acquisition", evaluation.methods, body, caption=title)


def _row(
    name: str,
    scores: Mapping[str, Scores],
    methods: Sequence[str],
    metric: Metric,
    digits: int,
    missing: str | None = None,
) -> str:
    best = best_methods(scores, metric)
    cells = [_cell(getattr(scores[method], metric), digits, best=method in best, missing=missing) for method in methods]
    css = ' class="mean"' if name == "mean" else ""
    return f'<tr{css}><th title="{escape(name)}">{escape(name)}</th>{"".join(cells)}</tr>'


def _cell(value: float, digits: int, *, best: bool, missing: str | None = None) -> str:
    text = f"none ({missing})" if missing and math.isnan(value) else number(value, digits)
    return f'<td class="best">{text}</td>' if best else f"<td>{escape(text)}</td>"


def table(corner: str, head: Sequence[str], body: Sequence[str], *, caption: str = "") -> str:
    """Return a table from its rows; `corner` heads the first column, `head` the others."""
    cells = "".join(f"<th>{escape(title)}</th>" for title in head)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr><th>{corner}</th>{cells}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
