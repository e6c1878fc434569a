"""The text of a recipe that was written for images: YAML with a reason above every choice."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from superres.errors import OutputWriteError
from superres.training.choices import Choice

_WIDTH = 118


def recipe_text(choices: Sequence[Choice], head: Iterable[str]) -> str:
    """Write a recipe.

    Parameters
    ----------
    choices : sequence of Choice
        In the order of the recipe; each key once.
    head : iterable of str
        Paragraphs for the beginning; an empty one makes an empty line.

    Returns
    -------
    str
        YAML that `superres.config.load_config` reads.
    """
    parts = ["\n".join(_comment(list(head)))]
    for choice in choices:
        reason = _comment(choice.reason.splitlines())
        parts.append("\n".join([*reason, *_yaml(choice.key, choice.value)]))
    return "\n\n".join(parts) + "\n"


def write_recipe(path: Path, text: str) -> None:
    """Write the file, and its folder.

    Raises
    ------
    OutputWriteError
        When it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); give another folder") from None


def _comment(paragraphs: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        is_command = paragraph.startswith("  ")
        lines += [paragraph] if is_command else textwrap.wrap(paragraph, _WIDTH - 2) or [""]
    return [f"# {line}".rstrip() for line in lines]


def _yaml(key: str, value: Any, indent: str = "") -> Iterator[str]:
    """Yield lines of block style outside and of flow style inside, as a person would write them."""
    if isinstance(value, dict) and value and len(indent) < 2:
        yield f"{indent}{key}:"
        for inner, item in value.items():
            yield from _yaml(inner, item, indent + "  ")
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield f"{indent}{key}:"
        for item in value:
            yield f"{indent}  - {_flow(item) if len(item) > 1 else _flow(item)[1:-1]}"
    else:
        yield f"{indent}{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n...\n").strip()
