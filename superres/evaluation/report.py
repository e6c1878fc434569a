"""The report: ``report.json`` with every figure, ``report.html``, one file that needs no other, Markdown and CSV.

Texts and layout only; figures come from `results`, pictures from `exhibits` by way of `figures`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.evaluation.comparison import crops, slider
from superres.evaluation.exhibits import Exhibit
from superres.evaluation.figures import Line, Mark, line_chart
from superres.evaluation.page import count, page, setting, signed
from superres.evaluation.plain_report import report_csv, report_markdown
from superres.evaluation.results import (
    FREQUENCIES,
    MODEL,
    AcquisitionResult,
    Evaluation,
    best_methods,
    evaluation_to_json,
)
from superres.evaluation.statistics import Interval
from superres.evaluation.summary import guard_in_words, in_words, ranked, strongest
from superres.evaluation.tables import bounds, detail_table, gain_tables, score_tables, table
from superres.evaluation.worst import write_worst

_COLOURS = {
    "low": "#9aa3ad",
    "input": "#7a8490",
    "nearest": "#b3a369",
    "bicubic": "#7a8490",
    "bilinear": "#c08f8f",
    "lanczos": "#8c6bb1",
    "gaussian": "#2b8a5a",
    "nlm": "#3f8f8f",
    "wiener": "#5b74c9",
    "unet": "#b8860b",
    "richardson-lucy": "#2f6fb3",
    MODEL: "#d1480f",
    "truth": "#111111",
}
_OTHER = "#6b4c9a"
_DECADES_BELOW = 1.5  # that much below the weakest power of truth a spectrum is still drawn


def write_report(evaluation: Evaluation, exhibits: Sequence[Exhibit]) -> None:
    """Write all files, each at once; exhibits go with `evaluation.acquisitions`, in the same order."""
    evaluation.data.parent.mkdir(parents=True, exist_ok=True)
    _write(evaluation.data, evaluation_to_json(evaluation))
    _write(evaluation.data.with_suffix(".csv"), report_csv(evaluation))
    _write(evaluation.data.with_suffix(".md"), report_markdown(evaluation))
    _write(evaluation.report, report_html(evaluation, exhibits))
    write_worst(evaluation, exhibits)


def report_html(evaluation: Evaluation, exhibits: Sequence[Exhibit]) -> str:
    """Return the page: what it comes to on one screen, then tables, acquisitions, controls, conventions."""
    model = evaluation.conventions["model"]
    name = model["name"] if model else "baselines only"
    sections = [
        f"<h1>Evaluation <small>{escape(name)}</small></h1>",
        _subtitle(evaluation),
        _first_screen(evaluation, exhibits),
        _headline(evaluation),
        _warnings(evaluation),
        '<h2 id="scores">Scores</h2>',
        '<p class="hint">Mean over the planes of each acquisition; the best of each row is marked.</p>',
        score_tables(evaluation),
        *([gain_tables(evaluation)] if evaluation.gains else []),
        *([_controls(evaluation)] if evaluation.controls else []),
        "<h2>Acquisitions</h2>",
        *_acquisitions(evaluation, exhibits),
        "<h2>Conventions</h2>",
        _conventions(evaluation),
        "<h2>To reproduce</h2>",
        f"<pre>{escape(evaluation.conventions['command'])}</pre>",
    ]
    return page(f"Evaluation of {name}", "\n".join(sections))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _subtitle(evaluation: Evaluation) -> str:
    c = evaluation.conventions
    factor = " x ".join(str(f) for f in c["factor"])
    manifests = ", ".join(m["name"] for m in c["manifests"])
    return (
        f'<p class="subtitle">{escape(manifests)}, split {escape(c["split"])}; factor {factor} (ZYX); '
        f"{count(len(evaluation.acquisitions), 'acquisition')} scored; superres {escape(c['versions']['superres'])}, "
        f"{escape(c['created'])}</p>"
    )


def _first_screen(evaluation: Evaluation, exhibits: Sequence[Exhibit]) -> str:
    """Say what it comes to, beside the acquisition in the middle of the ranking."""
    words = f'<ul class="words">{"".join(f"<li>{escape(line)}</li>" for line in in_words(evaluation))}</ul>'
    if not exhibits:
        return words
    order = ranked(evaluation)
    middle = order[len(order) // 2]
    name = evaluation.acquisitions[middle].id
    picture = f'{slider(exhibits[middle], f"a{middle}")}<p class="hint">{escape(name)}: move the line</p>'
    return f'<div class="first">{words}<div>{picture}</div></div>'


def _headline(evaluation: Evaluation) -> str:
    """Show the model's gain over the interpolation and over the strongest baseline."""
    if not evaluation.gains or not evaluation.acquisitions:
        return ""
    cards = []
    for name in dict.fromkeys((evaluation.reference, strongest(evaluation))):
        psnr, ssim = evaluation.gains[name].psnr.interval, evaluation.gains[name].ssim.interval
        cards.append(_card(f"PSNR over {name}", signed(psnr.mean, 2) + " dB", _interval_words(psnr, 2)))
        cards.append(_card(f"SSIM over {name}", signed(ssim.mean, 3), _interval_words(ssim, 3)))
    n = len(evaluation.acquisitions)
    first = sum(best_methods(a.scores, "psnr") == {MODEL} for a in evaluation.acquisitions)
    cards.append(_card("Best PSNR of all methods", f"{first} of {n}", "acquisitions"))
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(label: str, value: str, note: str) -> str:
    return f'<div class="card"><span>{escape(label)}</span><strong>{value}</strong><em>{escape(note)}</em></div>'


