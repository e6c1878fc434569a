"""The command line: reads arguments, calls a room, shows what came out. No decisions about data."""

from __future__ import annotations

from superres.cli import convert, data, info, train, upscale  # importing a module registers its commands
from superres.cli.application import app

__all__ = ["app", "convert", "data", "info", "main", "train", "upscale"]


def main() -> None:
    """Run the command line."""
    app()
