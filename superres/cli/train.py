"""``superres train`` and ``superres evaluate``: make a model and score it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from superres.cli import evaluation_output, output
from superres.cli.application import RESUMES, STARTS_ANEW, AsJson, Overrides, app, examples, job, triple_of
from superres.cli.models import model_path
from superres.errors import ConfigError
from superres.progress import ProgressCallback

T = TypeVar("T")


@app.command(
    epilog=examples(
        "superres train --images sharp --factor 4 --out runs/my",
        "superres train --images sharp --factor 1,2,2 --low fast --out runs/my --dry-run",
        "superres train pipelines/em_x4.yaml --out runs/em",
        "superres train my.yaml --out runs/my --set model.preset=S",
        "torchrun --nproc-per-node 2 -m superres train my.yaml --out runs/my",
    )
)
def train(
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run of the same recipe is resumed.")],
    recipe: Annotated[
        Path | None, typer.Argument(help="YAML recipe: manifests, factor, degradation, length. Or give --images.")
    ] = None,
    images: Annotated[
        list[str] | None, typer.Option(help="Folder of sharp images (or a pattern, or a file) to write a recipe for.")
    ] = None,
    factor: Annotated[
        str | None, typer.Option(help="With --images: how much coarser recordings will be, Y and X, or Z,Y,X.")
    ] = None,
    low: Annotated[
        list[str] | None, typer.Option(help="With --images: coarse recordings, to measure blur and noise on.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="With --images: axes of files that do not tell them, e.g. ZYX.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --images: write the recipe, and stop.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train a model from a recipe, or from a folder of sharp images; the run folder gets the model and the figures.

    With --images a recipe is written into the run folder first: look at it with --dry-run, change it, and run the same
    command without. A recipe's 'degrade' is a list of steps, or the path of a file written by 'superres degrade fit',
    from the recipe's folder.
    """
    _check_source(recipe, images, {"--factor": factor, "--low": low, "--axes": axes, "--dry-run": dry_run})
    told: dict[str, Any] = {}
    with job(RESUMES) as progress:
        from superres.config import TrainConfig, load_config

        if images:
            wanted = triple_of(_given(factor, "how much coarser recordings will be: --factor 4"))
            recipe, told = _recipe_for(images, wanted, out, low or (), axes, overrides or (), progress, as_json)
        config = load_config(TrainConfig, recipe, overrides or ())
        if config.start_from is not None:
            config = config.model_copy(update={"start_from": model_path(config.start_from, progress)})
        if not dry_run:
            from superres import training

            result = training.train(config, out, progress=progress)
    if dry_run:
        output.show_proposed(recipe, told, as_json=as_json)
    elif training.is_first():
        output.show_training(result, as_json=as_json)


@app.command(
    name="find-lr",
    epilog=examples("superres find-lr pipelines/em_x4.yaml --out lr.html", "superres find-lr my.yaml --steps 200"),
)
def find_lr(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe, as for 'superres train'.")],
    out: Annotated[Path, typer.Option(help="HTML page with the curve.")] = Path("learning_rate.html"),
    steps: Annotated[int, typer.Option(min=20, help="Steps of the short training.")] = 100,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Let the learning rate rise in a short training, draw what the loss does, and propose a rate."""
    with job(STARTS_ANEW) as progress:
        from superres.config import TrainConfig, load_config

        config = load_config(TrainConfig, recipe, overrides or ())
        from superres import training
        from superres.evaluation import rate_page

        curve = training.find_learning_rate(config, steps=steps, progress=progress)
        rate_page.write(curve.rates, curve.losses, curve.proposed, out, title=config.name, muon=curve.muon)
    output.show_rates(curve, out, as_json=as_json)


@app.command(
    epilog=examples(
        "superres evaluate runs/em --manifest em.yaml --out reports/em",
        "superres evaluate runs/my --manifest my.yaml --out reports/my --set split=test",
        "superres evaluate runs/my --manifest my.yaml --out reports/my --set models.unet=runs/plain "
        "--set psf.beads=beads.tif",
        "superres evaluate --manifest my.yaml --out reports/baselines --set factor=[1,2,2] "
        "--set 'degrade=[{downsample: binning}]'",
        "superres evaluate --controls runs/em",
    )
)
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="Model: name, file, run, address; without one only baselines are scored.")
    ] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="Manifest of images with truth; repeat it for more.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report: HTML, JSON, Markdown and CSV.")] = None,
    controls: Annotated[
        bool, typer.Option("--controls", help="Only show what the model makes of recordings without structure.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Score a model against truth beside baselines and other nets, and write a report with pictures."""
    with job(STARTS_ANEW) as progress:
        from superres import evaluation
        from superres.config import load_config
        from superres.evaluation.settings import EvaluateConfig

        if controls:
            named = _given(model, "a model: superres evaluate --controls runs/em")
            found = evaluation.control(model_path(named, progress))
        else:
            manifests = tuple(_given(manifest, "images with truth: --manifest em.yaml"))
            folder = _given(out, "a folder for the report: --out report")
            config = load_config(EvaluateConfig, None, overrides or (), model=model, manifests=manifests)
            scored = None if config.model is None else model_path(config.model, progress)
            rivals = {name: model_path(path, progress) for name, path in config.models.items()}
            config = config.model_copy(update={"model": scored, "models": rivals})
            result = evaluation.evaluate(config, folder, progress=progress)
    if controls:
        evaluation_output.show_controls(found, as_json=as_json)
    else:
        evaluation_output.show_evaluation(result, as_json=as_json)
        if not result.acquisitions:
            raise typer.Exit(2)


def _check_source(recipe: Path | None, images: list[str] | None, of_images: dict[str, object]) -> None:
    """Refuse a command that gives both a recipe and images, or neither."""
    with job(STARTS_ANEW):
        if recipe is not None and images:
            raise ConfigError(f"{recipe} is a recipe, and --images writes one; give one of the two")
        if recipe is None and not images:
            raise ConfigError(
                "give a recipe (superres train my.yaml --out runs/my), or a folder of sharp images and a factor "
                "(superres train --images sharp --factor 4 --out runs/my)"
            )
        without = [name for name, value in of_images.items() if value]
        if recipe is not None and without:
            raise ConfigError(f"{', '.join(without)} goes with --images; the recipe {recipe} says it already")


def _recipe_for(
    images: list[str],
    factor: tuple[int, int, int],
    out: Path,
    low: Sequence[str],
    axes: str | None,
    overrides: Sequence[str],
    progress: ProgressCallback,
    as_json: bool,
) -> tuple[Path, dict[str, Any]]:
    """Return the recipe in the run folder, written now or before, and what is told of it as JSON."""
    from superres.cli import proposal_output
    from superres.training import configure
    from superres.training.configure import known_recipe

    known = known_recipe(images, factor, out)
    if known is not None:
        output.show_note(f"{known}: was written before and is used as it stands; remove it to have it written anew")
        return known, {"recipe": known, "written": False}
    proposal = configure(images, factor, out, low=low, axes=axes, overrides=overrides, progress=progress)
    if not as_json:
        proposal_output.show_proposal(proposal)
    if proposal.fit is not None:
        from superres.degrade.block import write_text
        from superres.evaluation.realism import realism_page

        write_text(out / "microscope.html", realism_page(proposal.fit), overwrite=True)
    return proposal.recipe, proposal_output.proposal_facts(proposal) | {"written": True}


def _given(value: T | None, wanted: str) -> T:
    """Return what was given, or say what to type."""
    if value is None:
        raise ConfigError(f"give {wanted}")
    return value
