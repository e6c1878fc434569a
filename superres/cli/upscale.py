"""``superres upscale``: one volume, several, or a folder of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from superres.cli import output
from superres.cli.application import RESUMES, AsJson, Overrides, app, examples, job
from superres.errors import InputError, SuperresError
from superres.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from superres.inference import UpscaleSummary


@app.command(
    epilog=examples(
        "superres upscale stack.tif --model runs/em --out stack.ome.zarr",
        "superres upscale folder --model runs/em --out upscaled --set device=cuda",
    )
)
def upscale(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT", help="Images or volumes, or a folder of them.")],
    model: Annotated[Path, typer.Option(help="Model file or run folder.")],
    out: Annotated[Path, typer.Option(help="The store (.zarr) for one input, a folder for several.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Upscale volumes into multiscale OME-Zarr; run it again to resume a stopped one."""
    with job(RESUMES) as progress:
        from superres.config import UpscaleConfig, load_config

        config = load_config(UpscaleConfig, None, overrides or (), model=model)
        stores = _stores(inputs, out)
        from superres import inference

        one = partial(inference.upscale, config=config, predictor=inference.load_model(config.model, config.device))
        if len(inputs) == 1 and not _is_collection(inputs[0]):
            ((source, store),) = stores.items()
            outcome = Outcome({source: one(source, store, progress=progress)}, {})
        else:
            outcome = _upscale_batch(stores, one, progress)
    output.show_upscaled(outcome.summaries, outcome.failures, as_json=as_json)
    if outcome.failures:
        raise typer.Exit(1)


class Outcome(NamedTuple):
    """What became of the inputs of one ``upscale``."""

    summaries: dict[Path, UpscaleSummary]
    failures: dict[Path, str]


def _upscale_batch(stores: dict[Path, Path], one: Callable[..., UpscaleSummary], progress: ProgressCallback) -> Outcome:
    """Upscale one after the other; one that fails is remembered and does not keep the others from being done."""
    summaries: dict[Path, UpscaleSummary] = {}
    failures: dict[Path, str] = {}
    for number, (source, store) in enumerate(stores.items()):
        progress(Progress("inputs", number, len(stores), note=source.name))

        def named(event: Progress, name: str = source.name) -> None:
            progress(replace(event, note=f"{name}, {event.note}" if event.note else name))

        try:
            summaries[source] = one(source, store, progress=named)
        except SuperresError as error:
            failures[source] = str(error)
        except Exception as error:  # a night's batch must outlive one file; the traceback is shown, the exit code is 1
            traceback.print_exc()
            failures[source] = f"{source}: {type(error).__name__}: {error} (a bug of superres; please report it)"
    progress(Progress("inputs", len(stores), len(stores)))
    return Outcome(summaries, failures)


def _stores(inputs: list[Path], out: Path) -> dict[Path, Path]:
    """Pair every input with the store that it is written to, and refuse pairs that would collide."""
    if len(inputs) == 1 and not _is_collection(inputs[0]):
        return {inputs[0]: _single_store(inputs[0], out)}
    if out.suffix == ".zarr" or out.is_file():
        raise InputError(f"{out}: several inputs need a folder to write to; give one, for example --out upscaled")
    from superres.volumes.collection import find_acquisitions

    stores: dict[Path, Path] = {}
    # Those that cannot be read fail when their turn comes, and are reported then.
    for found in find_acquisitions(inputs, leave_out=[out]):
        source, store = Path(found.path), out / f"{found.name}.ome.zarr"
        twin = next((known for known, other in stores.items() if other == store and known != source), None)
        if twin is not None:
            raise InputError(f"{source}: would be written to the same store as {twin} ({store}); rename one of them")
        stores[source] = store
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
