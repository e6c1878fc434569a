"""``superres models export`` and ``import``: from a model file to what other programs run, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superres.cli import output
from superres.cli.application import STARTS_ANEW, AsJson, examples, job
from superres.cli.models import ModelName, model_path, models
from superres.errors import ConfigError
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.modelfile import ModelFile
    from superres.sharing.bioimageio_export import Exported

_KINDS = ("bioimageio", "onnx")


@models.command(
    "export",
    epilog=examples(
        "superres models export em-x4 em-x4.zip --author 'Ada Lovelace'",
        "superres models export runs/em em.onnx",
    ),
)
def export_model(
    model: ModelName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="What to write: .zip (bioimage.io) or .onnx.")],
    kind: Annotated[
        str | None, typer.Option("--to", metavar="bioimageio|onnx", help="Default by the name of OUT.")
    ] = None,
    author: Annotated[list[str] | None, typer.Option(help="Who made the model; repeat it for more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other programs, after they ran it with the same result; needs a complete card.

    Guard and trust maps are not in it: other programs run the bare net.
    """
    with job(STARTS_ANEW) as progress:
        exported = _export(model, out, kind or _kind_of(out), author or [], progress)
    if as_json:
        output.print_json(exported)
        return
    blocks = exported.block_difference
    facts = {
        "written": f"{exported.path} ({output.bytes_text(exported.size)})",
        "tested by": exported.tested,
        "differs from superres by": f"{exported.difference:.1g} of the range between black and white",
        "in blocks differs by": "" if blocks is None else f"{blocks:.1g} of that range",
        "not in it": "guard and trust maps: it is the bare net",
    }
    output.show_facts(f"Exported {model}", facts)


@models.command(
    "import",
    epilog=examples("superres models import em-x4.zip em-x4.safetensors", "superres models info em-x4.safetensors"),
)
def import_model(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="A .zip of bioimage.io, or its folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model file to write, .safetensors.")],
    as_json: AsJson = False,
) -> None:
    """Take a model out of a package that superres wrote, bit for bit; others are refused with what they lack."""
    with job(STARTS_ANEW):
        from superres.sharing.bioimageio_import import import_bioimageio

        file = import_bioimageio(package, out)
    _show_imported(package, file, as_json=as_json)


def _kind_of(out: Path) -> str:
    return "onnx" if out.suffix.lower() == ".onnx" else "bioimageio"


def _export(model: str, out: Path, kind: str, authors: list[str], progress: ProgressCallback) -> Exported:
    if kind not in _KINDS:
        raise ConfigError(f"--to {kind}: expected {' or '.join(_KINDS)}")
    path = model_path(model, progress) or Path(model)
    if kind == "onnx":
        from superres.sharing.onnx import export_onnx

        return export_onnx(path, out)
    from superres.sharing.bioimageio_export import export_bioimageio

    return export_bioimageio(path, out, authors=authors, progress=progress)


def _show_imported(package: Path, file: ModelFile, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"path": file.path, "name": file.header.name, "sha256": file.sha256})
        return
    output.show_facts(
        f"Imported {package}", {"written": str(file.path), "name": file.header.name, "sha256": file.sha256}
    )
