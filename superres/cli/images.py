"""What ``superres info`` prints of images: one in full, or a table of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superres.cli.output import (
    ERR,
    OUT,
    bytes_text,
    plain,
    print_json,
    print_message,
    show_facts,
    show_note,
    sizes_text,
    voxel_size_text,
)

if TYPE_CHECKING:
    from superres.volumes import Volume
    from superres.volumes.collection import Found
    from superres.volumes.survey import ChannelSurvey, Survey

_METADATA = {"ImageJ TIFF": "ImageJ metadata", "OME-TIFF": "OME metadata", "OME-Zarr": "OME metadata"}
_HEADINGS = ("lowest", "1 %", "median", "99 %", "99.9 %", "highest", "noise", "saturated")


# --- one image -------------------------------------------------------------------------------------------------------


def show_volume(
    volume: Volume, survey: Survey, warnings: Sequence[str], *, axes_given: bool, picture: Path | None, as_json: bool
) -> None:
    """Print what an image is, what its intensities are like, and what to be careful about."""
    if as_json:
        own = {"axes_from": _axes_from(volume, given=axes_given), "picture": picture}
        print_json(volume_facts(volume) | own | _survey_facts(survey) | {"warnings": warnings})
        return
    levels = ", ".join(" x ".join(str(n) for n in level.shape[-3:]) for level in volume.levels)
    steps, step = volume.shape[0], volume.time_step
    facts = {
        "format": volume.format,
        "axes": f"{volume.axes}, {_axes_from(volume, given=axes_given)}",
        "shape": f"{sizes_text('TCZYX', volume.shape)} ({bytes_text(survey.unpacked_bytes)})",
        "values": str(volume.dtype),
        "chunks": sizes_text("TCZYX", _chunks(volume)),
        "levels": f"{len(volume.levels)} (ZYX {levels})" if len(volume.levels) > 1 else "1",
        "voxel size": voxel_size_text(volume.voxel_size),
        "channels": ", ".join(volume.channel_names),
        "time step": f"{step:g} s" if step is not None else "unknown" if steps > 1 else "",
        "on disk": _disk_text(survey),
        "looked at": _sample_text(survey),
    }
    show_facts(address(volume), facts)
    _show_intensities(survey)
    for warning in warnings:
        print_message(OUT, "warning: ", "bold yellow", warning)
    if picture is not None:
        print_message(OUT, "picture: ", "cyan", str(picture))


def address(volume: Volume) -> str:
    """Return what to type to open this image."""
    return f"{_source(volume)}::{volume.part}" if volume.part else _source(volume)


def _source(volume: Volume) -> str:
    from superres.volumes.opening import is_url
    from superres.volumes.remote import repaired_url

    source = str(volume.source)
    return repaired_url(source) if is_url(source) else source


def volume_facts(volume: Volume) -> dict[str, Any]:
    """Collect what is known of an image without reading voxels, for JSON."""
    return {
        "kind": "image",
        "path": _source(volume),
        "part": volume.part,
        "format": volume.format,
        "axes": volume.axes,
        "shape": volume.shape,
        "dtype": str(volume.dtype),
        "chunks": _chunks(volume),
        "levels": [level.shape for level in volume.levels],
        "voxel_size": volume.voxel_size,
        "translation": volume.translation,
        "channel_names": volume.channel_names,
        "time_step": volume.time_step,
        "files": len(volume.files) or 1,
    }


def _chunks(volume: Volume) -> list[int]:
    """Return what the file reads as a whole where it says so; else what Dask reads."""
    block = volume.finest.block if volume.finest is not None else ()
    return [min(int(b), n) for b, n in zip(block or volume.levels[0].chunksize, volume.shape, strict=True)]


def _survey_facts(survey: Survey) -> dict[str, Any]:
    from superres.volumes.survey import PERCENTILES

    facts: dict[str, Any] = plain(survey)
    for channel in facts["channels"]:
        shares = (f"{share:g}" for share in PERCENTILES)
        channel["percentiles"] = dict(zip(shares, channel["percentiles"], strict=False))
    return {"intensities": facts.pop("channels"), **facts}


def _axes_from(volume: Volume, *, given: bool) -> str:
    if given:
        return "given with --axes"
    source = next((text for start, text in _METADATA.items() if volume.format.startswith(start)), "")
    return f"found in the file ({source})" if source else "found in the file"


def _disk_text(survey: Survey) -> str:
    if survey.disk_bytes is None:
        return "unknown"
    return ("" if survey.disk_exact else "more than ") + bytes_text(survey.disk_bytes)


def _sample_text(survey: Survey) -> str:
    if survey.exact:
        return "every voxel"
    share = 100 * survey.bytes_read / survey.unpacked_bytes
    return f"a sample of {bytes_text(survey.bytes_read)} ({share:.2g} %), spread over the whole"


def _show_intensities(survey: Survey) -> None:
    """Print a table of grey levels, a line per channel."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("channel", overflow="fold", style="cyan")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for channel in survey.channels:
        table.add_row(Text(f"{channel.channel} {channel.name}".strip()), *_intensity_cells(channel))
    OUT.print(table)


