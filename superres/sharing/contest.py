"""Two models on the same images: by how much the second is better than the first, acquisition by acquisition."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from superres.config import load_config
from superres.evaluation import MODEL, Evaluation, evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.evaluation.summary import was_trained_on
from superres.modelfile import ModelHeader, read_model_header
from superres.progress import ProgressCallback, silent
from superres.sharing.card import FIGURES
from superres.sharing.sections import Table, change_text, gain_text
from superres.sharing.trials import figures_of, gains_of

_FIRST = "first model"


@dataclass(frozen=True, slots=True)
class Contest:
    """What a comparison of two models found.

    Parameters
    ----------
    first, second : str
        Their names.
    acquisitions : Table
        PSNR, SSIM and resolution of the first, of the second, and the change, per acquisition.
    gain : Table
        Mean change with its 95 % interval.
    notes : tuple of str
        What a reader should know.
    evaluation : Evaluation
        All of it; the second model is ``"superres"``, the first ``"first model"``.
    """

    first: str
    second: str
    acquisitions: Table
    gain: Table
    notes: tuple[str, ...]
    evaluation: Evaluation


def compare_models(
    first: Path,
    second: Path,
    manifests: Sequence[Path],
    *,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    progress: ProgressCallback = silent,
) -> Contest:
    """Score two models on the same recordings, made as the first one was trained for.

    Parameters
    ----------
    first, second : Path
        Model files or run folders, of one factor.
    manifests : sequence of Path
        Images with truth.
    out : Path, optional
        Folder for the report, with pictures of both.
    overrides : sequence of str
        Settings of `superres.evaluation.settings.EvaluateConfig`, such as ``split=test``.

    Raises
    ------
    ConfigError, InputError, MissingFileError, ModelFileError
        As `superres.evaluate`; also when the factors differ.
    """
    headers = read_model_header(first), read_model_header(second)
    config = load_config(
        EvaluateConfig,
        None,
        overrides,
        model=second,
        manifests=tuple(manifests),
        models={_FIRST: first},
        baselines=["bicubic"],
        degrade=[dict(step) for step in headers[0].degradation] or None,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = evaluate(config, out or Path(folder), progress=progress)
    return Contest(
        first=headers[0].name,
        second=headers[1].name,
        acquisitions=_changes(found),
        gain=_gain(found),
        notes=tuple(_notes(found, *headers)),
        evaluation=found,
    )


def _changes(evaluation: Evaluation) -> Table:
    rows = [
        (one.id, *change_text(figures_of(one.scores[_FIRST]), figures_of(one.scores[MODEL])))
        for one in evaluation.acquisitions
    ]
    return Table("first, second (change)", ("acquisition", "PSNR (dB)", "SSIM", "FRC (voxels)"), tuple(rows))


def _gain(evaluation: Evaluation) -> Table:
    """Return the mean changes, positive where the second is better; a finer resolution is better."""
    gains = gains_of(evaluation.gains[_FIRST])
    texts = [gain_text(gains[figure], digits) for figure, digits in zip(FIGURES, (2, 3, 2), strict=True)]
    wins = f"{gains['psnr'].wins} of {gains['psnr'].n}"
    head = ("second over first", "PSNR (dB)", "SSIM", "FRC, finer by (voxels)", "better PSNR in")
    return Table("mean over acquisitions, 95 % interval", head, (("gain", *texts, wins),))


def _notes(evaluation: Evaluation, first: ModelHeader, second: ModelHeader) -> list[str]:
    notes = list(evaluation.warnings)
    if first.degradation != second.degradation:
        notes.append("the two were trained with different degradations; recordings were made as for the first")
    if any(was_trained_on(one) for one in evaluation.acquisitions):
        notes.append("the second was trained on some of these images: its gain there says nothing of new ones")
    return notes
