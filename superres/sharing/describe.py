"""Write the card of a model into its file, from evaluations of it and a few words."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from superres.datasets.checksum import file_sha256
from superres.errors import InputError, MissingFileError, ModelFileError, OutputWriteError
from superres.evaluation import Evaluation
from superres.evaluation.worst import FILE, worst
from superres.modelfile import ModelFile, load_model_file, save_model_file
from superres.sharing.card import Card, Modality, Picture
from superres.sharing.completeness import missing
from superres.sharing.licences import objections
from superres.sharing.trials import read_report, trial_before, trial_of

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Description:
    """What is to stand in a card; what is empty or None is left as the card had it.

    Parameters
    ----------
    evaluations, before : tuple of Path
        Folders that ``superres evaluate`` wrote: of the model, and of the one that it descends from.
    pictures : tuple of (Path, str)
        Further PNG files of where it fails, and what each shows.
    purpose, not_for, licence, modality, machine, seconds
        As for `superres.sharing.card.Card`.
    """

    evaluations: tuple[Path, ...] = ()
    before: tuple[Path, ...] = ()
    pictures: tuple[tuple[Path, str], ...] = ()
    purpose: str = ""
    not_for: tuple[str, ...] = ()
    licence: str = ""
    modality: Modality | None = None
    machine: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """A model file with its new card, what the card still lacks, and which licences stand against passing it on."""

    model: Path
    card: Card
    missing: tuple[str, ...]
    objections: tuple[str, ...]


def describe(path: Path, description: Description, *, out: Path | None = None) -> Described:
    """Write or complete the card of a model; the weights, and all that decides its output, stay as they are.

    Pictures are copied beside the file, into ``NAME.pictures/``.

    Parameters
    ----------
    path : Path
        Model file or run folder.
    description : Description
        What to add.
    out : Path, optional
        Another file to write the described model to, with its pictures; `path` then stays as it was.

    Raises
    ------
    MissingFileError, ModelFileError, InputError
        When the model or a report cannot be read, or a report is of another model.
    OutputWriteError
        When file or pictures cannot be written.
    """
    file = load_model_file(path)
    target = out or file.path
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: expected a name that ends with .safetensors")
    old = _old(file)
    evaluations = [read_report(one) for one in description.evaluations]
    trials = tuple(trial_of(one, file) for one in evaluations) or old.trials
    befores = [trial_before(read_report(one), file, trials) for one in description.before]
    given = {
        name: value
        for name in ("purpose", "not_for", "licence", "modality", "machine")
        if (value := getattr(description, name))
    }
    card = dataclasses.replace(
        old,
        **given,
        seconds=description.seconds or old.seconds or _seconds(file),
        trials=trials,
        # What stood before goes with what stands beside it: with new results the old comparison is gone.
        before=tuple(befores) or (() if evaluations else old.before),
        pictures=_pictures(file, target, old, evaluations, description.pictures),
        written=datetime.now(UTC).date().isoformat(),
    )
    save_model_file(target, dataclasses.replace(file.header, card=card.to_json()), file.weights)
    if out is None:
        _tidy(file, old, card)
    written = load_model_file(target)
    return Described(target, card, missing(written), objections(written.header))


def _old(file: ModelFile) -> Card:
    """Return the card that a model has, if it speaks of these weights, or an empty one."""
    try:
        old = Card.of(file)
    except ModelFileError:
        old = None
    return old if old is not None and old.identity == file.identity else Card(file.identity)


def _seconds(file: ModelFile) -> float | None:
    """Return how long the training took: as its header says, or the log in its run folder."""
    told = file.header.training.get("seconds")
    log = file.path.with_name("metrics.jsonl")
    if told is not None or not log.is_file():
        return told
    try:
        return float(json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["seconds"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _pictures(
    file: ModelFile, target: Path, old: Card, evaluations: list[Evaluation], others: tuple[tuple[Path, str], ...]
) -> tuple[Picture, ...]:
    """Copy pictures beside the model: new ones, else those that it had."""
    wanted: dict[str, tuple[Path, str]] = {}
    for evaluation in evaluations:
        source = evaluation.data.with_name(FILE)
        if source.is_file():
            manifests = "_".join(one["name"] for one in evaluation.conventions["manifests"])
            wanted[f"worst_{manifests}.png"] = source, _caption(evaluation)
    for source, caption in others:
        wanted[f"{source.stem.lstrip('.') or 'picture'}.png"] = source, caption
    if not wanted:
        wanted = {Path(one.file).name: (file.path.parent / one.file, one.caption) for one in old.pictures}
    folder = target.with_suffix(".pictures")
    return tuple(_copied(source, folder / name, caption) for name, (source, caption) in wanted.items())


def _caption(evaluation: Evaluation) -> str:
    names = ", ".join(evaluation.acquisitions[number].id for number in worst(evaluation))
    return (
        f"The acquisitions with the smallest gain over {evaluation.reference} ({names}), worst first: low, "
        f"{evaluation.reference}, superres, truth, and the error of superres, red above and blue below"
    )


def _copied(source: Path, target: Path, caption: str) -> Picture:
    if not source.is_file():
        raise MissingFileError(f"{source}: no such picture; give the path of a PNG file")
    content = source.read_bytes()
    if not content.startswith(_PNG) or len(content) > _MOST_BYTES:
        what = "no PNG file" if not content.startswith(_PNG) else f"{len(content) / 1e6:.1f} MB"
        raise InputError(f"{source}: {what}; give a PNG of at most {_MOST_BYTES / 1e6:.0f} MB, such as a part of it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(source)):
            shutil.copyfile(source, target)
    except OSError as error:
        raise OutputWriteError(f"{target}: cannot be written ({error.strerror or error}); free some space") from None
    return Picture(f"{target.parent.name}/{target.name}", file_sha256(target), caption)


def _tidy(file: ModelFile, old: Card, new: Card) -> None:
    """Remove pictures of which the card no longer speaks."""
    for name in {one.file for one in old.pictures} - {one.file for one in new.pictures}:
        (file.path.parent / name).unlink(missing_ok=True)
