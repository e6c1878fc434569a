"""What ``superres data`` prints: checked and fetched files, terms of use."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superres.cli.output import ERR, OUT, plain
from superres.datasets.datacard import credits, licences, size_text

if TYPE_CHECKING:
    from superres.datasets.fetch import FetchedFile, FetchPlan, FetchSummary
    from superres.datasets.manifest_check import CheckedFile, CheckedManifest
    from superres.datasets.manifest_format import ManifestEntry

_MANY = 12  # files of one acquisition beyond that are told in one row, unless something is wrong with them


def show_check(result: CheckedManifest, *, as_json: bool) -> None:
    """Print what was found of every file, what is wrong, and a verdict."""
    if as_json:
        _print_json(_check_facts(result))
        return
    _print_facts(
        OUT,
        f"{result.entry.name}: {result.path}",
        {"data": f"{result.root} ({result.root_from})", **_terms(result.entry)},
    )
    if result.files:
        OUT.print(_check_table(result))
    for item in result.files:
        for problem in item.problems:
            if problem != "missing":  # the table says so
                _print_line(OUT, f"{item.file}: {problem}", "red")
    for problem in result.problems:
        _print_line(OUT, problem, "red")
    for file in result.not_compared:
        _print_line(OUT, f"{file}: too large to look for copies in other splits", "yellow")
    wrong = sum(bool(item.problems) for item in result.files)
    if result.is_good:
        _print_line(OUT, f"All {len(result.files)} files are there, unchanged and readable; no image in two splits.")
        return
    missing = sum(item.problems == ("missing",) for item in result.files)
    parts = [f"{wrong - missing} of {len(result.files)} files are not as they should be"] if wrong > missing else []
    fetch = f"'superres data fetch {result.path}' fetches what has an address"
    parts += [f"{missing} of {len(result.files)} files are missing: {fetch}"] if missing else []
    if parts:
        _print_line(OUT, "; ".join(parts) + ".", "bold red")


def show_terms(plan: FetchPlan) -> None:
    """Print on stderr under which terms the files come, and how much there is to fetch, before anything is fetched."""
    _print_facts(ERR, f"{plan.entry.name}: {plan.path}", _terms(plan.entry) | _amounts(plan))


def show_plan(plan: FetchPlan, *, as_json: bool) -> None:
    """Print what would be fetched."""
    if as_json:
        entry = plan.entry
        facts = {"manifest": plan.path, "root": plan.root, "licences": licences(entry), "credits": credits(entry)}
        missing = [dict(zip(("file", "url", "bytes"), item, strict=True)) for item in plan.missing]
        _print_json(facts | {"there": plan.there, "missing": missing})
        return
    _print_facts(OUT, f"{plan.entry.name}: {plan.path}", _terms(plan.entry) | _amounts(plan))
    for name, url, size in plan.missing:
        amount = f", {size_text(size)}" if size is not None else ""
        _print_line(OUT, f"{name}{amount}: {url or 'no address, by hand'}")


def show_fetch(result: FetchSummary, *, as_json: bool) -> None:
    """Print what became of every file; checksums that the manifest lacks, to be pasted there."""
    if as_json:
        facts = {"manifest": result.path, "root": result.root, "ok": not result.problems}
        _print_json(facts | {"files": [plain(item) for item in result.files]})
        return
    counts = {state: sum(item.state == state for item in result.files) for state in ("there", "fetched", "unpacked")}
    names = {"there": "there already", "fetched": "fetched", "unpacked": "unpacked"}
    parts = [f"{count} {names[state]}" for state, count in counts.items() if count]
    parts += [f"{len(result.problems)} not to be had"] if result.problems else []
    for text, items in _by_message(result.problems).items():
        others = f" (the same for {len(items) - 1} other files)" if len(items) > 1 else ""
        named = text.startswith((str(result.root), "http", "doi:"))
        _print_line(OUT, (text if named else f"{items[0].file}: {text}") + others, "red")
    bare = [item for item in result.files if item.is_unverified]
    if bare:
        _print_line(
            OUT,
            "Not verified: the manifest has no SHA-256 for these. If you trust them, write it there, so that others "
            "get the same files:",
            "yellow",
        )
        for item in bare:
            OUT.print(Text(f"  {item.file}\n    sha256: {item.found}"), soft_wrap=True, highlight=False)
    _print_line(OUT, f"{', '.join(parts)}; in {result.root}")


def _by_message(problems: tuple[FetchedFile, ...]) -> dict[str, list[FetchedFile]]:
    groups: dict[str, list[FetchedFile]] = {}
    for item in problems:
        groups.setdefault(item.message, []).append(item)
    return groups


def _terms(entry: ManifestEntry) -> dict[str, str]:
    return {
        "licence": _few(licences(entry)),
        "credit": _few(credits(entry)),
        "cite": entry.cite or "",
        "only for": f"evaluation, never training: {entry.evaluation_only}" if entry.evaluation_only else "",
        "reading": entry.reading or "",
        "not known": "\n".join(entry.unknown),
    }


def _few(texts: tuple[str, ...]) -> str:
    return "; ".join(texts)


def _amounts(plan: FetchPlan) -> dict[str, str]:
    sizes = [size for _, url, size in plan.missing if url]
    known = [size for size in sizes if size is not None]
    amount = f"{size_text(sum(known))}{'' if len(known) == len(sizes) else ' and more'}" if known else "size not known"
    by_hand = sum(url is None for _, url, _ in plan.missing)
    return {
        "folder": str(plan.root),
        "there": f"{plan.there} files" if plan.there else "",
        "to fetch": f"{len(sizes)} download{'s' * (len(sizes) > 1)}, {amount}" if sizes else "nothing",
        "by hand": f"{by_hand} without an address" if by_hand else "",
    }


def _check_facts(result: CheckedManifest) -> dict[str, Any]:
    return {
        "manifest": result.path,
        "root": result.root,
        "ok": result.is_good,
        "licences": licences(result.entry),
        "credits": credits(result.entry),
        "evaluation_only": result.entry.evaluation_only,
        "unknown": result.entry.unknown,
        "problems": result.problems,
        "not_compared": result.not_compared,
        "files": [plain(item) for item in result.files],
    }


def _check_table(result: CheckedManifest) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("acquisition", overflow="fold")
    table.add_column("split", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("TCZYX", no_wrap=True)
    table.add_column("values", no_wrap=True)
    table.add_column("", no_wrap=True)
    groups: dict[tuple[str, str], list[CheckedFile]] = {}
    for item in result.files:
        groups.setdefault((item.acquisition, item.split), []).append(item)
    for (name, split), files in groups.items():
        for index, row in enumerate(_rows(files)):
            table.add_row(name if index == 0 else "", split if index == 0 else "", *row)
    return table


def _rows(files: list[CheckedFile]) -> Iterator[tuple[Text, str, str, Text]]:
    """One row per file; many that are good and of one shape are one row, and so are many that are missing."""
    groups: dict[tuple[object, ...], list[CheckedFile]] = {}
    for item in files:
        alike = item.problems in ((), ("missing",))
        groups.setdefault((item.problems, item.shape, item.role) if alike else (item.file,), []).append(item)
    for items in groups.values():
        if len(items) > _MANY:
            yield _row(items[0], f"{len(items)} in {Path(items[0].file).parent}")
        else:
            yield from (_row(item, Path(item.file).name) for item in items)


def _row(item: CheckedFile, name: str) -> tuple[Text, str, str, Text]:
    verdict = Text("good", "green")
    if item.problems:
        verdict = Text("missing" if item.problems == ("missing",) else "wrong", "red")
    role = Text("low ", "cyan") if item.role == "low" else Text()
    return role + Text(name), _shape(item), item.dtype or "", verdict


def _shape(item: CheckedFile) -> str:
    return "" if item.shape is None else "x".join(map(str, item.shape))


def _print_json(content: object) -> None:
    OUT.file.write(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def _print_facts(console: Console, title: str, facts: Mapping[str, str]) -> None:
    """Print a title and its facts in two columns, broken between words on a terminal; what is empty is left out."""
    console.print(Text(title, style="bold"), soft_wrap=True, highlight=False)
    given = {name: value for name, value in facts.items() if value}
    indent = 4 + max((len(name) for name in given), default=0)
    for name, value in given.items():
        lines = [line for text in value.splitlines() for line in _broken(console, text, indent)]
        label = Text(f"  {name}".ljust(indent), "cyan")
        console.print(label + Text(("\n" + " " * indent).join(lines)), soft_wrap=True, highlight=False)


def _print_line(console: Console, text: str, style: str = "") -> None:
    lines = _broken(console, text, 2)
    console.print(Text("\n  ".join(lines), style), soft_wrap=True, highlight=False)


def _broken(console: Console, text: str, indent: int) -> list[str]:
    if not console.is_terminal:
        return [text]
    return textwrap.wrap(text, max(console.width - indent, 20), break_long_words=False, break_on_hyphens=False) or [""]
