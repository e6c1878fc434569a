"""``superres ablate``: what each part of a recipe is worth, and what the loss looks like around a trained net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superres.cli import ablation_output, landscape_output
from superres.cli.application import RESUMES, STARTS_ANEW, AsJson, Overrides, app, examples, job
from superres.errors import ConfigError

_TWO_WAYS = (
    "give a recipe and its arms, superres ablate em.yaml --arms arms.yaml --out ablation, or a run to look at, "
    "superres ablate --landscape runs/em --out landscape"
)


@app.command(
    epilog=examples(
        "superres ablate pipelines/em_x4.yaml --arms pipelines/ablations/loss.yaml --out ablations/loss",
        "superres ablate my.yaml --arms my_arms.yaml --out ablations/my --set steps=2000 --seed 0 --seed 1",
        "superres ablate --landscape runs/em --out landscapes/em",
    )
)
def ablate(
    out: Annotated[Path, typer.Option(help="Folder for trainings, tables and figures; what is finished is kept.")],
    recipe: Annotated[Path | None, typer.Argument(help="YAML recipe that all trainings begin with.")] = None,
    arms: Annotated[
        Path | None, typer.Option(help="YAML file of arms: name, and what each changes in the recipe.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seed of a training; repeat it for more.")] = None,
    landscape: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Draw the loss around the weights of a finished run instead.")
    ] = None,
    points: Annotated[int, typer.Option(help="With --landscape: nets along each direction of the map.")] = 25,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train variants of a recipe with several seeds, score them on the same images, and say what each is worth.

    A file of arms maps names to changes, as --set makes them: 'arms: {plain: {}, no-ema: {optimiser.ema: 0}}'.
    With --landscape, the loss around the weights of a run is drawn, and the path of its training ('snapshots: 20').
    """
    if landscape is not None:
        with job(STARTS_ANEW) as progress:
            if recipe is not None or arms is not None:
                raise ConfigError(f"--landscape is of one run and takes no recipe; {_TWO_WAYS}")
            if seed is not None and len(seed) > 1:
                raise ConfigError("--landscape takes one --seed, of its random directions")
            from superres.evaluation.landscape_job import landscape as draw

            drawn = draw(
                landscape,
                out,
                points=points,
                seed=seed[0] if seed else 0,
                overrides=overrides or (),
                progress=progress,
            )
        landscape_output.show_landscape(drawn, as_json=as_json)
        return
    with job(RESUMES) as progress:
        if recipe is None or arms is None:
            raise ConfigError(_TWO_WAYS)
        from superres.evaluation import ablation, ablation_report
        from superres.evaluation.ablation_settings import load_ablation

        config = load_ablation(recipe, arms, overrides or (), seeds=tuple(seed) if seed else None)
        found = ablation.ablate(config, out, progress=progress)
        page = ablation_report.write(found, out)
    ablation_output.show_ablation(found, page, as_json=as_json)
    if found.failed:
        raise typer.Exit(1)
