"""From a report of ``superres evaluate`` to what a card keeps of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from superres.errors import InputError
from superres.evaluation import Evaluation, Scores, load_evaluation
from superres.evaluation.results import Gain as EvaluatedGain
from superres.evaluation.summary import was_trained_on
from superres.modelfile import ModelFile
from superres.sharing.card import FIGURES, Control, Figures, Gain, Scored, Trial

# More digits than anybody shows, and few enough that a card stays small.
_DIGITS = 5
# What of the settings of an evaluation decides its figures and is no place of this machine.
_SETTINGS = ("split", "baselines", "planes", "crop", "seed")


def read_report(path: Path) -> Evaluation:
    """Read a report by its folder or by its ``report.json``."""
    return load_evaluation(path / "report.json" if path.is_dir() else path)


def trial_of(evaluation: Evaluation, file: ModelFile) -> Trial:
    """Keep what a card says of an evaluation.

    Raises
    ------
    InputError
        When the evaluation is of no model or of another one, or was made on images that the model was trained on.
    """
    _refuse_other(evaluation, {"sha256": file.sha256, "identity": file.identity}, str(file.path))
    seen = [result.id for result in evaluation.acquisitions if was_trained_on(result)]
    if seen:
        raise InputError(
            f"{evaluation.data}: the model was trained on {', '.join(seen)}, which says nothing of new images; "
            "evaluate on a split without them"
        )
    return _trial(evaluation)


def trial_before(evaluation: Evaluation, file: ModelFile, trials: Sequence[Trial]) -> Trial:
    """Keep what a card says of the model that another one descends from, on the same images.

    Raises
    ------
    InputError
        When the model descends from none, or from another one, or the two were not scored alike.
    """
    if not file.header.lineage:
        raise InputError(
            f"{file.path}: was not fine-tuned, so that there is nothing to stand before it; leave out --before"
        )
    parent = file.header.lineage[-1]
    _refuse_other(evaluation, parent, f"{parent.get('name')}, which {file.path} descends from")
    before = _trial(evaluation)
    if not any(trial.is_like(before) for trial in trials):
        raise InputError(
            f"{evaluation.data}: nothing in it was scored alike for {file.path}; evaluate both models with the same "
            "manifests and settings, and give the one as --evaluation and the other as --before"
        )
    return before


def _refuse_other(evaluation: Evaluation, wanted: Mapping[str, Any], who: str) -> None:
    """Refuse a report of another model: by its identity, or by its bytes where an older report has no identity."""
    model = evaluation.conventions["model"]
    if not model or evaluation.conventions.get("is_result") or not evaluation.acquisitions:
        raise InputError(
            f"{evaluation.data}: holds no figures of a model; run 'superres evaluate MODEL --manifest ...'"
        )
    keys = [key for key in ("identity", "sha256") if model.get(key) and wanted.get(key)]
    if not any(model[key] == wanted[key] for key in keys):
        name = f"{model['name']}, {str(model.get('identity') or model['sha256'])[:12]}"
        raise InputError(
            f"{evaluation.data}: is of another model ({name}) than {who}; run 'superres evaluate' with that"
        )


def _trial(evaluation: Evaluation) -> Trial:
    told = evaluation.conventions
    return Trial(
        model={key: str(told["model"].get(key, "")) for key in ("name", "sha256", "identity")},
        manifests=tuple({"name": one["name"], "sha256": one["sha256"]} for one in told["manifests"]),
        # Factor and degradation as they were used: said, or taken from the model.
        settings={name: told["settings"].get(name) for name in _SETTINGS}
        | {"factor": told["factor"], "degrade": told["degradation"] or None},
        reference=evaluation.reference,
        tuned=tuple(told["tuned"]),
        nets=tuple(told["rivals"]),
        acquisitions=tuple(
            Scored(one.manifest, one.id, {name: figures_of(scores) for name, scores in one.scores.items()})
            for one in evaluation.acquisitions
        ),
        mean={name: figures_of(scores) for name, scores in evaluation.mean.items()},
        gains={name: gains_of(gain) for name, gain in evaluation.gains.items()},
        controls=tuple(
            Control(one.name, round(one.noise, _DIGITS), round(one.invention, _DIGITS), one.is_passed)
            for one in evaluation.controls
        ),
        created=str(told["created"]),
        version=str(told["versions"]["superres"]),
    )


def figures_of(scores: Scores) -> Figures:
    """Keep of scores what a card shows."""
    return Figures(**{name: _number(getattr(scores, name)) for name in FIGURES})


def gains_of(gain: EvaluatedGain) -> dict[str, Gain]:
    """Keep of a gain what a card shows, by figure."""
    found = {}
    for name in FIGURES:
        comparison = getattr(gain, name)
        interval = comparison.interval
        mean, low, high = (_number(value) for value in (interval.mean, interval.low, interval.high))
        found[name] = Gain(mean, low, high, interval.n, comparison.wins)
    return found


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
