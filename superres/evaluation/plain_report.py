"""The report as Markdown, for a lab book or an issue, and as CSV, for a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence

from superres.evaluation.metrics import Scores
from superres.evaluation.results import HEADLINES, MODEL, NAMES, PRIMARY, UNGUARDED, Evaluation
from superres.evaluation.summary import in_words

_MEANS = (
    ("psnr", 2), ("si_psnr", 2), ("ssim", 4), ("ms_ssim", 4), ("micro_ssim", 4), ("resolution", 2), ("slope", 3),
)  # fmt: skip


def report_csv(evaluation: Evaluation) -> str:
    """Return a row per acquisition and method with every figure at full precision.

    Figures without a value are ``nan``, and the last column says why no method has one.
    """
    names = [item.name for item in dataclasses.fields(Scores)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["manifest", "acquisition", "method", "planes", "channels", "data_range", "resolution_um"]
    writer.writerow([*head, *names, "without_value"])
    for a in evaluation.acquisitions:
        rows = {method: a.scores[method] for method in evaluation.methods}
        if a.guard is not None:
            rows[UNGUARDED] = a.guard.unguarded
        reasons = dict(a.without_value)
        if a.voxel_size[2] is None:
            reasons["resolution_um"] = "voxel size unknown"
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        ranges = " ".join(f"{value:.10g}" for value in a.data_range)
        for method, scores in rows.items():
            step = a.voxel_size[2]
            values = [math.nan if step is None else scores.resolution * step]
            values += [getattr(scores, name) for name in names]
            writer.writerow(
                [a.manifest, a.id, method, len(a.planes), a.channels, ranges, *(f"{v:.10g}" for v in values), why]
            )
    return text.getvalue()


def report_markdown(evaluation: Evaluation) -> str:
    """Return summary, means, gains and the PSNR of every acquisition, as tables of Markdown."""
    c = evaluation.conventions
    name = c["model"]["name"] if c["model"] else "baselines only"
    factor = " x ".join(str(f) for f in c["factor"])
    manifests = ", ".join(m["name"] for m in c["manifests"])
    parts = [
        f"# Evaluation of {name}",
        f"{manifests}, split {c['split']}, factor {factor} (ZYX), superres {c['versions']['superres']}, {c['created']}",
        *in_words(evaluation),
        "\n".join(f"- {line}" for line in evaluation.warnings),
        "## Means over acquisitions",
        _means(evaluation),
        _without_value(evaluation),
        *(["## Gains", _gains(evaluation)] if evaluation.gains else []),
        *(["## Guard", _guard(evaluation)] if any(a.guard for a in evaluation.acquisitions) else []),
        *(["## Recordings without structure", _controls(evaluation)] if evaluation.controls else []),
        "## PSNR (dB) / SSIM",
        _acquisitions(evaluation),
        "## To reproduce",
        f"```sh\n{c['command']}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _means(evaluation: Evaluation) -> str:
    rows = [
        [method, *(_number(getattr(evaluation.mean[method], name), digits) for name, digits in _MEANS)]
        for method in evaluation.methods
        if evaluation.mean
    ]
    return _table(["method", *(name for name, _ in _MEANS)], rows)


def _gains(evaluation: Evaluation) -> str:
    rows = []
    for baseline, gain in evaluation.gains.items():
        for metric in HEADLINES:
            found = gain.of(metric)
            interval = found.interval
            has_bounds = not math.isnan(interval.low)
            bounds = f"{interval.low:+.3f} to {interval.high:+.3f}" if has_bounds else f"none (n = {interval.n})"
            p = _number(found.p_holm, 4) if metric == PRIMARY else "not tested"
            mean = "no value" if math.isnan(interval.mean) else f"{interval.mean:+.3f}"
            rows.append([baseline, NAMES[metric], mean, bounds, p, f"{found.wins} of {interval.n}"])
    return _table(["superres over", "figure", "gain", "95 % interval", "p (Holm)", "better in"], rows)


def _without_value(evaluation: Evaluation) -> str:
    """Say where a figure cannot be had, and so has no mean."""
    lines = [
        f"- {a.id}: no {name} (planes {reason} a side)"
        for a in evaluation.acquisitions
        for name, reason in a.without_value.items()
    ]
    return "\n".join(lines)


def _guard(evaluation: Evaluation) -> str:
    rows = [
        [
            a.id,
            _number(a.scores[MODEL].psnr, 2),
            _number(a.guard.unguarded.psnr, 2),
            f"{100 * a.guard.kept:.1f} %",
            f"{100 * a.guard.damped:.1f} %",
        ]
        for a in evaluation.acquisitions
        if a.guard is not None
    ]
    head = ["acquisition", "PSNR", "PSNR without guard", "of the net's residual kept", "area with less than half kept"]
    return _table(head, rows)


def _controls(evaluation: Evaluation) -> str:
    rows = [
        [control.name, f"{control.noise:.2f}", f"{control.invention:.2f}", "passed" if control.is_passed else "failed"]
        for control in evaluation.controls
    ]
    return _table(["recording", "noise over bicubic", "structure over bicubic", ""], rows)


def _acquisitions(evaluation: Evaluation) -> str:
    rows = [
        [a.id, *(f"{_number(a.scores[m].psnr, 2)} / {_number(a.scores[m].ssim, 3)}" for m in evaluation.methods)]
        for a in evaluation.acquisitions
    ]
    return _table(["acquisition", *evaluation.methods], rows)


def _number(value: float, digits: int) -> str:
    return "no value" if math.isnan(value) else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
