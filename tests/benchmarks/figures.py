"""The figures of a run of the benchmarks in one table, and what they were measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from superres.volumes.cores import core_count

_PACKAGES = ("superres", "torch", "numpy", "tensorstore", "zarr", "tifffile", "imagecodecs")


@dataclass(slots=True)
class Figures:
    """Rows of a table: what was measured, the value, the target, and whether it holds.

    Parameters
    ----------
    head : str
        What they were measured on.
    """

    head: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(
        self, what: str, value: float, unit: str = "", *, most: float | None = None, least: float | None = None
    ) -> None:
        """Add a figure; a target is an upper or a lower limit, in the unit of the value."""
        limits = []
        if most is not None:
            limits.append((f"<= {_text(most, unit)}", value <= most))
        if least is not None:
            limits.append((f">= {_text(least, unit)}", value >= least))
        holds = "" if not limits else "yes" if all(kept for _, kept in limits) else "**no**"
        self.rows.append((what, _text(value, unit), ", ".join(text for text, _ in limits), holds))

    def tell(self, what: str, text: str) -> None:
        """Add a row in words, such as why there is no figure."""
        self.rows.append((what, text, "", ""))

    def text(self) -> str:
        """Return all rows as a table of Markdown, below what they were measured on."""
        return f"{self.head}\n\n{markdown(('measured', 'value', 'target', 'holds'), self.rows)}\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown whose columns stand below each other in plain text, too."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def circumstances() -> str:
    """Return date, machine, threads, load and versions, one line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return "\n".join(
        (
            f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC; load average {os.getloadavg()[0]:.1f}",
            f"- {_processor()}; {core_count()} cores, {torch.get_num_threads()} threads, {memory:.0f} GiB; "
            + (", ".join(devices) or "no GPU"),
            f"- {platform.platform(terse=True)}, Python {platform.python_version()}, {versions}",
        )
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _text(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    number = f"{value:.{digits}f}"
    return f"{number} {unit}" if unit else number
