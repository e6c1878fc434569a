"""``superres data``: check, fetch, describe and register data sets by their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superres.cli import output
from superres.cli.application import STARTS_ANEW, AsJson, app, examples, job

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Check, fetch, describe and register data sets by their manifests.",
    epilog=examples(
        "superres data fetch data_manifests/skimage_cells.yaml --to data",
        "superres data check data_manifests/em.yaml",
        "superres data card data_manifests/em.yaml",
        "superres data register my_pairs.yaml --out registered",
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data, name="data")

ManifestFile = Annotated[Path, typer.Argument(metavar="MANIFEST", help="YAML file that lists a data set.")]
DataRoot = Annotated[
    Path | None,
    typer.Option("--root", help="Folder of the data. Without it, SUPERRES_DATA, then the manifest's own folder."),
]


@data.command(
    epilog=examples("superres data check data_manifests/em.yaml", "superres data check my.yaml --root data --json")
)
def check(manifest: ManifestFile, root: DataRoot = None, as_json: AsJson = False) -> None:
    """Check that every file is there, unchanged and readable, and that no image is in two splits.

    Exit code 2 when something is wrong.
    """
    with job(STARTS_ANEW) as progress:
        from superres.datasets.manifest_check import check_manifest

        result = check_manifest(manifest, root, progress=progress)
    from superres.cli import data_output

    data_output.show_check(result, as_json=as_json)
    if not result.is_good:
        raise typer.Exit(2)


@data.command(
    epilog=examples(
        "superres data fetch data_manifests/skimage_cells.yaml --to data",
        "superres data fetch data_manifests/skimage_cells.yaml --dry-run",
    )
)
def fetch(
    manifest: ManifestFile,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the files. Without it, where training looks for them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, and fetch nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the files of a data set that are missing, and check them; run it again to resume.

    The licence and whom to credit are shown first. Exit code 1 when some files could not be had, 2 when none.
    """
    from superres.cli import data_output

    with job("What has arrived is kept: run the same command again to resume.") as progress:
        from superres.datasets.fetch import fetch_manifest, plan_fetch

        plan = plan_fetch(manifest, to=to)
        if dry_run:
            data_output.show_plan(plan, as_json=as_json)
            return
        data_output.show_terms(plan)
        result = fetch_manifest(manifest, to=to, progress=progress)
    data_output.show_fetch(result, as_json=as_json)
    if result.problems:
        raise typer.Exit(1 if len(result.problems) < len(result.files) else 2)


@data.command(
    epilog=examples(
        "superres data card data_manifests/em.yaml",
        "superres data card my.yaml --out my.md --croissant my.json",
        "superres data card data_manifests",
    )
)
def card(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="YAML file that lists a data set; a folder of them for a table.")
    ],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write; without it the card is printed.")] = None,
    croissant: Annotated[
        Path | None, typer.Option(help="JSON file to write: Croissant 1.1, for dataset search engines.")
    ] = None,
) -> None:
    """Describe a data set on a page: what, how much, licence, credit, known biases, how to get it."""
    with job(STARTS_ANEW):
        from superres.datasets.datacard import data_card, sets_table
        from superres.datasets.manifest_reading import read_entry
        from superres.errors import InputError

        if manifest.is_dir():
            files = sorted(manifest.glob("*.yaml"))
            if not files or croissant is not None:
                what = "holds no manifest (*.yaml)" if not files else "is a folder, and --croissant is for one manifest"
                raise InputError(f"{manifest}: {what}; give the path of a manifest")
            text = sets_table((file.name, read_entry(file)) for file in files)
        else:
            entry = read_entry(manifest)
            text = data_card(entry, manifest)
            if croissant is not None:
                from superres.datasets.croissant import croissant_text

                _write(croissant, croissant_text(entry))
        if out is not None:
            _write(out, text)
        elif croissant is None:
            typer.echo(text, nl=False)


@data.command(
    epilog=examples(
        "superres data register my_pairs.yaml --out registered",
        "superres data register my_pairs.yaml --root data --out registered --json",
    )
)
def register(
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the contact sheet and the manifest with the shifts.")],
    root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Measure how far the images of real pairs are shifted, and refuse pairs that do not belong together.

    Writes a contact sheet to look at, and a manifest in which the shifts stand: training and evaluation with it move
    the high images. Exit code 1 when some pairs are refused, 2 when all are.
    """
    with job(STARTS_ANEW) as progress:
        from superres.datasets.registered_manifest import register_manifest

        result = register_manifest(manifest, out, root, progress=progress)
    from superres.cli import register_output

    register_output.show_registered(result, as_json=as_json)
    if result.refused:
        raise typer.Exit(1 if result.written else 2)


def _write(path: Path, text: str) -> None:
    from superres.errors import OutputWriteError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot be written ({error.strerror}); give another file") from None
    output.show_note(f"wrote {path}")
