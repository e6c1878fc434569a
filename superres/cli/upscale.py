"""``superres upscale``: one volume, several, a folder of them, or folders that are still being filled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import upscale_batch
from superres.cli.application import RESUMES, AsJson, Overrides, app, examples, job
from superres.cli.batch import refuse_twins
from superres.cli.distribution import Sharing
from superres.cli.model_choice import refuse_without_model
from superres.cli.models import model_path
from superres.errors import ConfigError, InputError
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.config import UpscaleConfig
    from superres.inference.batch import Task


@app.command(
    epilog=examples(
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr",
        "superres upscale folder --model runs/em --out upscaled --set device=cuda",
        "superres upscale stack.tif --model runs/em --out part.ome.zarr --crop z=10:20,y=0:512,x=256:768",
        "superres upscale folder --model runs/em --out upscaled --dry-run",
        "superres upscale folder --model runs/em --out upscaled --watch --set watch.idle=2h",
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr --part 3/8",
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr --cluster slurm.yaml",
    )
)
def upscale(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Images or volumes, or folders of them.")],
    model: Annotated[
        str | None,
        typer.Option(help="Model: a name ('superres models list'), file, run folder, or https://... address."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The store (.zarr) for one input, a folder for several.")] = None,
    guard: Annotated[
        str | None, typer.Option(metavar="on|off", help="Fall back on interpolation where needed.")
    ] = None,
    trust: Annotated[str | None, typer.Option(metavar="on|off", help="Write maps of how far to believe it.")] = None,
    halo: Annotated[
        str | None, typer.Option(metavar="exact|fast", help="Read half as far around tiles; says what that changes.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="AXIS=FROM:TO,...", help="Upscale a part, e.g. t=3:4,y=0:512; from 0, TO not.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the folders and take every image when it is complete.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it will come to: tiles, disk, memory, time.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(metavar="i/n", help="Do one of n parts, for job arrays; the last one finishes.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Hand the work to the workers of this Dask scheduler.")
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Start the Dask cluster that this file describes.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Upscale volumes into multiscale OME-Zarr; run it again to resume a stopped one, or to do what is new."""
    with job(RESUMES) as progress:
        from superres.config import UpscaleConfig, load_config

        if model is None and not any(one.partition("=")[0].strip() == "model" for one in overrides or ()):
            refuse_without_model(inputs, out, overrides or (), progress)
        if out is None:
            raise ConfigError("give --out: a store (such as --out stack.ome.zarr), or a folder for several inputs")
        part_of = None if crop is None else read_crop(crop)
        config = load_config(
            UpscaleConfig, None, overrides or (), model=model, guard=guard, trust=trust, halo=halo, crop=part_of
        )
        config = config.model_copy(update={"model": model_path(model or config.model, progress)})
        if watch and dry_run:
            raise InputError("--watch and --dry-run were given together; give one of them")
        sharing = Sharing.of(part, scheduler, cluster, watch=watch)
        if watch:
            _refuse_no_folder(out)
            failed = upscale_batch.watch(inputs, out, config, progress, sharing, as_json=as_json)
        elif len(inputs) == 1 and not _is_collection(inputs[0]):
            failed = upscale_batch.one(
                inputs[0], _single_store(inputs[0], out), config, progress, sharing, dry_run=dry_run, as_json=as_json
            )
        else:
            tasks = _tasks(inputs, out, config, progress)
            failed = upscale_batch.several(tasks, out, config, progress, sharing, dry_run=dry_run, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def read_crop(text: str) -> dict[str, str]:
    """Read ``t=3:4,y=0:512`` as the settings of `superres.config.CropConfig`."""
    found = {}
    for item in text.split(","):
        axis, equals, span = (part.strip() for part in item.partition("="))
        if not equals or axis not in "tzyx" or axis in found or not re.fullmatch(r"\d+\s*:\s*\d+", span):
            raise InputError(
                f"--crop {text}: '{item}' is not understood; give axes T, Z, Y, X by the first voxel and the one "
                "behind the last, counted from 0, for example --crop t=3:4,y=0:512,x=256:768"
            )
        found[axis] = span
    return found


def _tasks(inputs: list[Path], out: Path, config: UpscaleConfig, progress: ProgressCallback) -> list[Task]:
    """Pair every input with the store that it is written to, and refuse pairs that would collide."""
    _refuse_no_folder(out)
    from superres.inference.batch import Task, refuse_own_folder
    from superres.volumes.collection import find_acquisitions

    refuse_own_folder(inputs, out)
    axes, voxel_size = config.axes, config.voxel_size
    # Those that cannot be read fail when their turn comes, and are reported then.
    found = find_acquisitions(inputs, axes=axes, voxel_size=voxel_size, leave_out=[out], apart=True, progress=progress)
    tasks = [Task.of(one, out) for one in found]
    refuse_twins({task.source: task.out for task in tasks}, "store", "rename one of them")
    for task in tasks:
        _refuse_itself(task.source, task.out)
    return tasks


def _refuse_no_folder(out: Path) -> None:
    if out.suffix == ".zarr" or out.is_file():
        raise InputError(f"{out}: several inputs need a folder to write to; give one, for example --out upscaled")


def _single_store(source: Path, out: Path) -> Path:
    if out.suffix == ".zarr":
        store = out
    elif out.is_dir():
        store = out / f"{_stem(source)}.ome.zarr"
    else:
        raise InputError(
            f"{out}: expected a path that ends with .zarr, or an existing folder; for example --out {out}.ome.zarr"
        )
    _refuse_itself(source, store)
    return store


def _refuse_itself(source: Path, store: Path) -> None:
    if source.resolve() == store.resolve():
        raise InputError(f"{source}: is also where the output would go; give another --out")


def _is_collection(path: Path) -> bool:
    """Say whether a path is a folder of images, and not itself a Zarr store."""
    from superres.volumes.collection import is_single

    return path.is_dir() and not is_single(path)


def _stem(path: Path) -> str:
    """Return the name without its endings: ``cell.ome.tif`` and ``cell.zarr`` are both ``cell``."""
    return path.resolve().name.removesuffix(path.suffix).removesuffix(".ome")
