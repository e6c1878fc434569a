"""``superres convert``: from any format that is read to OME-Zarr, OME-TIFF or an ImageJ hyperstack."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import output
from superres.cli.application import RESUMES, AsJson, Overrides, app, examples, job
from superres.errors import InputError, SuperresError
from superres.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from superres.volumes import Volume
    from superres.volumes.collection import Found
    from superres.volumes.convert import ConvertConfig, ConvertSummary


@app.command(
    epilog=examples(
        "superres convert stack.tif stack.ome.zarr",
        "superres convert stack.ome.zarr stack.ome.tif --dtype uint16",
        "superres convert a.tif b.tif converted --format ome-zarr-0.4",
    )
)
def convert(
    inputs: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Images or folders of them; the last one is the output.")
    ],
    format: Annotated[
        str | None, typer.Option(help="ome-zarr-0.5, ome-zarr-0.4, ome-tiff or imagej; default by the name of OUT.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="keep, uint16, float32 or uint8; rounded and clipped voxels are counted.")
    ] = None,
    axes: Annotated[str | None, typer.Option(help="Axes where the file does not tell, such as ZYX.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Convert volumes of any size; run it again to resume a stopped conversion to Zarr."""
    with job(RESUMES) as progress:
        from superres.config import load_config
        from superres.volumes.convert import ConvertConfig

        *sources, last = inputs
        out = Path(last)
        if not sources:
            raise InputError(f"{last}: give an input and an output, for example superres convert {last} out.ome.zarr")
        config = load_config(ConvertConfig, None, overrides or (), format=format, dtype=dtype, axes=axes)
        summaries, failures = _convert_all(sources, out, config, progress)
    _show(summaries, failures, as_json=as_json)
    if failures:
        raise typer.Exit(1)


def _convert_all(
    sources: list[str], out: Path, config: ConvertConfig, progress: ProgressCallback
) -> tuple[dict[str, ConvertSummary], dict[str, str]]:
    """Convert one input to `out`, or several, or a folder of them, to files in the folder `out`."""
    from superres.volumes import open_volume
    from superres.volumes.collection import find_acquisitions, holds_several

    named_like_image = out.suffix.lower() in (".zarr", ".tif", ".tiff", ".btf")
    if len(sources) == 1 and not holds_several(sources[0]) and (named_like_image or not out.is_dir()):
        volume = open_volume(sources[0], axes=config.axes, voxel_size=config.voxel_size)
        return {sources[0]: _convert_one(volume, out, config, progress)}, {}
    if named_like_image or out.is_file():
        raise InputError(f"{out}: several inputs need a folder to write to; give one, for example converted")
    found = find_acquisitions(
        sources, axes=config.axes, voxel_size=config.voxel_size, leave_out=[out], progress=progress
    )
    return _convert_each(found, _targets(found, out, config), config, progress)


def _convert_each(
    found: Sequence[Found], targets: dict[str, Path], config: ConvertConfig, progress: ProgressCallback
) -> tuple[dict[str, ConvertSummary], dict[str, str]]:
    """Convert one after the other; one that fails does not keep the others from being done."""
    summaries: dict[str, ConvertSummary] = {}
    failures: dict[str, str] = {}
    for number, one in enumerate(found):
        progress(Progress("inputs", number, len(found), note=one.name))

        def named(event: Progress, name: str = one.name) -> None:
            progress(replace(event, note=f"{name}, {event.note}" if event.note else name))

        if one.volume is None:
            failures[one.path] = one.error or f"{one.path}: cannot be read"
            continue
        try:
            summaries[one.path] = _convert_one(one.volume, targets[one.path], config, named)
        except SuperresError as error:
            failures[one.path] = str(error)
        except Exception as error:  # one file must not end a batch; the traceback is shown, the exit code is 1
            traceback.print_exc()
            failures[one.path] = f"{one.path}: {type(error).__name__}: {error} (a bug of superres; please report it)"
    progress(Progress("inputs", len(found), len(found)))
    return summaries, failures


def _convert_one(volume: Volume, out: Path, config: ConvertConfig, progress: ProgressCallback) -> ConvertSummary:
    from superres.volumes.convert import convert as convert_volume

    options = config.model_dump(exclude={"axes", "voxel_size"})
    return convert_volume(volume, out, **options, progress=progress)


def _targets(found: Sequence[Found], out: Path, config: ConvertConfig) -> dict[str, Path]:
    """Name an output for every input, and refuse names that would collide."""
    from superres.volumes.convert import suffix_of

    suffix = suffix_of(config.format or "ome-zarr-0.5")
    targets: dict[str, Path] = {}
    for one in found:
        target = out / f"{one.name}{suffix}"
        twin = next((known for known, other in targets.items() if other == target), None)
        if twin is not None:
            raise InputError(
                f"{one.path}: would be written to the same place as {twin} ({target}); convert them one by one"
            )
        targets[one.path] = target
    return targets


def _show(summaries: dict[str, ConvertSummary], failures: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        written = [{"input": source, **output.plain(summary)} for source, summary in summaries.items()]
        failed = [{"input": source, "error": error} for source, error in failures.items()]
        output.print_json({"written": written, "failed": failed})
    for source, summary in () if as_json else summaries.items():
        resumed = f"{summary.units_done_before} of {summary.units} blocks were there already"
        facts = {
            "written": f"{summary.path} ({summary.format})",
            "shape": output.sizes_text("TCZYX", summary.shape),
            "values": summary.dtype,
            "voxel size": output.voxel_size_text(summary.voxel_size),
            "time": output.duration_text(summary.seconds),
            "resumed": resumed if summary.units_done_before else "",
            "warnings": "\n".join(summary.warnings),
        }
        output.show_facts(f"Converted {source}", facts)
    if failures:
        output.show_failures(failures, len(summaries) + len(failures))
