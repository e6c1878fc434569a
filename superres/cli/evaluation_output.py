"""What ``superres evaluate`` and ``superres demo`` print of scores; readable in 80 columns, JSON holds everything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from superres.cli.output import ERR, OUT, plain, print_json, print_message, show_facts

if TYPE_CHECKING:
    from superres.demo import DemoResult
    from superres.evaluation import Evaluation, Scores
    from superres.evaluation.controls import Control
    from superres.inference import UpscaleSummary

_MEANS = (
    ("psnr", "PSNR", 2),
    ("psnr_shifted", "moved", 2),
    ("si_psnr", "SI-\nPSNR", 2),
    ("ssim", "SSIM", 3),
    ("micro_ssim", "Micro\nSSIM", 3),
    ("resolution", "FRC", 2),
    ("error_below", "below", 3),
    ("error_above", "above", 3),
)
_COLUMNS = 6  # methods beside each other
_MEANS_CAPTION = (
    "means; moved: PSNR within 1 voxel of shift; FRC: finest period in voxels right against truth; below, above: "
    "spectral error on either side of the low image's Nyquist frequency"
)


_CONTROLS_CAPTION = "spread of the prediction over that of bicubic interpolation; above 1.05 something was invented"


def show_evaluation(evaluation: Evaluation, *, as_json: bool) -> None:
    """Print the scores per acquisition, their means, what the comparison shows, and where the report lies."""
    if as_json:
        figures = json.loads(evaluation.data.read_text(encoding="utf-8"))
        print_json({"report": evaluation.report, "data": evaluation.data, **figures})
        return
    _show_scores(evaluation)
    tables = f"{evaluation.data.with_suffix('.csv')}, {evaluation.data.with_suffix('.md').name}"
    show_facts("Written", {"report": str(evaluation.report), "figures": str(evaluation.data), "tables": tables})


def show_controls(controls: Sequence[Control], *, as_json: bool) -> None:
    """Print what a model makes of recordings without structure."""
    if as_json:
        print_json({"kind": "controls", "controls": [{**plain(one), "passed": one.is_passed} for one in controls]})
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_CONTROLS_CAPTION, caption_justify="left")
    for title in ("recording", "noise", "structure", ""):
        table.add_column(title, justify="right" if title in ("noise", "structure") else "left")
    for one in controls:
        verdict = Text("passed", "green") if one.is_passed else Text("failed", "red")
        table.add_row(one.name, f"{one.noise:.2f}", f"{one.invention:.2f}", verdict)
    OUT.print(table)


def show_first(first: UpscaleSummary) -> None:
    """Print where the demo's first result lies, how long it took, and what comes next."""
    from superres.demo import PARENT

    facts = {"model": PARENT, "store": str(first.path), "took": f"{first.seconds:.1f} s"}
    show_facts("Upscaled, with a model from the package", facts)
    OUT.print(f"{PARENT} knows electron micrographs alone. Now it is fine-tuned on a few images of other kinds.\n")


def show_demo(result: DemoResult) -> None:
    """Print the scores of the demo and where everything lies."""
    _show_scores(result.evaluation)
    facts = {"store": result.store, "picture": result.picture, "report": result.report, "model": result.model}
    show_facts("Made", {name: str(path) for name, path in facts.items()})


def _show_scores(evaluation: Evaluation) -> None:
    from superres.evaluation.results import verdict

    # As many columns as are readable; the model is in the last table, among the strongest.
    parts = math.ceil(len(evaluation.methods) / _COLUMNS)
    for part in range(parts):
        first, last = (place * len(evaluation.methods) // parts for place in (part, part + 1))
        OUT.print(_acquisition_table(evaluation, evaluation.methods[first:last]))
    if evaluation.mean:
        OUT.print(_mean_table(evaluation))
    for warning in evaluation.warnings:
        print_message(ERR, "warning: ", "bold yellow", warning)
    if evaluation.gains:
        OUT.print(_gain_table(evaluation))
    for sentence in verdict(evaluation):
        print_message(OUT, "", "", sentence)


def _acquisition_table(evaluation: Evaluation, methods: Sequence[str]) -> Table:
    """Return a table, two lines a cell: PSNR in dB above SSIM, the best of all methods in bold green."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="PSNR in dB, and SSIM below", caption_justify="left")
    table.add_column("acquisition", overflow="fold", min_width=12)
    for method in methods:
        table.add_column(method.replace("-", "-\n"), justify="right", min_width=6)
    for number, acquisition in enumerate(evaluation.acquisitions, start=1):
        is_last = number == len(evaluation.acquisitions)
        table.add_row(Text(acquisition.id), *_cells(methods, acquisition.scores), end_section=is_last)
    if len(evaluation.acquisitions) > 1:
        table.add_row("mean", *_cells(methods, evaluation.mean))
    return table


def _cells(methods: Sequence[str], scores: Mapping[str, Scores]) -> list[Text]:
    best = [max((getattr(one, metric) for one in scores.values()), default=0.0) for metric in ("psnr", "ssim")]

    def cell(one: Scores) -> Text:
        marks = ["bold green" if value >= top else "" for value, top in zip((one.psnr, one.ssim), best, strict=True)]
        return Text.assemble((f"{one.psnr:.2f}", marks[0]), "\n", (f"{one.ssim:.3f}", marks[1] or "dim"))

    return [cell(scores[method]) for method in methods]


def _mean_table(evaluation: Evaluation) -> Table:
    """Return a table of the means over acquisitions, methods down and figures across."""
    look: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(caption=_MEANS_CAPTION, caption_justify="left", **look)
    table.add_column("method", no_wrap=True)
    for _, title, _ in _MEANS:
        table.add_column(title, justify="right")
    for method in evaluation.methods:
        values = [(getattr(evaluation.mean[method], name), digits) for name, _, digits in _MEANS]
        table.add_row(method, *(_number(value, digits) for value, digits in values))
    return table


def _gain_table(evaluation: Evaluation) -> Table:
    """Return a table of the model's PSNR against every baseline."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="superres, PSNR in dB by acquisition; p: sign-flip test")
    for title in ("superres over", "gain", "95 %", "p", "p (Holm)", "better in"):
        table.add_column(title, justify="left" if title == "superres over" else "right")
    for name, gain in evaluation.gains.items():
        found = gain.psnr
        bounds = found.interval
        spread = "-" if math.isnan(bounds.low) else f"{bounds.low:+.2f} to {bounds.high:+.2f}"
        numbers = (f"{bounds.mean:+.2f}", spread, _number(found.p, 4), _number(found.p_holm, 4))
        table.add_row(name, *numbers, f"{found.wins} of {bounds.n}")
    return table


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