def _intensity_cells(channel: ChannelSurvey) -> list[str]:
    if not channel.percentiles:
        return ["-"] * len(_HEADINGS)
    shown = [channel.percentile(share) for share in (0, 1, 50, 99, 99.9, 100)]
    noise = "-" if channel.noise is None else f"{channel.noise:.3g}" if channel.noise > 0 else "< 1"
    saturated = "no" if channel.saturated_at is None else f"{100 * channel.saturated:.2g} %"
    return [*map(_level, shown), noise, saturated]


def _level(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:.4g}"


# --- a folder or a file of several -----------------------------------------------------------------------------------


def show_collection(place: str, found: Sequence[Found], *, as_json: bool) -> None:
    """Print a table of acquisitions, and those that cannot be read with the reason."""
    readable = {one.path: one.volume for one in found if one.volume is not None}
    unreadable = {one.path: one.error for one in found if one.error is not None}
    if as_json:
        from superres.volumes.survey import size_on_disk

        names = {one.path: one.name for one in found}
        entries = [
            {"input": path, "name": names[path], **volume_facts(volume), "disk_bytes": size_on_disk(volume)[0]}
            for path, volume in readable.items()
        ]
        failures = [{"input": path, "error": error} for path, error in unreadable.items()]
        print_json({"kind": "folder", "path": place, "acquisitions": entries, "unreadable": failures})
        return
    count = f"{len(readable)} image{'s' if len(readable) != 1 else ''}"
    OUT.print(Text(f"{place}: {count}", style="bold"), soft_wrap=True, highlight=False)
    if readable:
        _show_table(place, readable)
    if unreadable:
        _show_unreadable(unreadable, len(found))


def _show_table(place: str, readable: Mapping[str, Volume]) -> None:
    from superres.volumes.survey import size_on_disk

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("image", overflow="fold", min_width=12)
    table.add_column("format", overflow="fold")
    for heading in ("shape", "type", "voxel µm"):
        table.add_column(heading, no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    for path, volume in readable.items():
        disk, exact = size_on_disk(volume)
        size = "?" if disk is None else ("" if exact else "> ") + bytes_text(disk)
        cells = (volume.format, _short_shape(volume), str(volume.dtype), _short_voxel_size(volume), size)
        table.add_row(Text(_relative(path, place)), *map(Text, cells))
    # Names stay whole in a file or a pipe.
    (OUT if OUT.is_terminal else Console(file=OUT.file, width=1000)).print(table)
    part = next((path for path, volume in readable.items() if volume.part), None)
    if part is not None:
        print_message(OUT, "", "", f"for one of several images in a file: superres info '{part}'")


def _relative(path: str, place: str) -> str:
    for start in (f"{place.rstrip('/')}/", f"{place}::"):
        if path.startswith(start):
            return path[len(start) :] if start.endswith("/") else path[len(place) :]
    return path


def _short_shape(volume: Volume) -> str:
    """Leave out T, C and Z where there is but one of them."""
    kept = [(a, n) for a, n in zip("TCZYX", volume.shape, strict=True) if n > 1 or a in "YX"]
    return " ".join(f"{axis}{size}" for axis, size in kept)


def _short_voxel_size(volume: Volume) -> str:
    if all(size is None for size in volume.voxel_size):
        return "unknown"
    z, y, x = ("?" if size is None else f"{size:.3g}" for size in volume.voxel_size)
    plane = y if y == x else f"{y}, {x}"
    return plane if volume.shape[2] == 1 and z == "?" else f"{z}, {plane}"


def _show_unreadable(unreadable: Mapping[str, str], total: int) -> None:
    show_note(f"{len(unreadable)} of {total} cannot be read:")
    for path, error in unreadable.items():
        print_message(ERR, "  ", "", f"{path}: {error.removeprefix(f'{path}: ')}", indent=0)


# --- verification ----------------------------------------------------------------------------------------------------


def show_verification(problems: Mapping[Path, Sequence[str]], *, as_json: bool) -> None:
    """Print whether stores are whole, and what of them is not."""
    if as_json:
        entries = [
            {"kind": "verification", "path": store, "whole": not found, "problems": found}
            for store, found in problems.items()
        ]
        print_json(entries[0] if len(entries) == 1 else {"kind": "verifications", "stores": entries})
        return
    for store, found in problems.items():
        if not found:
            print_message(OUT, "", "", f"{store}: whole; every block is there and readable")
            continue
        for problem in found:
            print_message(ERR, "damaged: ", "bold red", problem)
        count = f"{len(found)} problem{'s' if len(found) != 1 else ''}"
        show_note(f"{store}: {count}; run the command that wrote the store again, it writes what is missing")