def _interval_words(interval: Interval, digits: int) -> str:
    if math.isnan(interval.low):
        return f"n = {interval.n}, no interval"
    return f"95\N{NO-BREAK SPACE}%: {bounds(interval, digits)}"


def _warnings(evaluation: Evaluation) -> str:
    if not evaluation.warnings:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in evaluation.warnings)
    return f'<div class="warnings"><strong>Warnings</strong><ul>{items}</ul></div>'


def _controls(evaluation: Evaluation) -> str:
    """Show what the model makes of recordings without structure."""
    body = [
        f"<tr><th>{escape(c.name)}</th><td>{c.noise:.2f}</td><td>{c.invention:.2f}</td>"
        f"<td>{'passed' if c.is_passed else 'failed'}</td></tr>"
        for c in evaluation.controls
    ]
    head = ("noise over that of bicubic", "structure over that of bicubic", "")
    return (
        "<h2>Recordings without structure</h2>"
        '<p class="hint">Empty scenes with the noise of the recordings: what the model shows there it would invent in '
        "any image. Above 1.05 the control is failed. 1.00 is interpolation, on which the guard falls back.</p>"
        + table("recording", head, body)
    )


def _acquisitions(evaluation: Evaluation, exhibits: Sequence[Exhibit]) -> Iterator[str]:
    """Show best, median and worst first, the others folded."""
    order = ranked(evaluation)
    ranks = {order[0]: "best", order[-1]: "worst", order[len(order) // 2]: "median"} if len(order) > 2 else {}
    shown = [number for number in order if number in ranks] or order
    others = [number for number in order if number not in shown]
    if ranks:
        yield f'<p class="hint">By the gain in PSNR over {escape(evaluation.reference)}; the others are folded.</p>'
    for number in shown:
        yield _acquisition(number, ranks.get(number, ""), exhibits[number], evaluation)
    if others:
        folded = "".join(_acquisition(number, "", exhibits[number], evaluation) for number in others)
        yield f"<details><summary>{count(len(others), 'other acquisition')}</summary>{folded}</details>"


def _acquisition(number: int, rank: str, exhibit: Exhibit, evaluation: Evaluation) -> str:
    result, key = evaluation.acquisitions[number], f"a{number}"
    facts = [
        count(len(result.planes), "plane"),
        *([f"{result.channels} channels"] if result.channels > 1 else []),
        f"{result.shape[0]} x {result.shape[1]} voxels (Y, X)",
        _voxel_words(result),
        f"R = {_different(result.data_range)} grey levels ({result.data_range_from})",
    ]
    origin = ". ".join(text for text in (result.source, result.credit, result.licence) if text)
    badge = f' <span class="rank">{rank}</span>' if rank else ""
    return "\n".join(
        [
            f"<section><h3>{escape(result.id)} <small>{escape(result.manifest)}</small>{badge}</h3>",
            f'<p class="hint">{escape("; ".join(facts))}</p>',
            slider(exhibit, key),
            crops(exhibit, key, result.agreement),
            _guard(result),
            '<div class="charts">',
            _profile(exhibit),
            _spectrum(exhibit),
            _correlation(result, exhibit),
            "</div>",
            detail_table(result, evaluation.methods),
            f'<p class="hint">{escape(origin)}</p></section>',
        ]
    )


def _guard(result: AcquisitionResult) -> str:
    effect = result.guard
    return "" if effect is None else f'<p class="hint">{escape(guard_in_words(effect, result.scores[MODEL]))}</p>'


def _different(values: Sequence[float]) -> str:
    """Write values, a repeated one once: channels on one grey scale share their R."""
    return ", ".join(dict.fromkeys(f"{value:.6g}" for value in values))


def _voxel_words(result: AcquisitionResult) -> str:
    y, x = result.voxel_size[1:]
    return "voxel size unknown" if y is None or x is None else f"voxel {y:g} x {x:g} µm (Y, X)"


def _profile(exhibit: Exhibit) -> str:
    unit = "voxels" if exhibit.pixel_size is None else "µm"
    step = exhibit.pixel_size or 1.0
    fy, fx = exhibit.factor[1:]
    lines = []
    for name, crop in exhibit.crops.items():
        if name == "input":
            continue
        low = name == "low"
        values = np.repeat(crop[exhibit.row // fy], fx) if low else crop[exhibit.row]
        lines.append(_line(name, np.arange(values.size) * step, values.astype(np.float64)))
    title = "Intensity along the marked line"
    chart = line_chart(lines, title=title, x_label=f"position along X ({unit})", y_label="grey level")
    return f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def _spectrum(exhibit: Exhibit) -> str:
    # A method that smooths everything away would squeeze all others into the upper edge of the chart.
    floor = _positive_minimum(exhibit.spectra["truth"]) * 10.0**-_DECADES_BELOW
    lines = [
        _line(name, exhibit.frequencies, np.log10(np.where(power > floor, power, np.nan)))
        for name, power in exhibit.spectra.items()
    ]
    fx = max(exhibit.factor[1:])
    marks = [Mark(0.5 / fx, "Nyquist limit of low")] if fx > 1 else []
    title = "Radial power spectrum"
    chart = line_chart(
        lines, title=title, x_label="spatial frequency (cycles per high voxel)", y_label="log10 power", marks=marks
    )
    return f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def _correlation(result: AcquisitionResult, exhibit: Exhibit) -> str:
    """Draw down to which detail each method agrees with truth; nothing for planes too small to measure it."""
    curves = {name: np.asarray(curve) for name, curve in result.correlation.items() if curve}
    if not curves:
        return ""
    lines = [_line(name, FREQUENCIES, curve) for name, curve in curves.items()]
    lines.append(Line("0.5", FREQUENCIES, np.full(FREQUENCIES.shape, 0.5), "#9aa3ad", dashed=True))
    fx = max(exhibit.factor[1:])
    title = "Correlation with truth (FRC), all planes"
    chart = line_chart(
        lines,
        title=title,
        x_label="spatial frequency (cycles per high voxel)",
        y_label="correlation",
        marks=[Mark(0.5 / fx, "Nyquist limit of low")] if fx > 1 else [],
    )
    return f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def _positive_minimum(power: NDArray[np.float64]) -> float:
    positive = power[power > 0]
    return float(positive.min()) if positive.size else 1.0


def _line(name: str, x: Any, y: Any) -> Line:
    return Line(name, x, y, _COLOURS.get(name, _OTHER), width=2.2 if name == MODEL else 1.5, dashed=name == "low")


def _conventions(evaluation: Evaluation) -> str:
    """List everything that the figures depend on."""
    c = evaluation.conventions
    groups: list[tuple[str, Any]] = [
        ("model", c["model"]),
        ("manifests", c["manifests"]),
        ("degradation", c["degradation"] or "recorded pairs"),
        ("crop", c["crop"]),
        ("seed", c["seed"]),
        ("planes per acquisition", c["planes"]),
        ("black and white", c["intensity"]),
        ("baselines", c["baselines"]),
        ("other models", c["rivals"]),
        ("point spread function", c["psf"]),
        ("tuned settings", c["tuned"]),
        ("tuned on", c["tuned_on"]),
        ("seconds per megavoxel", c["seconds"]),
        ("MicroSSIM factors", c["micro_ssim_factors"]),
        *c["definitions"].items(),
        ("versions", c["versions"]),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{setting(value)}</dd>" for name, value in groups)
    return f"<dl>{rows}</dl>"
