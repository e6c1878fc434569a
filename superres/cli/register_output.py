"""What ``superres data register`` prints: shift, certainty and verdict of every pair."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from superres.cli.output import OUT, plain, print_message

if TYPE_CHECKING:
    from superres.datasets.registered_manifest import RegisteredManifest, RegisteredPair


def show_registered(result: RegisteredManifest, *, as_json: bool) -> None:
    """Print a row per pair, the reason of every refusal, and what was written."""
    if as_json:
        OUT.file.write(json.dumps(plain(_facts(result)), indent=2, allow_nan=False) + "\n")
        return
    OUT.print(_table(result))
    for pair in result.refused:
        print_message(OUT, "refused: ", "red", f"{pair.low}: {pair.registration.problem}")
    print_message(OUT, "", "", f"Look at {result.sheet}: grey is where low and high agree.")
    kept = len(result.pairs) - len(result.refused)
    if result.written is None:
        print_message(OUT, "", "red", "No pair was accepted, so no manifest was written.")
    else:
        print_message(OUT, "", "", f"{kept} of {len(result.pairs)} pairs are in {result.written}; use it in recipes.")


def _table(result: RegisteredManifest) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("acquisition", overflow="fold")
    table.add_column("low", overflow="fold")
    for name in ("shift ZYX", "±", "certainty", "alike", ""):
        table.add_column(name, no_wrap=True, justify="left" if name in ("shift ZYX", "") else "right")
    for pair in result.pairs:
        table.add_row(pair.acquisition, Path(pair.low).name, *_row(pair))
    return table


def _row(pair: RegisteredPair) -> tuple[str | Text, ...]:
    found = pair.registration
    verdict = Text("good", "green") if found.is_accepted else Text("refused", "red")
    if not found.planes:
        return ("", "", "", "", verdict)
    shift = " ".join(f"{s:+.2f}" for s in found.shift)
    alike = f"{found.unregistered:.3f} > {found.correlation:.3f}"
    return shift, _figure(found.error), f"{found.certainty:.0f}", alike, verdict


def _figure(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""


def _facts(result: RegisteredManifest) -> dict[str, Any]:
    return {
        "manifest": result.path,
        "written": result.written,
        "contact_sheet": result.sheet,
        "ok": not result.refused,
        "pairs": [_pair_facts(pair) for pair in result.pairs],
    }


def _pair_facts(pair: RegisteredPair) -> dict[str, Any]:
    """Everything that was measured; what could not be is null."""
    facts: dict[str, Any] = plain(pair)
    found = facts.pop("registration")
    measured = bool(pair.registration.planes)
    known = {key: value if measured or key == "problem" else None for key, value in found.items()}
    return facts | known | {"accepted": pair.registration.is_accepted, "planes": found["planes"]}
