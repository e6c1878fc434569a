"""What ``superres ablate --landscape`` prints of the loss around a trained net."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from superres.cli.output import ERR, print_json, print_message, show_facts

if TYPE_CHECKING:
    from superres.evaluation.landscape import Landscape


def show_landscape(found: Landscape, *, as_json: bool) -> None:
    """Print what the map shows, how much of the way, and where it lies; notes go to stderr."""
    if as_json:
        print_json({"page": found.page, "data": found.data, **json.loads(found.data.read_text(encoding="utf-8"))})
        return
    from superres.evaluation.landscape_page import in_words

    for note in found.notes:
        print_message(ERR, "note: ", "bold", note)
    first, second = found.axes
    facts = {
        "final weights": f"loss {found.final.loss:.5g}, PSNR {found.final.psnr:.4g} dB",
        "measured on": found.patches,
        "map": f"{len(first.values)} x {len(second.values)} nets along the {first.name} and the {second.name}",
        "explained": in_words(found) if found.explained else "",
        "page": str(found.page),
        "figures": str(found.data),
    }
    show_facts(f"Loss around {found.run}", facts)
