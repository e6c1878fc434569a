"""The YAML files that settings are read from, and the files that those name beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from superres.errors import ConfigError, MissingFileError

_KEYS = {"degrade", "factor"}


def read_yaml(path: Path, what: str = "recipe") -> dict[str, Any]:
    """Read a YAML file of `key: value` lines.

    Raises
    ------
    MissingFileError
        When it is not there; `what` says what it should have been.
    ConfigError
        When it is not such a file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such {what}; give the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found {type(content).__name__}")
    return content


def beside(named: object, folder: Path) -> object:
    """Make a relative path, or those of a list, relative to the recipe's folder; leave anything else alone."""
    if isinstance(named, str):
        return str(folder / named)
    if not isinstance(named, list):
        return named
    return [str(folder / entry) if isinstance(entry, str) else entry for entry in named]


def with_degradation(content: Mapping[str, Any]) -> dict[str, Any]:
    """Put the steps of a file written by ``superres degrade fit`` in the place of its name.

    Settings then hold all that decides an outcome: the file may change or go.

    Raises
    ------
    MissingFileError, ConfigError
        When there is no such file, or it is something else, or was fitted at another factor.
    """
    name = content.get("degrade")
    if not isinstance(name, str):
        return dict(content)
    block = read_yaml(Path(name), "file of a degradation")
    if not isinstance(block.get("degrade"), list) or not block.keys() <= _KEYS:
        raise ConfigError(
            f"{name}: expected a file written by 'superres degrade fit', which holds a list 'degrade' and its factor; "
            f"found {', '.join(map(str, block)) or 'nothing'}"
        )
    fitted, wanted = (_triple(one.get("factor")) for one in (block, content))
    if fitted is not None and wanted is not None and fitted != wanted:
        raise ConfigError(
            f"{name}: fitted at factor {list(fitted)}, wanted at factor {list(wanted)}; a blur in voxels goes with one "
            "factor only: fit again with 'superres degrade fit --factor "
            f"{','.join(map(str, wanted))}', or change the factor of the recipe"
        )
    return dict(content) | {"degrade": block["degrade"]}


def _triple(factor: object) -> tuple[object, ...] | None:
    return tuple(factor) if isinstance(factor, list | tuple) else None
