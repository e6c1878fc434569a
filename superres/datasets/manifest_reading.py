"""Reading the text of a manifest: YAML, strictly, with every fault on a line that says where it is."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from superres.datasets.manifest_format import AcquisitionEntry, ArchiveEntry, Datasheet, FileEntry, ManifestEntry
from superres.errors import InputError, MissingFileError


def read_entry(path: Path) -> ManifestEntry:
    """Read and check the text of a manifest; no image file is looked at.

    Raises
    ------
    MissingFileError
        When there is no such manifest.
    InputError
        When it is not valid YAML, or a key or value is wrong; one line per fault.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such manifest; give the path of a YAML file that lists acquisitions")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    try:
        return ManifestEntry.model_validate(content)
    except ValidationError as error:
        raise InputError(_explain(error, content, path)) from None


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice, of which YAML would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _explain(error: ValidationError, content: dict[str, Any], path: Path) -> str:
    faults = [item for item in error.errors() if not _follows(item, error)]
    lines = [f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''} in this manifest"]
    for item in faults:
        where, found = _place(item["loc"], content), f" (got {item['input']!r})"
        if item["type"] == "extra_forbidden":
            text = f"unknown key{_nearest(item['loc'])}"
        elif item["type"] == "missing":
            text = "missing; add it"
        elif item["type"] == "string_type":
            text = f"expected text; put it in quotes{found}"
        else:
            message = item["msg"].removeprefix("Value error, ")
            text = message + ("" if isinstance(item["input"], dict) else found)
        lines.append(f"  {where + ': ' if where else ''}{text}")
    return "\n".join(lines)


def _follows(item: ErrorDetails, error: ValidationError) -> bool:
    """Whether a list counts as empty only because something in it is wrong, which is said already."""
    depth = len(item["loc"])
    others = (other["loc"] for other in error.errors())
    return item["type"] == "too_short" and any(loc[:depth] == item["loc"] and len(loc) > depth for loc in others)


def _place(location: tuple[int | str, ...], content: dict[str, Any]) -> str:
    """Write where a fault is, with the acquisition's id, which is easier to find than its number."""
    words: list[str] = []
    for part in location:
        if isinstance(part, str):
            words.append(part)
            continue
        label: object = part + 1
        if words == ["acquisitions"]:
            entry = content["acquisitions"][part]
            label = entry.get("id", label) if isinstance(entry, dict) else label
        words[-1] += f"[{label}]"
    return ".".join(words)


def _nearest(location: tuple[int | str, ...]) -> str:
    """Name the known key closest to the unknown one; the way to it tells in which kind of entry it stands."""
    kind: type[BaseModel] = ManifestEntry
    if location[0] == "acquisitions" and len(location) > 1:
        kind = AcquisitionEntry if len(location) == 3 else FileEntry
    elif location[0] == "archives" and len(location) > 1:
        kind = ArchiveEntry
    elif location[0] == "datasheet" and len(location) > 1:
        kind = Datasheet
    known = list(kind.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known keys: {', '.join(known)}"
