"""What ``superres train --images`` prints of the recipe that it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from superres.cli.output import OUT, duration_text, plain, print_message, show_facts, voxel_size_text

if TYPE_CHECKING:
    from superres.training.configure import Proposal

_MOST_LINES = 12


def show_proposal(proposal: Proposal) -> None:
    """Print what was found and chosen."""
    facts = proposal.facts
    show_facts(
        "Images",
        {
            "learned from": _names(proposal.train),
            "validated on": _names(proposal.val) or "nothing",
            "voxel size": voxel_size_text(facts[0].voxel_size) if len({f.voxel_size for f in facts}) == 1 else "",
            "left out": _lines(proposal.left_out),
            "notes": "\n".join(proposal.notes),
        },
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", style="bold")
    table.add_column("value", overflow="fold", ratio=2)
    table.add_column("why", overflow="fold", ratio=3)
    for choice in proposal.choices:
        table.add_row(choice.key, Text(_text(choice.value)), Text(choice.reason))
    OUT.print(table)
    print_message(OUT, "recipe: ", "cyan", str(proposal.recipe))
    print_message(OUT, "expected: ", "cyan", f"about {duration_text(proposal.seconds)} of training")


def proposal_facts(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal for JSON."""
    return {
        "recipe": proposal.recipe,
        "manifest": proposal.manifest,
        "choices": {choice.key: {"value": choice.value, "why": choice.reason} for choice in proposal.choices},
        "train": proposal.train,
        "val": proposal.val,
        "images": [plain(fact) for fact in proposal.facts],
        "left_out": proposal.left_out,
        "notes": proposal.notes,
        "expected_seconds": proposal.seconds,
    }


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_MOST_LINES])
    return shown + (f" and {len(names) - _MOST_LINES} more" if len(names) > _MOST_LINES else "")


def _lines(lines: tuple[str, ...]) -> str:
    more = [f"... and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    return "\n".join([*lines[:_MOST_LINES], *more])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(f"{key} {_text(item).replace(chr(10), ', ')}" for step in value for key, item in step.items())
    return str(value)
