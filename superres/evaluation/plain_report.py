"""The report as Markdown, for a lab book or an issue, and as CSV, for a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence

from superres.evaluation.metrics import Scores
from superres.evaluation.results import HEADLINES, NAMES, Evaluation
from superres.evaluation.summary import in_words

_MEANS = (("psnr", 2), ("si_psnr", 2), ("ssim", 4), ("micro_ssim", 4), ("resolution", 2), ("slope", 3))


def report_csv(evaluation: Evaluation) -> str:
    """Return a row per acquisition and method with every figure at full precision; no figure is an empty cell."""
    names = [item.name for item in dataclasses.fields(Scores)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["manifest", "acquisition", "method", "planes", "channels", "data_range", "resolution_um", *names])
    for a in evaluation.acquisitions:
        for method in evaluation.methods:
            ranges = " ".join(f"{value:.10g}" for value in a.data_range)
            values = [getattr(a.scores[method], name) for name in names]
            micrometre = a.resolution_um.get(method, math.nan)
            figures = ["" if math.isnan(value) else f"{value:.10g}" for value in (micrometre, *values)]
            writer.writerow([a.manifest, a.id, method, len(a.planes), a.channels, ranges, *figures])
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
        *(["## Gains", _gains(evaluation)] if evaluation.gains else []),
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
            bounds = f"{_number(interval.low, 3)} to {_number(interval.high, 3)}"
            rows.append(
                [baseline, NAMES[metric], f"{interval.mean:+.3f}", bounds, _number(found.p_holm, 4),
                 f"{found.wins} of {interval.n}"]
            )  # fmt: skip
    return _table(["superres over", "figure", "gain", "95 % interval", "p (Holm)", "better in"], rows)


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
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
