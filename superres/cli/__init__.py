"""The command line: reads arguments, calls a room, shows what came out. No decisions about data."""

from __future__ import annotations

import sys

from superres.cli import (
    ablate,
    calibrate,
    convert,
    data,
    degrade,
    info,
    models,
    models_export,
    train,
    upscale,
)  # importing registers commands
from superres.cli.application import app
from superres.cli.interrupts import interrupts

__all__ = [
    "ablate",
    "app",
    "calibrate",
    "convert",
    "data",
    "degrade",
    "info",
    "main",
    "models",
    "models_export",
    "train",
    "upscale",
]

# In the order in which a user meets them, not in that of the alphabet.
_ORDER = ("demo", "info", "train", "find_lr", "upscale", "evaluate", "ablate", "calibrate", "convert")
app.registered_commands.sort(key=lambda command: _ORDER.index(command.callback.__name__ if command.callback else ""))


def main() -> None:
    """Run the command line; Ctrl-C before a command has begun ends it without a traceback, too."""
    try:
        with interrupts():
            app()
    except KeyboardInterrupt:
        sys.exit(130)
