"""Whether a model is what its card says: the weights, the pictures, and, with the data, the figures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from superres.config import load_config
from superres.datasets.checksum import file_sha256
from superres.errors import ModelFileError
from superres.evaluation import MODEL, evaluate
from superres.evaluation.settings import EvaluateConfig
from superres.modelfile import ModelFile, load_model_file
from superres.progress import ProgressCallback, silent
from superres.sharing.card import FIGURES, Card, Figures, Trial
from superres.sharing.completeness import missing
from superres.sharing.trials import trial_of

# What counts as the same: one in the last digit that a card shows.
_WITHIN = {"psnr": 0.01, "ssim": 0.001, "resolution": 0.01}


@dataclass(frozen=True, slots=True)
class Checked:
    """One figure of a card: of which trial, acquisition and method, what it says, and what was found now."""

    trial: str
    acquisition: str
    method: str
    figure: str
    said: float | None
    found: float | None

    @property
    def is_same(self) -> bool:
        """Whether both agree within rounding."""
        if self.said is None or self.found is None:
            return self.said == self.found
        return abs(self.said - self.found) <= _WITHIN[self.figure]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of a model, and what is wrong; `missing` is what its card lacks, which is not wrong."""

    model: Path
    problems: tuple[str, ...]
    missing: tuple[str, ...]
    figures: tuple[Checked, ...]
    not_checked: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether all that was checked is as the card says."""
        return not self.problems and all(one.is_same for one in self.figures)


def verify(
    path: Path,
    *,
    data: Path | None = None,
    manifests: Sequence[Path] = (),
    progress: ProgressCallback = silent,
) -> Verification:
    """Hold a model against its card.

    Parameters
    ----------
    path : Path
        Model file or run folder.
    data : Path, optional
        Root of the images. With it, the figures of the model and of interpolation are measured again, in every
        acquisition of every trial whose manifest is given; nets that stand beside it are not in the file.
    manifests : sequence of Path
        The manifests of the trials, known by their SHA-256; others are ignored.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, or it has no card.
    InputError
        When images cannot be read.
    """
    file = load_model_file(path)
    card = Card.of(file)
    if card is None:
        raise ModelFileError(f"{file.path}: has no card to hold it against; write one with 'superres models describe'")
    problems = tuple(_problems(card, file))
    figures: list[Checked] = []
    not_checked: list[str] = []
    by_sha256 = {file_sha256(one): one for one in manifests}
    for trial in card.trials if data is not None and not problems else ():
        lacking = [one["name"] for one in trial.manifests if one["sha256"] not in by_sha256]
        if lacking:
            not_checked.append(f"{trial.name}: its manifest {', '.join(lacking)}, as it was then, is not there")
            continue
        figures += _again(file, trial, [by_sha256[one["sha256"]] for one in trial.manifests], data, progress)
    return Verification(file.path, problems, missing(file), tuple(figures), tuple(not_checked))


def _problems(card: Card, file: ModelFile) -> Iterator[str]:
    if card.identity != file.identity:
        yield f"the weights are not those of the card: {file.identity[:12]}, the card says {card.identity[:12]}"
    for trial in card.trials:
        if trial.model.get("identity") not in ("", None, file.identity):
            yield f"{trial.name}: the figures are of other weights ({trial.model['identity'][:12]})"
    for picture in card.pictures:
        path = file.path.parent / picture.file
        if not path.is_file():
            yield f"the picture {picture.file} is not beside the file"
        elif file_sha256(path) != picture.sha256:
            yield f"the picture {picture.file} is not that of the card"


def _again(
    file: ModelFile, trial: Trial, manifests: Sequence[Path], data: Path | None, progress: ProgressCallback
) -> Iterator[Checked]:
    """Evaluate as for the card, beside interpolation alone."""
    settings = {name: value for name, value in trial.settings.items() if value is not None} | {"baselines": ["bicubic"]}
    config = load_config(
        EvaluateConfig, None, (), model=file.path, manifests=tuple(manifests), data_root=data, **settings
    )
    with tempfile.TemporaryDirectory() as folder:
        found = trial_of(evaluate(config, Path(folder), progress=progress), file)
    now = {(one.manifest, one.id): one.figures for one in found.acquisitions}
    for one in trial.acquisitions:
        again: Mapping[str, Figures] = now.get((one.manifest, one.id), {})
        for method in (trial.reference, MODEL):
            for figure in FIGURES:
                said, measured = (getattr(row.get(method), figure, None) for row in (one.figures, again))
                yield Checked(trial.name, one.id, method, figure, said, measured)
