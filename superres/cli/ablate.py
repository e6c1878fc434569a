"""``superres ablate``: what each part of a recipe is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superres.cli import ablation_output
from superres.cli.application import RESUMES, AsJson, Overrides, app, examples, job


@app.command(
    epilog=examples(
        "superres ablate pipelines/em_x4.yaml --arms pipelines/ablations/loss.yaml --out ablations/loss",
        "superres ablate my.yaml --arms my_arms.yaml --out ablations/my --set steps=2000 --seed 0 --seed 1 --seed 2",
    )
)
def ablate(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe that all trainings begin with.")],
    arms: Annotated[Path, typer.Option(help="YAML file of arms: name, and what each changes in the recipe.")],
    out: Annotated[Path, typer.Option(help="Folder for trainings, tables and figures; what is finished is kept.")],
    seed: Annotated[list[int] | None, typer.Option(help="Seed of a training; repeat it for more.")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train variants of a recipe with several seeds, score them on the same images, and say what each is worth.

    A file of arms maps names to changes, as --set makes them: 'arms: {plain: {}, no-ema: {optimiser.ema: 0}}'.
    """
    with job(RESUMES) as progress:
        from superres.evaluation import ablation, ablation_report
        from superres.evaluation.ablation_settings import load_ablation

        config = load_ablation(recipe, arms, overrides or (), seeds=tuple(seed) if seed else None)
        found = ablation.ablate(config, out, progress=progress)
        page = ablation_report.write(found, out)
    ablation_output.show_ablation(found, page, as_json=as_json)
    if found.failed:
        raise typer.Exit(1)
