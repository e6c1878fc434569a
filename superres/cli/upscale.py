"""``superres upscale``: one volume, several, or a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import output
from superres.cli.application import RESUMES, AsJson, Overrides, app, examples, job
from superres.cli.batch import Outcome, refuse_twins, run_each
from superres.cli.distribution import dealt, share_of, workers
from superres.errors import InputError
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.inference import UpscaleSummary


@app.command(
    epilog=examples(
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr",
        "superres upscale folder --model runs/em --out upscaled --set device=cuda",
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr --part 3/8",
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr --cluster slurm.yaml",
    )
)
def upscale(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Images or volumes, or a folder of them.")],
    model: Annotated[Path, typer.Option(help="Model file or run folder.")],
    out: Annotated[Path, typer.Option(help="The store (.zarr) for one input, a folder for several.")],
    guard: Annotated[
        str | None, typer.Option(metavar="on|off", help="Fall back on interpolation where needed.")
    ] = None,
    trust: Annotated[str | None, typer.Option(metavar="on|off", help="Write maps of how far to believe it.")] = None,
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
    """Upscale volumes into multiscale OME-Zarr; run it again to resume a stopped one."""
    with job(RESUMES) as progress:
        from superres.config import UpscaleConfig, load_config

        config = load_config(UpscaleConfig, None, overrides or (), model=model, guard=guard, trust=trust)
        share = share_of(part, scheduler, cluster)
        stores, share = dealt(_stores(inputs, out), share)
        from superres import inference

        predictor = inference.load_model(config.model, config.device)
        with workers(scheduler, cluster) as run:

            def one(source: Path, progress: ProgressCallback) -> UpscaleSummary:
                return inference.upscale(
                    source, stores[source], config, progress=progress, predictor=predictor, part=share, run=run
                )

            if len(inputs) == 1 and not _is_collection(inputs[0]):
                (source,) = stores
                outcome = Outcome({source: one(source, progress)})
            else:
                outcome = run_each({source: source.name for source in stores}, one, progress)
    output.show_upscaled(outcome.summaries, outcome.failures, as_json=as_json)
    if outcome.failures:
        raise typer.Exit(1)


def _stores(inputs: list[Path], out: Path) -> dict[Path, Path]:
    """Pair every input with the store that it is written to, and refuse pairs that would collide."""
    if len(inputs) == 1 and not _is_collection(inputs[0]):
        return {inputs[0]: _single_store(inputs[0], out)}
    if out.suffix == ".zarr" or out.is_file():
        raise InputError(f"{out}: several inputs need a folder to write to; give one, for example --out upscaled")
    from superres.volumes.collection import find_acquisitions

    # Those that cannot be read fail when their turn comes, and are reported then.
    found = find_acquisitions(inputs, leave_out=[out])
    stores = {Path(one.path): out / f"{one.name}.ome.zarr" for one in found}
    refuse_twins(stores, "store", "rename one of them")
    for source, store in stores.items():
        _refuse_itself(source, store)
    return stores


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
