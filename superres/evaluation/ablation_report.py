"""Tables and figures of an ablation: a page, the same tables as Markdown, and all figures as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np

from superres.errors import OutputWriteError
from superres.evaluation.ablation import Ablation
from superres.evaluation.ablation_summary import Cost, Row, costs, rows
from superres.evaluation.figures import Line, line_chart, nice_ticks
from superres.evaluation.page import count, number, page, signed
from superres.evaluation.statistics import Interval, too_few
from superres.evaluation.tables import table

_HEAD = (
    "PSNR (dB)",
    "sd over seeds",
    "gain",
    "95 % over seeds",
    "95 % over acquisitions",
    "SSIM",
    "error above Nyquist",
    "χ² to recording",
    "worst over bicubic",
)
_COST_HEAD = ("steps", "CPU s per step", "CPU s", "share of it until as good as the reference")
_COLOURS = ("#2166ac", "#b2182b", "#1b7837", "#e08214", "#762a83", "#35978f", "#8c510a", "#4d4d4d")


def write(ablation: Ablation, out: Path) -> Path:
    """Write ``ablation.html``, ``.md`` and ``.json``; return the page.

    Raises
    ------
    OutputWriteError
        When they cannot be written.
    """
    files = {
        "ablation.html": page(f"Ablation of {ablation.config.recipe.name}", _body(ablation)),
        "ablation.md": markdown(ablation),
        "ablation.json": json.dumps(to_json(ablation), indent=1),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{out}: cannot write the tables ({error}); give another place with --out") from None
    return out / "ablation.html"


def to_json(ablation: Ablation) -> dict[str, object]:
    """Return everything that was measured, JSON-able."""
    return {
        "config": ablation.config.model_dump(mode="json"),
        "outcomes": [dataclasses.asdict(one) for one in ablation.outcomes],
        "baseline": ablation.baseline,
        "failed": dict(ablation.failed),
    }


def markdown(ablation: Ablation) -> str:
    """Return the tables as Markdown."""
    parts = []
    for images in ablation.config.score:
        found = rows(ablation, images)
        parts += [f"**{images}** ({_sizes(ablation, images)})", "", _pipes("arm", _HEAD, _cells(found, ablation)), ""]
    parts += [_pipes("arm", _COST_HEAD, _cost_cells(costs(ablation))), ""]
    parts += [f"- {name} failed: {reason}" for name, reason in ablation.failed.items()]
    return "\n".join(parts).rstrip() + "\n"


def _body(ablation: Ablation) -> str:
    config = ablation.config
    parts = [
        f"<h1>Ablation of {escape(config.recipe.name)}</h1>",
        f'<p class="subtitle">{count(len(config.arms), "arm")}, {count(len(config.seeds), "seed")}; gains are over '
        f"{escape(config.compared_with)}. Over seeds: what another training on these images would give. Over "
        "acquisitions: what other images would give.</p>",
    ]
    for images in config.score:
        found = rows(ablation, images)
        parts += [f"<h2>{escape(images)}</h2>", f'<p class="hint">{escape(_sizes(ablation, images))}</p>']
        parts += [_forest(found, config.compared_with), _html_table("arm", _HEAD, _cells(found, ablation))]
        few = too_few(len(ablation.baseline[images]), len(config.arms) - 1)
        parts += [f'<p class="hint">{escape(few)}</p>'] if few else []
    parts += ["<h2>Cost</h2>", _html_table("arm", _COST_HEAD, _cost_cells(costs(ablation))), _curves(ablation)]
    parts += ["<h2>Arms</h2>", _html_table("arm", ("changes",), _changes(ablation))]
    if ablation.failed:
        lines = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in ablation.failed.items())
        parts.append(f'<div class="warnings">Failed<ul>{lines}</ul></div>')
    return "".join(parts)


def _sizes(ablation: Ablation, images: str) -> str:
    scored = ablation.config.score[images]
    words = [count(len(ablation.baseline[images]), "acquisition"), f"split {scored.split}"]
    words += [f"truth changed: {scored.change}"] if scored.change else []
    words.append("with the guard" if scored.guard else "the net by itself, without the guard")
    return ", ".join(words)


def _cells(found: list[Row], ablation: Ablation) -> list[tuple[str, list[str]]]:
    reference = ablation.config.compared_with
    cells = []
    for row in found:
        over = None if row.over_acquisitions is None else row.over_acquisitions.interval
        cells.append(
            (
                row.arm + (" (reference)" if row.arm == reference else ""),
                [
                    number(row.figures["psnr"], 2),
                    _or_dash(row.spread, 3),
                    "" if row.over_seeds is None else signed(row.over_seeds.mean, 3),
                    _bounds(row.over_seeds),
                    _bounds(over),
                    number(row.figures["ssim"], 4),
                    _or_dash(row.figures["error_above"], 3),
                    _or_dash(row.figures["chi2"], 3),
                    signed(row.worst, 2),
                ],
            )
        )
    return cells


def _cost_cells(found: dict[str, Cost]) -> list[tuple[str, list[str]]]:
    return [
        (
            arm,
            [
                f"{cost.steps:.0f}",
                f"{cost.per_step:.3f}",
                f"{cost.steps * cost.per_step:.0f}",
                _or_dash(cost.share, 2),
            ],
        )
        for arm, cost in found.items()
    ]


def _changes(ablation: Ablation) -> list[tuple[str, list[str]]]:
    arms = {"all": ablation.config.all} | dict(ablation.config.arms)
    return [
        (name, ["; ".join(f"{key}={json.dumps(value)}" for key, value in arm.items()) or "nothing"])
        for name, arm in arms.items()
    ]


def _forest(found: list[Row], reference: str) -> str:
    """Draw the gain of every arm over the reference with its two intervals."""
    drawn = [row for row in found if row.over_seeds is not None]
    ends = [0.0]
    for row in drawn:
        assert row.over_seeds is not None
        ends += [
            value for value in (row.over_seeds.mean, row.over_seeds.low, row.over_seeds.high) if math.isfinite(value)
        ]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 0.1
    low, high = low - room, high + room
    left, width, step = 190, 640, 26
    height = step * len(drawn) + 54

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - 14)

    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="gain over {escape(reference)}">'
    ]
    parts.append(f'<path class="mark" d="M{x(0):.1f} 6V{height - 40}"/>')
    for index, row in enumerate(drawn):
        assert row.over_seeds is not None
        y = 20 + step * index
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(row.arm)}</text>')
        if row.over_acquisitions is not None:
            parts.append(_whisker(row.over_acquisitions.interval, x, y, (low, high), "#b9c0c7", 6))
        parts.append(_whisker(row.over_seeds, x, y, (low, high), "#2166ac", 2))
        parts.append(f'<circle cx="{x(row.over_seeds.mean):.1f}" cy="{y}" r="4.5" fill="#2166ac"/>')
    for tick in nice_ticks(low, high, wanted=6):
        parts.append(f'<path class="axis" d="M{x(tick):.1f} {height - 40}v5"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 22}" text-anchor="middle">{tick:.6g}</text>')
    middle = width / 2  # of the whole: the words are wider than the axis
    words = f"gain over {reference} in dB; dark: 95 % over seeds, light: over acquisitions"
    parts.append(f'<text x="{middle}" y="{height - 5}" text-anchor="middle">{escape(words)}</text></svg>')
    return "".join(parts)


def _whisker(
    interval: Interval, x: Callable[[float], float], y: int, limits: tuple[float, float], colour: str, width: int
) -> str:
    if math.isnan(interval.low):
        return ""
    low, high = max(interval.low, limits[0]), min(interval.high, limits[1])
    if low >= high:
        return ""
    return f'<path stroke="{colour}" stroke-width="{width}" d="M{x(low):.1f} {y}H{x(high):.1f}"/>'


def _curves(ablation: Ablation) -> str:
    """Draw validation PSNR over processor time, mean of the seeds."""
    found, lines = costs(ablation), []
    for index, (arm, cost) in enumerate(found.items()):
        curves = [dict(one.curve) for one in ablation.outcomes if one.arm == arm and one.curve]
        if not curves:
            continue
        steps = sorted(set.intersection(*(set(curve) for curve in curves)))
        values = [float(np.mean([curve[step] for curve in curves])) for step in steps]
        seconds = np.array(steps, dtype=np.float64) * cost.per_step
        lines.append(Line(arm, seconds, np.array(values), _COLOURS[index % len(_COLOURS)], 1.8))
    if not lines:
        return ""
    return line_chart(
        lines, title="validation PSNR", x_label="processor time in s", y_label="validation PSNR (dB), mean over seeds"
    )


def _bounds(interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.low):
        return ""
    return f"{signed(interval.low, 3)} to {signed(interval.high, 3)}"


def _or_dash(value: float, digits: int) -> str:
    return "\N{EN DASH}" if math.isnan(value) else number(value, digits)


def _pipes(corner: str, head: tuple[str, ...], body: list[tuple[str, list[str]]]) -> str:
    lines = [f"| {corner} | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in body)])


def _html_table(corner: str, head: tuple[str, ...], body: list[tuple[str, list[str]]]) -> str:
    found = [
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in body
    ]
    return table(corner, head, found)
