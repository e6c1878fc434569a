"""What ``superres models`` prints; readable in 80 columns, JSON holds everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superres.cli.output import ERR, OUT, bytes_text, print_json, print_message, show_note

if TYPE_CHECKING:
    from superres.modelfile import ModelFile
    from superres.sharing.describe import Described
    from superres.sharing.listing import Listed
    from superres.sharing.sections import Section
    from superres.sharing.sections import Table as CardTable
    from superres.sharing.verification import Verification


def show_list(found: Sequence[Listed], *, as_json: bool) -> None:
    """Print the models in the package."""
    if as_json:
        print_json({"kind": "models", "models": found})
        return
    if not found:
        show_note("This package holds no models; 'superres train --images FOLDER --factor 4 --out RUN' makes one.")
        return
    from superres.sharing.wording import range_text

    table = _table("model", "for", "factor", "voxel size", "licence", "size")
    for one in found:
        purpose = one.purpose + (" (for pictures, not for measurement)" if one.display else "")
        factor = " x ".join(str(times) for times in one.factor)
        table.add_row(
            Text(one.name, "bold"), purpose, factor, range_text(one.voxel_range), one.licence, bytes_text(one.size)
        )
    _wide().print(table)
    print_message(OUT, "", "", f"superres models info {found[0].name} shows a card; --model {found[0].name} takes it")


def show_card(file: ModelFile, sections: Sequence[Section], page: Path | None, *, as_json: bool) -> None:
    """Print a card section by section."""
    if as_json:
        from superres.sharing.completeness import missing

        header = file.header
        told = {"name": header.name, "path": file.path, "sha256": file.sha256, "identity": file.identity}
        print_json({"kind": "card", **told, "licences": header.licences, "card": header.card, "missing": missing(file)})
        return
    OUT.print(Text(f"{file.header.name}  ", "bold").append(str(file.path), "dim"), soft_wrap=True, highlight=False)
    for section in sections:
        OUT.print()
        OUT.print(Text(section.title, "bold cyan"))
        for text in section.text:
            print_message(OUT, "  ", "", text, indent=2)
        for item in section.items:
            name, colon, value = item.partition(": ")
            label = f"  - {name}: " if colon and "." not in name else "  - "
            print_message(OUT, label, "", value if label != "  - " else item, indent=4)
        for table in section.tables:
            _show_table(table)
        for picture in section.pictures:
            print_message(OUT, "  ", "", f"{file.path.parent / picture.file}: {picture.caption}", indent=4)
    if page is not None:
        show_note(f"wrote {page}")


def show_verification(found: Verification, *, as_json: bool) -> None:
    """Print what of a model is not as its card says."""
    wrong = [one for one in found.figures if not one.is_same]
    if as_json:
        print_json({"kind": "verification", "good": found.is_good, "model": found.model, "problems": found.problems,
                    "figures": found.figures, "not_checked": found.not_checked, "missing": found.missing})  # fmt: skip
        return
    for problem in found.problems:
        print_message(ERR, "wrong: ", "bold red", problem)
    for one in wrong:
        said, now = ("no value" if value is None else f"{value:.4g}" for value in (one.said, one.found))
        place = f"{one.trial}, {one.acquisition}, {one.method}"
        print_message(ERR, "wrong: ", "bold red", f"{place}: {one.figure} is {now}, the card says {said}")
    for line in found.not_checked:
        print_message(ERR, "not checked: ", "bold yellow", line)
    for line in found.missing if not found.problems else ():
        print_message(ERR, "the card lacks: ", "bold yellow", line)
    if not found.problems:
        print_message(OUT, "", "", f"{found.model}: weights and pictures are those of the card")
    if found.figures:
        print_message(OUT, "", "", f"{len(found.figures) - len(wrong)} of {len(found.figures)} figures came out again")


def show_described(made: Described, *, as_json: bool) -> None:
    """Print where the card was written, and what it lacks."""
    if as_json:
        print_json({"kind": "described", "model": made.model, "card": made.card.to_json(),
                    "missing": made.missing, "objections": made.objections})  # fmt: skip
        return
    print_message(OUT, "", "", f"{made.model}: has its card (header only; the weights are as they were)")
    for line in made.missing:
        print_message(OUT, "  lacks: ", "yellow", line, indent=4)
    for line in made.objections:
        print_message(OUT, "  may not be passed on: ", "red", line, indent=4)
    if not made.missing and not made.objections:
        print_message(OUT, "  ", "", "the card is complete, and all licences allow to pass the model on")


def _show_table(content: CardTable) -> None:
    if content.caption:
        OUT.print()
        print_message(OUT, "  ", "", content.caption, indent=2)
    table = _table(*content.head)
    for column in table.columns[1:]:
        column.justify = "left" if content.head[0] == "licence" else "right"
    for row in content.rows:
        table.add_row(*(Text(cell) for cell in row))
    _wide().print(table)


def _table(*head: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold")
    return table


def _wide() -> Console:
    """Names stay whole in a file or a pipe."""
    return OUT if OUT.is_terminal else Console(file=OUT.file, width=1000)
