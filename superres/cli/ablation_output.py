"""What ``superres ablate`` prints: a table for each set of images, readable in 80 columns."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from superres.cli.output import OUT, print_json, show_facts, show_failures

if TYPE_CHECKING:
    from superres.evaluation.ablation import Ablation
    from superres.evaluation.ablation_summary import Row
    from superres.evaluation.statistics import Interval


def show_ablation(ablation: Ablation, page: Path, *, as_json: bool) -> None:
    """Print every arm against the reference, and where the page lies."""
    data = page.with_suffix(".json")
    if as_json:
        print_json({"report": page, "data": data, **json.loads(data.read_text(encoding="utf-8"))})
        return
    from superres.evaluation.ablation_summary import costs, rows

    spent = {arm: cost.steps * cost.per_step for arm, cost in costs(ablation).items()}
    for images in ablation.config.score:
        OUT.print(_table(images, rows(ablation, images), ablation.config.compared_with, spent))
    if ablation.failed:
        show_failures(ablation.failed, len(ablation.failed) + len(ablation.outcomes))
    show_facts("Written", {"report": str(page), "tables": page.with_suffix(".md").name, "figures": data.name})


def _table(images: str, found: Sequence[Row], reference: str, spent: dict[str, float]) -> Table:
    caption = f"{images}: PSNR in dB; gain over {reference} with 95 % intervals; CPU s of one training"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left", padding=(0, 1, 0, 0))
    table.add_column("arm", overflow="fold")
    for title in ("PSNR", "gain", "over seeds", "over images", "SSIM", "CPU s"):
        table.add_column(title, justify="right")
    for row in found:
        over = None if row.over_acquisitions is None else row.over_acquisitions.interval
        seconds = f"{spent[row.arm]:.0f}" if row.arm in spent else ""
        gain = "" if row.over_seeds is None else f"{row.over_seeds.mean:+.2f}"
        figures = (f"{row.figures['psnr']:.2f}", gain, _bounds(row.over_seeds), _bounds(over))
        table.add_row(Text(row.arm), *figures, f"{row.figures['ssim']:.3f}", seconds)
    return table


def _bounds(interval: Interval | None) -> str:
    return "" if interval is None or math.isnan(interval.low) else f"{interval.low:+.2f}, {interval.high:+.2f}"
