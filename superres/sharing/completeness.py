"""What a card still lacks; a model without a complete one is not put into the package and not exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from superres.errors import ModelFileError
from superres.modelfile import ModelFile, load_model_file
from superres.sharing.card import Card, Gain, Trial
from superres.sharing.licences import objections

DECONVOLUTION = "richardson-lucy"
"""The tuned baseline that a card must have."""
PLAIN_NET = "unet"
"""The net of the same budget that a card must have."""


def missing(file: ModelFile) -> tuple[str, ...]:
    """Say in plain words what a model's card lacks, each with the option of ``superres models describe`` that gives it.

    Nothing is left out when all of it is there, speaks of these very weights, and the pictures lie beside the file.
    """
    card = Card.of(file)
    if card is None:
        return ("it has no card: superres models describe FILE --evaluation REPORT --for '...' --not-for '...'",)
    if card.identity != file.identity:
        return (
            f"its card speaks of other weights ({card.identity[:12]}) than the file holds ({file.identity[:12]}): "
            "evaluate this model and describe it again",
        )
    return (*_words(card), *_data(file), *_results(card, file), *_pictures(card, file.path.parent))


def complete_card(path: Path) -> tuple[ModelFile, Card]:
    """Read a model that is to be passed on.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is none, its card is not complete, or a licence of its images does not allow it; with all reasons.
    """
    file = load_model_file(path)
    reasons = missing(file) or objections(file.header)
    card = Card.of(file)
    if reasons or card is None:
        raise ModelFileError(f"{file.path}: cannot be passed on: {'; '.join(reasons)}")
    return file, card


def _words(card: Card) -> Iterator[str]:
    given = {
        "what it is for (--for)": card.purpose,
        "what it is not for (--not-for)": card.not_for,
        "under which licence it may be used (--licence)": card.licence,
        "how long it was trained (--seconds)": card.seconds,
        "on which machine it was trained (--machine)": card.machine,
    }
    yield from (name for name, value in given.items() if not value)


def _data(file: ModelFile) -> Iterator[str]:
    """Ask for licence and credit of every acquisition: they come from the manifests, by way of the training."""
    for training in file.header.trainings:
        entries = training.get("acquisitions", ())
        if not entries:
            yield "on which images it was trained (its header does not tell)"
        for what in ("licence", "credit"):
            lacking = [str(entry.get("id")) for entry in entries if not entry.get(what)]
            if lacking:
                yield f"the {what} of {', '.join(lacking)} (add it to the manifest and train again)"


def _results(card: Card, file: ModelFile) -> Iterator[str]:
    if not card.trials:
        yield "results per acquisition (--evaluation, a folder written by superres evaluate)"
        return
    for trial in card.trials:
        yield from _baselines(trial)
    if all(gain.low is None for trial in card.trials for gain in _gains(trial)):
        yield "an interval of the gain, which takes at least two acquisitions (--evaluation)"
    is_noisy = any({"poisson", "read_noise"} & step.keys() for step in file.header.degradation)
    if is_noisy and not any(trial.controls for trial in card.trials):
        yield "negative controls (--evaluation, with the degradation of the training)"
    if file.header.lineage and not card.before:
        yield "how the model that it descends from did on the same images (--before)"


def _baselines(trial: Trial) -> Iterator[str]:
    if DECONVOLUTION not in trial.tuned:
        yield f"{trial.name}: tuned Richardson-Lucy (evaluate with it among the baselines)"
    if PLAIN_NET not in trial.nets:
        yield f"{trial.name}: a plain U-Net (evaluate with --set models.{PLAIN_NET}=RUN, see pipelines/README.md)"
    if trial.reference not in trial.gains:
        yield f"{trial.name}: {trial.reference} (evaluate with it among the baselines)"


def _gains(trial: Trial) -> Iterator[Gain]:
    yield from (row["psnr"] for row in trial.gains.values())


def _pictures(card: Card, folder: Path) -> Iterator[str]:
    from superres.datasets.checksum import file_sha256

    if not card.pictures:
        yield "pictures of where it fails (worst.png of an evaluation, or --picture)"
    for picture in card.pictures:
        path = folder / picture.file
        if not path.is_file():
            yield f"the picture {picture.file}, which should lie beside the file"
        elif file_sha256(path) != picture.sha256:
            yield f"the picture {picture.file} as it was (another file lies in its place)"
