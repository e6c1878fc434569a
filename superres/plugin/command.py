"""The command line that does what a widget does, for a server or a batch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

import yaml

from superres.config import Settings, UpscaleConfig

_OPTIONS = ("guard", "trust", "halo")


def upscale_command(source: Path, out: Path, config: UpscaleConfig) -> str:
    """Return the ``superres upscale`` line that does the same under the same settings.

    Parameters
    ----------
    source, out : Path
        The input and the store; written as absolute paths.
    config : UpscaleConfig
        What differs from the defaults is written out.

    Returns
    -------
    str
        One line, quoted for a POSIX shell.
    """
    words = ["superres", "upscale", str(source.absolute()), "--model", str(config.model.absolute())]
    words += ["--out", str(out.absolute())]
    for name, value in _changes(config):
        if name in _OPTIONS:
            words += [f"--{name}", _switch(value)]
        elif name != "model":
            words += ["--set", f"{name}={_yaml(value)}"]
    return shlex.join(words)


def _changes(settings: Settings) -> Iterator[tuple[str, object]]:
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
