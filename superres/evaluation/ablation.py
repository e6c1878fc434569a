"""Train the arms of an ablation with every seed, and score them on the same images.

Everything lies in one folder, and what is finished there is kept::

    runs/<arm>/seed_0/      the trainings
    scores/<arm>_seed_0.json
    ablation.html .md .json the tables and figures
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.config import TrainConfig
from superres.datasets import Acquisition, load_manifest, refuse_duplicates
from superres.datasets.checksum import file_sha256
from superres.errors import ConfigError, InputError, OutputWriteError, SuperresError
from superres.evaluation.ablation_settings import AblateConfig, ScoredOn, training_of
from superres.evaluation.altered import altered
from superres.evaluation.metrics import inner, psnr
from superres.evaluation.sampling import Sample, Setup, draw_samples
from superres.evaluation.scoring import data_ranges
from superres.evaluation.similarity import ssim
from superres.evaluation.spectral import band_errors
from superres.evaluation.upsampling import upsample
from superres.inference import Predictor, load_model
from superres.inference.consistency import consistency
from superres.progress import Progress, ProgressCallback, silent
from superres.training import train

FIGURES = ("psnr", "ssim", "error_above", "chi2")
"""What is measured of every plane: dB, similarity, the spectral error above the low image's Nyquist frequency, and how
far the prediction, recorded again, deviates from the recording (mean square in units of its noise; 1 is truth's)."""

Figures = Mapping[str, float]
Scores = Mapping[str, Mapping[str, Figures]]
"""Figures by the name of the images and by acquisition."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training of an arm, scored.

    Parameters
    ----------
    arm : str
        Which one.
    seed : int
        Of the training.
    steps : int
        Steps that it took.
    seconds : float
        Time that it took, by the clock.
    cpu_seconds : float or None
        Time that its threads took on the processor; None where the training was interrupted.
    curve : sequence of tuple
        Step and validation PSNR (dB) along the training.
    scores : mapping
        Figures by the name of the images and by acquisition.
    notes : tuple of str
        What the training said.
    """

    arm: str
    seed: int
    steps: int
    seconds: float
    cpu_seconds: float | None
    curve: Sequence[tuple[int, float]]
    scores: Scores
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ablation:
    """All that was measured.

    Parameters
    ----------
    config : AblateConfig
        What was asked for.
    outcomes : tuple of Outcome
        Every arm with every seed that could be trained.
    baseline : mapping
        The same figures of bicubic interpolation.
    failed : mapping
        Arm and seed to the reason, of those that could not.
    """

    config: AblateConfig
    outcomes: tuple[Outcome, ...]
    baseline: Scores
    failed: Mapping[str, str]


def ablate(config: AblateConfig, out: Path, *, progress: ProgressCallback = silent) -> Ablation:
    """Train and score every arm with every seed.

    Seeds are the outer loop, so that an ablation that is stopped early has all arms.

    Parameters
    ----------
    config : AblateConfig
        Recipe, arms, seeds, images.
    out : Path
        Folder for trainings and scores; what is finished in it is not done again.

    Raises
    ------
    ConfigError
        When an arm makes no training, two arms are the same, or arms have different factors.
    InputError
        When there is nothing to score on.
    """
    trainings = _trainings(config)
    images = _Images(config, list(trainings.values()))
    outcomes, failed = [], {}
    for number, ((arm, seed), training) in enumerate(trainings.items()):
        name = f"{arm}, seed {seed}"
        listen = partial(_within, progress, name, number, len(trainings))
        try:
            outcomes.append(_outcome(arm, seed, training, images, out, listen))
        except SuperresError as error:
            failed[name] = str(error)
    progress(Progress("ablate", len(trainings), len(trainings), "trainings"))
    return Ablation(config, tuple(outcomes), images.score(None), failed)


def _trainings(config: AblateConfig) -> dict[tuple[str, int], TrainConfig]:
    """Read every training before the first one starts."""
    found = {(arm, seed): training_of(config, arm, seed) for seed in config.seeds for arm in config.arms}
    known: dict[str, str] = {}
    for (arm, seed), training in found.items():
        same = known.setdefault(training.model_dump_json(), arm)
        if same != arm:
            raise ConfigError(f"arms {same} and {arm} are the same training (seed {seed}); remove one of them")
    factors = {training.factor for training in found.values()}
    if len(factors) > 1:
        raise ConfigError(
            f"arms with different factors, {', '.join(str(list(f)) for f in sorted(factors))}, cannot be compared: "
            "they have different low images; make an ablation of each"
        )
    return found


def _within(progress: ProgressCallback, name: str, number: int, total: int, event: Progress) -> None:
    share = min(1.0, event.done / event.total) if event.total else 0.0
    progress(Progress("ablate", number + 0.999 * share, total, "trainings", f"{name}: {event.note}", event.values))


def _outcome(
    arm: str, seed: int, training: TrainConfig, images: _Images, out: Path, progress: ProgressCallback
) -> Outcome:
    """Train, or find trained; score, or find scored."""
    run = out / "runs" / arm / f"seed_{seed}"
    is_new, started = not run.exists(), time.process_time()
    result = train(training, run, progress=progress)
    spent = time.process_time() - started if is_new else None
    path = out / "scores" / f"{arm}_seed_{seed}.json"
    identity = {"model": file_sha256(result.model), "images": images.identity}
    known = _read(path)
    if spent is None and known is not None and known["model"] == identity["model"]:
        spent = known["cpu_seconds"]
    if known is None or known["images"] != identity["images"] or known["model"] != identity["model"]:
        known = identity | {"scores": images.score(load_model(result.model, training.device))}
    known |= {"cpu_seconds": spent}
    _write(path, known)
    return Outcome(
        arm=arm,
        seed=seed,
        steps=result.steps,
        seconds=result.seconds,
        cpu_seconds=spent,
        curve=_curve(run),
        scores=known["scores"],
        notes=result.notes,
    )


class _Images:
    """The images that every arm is scored on; low ones are made in the same way for all.

    Parameters
    ----------
    config : AblateConfig
        Which images.
    trainings : sequence of TrainConfig
        Of all arms: factor, degradation and intensity rule are those of the first, and where one of them looks along an
        axis all are given whole stacks or series.
    """

    def __init__(self, config: AblateConfig, trainings: Sequence[TrainConfig]) -> None:
        first = trainings[0]
        axes = {training.model.context.axis for training in trainings if training.model.context is not None}
        if "c" in axes or {"z", "t"} <= axes:
            raise ConfigError(
                f"arms with context along {' and '.join(sorted(axes))} have different images to predict from; give "
                "arms with context along z only, or along t only"
            )
        is_deep = "z" in axes or any(training.model.dimensions == 3 for training in trainings)
        self._sets: dict[str, tuple[ScoredOn, Setup, list[Acquisition]]] = {}
        for name, scored in config.score.items():
            setup = Setup(
                factor=first.factor,
                degrade=first.degrade,
                rule=first.intensity,
                planes=scored.planes,
                crop=scored.crop,
                seed=0,
                whole_stacks=is_deep,
                whole_series="t" in axes,
            )
            self._sets[name] = scored, setup, _acquisitions(name, scored, first, config.data_root)
        self._drawn: dict[str, list[tuple[Acquisition, list[Sample]]]] = {}

    @property
    def identity(self) -> str:
        """What the figures depend on besides the model."""
        parts = [
            [name, scored.model_dump_json(), repr(setup), [str(path) for item in found for path in item.high]]
            for name, (scored, setup, found) in self._sets.items()
        ]
        return hashlib.sha256(json.dumps([FIGURES, *parts]).encode()).hexdigest()

    def score(self, predictor: Predictor | None) -> dict[str, dict[str, dict[str, float]]]:
        """Score a model, or without one bicubic interpolation."""
        return {
            name: {
                acquisition.id: _score(samples, _method(predictor, setup, scored), setup, acquisition)
                for acquisition, samples in self._samples(name)
            }
            for name, (scored, setup, _) in self._sets.items()
        }

    def _samples(self, name: str) -> list[tuple[Acquisition, list[Sample]]]:
        """Draw the samples once; they are the same for all."""
        if name not in self._drawn:
            scored, setup, acquisitions = self._sets[name]
            self._drawn[name] = [
                (acquisition, samples)
                for acquisition in acquisitions
                if (samples := list(_changed(draw_samples(acquisition, setup)[0], scored, setup)))
            ]
            if not self._drawn[name]:
                raise InputError(f"score.{name}: none of the planes can be scored; give others, or a smaller crop")
        return self._drawn[name]


def _acquisitions(name: str, scored: ScoredOn, training: TrainConfig, data_root: Path | None) -> list[Acquisition]:
    root = data_root or training.data_root
    manifests = [load_manifest(path, root) for path in scored.manifests or training.manifests]
    refuse_duplicates(*manifests)
    found = [item for manifest in manifests for item in manifest.of_split(scored.split)]
    if not found:
        raise InputError(
            f"score.{name}: no acquisition in split {scored.split!r} of {', '.join(m.name for m in manifests)}; give "
            "another split, or other manifests"
        )
    return found


def _changed(samples: Sequence[Sample], scored: ScoredOn, setup: Setup) -> Iterator[Sample]:
    for sample in samples:
        yield sample if scored.change is None else altered(sample, scored.change, setup)


def _method(predictor: Predictor | None, setup: Setup, scored: ScoredOn) -> Callable[[Sample], NDArray[Any]]:
    if predictor is None:
        return lambda sample: upsample(sample.low, setup.factor, how="bicubic")
    return lambda sample: predictor.restore(sample.low, guarded=scored.guard)


def _score(
    samples: Sequence[Sample], method: Callable[[Sample], NDArray[Any]], setup: Setup, acquisition: Acquisition
) -> dict[str, float]:
    """Average the figures of all scored planes and channels."""
    ranges, _ = data_ranges(acquisition, samples, setup=setup)
    rows = []
    for sample in samples:
        predicted = method(sample)
        for channel, data_range in enumerate(ranges):
            for z in sample.scored:
                pair = (inner(image[channel, z], setup.high_crop) for image in (sample.truth, predicted))
                truth, pred = (plane.astype(np.float64) for plane in pair)
                _, above = band_errors(truth, pred, factor=setup.factor[1:])
                rows.append(
                    (
                        psnr(truth, pred, data_range=data_range),
                        ssim(truth, pred, data_range=data_range),
                        above,
                        _chi2(sample, predicted, channel, z, setup),
                    )
                )
    return dict(zip(FIGURES, np.mean(rows, axis=0).tolist(), strict=True))


def _chi2(sample: Sample, predicted: NDArray[Any], channel: int, z: int, setup: Setup) -> float:
    """Record a predicted plane again and compare; NaN where it is not known how recordings come about."""
    if not sample.grey_ranges or setup.factor[0] > 1:
        return math.nan
    return consistency(
        sample.low[channel, z][None],
        predicted[channel, z][None],
        setup.degrade,
        factor=setup.factor,
        grey_range=sample.grey_ranges[channel],
        voxel_size=sample.voxel_size,
    ).chi2


def _curve(run: Path) -> list[tuple[int, float]]:
    """Return step and validation PSNR from the figures of a run."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    records = [json.loads(line) for line in lines]
    return [(record["step"], record["psnr"]) for record in records if "psnr" in record]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or cut short: it is made again
        return None
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{path}: cannot write the scores ({error}); give another place with --out") from None
