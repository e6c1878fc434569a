"""The command line: reads arguments, calls a room, shows what came out. No decisions about data.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 some inputs of a batch failed, 2 wrong recipe or input,
130 stopped by Ctrl-C. Rooms are imported inside the commands, so that ``superres --help`` stays quick.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from superres import cli_output
from superres.cli_output import ERR
from superres.cli_progress import ProgressDisplay
from superres.errors import InputError, MissingFileError, SuperresError
from superres.progress import Progress, ProgressCallback

if TYPE_CHECKING:
    from superres.inference import UpscaleSummary

IMAGE_SUFFIXES = (".tif", ".tiff", ".btf", ".png", ".jpg", ".jpeg", ".zarr")
RESUMES = "What is finished is kept: run the same command again to resume."
STARTS_ANEW = "Nothing was finished: run the same command again to start anew."

app = typer.Typer(
    name="superres",
    epilog=(
        "[bold]Start here[/]\n"
        "  superres demo\n"
        "  superres info stack.tif\n"
        "  superres upscale stack.tif --model model.safetensors --out stack.ome.zarr"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; repeat it for more. The value is YAML."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]


def _examples(*lines: str) -> str:
    return "[bold]Examples[/]\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def _job(stopped: str) -> Iterator[ProgressDisplay]:
    """Draw progress; turn errors that the user can act on, and Ctrl-C, into a message and an exit code."""
    try:
        with cli_output.warnings_as_lines(), ProgressDisplay(ERR) as progress:
            yield progress
    except SuperresError as error:
        cli_output.show_error(error)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        cli_output.show_note(f"Stopped. {stopped}")
        raise typer.Exit(130) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        from superres import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _superres(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Upscale and restore microscopy volumes larger than memory, and say how far to believe the result."""


@app.command(epilog=_examples("superres demo", "superres demo --quick --out my_demo"))
def demo(
    out: Annotated[Path, typer.Option(help="Folder for images, model, store and report.")] = Path("superres_demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A short training, to see that everything works.")] = False,
) -> None:
    """Train a small model on real images and restore what it never saw; a few minutes on two cores."""
    with _job(RESUMES) as progress:
        from superres.demo import run_demo

        result = run_demo(out, quick=quick, progress=progress)
    cli_output.show_demo(result)


@app.command(
    epilog=_examples(
        "superres info stack.tif", "superres info stack.tif --axes ZYX", "superres info model.safetensors --json"
    )
)
def info(
    path: Annotated[Path, typer.Argument(help="An image, a volume, a model file or a run folder.")],
    axes: Annotated[str | None, typer.Option(help="Axes where the file does not tell, such as ZYX.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an image or a model is: axes, sizes, voxel size; factor, training, figures."""
    with _job(STARTS_ANEW):
        if path.suffix == ".safetensors" or (path / "model.safetensors").is_file():
            from superres.modelfile import load_model_file

            cli_output.show_model(load_model_file(path), as_json=as_json)
        else:
            from superres.config import UpscaleConfig, load_config
            from superres.volumes import open_volume

            # The settings of `upscale` that say how a file is to be read.
            config = load_config(UpscaleConfig, None, overrides or (), model=path, axes=axes)
            volume = open_volume(path, axes=config.axes, voxel_size=config.voxel_size)
            cli_output.show_volume(volume, axes_given=config.axes is not None, as_json=as_json)


@app.command(
    epilog=_examples(
        "superres train pipelines/em_x4.yaml --out runs/em",
        "superres train my.yaml --out runs/my --set model.preset=S",
    )
)
def train(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe: manifests, factor, degradation, length.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run of the same recipe is resumed.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train a model from a recipe; the run folder gets the model, the figures and sample pictures."""
    with _job(RESUMES) as progress:
        from superres.config import TrainConfig, load_config

        config = load_config(TrainConfig, recipe, overrides or ())
        from superres import training

        result = training.train(config, out, progress=progress)
    cli_output.show_training(result, as_json=as_json)


@app.command(
    epilog=_examples(
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
    with _job(RESUMES) as progress:
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
    cli_output.show_upscaled(outcome.summaries, outcome.failures, as_json=as_json)
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
    stores: dict[Path, Path] = {}
    for source in (image for path in inputs for image in (_images_in(path) if _is_collection(path) else [path])):
        store = out / f"{_stem(source)}.ome.zarr"
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
    if not path.is_dir() or path.suffix == ".zarr":
        return False
    return not any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))


def _images_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.name.lower().endswith(IMAGE_SUFFIXES))
    if not found:
        raise MissingFileError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)}); name the files themselves")
    return found


def _stem(path: Path) -> str:
    """Return the name without its endings: ``cell.ome.tif`` and ``cell.zarr`` are both ``cell``."""
    return path.resolve().name.removesuffix(path.suffix).removesuffix(".ome")


@app.command(
    epilog=_examples(
        "superres evaluate runs/em --manifest em.yaml --out reports/em",
        "superres evaluate runs/my --manifest my.yaml --out reports/my --set split=test",
    )
)
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file or run folder.")],
    manifest: Annotated[list[Path], typer.Option(help="Manifest of images with truth; repeat it for more.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html and report.json.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Score a model against truth beside interpolation and deconvolution, and write a report with pictures."""
    with _job(STARTS_ANEW) as progress:
        from superres.config import EvaluateConfig, load_config

        config = load_config(EvaluateConfig, None, overrides or (), model=model, manifests=tuple(manifest))
        from superres import evaluation

        result = evaluation.evaluate(config, out, progress=progress)
    cli_output.show_evaluation(result, as_json=as_json)


def main() -> None:
    """Run the command line."""
    app()
