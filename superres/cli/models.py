"""``superres models``: what models there are, what their cards say, and whether they are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli.application import STARTS_ANEW, AsJson, app, examples, job
from superres.errors import ConfigError

if TYPE_CHECKING:
    from superres.progress import ProgressCallback

models = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List, show, check, describe and compare models.",
    epilog=examples(
        "superres models list",
        "superres models info em-x4",
        "superres models describe runs/em --evaluation reports/em --for 'electron micrographs of tissue'",
        "superres models compare em-x4 runs/em --manifest em.yaml",
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models, name="models")

ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Name of a model in the package, file, run folder, https://... or hf://..."),
]


def model_path(text: str | None, progress: ProgressCallback) -> Path | None:
    """Find the model that an option names; None where the option was not given."""
    if text is None:
        return None
    from superres.sharing import find_model

    return find_model(text, progress=progress)


@models.command("list", epilog=examples("superres models list", "superres models list --json"))
def list_models(as_json: AsJson = False) -> None:
    """List the models in the package: for what they are, factor, voxel size, licence, size."""
    with job(STARTS_ANEW):
        from superres.sharing.listing import list_bundled

        found = list_bundled()
    from superres.cli import models_output

    models_output.show_list(found, as_json=as_json)


@models.command(epilog=examples("superres models info em-x4", "superres models info runs/em --page em.html"))
def info(
    model: ModelName,
    page: Annotated[
        Path | None, typer.Option(help="Write the card to this file: .html, or .md with its pictures beside it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's card: for what it is, what it learnt from, figures beside baselines, where it fails."""
    with job(STARTS_ANEW) as progress:
        from superres.modelfile import load_model_file
        from superres.sharing.sections import sections_of

        file = load_model_file(_found(model, progress))
        sections = sections_of(file)
        if page is not None:
            if page.suffix not in (".html", ".htm", ".md"):
                raise ConfigError(f"--page {page}: expected a name that ends with .html or .md")
            from superres.sharing.page import write_card

            write_card(file, page)
    from superres.cli import models_output

    models_output.show_card(file, sections, page, as_json=as_json)


@models.command(epilog=examples("superres models verify em-x4", "superres models verify em-x4 --data data"))
def verify(
    model: ModelName,
    data: Annotated[
        Path | None, typer.Option(help="Root of the images: measure the figures of the card again.")
    ] = None,
    manifests: Annotated[Path, typer.Option(help="With --data: folder of the manifests.")] = Path("data_manifests"),
    as_json: AsJson = False,
) -> None:
    """Check that weights and pictures are those of the card and, with --data, that its figures come out again.

    Exit code 1 when something is not as the card says.
    """
    with job(STARTS_ANEW) as progress:
        from superres.sharing.verification import verify as hold_against_card

        listed = sorted(manifests.glob("*.yaml")) if data is not None else []
        if data is not None and not listed:
            raise ConfigError(f"--manifests {manifests}: no *.yaml there; give the folder of the manifests")
        found = hold_against_card(_found(model, progress), data=data, manifests=listed, progress=progress)
    from superres.cli import models_output

    models_output.show_verification(found, as_json=as_json)
    if not found.is_good:
        raise typer.Exit(1)


@models.command(
    epilog=examples(
        "superres models describe runs/em --evaluation reports/em --for 'electron micrographs of tissue' "
        "--not-for 'other factors than 4' --licence CC-BY-4.0 --modality electron --machine '2 CPU cores'",
        "superres models describe runs/mine --evaluation reports/mine --evaluation reports/old_images "
        "--before reports/em_mine --before reports/em_old_images",
        "superres models describe runs/em --out em-x4.safetensors",
    )
)
def describe(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file or run folder; its header gets the card.")],
    evaluation: Annotated[
        list[Path] | None, typer.Option(help="Folder that 'superres evaluate' wrote; repeat it for more.")
    ] = None,
    before: Annotated[
        list[Path] | None, typer.Option(help="The same of the model that it was fine-tuned from, on the same images.")
    ] = None,
    purpose: Annotated[str, typer.Option("--for", help="What it is for, in a sentence.")] = "",
    not_for: Annotated[list[str] | None, typer.Option("--not-for", help="What it is not for; repeat it.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the model itself, such as CC-BY-4.0.")] = "",
    modality: Annotated[
        str | None, typer.Option(metavar="electron|light", help="For which recordings it is to be suggested.")
    ] = None,
    machine: Annotated[str, typer.Option(help="What it was trained on, such as 'one NVIDIA H100'.")] = "",
    seconds: Annotated[
        float | None, typer.Option(min=0, help="How long the training took, where neither header nor run folder tells.")
    ] = None,
    picture: Annotated[
        list[str] | None, typer.Option(metavar="PNG=WORDS", help="A further picture of where it fails; repeat it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the described model here, with its pictures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model's card, or add to it: from evaluations of it, and what only a person can say.

    Data, licences, credits, degradation and lineage come from its header. The weights stay as they are.
    """
    with job(STARTS_ANEW):
        if modality not in (None, "electron", "light"):
            raise ConfigError(f"--modality {modality}: expected electron or light")
        from superres.sharing.describe import Description
        from superres.sharing.describe import describe as write_card

        description = Description(
            evaluations=tuple(evaluation or ()),
            before=tuple(before or ()),
            pictures=tuple(_picture(text) for text in picture or ()),
            purpose=purpose,
            not_for=tuple(not_for or ()),
            licence=licence,
            modality=modality,  # type: ignore[arg-type]  # was checked
            machine=machine,
            seconds=seconds,
        )
        described = write_card(model, description, out=out)
    from superres.cli import models_output

    models_output.show_described(described, as_json=as_json)


def _found(text: str, progress: ProgressCallback) -> Path:
    from superres.sharing import find_model

    return find_model(text, progress=progress)


def _picture(text: str) -> tuple[Path, str]:
    name, _, caption = text.partition("=")
    if not caption.strip():
        raise ConfigError(f"--picture {text}: say what it shows, for example --picture 'charging.png=a charged area'")
    return Path(name), caption.strip()
