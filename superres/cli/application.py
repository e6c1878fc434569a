"""The application that commands register with, and what they share: options, errors, progress.

Results go to stdout, all else to stderr. Exit codes: 0 done, 1 some inputs of a batch failed, 2 wrong recipe or input,
130 stopped by Ctrl-C. Rooms are imported inside the commands, so that ``superres --help`` stays quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import evaluation_output, output
from superres.cli.interrupts import interrupts
from superres.cli.output import ERR
from superres.cli.progress import ProgressDisplay
from superres.errors import ConfigError, SuperresError

if TYPE_CHECKING:
    pass

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


def examples(*lines: str) -> str:
    """Return what stands below the help of a command."""
    return "[bold]Examples[/]\n" + "\n".join(f"  {line}" for line in lines)


def triple_of(factor: str) -> tuple[int, int, int]:
    """Read a factor: one number along Y and X, or three along Z, Y and X.

    Raises
    ------
    ConfigError
        When it is something else.
    """
    try:
        numbers = [int(part) for part in factor.strip("[]() ").split(",")]
    except ValueError:
        numbers = []
    numbers = [1, *numbers, *numbers] if len(numbers) == 1 else numbers
    if len(numbers) != 3 or min(numbers) < 1 or max(numbers) > 16:
        raise ConfigError(
            f"--factor {factor}: expected whole numbers from 1 to 16, one along Y and X or three along Z, Y, X, for "
            "example --factor 4 or --factor 1,4,4"
        )
    return numbers[0], numbers[1], numbers[2]


@contextmanager
def job(stopped: str) -> Iterator[ProgressDisplay]:
    """Draw progress; turn errors that the user can act on, and Ctrl-C, into a message and an exit code."""
    try:
        with output.warnings_as_lines(), interrupts() as interrupted, ProgressDisplay(ERR, interrupted) as progress:
            progress.check()
            yield progress
    except SuperresError as error:
        output.show_error(error)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        output.show_note(f"Stopped. {stopped}")
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


@app.command(epilog=examples("superres demo", "superres demo --quick --out my_demo"))
def demo(
    out: Annotated[Path, typer.Option(help="Folder for images, model, store and report.")] = Path("superres_demo"),
    quick: Annotated[bool, typer.Option("--quick", help="A short training, to see that everything works.")] = False,
) -> None:
    """Upscale with a model from the package, fine-tune it on a few real images, and show the gain on others."""
    with job(RESUMES) as progress:
        from superres.demo import first_result, run_demo

        first = first_result(out, progress=progress)
    evaluation_output.show_first(first)
    with job(RESUMES) as progress:
        result = run_demo(out, quick=quick, progress=progress)
    evaluation_output.show_demo(result)
