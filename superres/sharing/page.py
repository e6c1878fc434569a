"""The card of a model as a page: Markdown for documentation, and HTML in one file that needs no other."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path

from superres.errors import OutputWriteError
from superres.evaluation.page import page
from superres.modelfile import ModelFile
from superres.sharing.card import Picture
from superres.sharing.sections import Section, Table, sections_of


def write_card(file: ModelFile, out: Path) -> None:
    """Write a card as ``.md``, with its pictures in a folder beside it, or as ``.html``, with its pictures in it.

    Raises
    ------
    OutputWriteError
        When it cannot be written.
    ModelFileError
        When the card is damaged.
    """
    is_html = out.suffix in (".html", ".htm")
    text = card_html(file) if is_html else card_markdown(file)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for section in sections_of(file) if not is_html else ():
            for picture in section.pictures:
                _copy(file.path.parent / picture.file, out.parent / picture.file)
        partial = out.with_name(out.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise OutputWriteError(f"{out}: cannot be written ({error.strerror or error}); give another file") from None


def card_markdown(file: ModelFile) -> str:
    """Return a card as Markdown; its pictures are expected in a folder beside the page."""
    parts = [f"# {_plain(file.header.name)}"]
    for section in sections_of(file):
        parts.append(f"## {section.title}")
        parts += [_plain(text) for text in section.text]
        if section.items:
            parts.append("\n".join(f"- {_plain(item)}" for item in section.items))
        parts += [_markdown_table(table) for table in section.tables]
        for one in section.pictures:
            parts += [f"![{_plain(one.caption)}]({one.file.replace(' ', '%20')})", f"*{_plain(one.caption)}*"]
    return "\n\n".join(part for part in parts if part) + "\n"


def card_html(file: ModelFile) -> str:
    """Return a card as one HTML document; pictures that are not beside the model are named and left out."""
    name = file.header.name
    body = [f"<h1>{escape(name)} <small>model card</small></h1>"]
    for section in sections_of(file):
        body += _html_section(section, file.path.parent)
    return page(f"Model card of {name}", "\n".join(body))


def _html_section(section: Section, folder: Path) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}</h2>"
    yield from (f"<p>{escape(text)}</p>" for text in section.text)
    if section.items:
        yield f'<ul class="words">{"".join(f"<li>{escape(item)}</li>" for item in section.items)}</ul>'
    yield from map(_html_table, section.tables)
    yield from (_html_picture(picture, folder) for picture in section.pictures)


def _html_table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in table.rows
    )
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _html_picture(picture: Picture, folder: Path) -> str:
    path = folder / picture.file
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>"
    if not path.is_file():
        return f"<figure><p>{escape(picture.file)} does not lie beside the model.</p>{caption}</figure>"
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{escape(picture.caption)}" src="data:image/png;base64,{content}">{caption}</figure>'


def _markdown_table(table: Table) -> str:
    rows = [table.head, tuple("---" for _ in table.head), *table.rows]
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join([*((f"{_plain(table.caption)}\n",) if table.caption else ()), *lines])


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Keep words from being read as markup."""
    return " ".join(text.split()).replace("<", "&lt;")


def _copy(source: Path, target: Path) -> None:
    if source.is_file() and not (target.exists() and target.samefile(source)):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
