"""``superres train`` and ``superres evaluate``: make a model and score it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from superres.cli import evaluation_output, output
from superres.cli.application import RESUMES, STARTS_ANEW, AsJson, Overrides, app, examples, job
from superres.errors import ConfigError

T = TypeVar("T")


@app.command(
    epilog=examples(
        "superres train pipelines/em_x4.yaml --out runs/em",
        "superres train my.yaml --out runs/my --set model.preset=S",
        "torchrun --nproc-per-node 2 -m superres train my.yaml --out runs/my",
    )
)
def train(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe: manifests, factor, degradation, length.")],
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run of the same recipe is resumed.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train a model from a recipe; the run folder gets the model, the figures and sample pictures.

    A recipe's 'degrade' is a list of steps, or the path of a file written by 'superres degrade fit', from the recipe's
    folder.
    """
    with job(RESUMES) as progress:
        from superres.config import TrainConfig, load_config

        config = load_config(TrainConfig, recipe, overrides or ())
        from superres import training

        result = training.train(config, out, progress=progress)
    if training.is_first():
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
        rate_page.write(curve.rates, curve.losses, curve.proposed, out, title=config.name)
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
        Path | None, typer.Argument(help="Model file or run folder; without one only the baselines are scored.")
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
            found = evaluation.control(_given(model, "a model: superres evaluate --controls runs/em"))
        else:
            config = load_config(
                EvaluateConfig,
                None,
                overrides or (),
                model=model,
                manifests=tuple(_given(manifest, "images with truth: --manifest em.yaml")),
            )
            result = evaluation.evaluate(
                config, _given(out, "a folder for the report: --out report"), progress=progress
            )
    if controls:
        evaluation_output.show_controls(found, as_json=as_json)
    else:
        evaluation_output.show_evaluation(result, as_json=as_json)
        if not result.acquisitions:
            raise typer.Exit(2)


def _given(value: T | None, wanted: str) -> T:
    """Return what was given, or say what to type."""
    if value is None:
        raise ConfigError(f"give {wanted}")
    return value
