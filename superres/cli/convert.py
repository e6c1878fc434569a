"""``superres convert``: from any format that is read to OME-Zarr, OME-TIFF or an ImageJ hyperstack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import output
from superres.cli.application import RESUMES, AsJson, Overrides, app, examples, job
from superres.cli.batch import Outcome, refuse_twins, run_each
from superres.errors import InputError
from superres.progress import ProgressCallback

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
        outcome = _convert_all(sources, out, config, progress)
    _show(outcome.summaries, outcome.failures, as_json=as_json)
    if outcome.failures:
        raise typer.Exit(1)


def _convert_all(
    sources: list[str], out: Path, config: ConvertConfig, progress: ProgressCallback
) -> Outcome[str, ConvertSummary]:
    """Convert one input to `out`, or several, or a folder of them, to files in the folder `out`."""
    from superres.volumes import open_volume
    from superres.volumes.collection import find_acquisitions, holds_several

    named_like_image = out.suffix.lower() in (".zarr", ".tif", ".tiff", ".btf")
    if len(sources) == 1 and not holds_several(sources[0]) and (named_like_image or not out.is_dir()):
        volume = open_volume(sources[0], axes=config.axes, voxel_size=config.voxel_size)
        return Outcome({sources[0]: _convert_one(volume, out, config, progress)})
    if named_like_image or out.is_file():
        raise InputError(f"{out}: several inputs need a folder to write to; give one, for example converted")
    found = find_acquisitions(
        sources, axes=config.axes, voxel_size=config.voxel_size, leave_out=[out], progress=progress
    )
    return _convert_each(found, _targets(found, out, config), config, progress)


def _convert_each(
    found: Sequence[Found], targets: dict[str, Path], config: ConvertConfig, progress: ProgressCallback
) -> Outcome[str, ConvertSummary]:
    opened = {one.path: one for one in found}

    def convert_one(path: str, progress: ProgressCallback) -> ConvertSummary:
        one = opened[path]
        if one.volume is None:
            raise InputError(one.error or f"{path}: cannot be read")
        return _convert_one(one.volume, targets[path], config, progress)

    return run_each({one.path: one.name for one in found}, convert_one, progress)


def _convert_one(volume: Volume, out: Path, config: ConvertConfig, progress: ProgressCallback) -> ConvertSummary:
    from superres.volumes.convert import convert as convert_volume

    options = config.model_dump(exclude={"axes", "voxel_size"})
    return convert_volume(volume, out, **options, progress=progress)


def _targets(found: Sequence[Found], out: Path, config: ConvertConfig) -> dict[str, Path]:
    """Name an output for every input, and refuse names that would collide."""
    from superres.volumes.convert import suffix_of

    suffix = suffix_of(config.format or "ome-zarr-0.5")
    targets = {one.path: out / f"{one.name}{suffix}" for one in found}
    refuse_twins(targets, "place", "convert them one by one")
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
