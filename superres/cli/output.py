"""What the commands print: text for people, JSON for machines, errors and warnings as single clean messages."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superres.cli.progress import figure_text
from superres.progress import duration_text as duration_text

if TYPE_CHECKING:
    from superres.inference import UpscaleSummary
    from superres.modelfile import ModelFile
    from superres.training import TrainResult
    from superres.training.finder import RateCurve

OUT = Console()
ERR = Console(stderr=True)


# --- lines and tables ------------------------------------------------------------------------------------------------


def show_error(error: Exception) -> None:
    """Print an error on stderr, its leading path in bold."""
    print_message(ERR, "error: ", "bold red", str(error))


def show_note(text: str) -> None:
    """Print a line on stderr."""
    print_message(ERR, "", "", text)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings as one line each instead of with their source lines."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        print_message(ERR, "warning: ", "bold yellow", str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def print_message(console: Console, label: str, style: str, message: str, *, indent: int = 0) -> None:
    """Print plain text, never read as markup, broken between words on a terminal and never inside a path."""
    width = console.width if console.is_terminal else sys.maxsize
    lines: list[str] = []
    for line in f"{label}{message}".splitlines():
        margin = " " * (indent or len(line) - len(line.lstrip()))
        broken = textwrap.wrap(
            line, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
        )
        lines += broken if not lines else [one if one.startswith(margin) else margin + one for one in broken]
    text = Text("\n".join(lines))
    text.stylize(style, 0, len(label))
    path, colon, _ = message.partition(": ")
    if colon and not indent and " " not in path:
        text.stylize("bold", len(label), len(label) + len(path))
    console.print(text, soft_wrap=True, highlight=False)


def show_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print a title and its facts in two columns; what is empty is left out."""
    OUT.print(Text(title, style="bold"), soft_wrap=True, highlight=False)
    given = {name: value for name, value in facts.items() if value}
    indent = 4 + max(len(name) for name in given)
    for name, value in given.items():
        print_message(OUT, f"  {name}".ljust(indent), "cyan", value, indent=indent)


