"""What ``superres upscale`` prints of a batch: a line for every input, what failed, and what a plan comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superres.cli.output import (
    OUT,
    bytes_text,
    duration_text,
    plain,
    print_json,
    print_message,
    show_facts,
    show_failures,
    show_note,
    sizes_text,
)

if TYPE_CHECKING:
    from superres.inference.batch import Batch, Row
    from superres.inference.forecast import Forecast

_SHARED = "the maps of trust and the half-widths beside it included"


def show_batch(batch: Batch, *, as_json: bool) -> None:
    """Print what became of every input; on stderr what failed."""
    from superres.inference.batch import counted

    rows = list(batch.rows.values())
    failures = {row.file: row.reason for row in rows if row.state in ("failed", "waiting")}
    if as_json:
        written = [{"input": source, **plain(summary)} for source, summary in batch.summaries.items()]
        failed = [{"input": source, "error": reason} for source, reason in failures.items()]
        print_json({"written": written, "failed": failed, "counts": counted(rows), "files": rows})
    else:
        for row in rows:
            if row.file not in failures:
                _show_row(row)
        total = sum(row.seconds for row in rows) if batch.seconds is None else batch.seconds
        counts = ", ".join(f"{count} {state}" for state, count in counted(rows).items())
        show_note(f"{counts or 'nothing to do'}, {duration_text(total)}; {batch.report_path}")
    if failures:
        show_failures(failures, len(rows))


def _show_row(row: Row) -> None:
    took = f", {duration_text(row.seconds)}" if row.state == "done" else ""
    print_message(OUT, f"{row.state:8} ", "cyan", f"{row.file} -> {row.output}{took}", indent=9)
    for remark in row.remarks:
        print_message(OUT, " " * 9, "", remark, indent=9)


def show_stopped(batch: Batch) -> None:
    """Say how far a batch was when it was stopped."""
    from superres.inference.batch import counted

    rows = list(batch.rows.values())
    for row in rows:
        if row.state == "waiting":
            show_note(row.reason)
    counts = ", ".join(f"{count} {state}" for state, count in counted(rows).items())
    if counts:
        show_note(counts)


def show_plan(
    planned: Sequence[Forecast],
    finished: Sequence[Path],
    failures: Mapping[Path, str],
    free: int,
    device: str,
    *,
    as_json: bool,
) -> None:
    """Print what an upscaling will come to; on stderr what cannot be upscaled."""
    total = {
        "tiles": sum(one.tiles for one in planned),
        "unpacked_bytes": sum(one.space.unpacked for one in planned),
        "disk_bytes": sum(one.space.packed for one in planned),
        "there_bytes": sum(one.there for one in planned),
        "free_bytes": free,
        "memory_bytes": max((one.memory for one in planned), default=0),
        "seconds": sum(one.seconds for one in planned),
        "device": device,
    }
    if as_json:
        failed = [{"input": source, "error": reason} for source, reason in failures.items()]
        print_json({"planned": planned, "finished": finished, "failed": failed, "total": total})
    else:
        for one in planned:
            _show_planned(one)
        _show_total(total, len(planned), len(finished))
    if failures:
        show_failures(failures, len(planned) + len(finished) + len(failures), "can be upscaled")


def _show_planned(one: Forecast) -> None:
    facts = {
        "input": f"{sizes_text('TCZYX', one.shape)}, {one.dtype}",
        "output": f"{sizes_text('TCZYX', one.output_shape)}, {one.output_dtype}, {one.out}",
        "tiles": f"{one.tiles} of {sizes_text('ZYX', one.tile)} input voxels and {sizes_text('ZYX', one.halo)} around",
        "files": f"{_counted(one.shards, 'shard')}, {_counted(one.levels, 'level')}",
        "disk": f"about {bytes_text(one.space.packed)} ({bytes_text(one.space.unpacked)} before compression)"
        + (f", {bytes_text(one.there)} are there already" if one.there else ""),
        "memory": f"about {bytes_text(one.memory)}",
        "time": f"about {duration_text(one.seconds)}",
    }
    show_facts(str(one.source), facts)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _show_total(total: Mapping[str, Any], planned: int, finished: int) -> None:
    short = "; that is too little" if total["disk_bytes"] - total["there_bytes"] > total["free_bytes"] else ""
    facts = {
        "inputs": f"{planned} to do" + (f", {finished} finished before" if finished else ""),
        "tiles": str(total["tiles"]),
        "disk": f"about {bytes_text(total['disk_bytes'])} ({bytes_text(total['unpacked_bytes'])} before compression, "
        f"{_SHARED}), {bytes_text(total['free_bytes'])} are free{short}",
        "memory": f"about {bytes_text(total['memory_bytes'])} at the peak",
        "time": f"about {duration_text(total['seconds'])}: estimated from a tile that was tried on {total['device']}",
    }
    show_facts("In all, nothing was written", facts)
