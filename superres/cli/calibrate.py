"""``superres calibrate``: make a model's intervals hold for new images, and check that they do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from superres.cli import output
from superres.cli.application import STARTS_ANEW, AsJson, Overrides, app, examples, job
from superres.cli.models import own_model_path

if TYPE_CHECKING:
    from superres.evaluation import Calibration, CoverageCheck


@app.command(
    epilog=examples(
        "superres calibrate runs/em --manifest em.yaml",
        "superres calibrate runs/em --manifest em.yaml --split test --check",
        "superres calibrate runs/em --manifest my_volume.yaml --by image",
    )
)
def calibrate(
    model: Annotated[str, typer.Argument(help="Model file or run folder; its header gets the factor.")],
    manifest: Annotated[list[Path], typer.Option(help="Manifest of images with truth; repeat it for more.")],
    split: Annotated[str | None, typer.Option(help="train, val or test; val where nothing is said.")] = None,
    by: Annotated[str | None, typer.Option(metavar="acquisition|image", help="What is promised: see below.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Measure on others whether it holds.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Find the factor on the half-widths that holds for new acquisitions, or check it on some.

    Nine acquisitions are the least. With fewer, [bold]--by image[/] promises something of further images of these very
    acquisitions, and nothing of others; as many images as are used are left out for the check.
    """
    with job(STARTS_ANEW) as progress:
        from superres.config import load_config
        from superres.evaluation.settings import CalibrateConfig

        manifests = tuple(manifest)
        values = {"model": own_model_path(model, progress), "manifests": manifests, "split": split, "by": by}
        config = load_config(CalibrateConfig, None, overrides or (), **values)
        from superres import evaluation

        if check:
            found = evaluation.check_coverage(config, progress=progress)
        else:
            made = evaluation.calibrate(config, progress=progress)
    if check:
        _show_check(found, as_json=as_json)
    else:
        _show_calibration(made, as_json=as_json)


def _show_calibration(made: Calibration, *, as_json: bool) -> None:
    if as_json:
        skipped = dict(made.skipped)
        output.print_json({"model": made.model, "sha256": made.sha256, "skipped": skipped, **made.record})
        return
    record, unit = made.record, made.record["unit"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(unit, overflow="fold")
    table.add_column("factor", justify="right")
    for entry in record[f"{unit}s"]:
        table.add_row(Text(entry["id"]), f"{entry['factor']:.3f}")
    output.OUT.print(table)
    _show_skipped(made.skipped)
    facts = {
        "factor": f"{record['factor']:.3f}" + ("" if record["calibrated"] else " (relative uncertainty only)"),
        f"{unit}s": str(record["n"]),
        "claim": record["claim"],
        "model": f"{made.model} (header only; the weights are as they were)",
        "sha256": made.sha256,
    }
    output.show_facts("Calibrated" if record["calibrated"] else "Uncalibrated", facts)


def _show_check(found: CoverageCheck, *, as_json: bool) -> None:
    if as_json:
        output.print_json(found.to_json())
        return
    # Narrow, so that a name of 28 letters stands in one line of 80.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=_CAPTION, caption_justify="left")
    table.add_column(found.unit, overflow="fold", min_width=12)
    for name in ("inside", "edges", "other", "deciles", "width", "rank"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, item in found.units.items():
        deciles = f"{100 * min(item.by_decile):.0f} to {max(item.by_decile):.0%}"
        rank = "" if math.isnan(item.spearman) else f"{item.spearman:.2f}"
        shares = (f"{item.coverage:.1%}", f"{item.edges:.1%}", f"{item.background:.1%}", deciles)
        table.add_row(Text(name), *shares, f"{item.mean_width:.3f}", rank)
    output.OUT.print(table)
    _show_skipped(found.skipped)
    output.print_message(output.OUT, "", "", _verdict(found))
    if not found.recorded:
        output.print_message(output.ERR, "warning: ", "bold yellow", "the model file cannot be written to note this")


_CAPTION = (
    "Share of voxels inside: all, where truth is steepest, elsewhere, and by predicted intensity.\n"
    "Mean length of the intervals as a share of black to white, and its rank correlation with the error."
)


def _verdict(found: CoverageCheck) -> str:
    count = f"{found.covered} of {len(found.units)} {found.unit}s"
    line = f"{count} have at least {found.level:.0%} of their voxels inside"
    if found.unit == "image":
        line = f"{line} (further images of the acquisitions that it was calibrated with; of others nothing is known)"
    if found.band is None:
        return f"{line}; the model is uncalibrated, so nothing was claimed"
    low, high = found.band
    verdict = "as claimed" if found.holds else "NOT as claimed: calibrate again on images of this kind"
    return f"{line}; {low} to {high} were to be expected (95 %): {verdict}"


def _show_skipped(skipped: Mapping[str, str]) -> None:
    for name, reason in skipped.items():
        output.print_message(output.ERR, "warning: ", "bold yellow", f"{name}: left out, {reason}")
