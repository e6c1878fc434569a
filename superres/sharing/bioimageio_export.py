"""A model as a package of the bioimage.io format: written, tested by ``bioimageio.core``, and then moved in place."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from superres.errors import InputError, ModelFileError, OutputExistsError, OutputWriteError, SuperresError
from superres.modelfile import ModelFile
from superres.progress import Progress, ProgressCallback, silent
from superres.sharing.card import Card
from superres.sharing.completeness import complete_card

MODEL = "model.safetensors"
"""The model file in a package, as it is: what `superres.sharing.bioimageio_import` takes back."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how far its results are from those of superres.

    Parameters
    ----------
    path : Path
        The package or file.
    size : int
        Bytes.
    difference : float
        Largest difference from what superres predicts, as a share of the range between black and white.
    block_difference : float or None
        Largest difference between an image run whole and run in blocks, likewise; None where that was not run.
    tested : str
        What ran it.
    """

    path: Path
    size: int
    difference: float
    block_difference: float | None
    tested: str


def export_bioimageio(
    model: Path, out: Path, *, authors: Sequence[str], progress: ProgressCallback = silent
) -> Exported:
    """Write a model with a complete card as a package of the bioimage.io format.

    It holds the weights as a PyTorch state dict with the source of the net, in TorchScript, and as the model file; a
    test image with its result; and a page that says what the bare net lacks: guard and trust maps are not in it.
    Nothing is written unless ``bioimageio.core`` runs it with the result of superres, whole and in blocks.

    Parameters
    ----------
    model : Path
        Model file or run folder.
    out : Path
        The package, a ``.zip`` that does not exist yet.
    authors : sequence of str
        Who made the model.
    progress : callable, optional
        Hears of the tests.

    Raises
    ------
    ModelFileError
        When the card is missing or not complete, speaks of other weights, or a licence forbids to pass the model on;
        when the net cannot be cut into blocks, or the package fails a test.
    InputError
        When no author is given, or the card's licence is not one that the format knows.
    OutputExistsError, OutputWriteError
        When `out` exists, or cannot be written.
    SuperresError
        When ``bioimageio.core`` is not installed.
    """
    file, card = complete_card(model)
    require_free(out, ".zip")
    require_installed("bioimageio.core")
    if not authors:
        raise InputError(f"{file.path}: say who made the model, for the description: --author 'Ada Lovelace'")
    with workshop(out) as folder:
        package = _packed(file, card, authors, Path(folder))
        exported = _tested(package, file, progress)
        size = put_in_place(package, out)
    return Exported(out, size, exported.difference, exported.block_difference, exported.tested)


def _packed(file: ModelFile, card: Card, authors: Sequence[str], folder: Path) -> Path:
    from superres.sharing.bioimageio_package import write_package

    return write_package(file, card, authors, folder)


def _tested(package: Path, file: ModelFile, progress: ProgressCallback) -> Exported:
    from superres.sharing.bioimageio_tests import run_tests

    progress(Progress("test", 0, 1, "packages"))
    found = run_tests(package, file)
    progress(Progress("test", 1, 1, "packages"))
    return Exported(package, package.stat().st_size, found.difference, found.block_difference, found.tested)


def require_installed(*modules: str) -> None:
    """Raise SuperresError where what an export needs is not installed."""
    lacking = [name for name in modules if importlib.util.find_spec(name.partition(".")[0]) is None]
    if lacking:
        raise SuperresError(f"the package {lacking[0]} is missing; pip install 'superres[share]'")


def require_free(out: Path, suffix: str) -> None:
    """Raise where an output exists, is not called as it should be, or its folder is missing."""
    if out.suffix.lower() != suffix:
        raise InputError(f"{out}: is written as one file; give a name that ends with {suffix}")
    if out.exists():
        raise OutputExistsError(f"{out}: exists; delete it or give another name")
    if not out.absolute().parent.is_dir():
        raise OutputWriteError(f"{out}: its folder does not exist; make it first")


def workshop(out: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a folder beside an output, from which this is moved in place.

    Raises
    ------
    OutputWriteError
        When nothing can be written there.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.absolute().parent)
    except OSError as error:
        raise OutputWriteError(f"{out}: cannot be written ({error}); give a folder that can be written to") from None


def put_in_place(made: Path, out: Path) -> int:
    """Move a file to where it is wanted, and return its size."""
    try:
        shutil.move(made, out)
    except OSError as error:
        raise OutputWriteError(f"{out}: cannot be written ({error})") from None
    return out.stat().st_size


def require_near(difference: float, most: float, what: str) -> None:
    """Raise ModelFileError where a result is further off than it may be, or is none."""
    if not difference <= most:
        raise ModelFileError(f"{what}: {difference:.2g} of the range, at most {most:g} is allowed; nothing was written")
