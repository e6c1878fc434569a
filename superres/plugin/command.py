"""The command line that does what a widget does, for a server or a batch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from superres.config import Settings, UpscaleConfig

_OPTIONS = ("guard", "trust", "halo")


def upscale_command(source: str | Path, out: Path, config: UpscaleConfig) -> str:
    """Return the ``superres upscale`` line that does the same under the same settings.

    Parameters
    ----------
    source : str or Path
        The input, as `superres.open_volume` takes it; a file is written as absolute path.
    out : Path
        The store; written as absolute path.
    config : UpscaleConfig
        What differs from the defaults is written out.

    Returns
    -------
    str
        One line, quoted for a POSIX shell.
    """
    place = str(source) if "://" in str(source) else str(Path(source).absolute())
    words = ["superres", "upscale", place, "--model", str(config.model.absolute())]
    words += ["--out", str(out.absolute())]
    spans: list[str] = []
    for name, value in _changes(config):
        if name in _OPTIONS:
            words += [f"--{name}", _switch(value)]
        elif name.startswith("crop."):
            spans.append(f"{name.removeprefix('crop.')}={value[0]}:{value[1]}")
        elif name != "model":
            words += ["--set", f"{name}={_yaml(value)}"]
    if spans:
        words += ["--crop", ",".join(spans)]
    return shlex.join(words)


def _changes(settings: Settings) -> Iterator[tuple[str, Any]]:
    """List what differs from the defaults, by dotted name."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from ((f"{name}.{inner}", content) for inner, content in _changes(value))
        elif field.is_required() or value != field.get_default(call_default_factory=True):
            yield name, value


def _switch(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _yaml(value: object) -> str:
    """Write a value as YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...").strip()