def print_json(content: object) -> None:
    """Print one JSON document on stdout."""
    OUT.file.write(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def plain(value: object) -> Any:
    """Turn dataclasses, paths, tuples and NumPy scalars into what JSON holds; NaN and infinity become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


# --- figures as text -------------------------------------------------------------------------------------------------


def voxel_size_text(voxel_size: Sequence[float | None]) -> str:
    """Write a voxel size in micrometre; what the file does not tell is unknown, never 1."""
    if all(size is None for size in voxel_size):
        return "unknown"
    sizes = (
        f"{axis} {'unknown' if size is None else f'{size:.6g}'}" for axis, size in zip("ZYX", voxel_size, strict=True)
    )
    return f"{', '.join(sizes)} µm"


def sizes_text(axes: str, sizes: Sequence[int]) -> str:
    """Write lengths of axes: ``T 1 C 2 Z 30``."""
    return " ".join(f"{axis} {size}" for axis, size in zip(axes, sizes, strict=True))


def bytes_text(number: float) -> str:
    """Write a number of bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


# --- models ----------------------------------------------------------------------------------------------------------


def show_model(model: ModelFile, *, as_json: bool) -> None:
    """Print what a model is and where it comes from."""
    from superres.modelfile import FOR_DISPLAY
    from superres.sharing.wording import step_text

    header = model.header
    parameters = sum(tensor.size for tensor in model.weights.values())
    if as_json:
        own = {"kind": "model", "path": model.path, "sha256": model.sha256, "identity": model.identity}
        print_json(own | {"parameters": parameters} | plain(header) | {"licences": plain(header.licences)})
        return
    training = header.training
    preset = training.get("config", {}).get("model", {}).get("preset")
    facts = {
        "name": header.name,
        "factor": sizes_text("ZYX", header.factor),
        "net": (f"preset {preset}, " if preset else "")
        + f"{parameters / 1e6:.3g} million parameters"
        + (", on the interpolated input (for study)" if header.architecture.get("grid") == "high" else ""),
        "channels": _given_text(header.context, header.channels),
        "sees": f"{sizes_text('ZYX', header.receptive_radius)} input voxels to either side",
        "trained at": f"voxel size {voxel_size_text(header.voxel_size)}",
        "degradation": ", then ".join(step_text(step) for step in header.degradation) or "none: real pairs",
        "trained on": _trained_on_text(training),
        "training": _length_text(training) if training else "",
        "phases": _phases_text(training.get("config", {}).get("phases", [])),
        "purpose": FOR_DISPLAY if header.display else "",
        "figures": _figures(header.metrics),
        "intervals": header.calibration.get("claim", ""),
        "descends from": "\n".join(_ancestor_text(*one) for one in enumerate(header.lineage, start=1)),
        "licences of images": "; ".join(header.licences),
        "written by": f"superres {header.version}" if header.version else "",
        "sha256": model.sha256,
        "identity": f"{model.identity} (weights and settings alone: what stores name, and a resumed run compares)",
    }
    show_facts(str(model.path), facts)


def _trained_on_text(training: Mapping[str, Any]) -> str:
    names = ", ".join(manifest["name"] for manifest in training.get("manifests", []))
    entries = training.get("acquisitions", [])
    count = f"{len(entries)} acquisition{'s' if len(entries) != 1 else ''}"
    images = training.get("image_count")
    limited = "" if images is None else f", {images} image{'s' if images != 1 else ''} of them"
    return f"{names} ({count}{limited})" if names else "not told"


def _ancestor_text(number: int, ancestor: Mapping[str, Any]) -> str:
    """Say what a model that another one descends from is, and on what it was trained."""
    training = ancestor.get("training", {})
    length = f", {_length_text(training)}" if training else ""
    return f"{number}. {ancestor.get('name')}, on {_trained_on_text(training)}{length}, sha256 {ancestor.get('sha256')}"


def _length_text(training: Mapping[str, Any]) -> str:
    seconds = training.get("seconds")
    return f"{training.get('steps')} steps" + ("" if seconds is None else f", {duration_text(seconds)}")


def _phases_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what a net was asked for, phase by phase."""
    told = []
    for row in rows:
        asked = ", ".join(f"{name} {share:g}" for name, share in row["losses"].items() if share)
        told.append(f"{row['name']} {row['share']:.0%}" + (f" ({asked})" if asked else ""))
    return ", then ".join(told)


def _given_text(context: Mapping[str, Any], channels: int) -> str:
    """Say which images the net takes to predict which."""
    if context.get("axis") == "c":
        return f"{context['frames']} together, of which number {context['target']} is predicted"
    own = "each on its own" if channels == 1 else f"{channels} together"
    frames = {"z": "planes", "t": "time points"}.get(context.get("axis", ""))
    return f"{own}, with neighbouring {frames}, {context['frames']} in all" if frames else own


def _figures(metrics: Mapping[str, Any]) -> str:
    return ", ".join(figure_text(name, value) for name, value in metrics.items() if isinstance(value, float))


# --- outcomes --------------------------------------------------------------------------------------------------------


def show_training(result: TrainResult, *, as_json: bool) -> None:
    """Print where the model is and how well it did."""
    if as_json:
        print_json(result)
        return
    facts = {
        "model": str(result.model),
        "samples": str(result.run / "samples"),
        "training": f"{result.steps} steps, {duration_text(result.seconds)}",
        "figures": _figures(result.metrics),
        "notes": "\n".join(result.notes),
    }
    show_facts("Trained", facts)


def show_proposed(recipe: Path | None, told: Mapping[str, Any], *, as_json: bool) -> None:
    """Say where a recipe was written, and that nothing was trained."""
    if as_json:
        print_json(told)
    else:
        show_note(f"Nothing was trained: look at {recipe}, then run the same command without --dry-run.")


def show_rates(curve: RateCurve, page: Path, *, as_json: bool) -> None:
    """Print the learning rate that is proposed, and what to type."""
    if as_json:
        found = {"rates": curve.rates.tolist(), "losses": curve.losses.tolist()}
        print_json(found | {"proposed": curve.proposed, "muon": curve.muon, "page": page})
        return
    from superres.evaluation.rate_page import settings

    facts = {
        "proposed": f"{curve.proposed:g}" + ("" if curve.muon is None else f", for Muon {curve.muon:g}"),
        "to use it": f"superres train ... {settings(curve.proposed, curve.muon)}",
        "curve": str(page),
    }
    show_facts("Learning rate", facts)


def show_upscaled(source: Path, summary: UpscaleSummary, *, as_json: bool) -> None:
    """Print what was written for a single input."""
    if as_json:
        print_json({"written": [{"input": source, **plain(summary)}], "failed": []})
        return
    resumed = f"{summary.units_done_before} of {summary.units} blocks were there already"
    facts = {
        "store": str(summary.path),
        "shape": sizes_text("TCZYX", summary.shape),
        "voxel size": voxel_size_text(summary.voxel_size),
        "time": duration_text(summary.seconds),
        "speed": _speed_text(summary),
        "resumed": resumed if summary.units_done_before else "",
        "not finished": "" if summary.finished else _unfinished_text(summary),
        "warnings": "\n".join(summary.warnings),
        "trust": "" if summary.trust is None else summary.trust.sentence(),
    }
    show_facts(f"Upscaled {source}", facts)


def _unfinished_text(summary: UpscaleSummary) -> str:
    if not summary.missing:
        return "another part finishes the store at this moment"
    return (
        f"{summary.missing} of {summary.units} blocks are other parts' to do; the part that ends last finishes the "
        "store, or the same command without --part"
    )


def _speed_text(summary: UpscaleSummary) -> str:
    """Say how fast it went, and where the time went; nothing where nothing was left to do."""
    spent = summary.spent
    if spent is None or summary.rate is None:
        return ""
    parts = {"read": spent.read, "predict": spent.predict, "examine": spent.examine, "write": spent.write}
    told = ", ".join(f"{name} {duration_text(seconds)}" for name, seconds in parts.items())
    return f"{summary.rate:.3g} output megapixels per second ({told}, side by side)"


def show_failures(failures: Mapping[Path, str] | Mapping[str, str], total: int, others: str = "are complete") -> None:
    """Print on stderr which inputs of a batch failed, and why, and what the others are."""
    show_note(f"{len(failures)} of {total} inputs failed; the others {others}.")
    if not ERR.is_terminal:
        for message in failures.values():
            show_note(message)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("input", overflow="fold", style="bold")
    table.add_column("what is wrong", overflow="fold", ratio=1)
    for source, message in failures.items():
        table.add_row(Text(str(source)), Text(message.removeprefix(f"{source}: ")))
    ERR.print(table)
