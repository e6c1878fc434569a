"""The manifest as a file: a YAML list of acquisitions that a biologist can read and write.

.. code-block:: yaml

    name: em
    description: What the set holds, in a sentence.
    licence: CC BY 4.0          # licence, credit and source may also stand in an acquisition
    credit: Who recorded it
    source: Where it came from
    acquisitions:
      - id: brain_3             # one specimen, field or volume; its files are planes or images of it
        split: train            # train, val or test
        high:
          - {file: brain_3/z000.tif, sha256: 64 hexadecimal digits}
        low: []                 # one low file per high file where real pairs were recorded
        axes: YX                # only where the file does not tell
        voxel_size: [null, 0.07, 0.07]   # ZYX in micrometre; null where unknown
        grey_range: [0, 255]    # black and white; left out where they are to be measured

Checked strictly, and every fault is named on a line of its own.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from superres.config import Settings
from superres.errors import InputError, MissingFileError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Grey = Annotated[float, Field(allow_inf_nan=False)]


class FileEntry(Settings):
    """One image file, relative to the data root, and the SHA-256 of its bytes."""

    file: Text
    sha256: str

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, value: str) -> str:
        if len(value) != 64 or not set(value.lower()) <= set("0123456789abcdef"):
            raise ValueError("expected the 64 hexadecimal digits that 'sha256sum FILE' prints")
        return value.lower()


class AcquisitionEntry(Settings):
    """One specimen, field or volume; splits are made of whole acquisitions."""

    id: Name
    split: Literal["train", "val", "test"]
    high: tuple[FileEntry, ...] = Field(min_length=1)
    low: tuple[FileEntry, ...] = ()
    axes: str | None = None
    voxel_size: tuple[Length | None, Length | None, Length | None] | None = None
    grey_range: tuple[Grey, Grey] | None = None
    modality: Text | None = None
    licence: Text | None = None
    credit: Text | None = None
    source: Text | None = None
    note: Text | None = None

    @field_validator("axes")
    @classmethod
    def _are_axes(cls, value: str | None) -> str | None:
        if value is not None and (len(set(value)) != len(value) or not {"Y", "X"} <= set(value) <= set("TCZYX")):
            raise ValueError("expected letters of TCZYX, each once, with Y and X among them, such as ZYX or YXC")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.low and len(self.low) != len(self.high):
            raise ValueError(
                f"low lists {len(self.low)} and high {len(self.high)} files; real pairs need one low file for each "
                "high file, in the same order"
            )
        if self.grey_range is not None and self.grey_range[0] >= self.grey_range[1]:
            raise ValueError(f"grey_range is [black, white] with black below white, got {list(self.grey_range)}")
        return self


class ManifestEntry(Settings):
    """A whole manifest as it stands in the file."""

    name: Name
    description: Text
    licence: Text | None = None
    credit: Text | None = None
    source: Text | None = None
    root: Text | None = None
    acquisitions: tuple[AcquisitionEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _origin_is_told(self) -> Self:
        for key in ("licence", "credit", "source"):
            lacking = [entry.id for entry in self.acquisitions if (getattr(entry, key) or getattr(self, key)) is None]
            if lacking:
                raise ValueError(f"no {key} for {', '.join(lacking)}; add '{key}:' there, or at the top for all")
        return self


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
    count = error.error_count()
    lines = [f"{path}: {count} fault{'s' if count > 1 else ''} in this manifest"]
    for item in error.errors():
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
    """Name the known key closest to the unknown one; the depth tells which kind of entry it stands in."""
    kinds: dict[int, type[BaseModel]] = {1: ManifestEntry, 3: AcquisitionEntry, 5: FileEntry}
    known = list(kinds[len(location)].model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known keys: {', '.join(known)}"
