"""Score a model and its baselines against truth, acquisition by acquisition, and write the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from superres.config import DegradeStep, EvaluateConfig, IntensityRule, check_degrade
from superres.datasets import Acquisition, Manifest, load_manifest, refuse_duplicates
from superres.errors import ConfigError, InputError, ModelFileError
from superres.evaluation.baselines import (
    Tuning,
    TuningImage,
    apply_baseline,
    methods_for,
    tune_gaussian,
    tune_richardson_lucy,
)
from superres.evaluation.controls import Control, negative_controls
from superres.evaluation.conventions import describe_run
from superres.evaluation.report import write_report
from superres.evaluation.results import MODEL, Evaluation, gains_over, mean_over_acquisitions
from superres.evaluation.sampling import Sample, Setup, draw_samples, evenly, misregistered
from superres.evaluation.scoring import Run, Scored, data_ranges, score_acquisition, with_micro_ssim
from superres.inference import Predictor, load_model
from superres.modelfile import ModelHeader, read_model_header
from superres.progress import Progress, ProgressCallback, silent

_TUNING_ACQUISITIONS = 6
_TUNING_SIDE = 256  # high voxels
_TUNING_DEPTH = 8  # low planes of a stack


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An acquisition, the name of the manifest that lists it, and whether the model was trained on it."""

    manifest: str
    acquisition: Acquisition
    trained_on: bool


def evaluate(config: EvaluateConfig, out: Path, *, progress: ProgressCallback = silent) -> Evaluation:
    """Score a model, or only the baselines, against truth.

    Planes are averaged within an acquisition first, then acquisitions are averaged, so that a large one does not
    outweigh the others.

    Parameters
    ----------
    config : EvaluateConfig
        What is scored. Without a model only baselines are, and `factor` must be given.
    out : Path
        Folder for ``report.html``, ``.json``, ``.md`` and ``.csv``; those that lie there are replaced.

    Raises
    ------
    ConfigError
        When factor or degradation are missing or contradict the model.
    InputError
        When a manifest or image cannot be used, stands in two splits, or the split is empty.
    """
    header = None if config.model is None else read_model_header(config.model)
    manifests = [load_manifest(path, config.data_root) for path in config.manifests]
    refuse_duplicates(*manifests)
    chosen = _choose(config, header, manifests)
    setup = plan(config, header, acquisitions=[entry.acquisition for entry in chosen])
    methods = methods_for(config.baselines, setup.factor)
    predictor = None if config.model is None else load_model(config.model, config.device)
    tuned, tuned_on = _tune(methods, chosen, setup, progress)
    runs = {name: _baseline_run(name, setup, tuned) for name in methods}
    if predictor is not None:
        runs[MODEL] = _model_run(predictor)
    scored, skipped = _score_all(chosen, setup, runs, progress)
    results, factors = with_micro_ssim(scored)
    evaluation = Evaluation(
        report=out / "report.html",
        data=out / "report.json",
        methods=tuple(runs),
        reference="input" if max(setup.factor) == 1 else "bicubic",
        acquisitions=tuple(results),
        skipped=skipped,
        mean=mean_over_acquisitions(results, tuple(runs)),
        gains=gains_over(results, methods) if predictor is not None else {},
        conventions=describe_run(
            config,
            setup,
            header=header,
            manifests=manifests,
            tuned=tuned,
            tuned_on=tuned_on,
            methods=methods,
            micro_ssim_factors=factors,
        ),
        controls=()
        if predictor is None or header is None
        else _controls(predictor, _steps(config, header), config.seed),
    )
    write_report(evaluation, [one.exhibit for one in scored])
    return evaluation


def control(model: Path, *, device: str = "auto", seed: int = 0) -> tuple[Control, ...]:
    """Give a model recordings without structure, made by the degradation that it was trained with; needs no images.

    Raises
    ------
    ModelFileError
        When the model file cannot be read, or tells of no noise, as after a training with real pairs.
    """
    header = read_model_header(model)
    found = _controls(load_model(model, device), _steps_of(header, model), seed)
    if not found:
        raise ModelFileError(
            f"{model}: trained without simulated noise, so recordings without structure cannot be made for it; "
            "recordings of an empty field, upscaled with it, show the same"
        )
    return found


def _controls(predictor: Predictor, steps: tuple[DegradeStep, ...], seed: int) -> tuple[Control, ...]:
    """Give the model recordings without structure, where it is known what noise recordings have."""
    is_noisy = any(step.poisson is not None or step.read_noise is not None for step in steps)
    return negative_controls(predictor, steps, seed=seed) if is_noisy else ()


def plan(config: EvaluateConfig, header: ModelHeader | None, *, acquisitions: Sequence[Acquisition]) -> Setup:
    """Settle factor, degradation and intensity rule from the settings and the model.

    Raises
    ------
    ConfigError
        Naming what is missing or contradicts the model.
    """
    factor = config.factor or (None if header is None else header.factor)
    if factor is None:
        raise ConfigError("no model and no factor: give a model, or the factor, for example --set factor=[1,4,4]")
    if header is not None and factor != header.factor:
        raise ConfigError(
            f"{config.model}: the model upscales by {list(header.factor)}, but factor is {list(factor)}; leave factor "
            "out of the settings"
        )
    steps = _steps(config, header)
    needy = [acquisition.id for acquisition in acquisitions if not acquisition.low]
    if needy and not steps:
        raise ConfigError(
            f"{needy[0]} has no recorded low images (nor have {len(needy) - 1} others), and neither the settings nor "
            "the model say how to make them; give degrade, for example --set 'degrade=[{downsample: binning}]'"
        )
    try:
        check_degrade(steps if needy else (), factor)
    except ValueError as error:
        raise ConfigError(f"degrade: {error}") from None
    return Setup(
        factor=factor,
        degrade=steps if needy else (),
        rule=IntensityRule() if header is None else IntensityRule.model_validate(dict(header.intensity)),
        planes=config.planes,
        crop=config.crop,
        seed=config.seed,
        whole_stacks=factor[0] > 1 or (header is not None and header.receptive_radius[0] > 0),
    )


def _steps(config: EvaluateConfig, header: ModelHeader | None) -> tuple[DegradeStep, ...]:
    """Return how low images are made: as the settings say, or else as in the model's training."""
    if config.degrade is not None:
        return config.degrade
    return () if header is None else _steps_of(header, config.model)


def _steps_of(header: ModelHeader, path: Path | None) -> tuple[DegradeStep, ...]:
    try:
        return tuple(DegradeStep.model_validate(dict(step)) for step in header.degradation)
    except ValidationError as error:
        raise ModelFileError(
            f"{path}: the degradation in the model file is not understood ({error.error_count()} wrong settings); "
            "give degrade in the settings"
        ) from None


def _choose(config: EvaluateConfig, header: ModelHeader | None, manifests: Sequence[Manifest]) -> list[_Chosen]:
    training = {} if header is None else header.training
    trained_manifests = {entry["name"] for entry in training.get("manifests", ())}
    trained = {entry["id"] for entry in training.get("acquisitions", ())}
    chosen = [
        _Chosen(manifest.name, entry, manifest.name in trained_manifests and entry.id in trained)
        for manifest in manifests
        for entry in manifest.of_split(config.split)
    ]
    if not chosen:
        splits = sorted({entry.split for manifest in manifests for entry in manifest.acquisitions})
        raise InputError(
            f"{', '.join(str(path) for path in config.manifests)}: no acquisition in split {config.split!r}; found "
            f"{', '.join(splits)}; give one that exists, for example --set split={splits[0]}"
        )
    return chosen


def _baseline_run(name: str, setup: Setup, tuned: dict[str, Tuning]) -> Run:
    def run(sample: Sample) -> NDArray[Any]:
        return apply_baseline(name, sample.low, factor=setup.factor, tuned=tuned, black=sample.black)

    return run


def _model_run(predictor: Predictor) -> Run:
    def run(sample: Sample) -> NDArray[Any]:
        return predictor.restore(sample.low)

    return run


def _score_all(
    chosen: Sequence[_Chosen], setup: Setup, runs: dict[str, Run], progress: ProgressCallback
) -> tuple[list[Scored], dict[str, str]]:
    """Score every acquisition; those that cannot be scored are named with the reason."""
    found: list[Scored] = []
    skipped: dict[str, str] = {}
    for index, entry in enumerate(chosen):
        done = 0

        def finished(name: str, entry: _Chosen = entry, index: int = index) -> None:
            nonlocal done
            done += 1
            note = f"{entry.acquisition.id}: {name}"
            progress(Progress("evaluate", index + done / len(runs), len(chosen), "acquisitions", note))

        samples, left_out = draw_samples(entry.acquisition, setup)
        if not samples:
            # Manifests may use the same id for different things.
            name = entry.acquisition.id
            skipped[f"{entry.manifest}/{name}" if name in skipped else name] = "; ".join(left_out) or "no planes"
            continue
        warnings = [f"left out {line}" for line in left_out]
        warnings += misregistered(entry.acquisition, samples, setup)
        if entry.trained_on:
            warnings.append("the model was trained on this acquisition: its figures say nothing about new images")
        found.append(
            score_acquisition(
                entry.acquisition,
                samples,
                manifest=entry.manifest,
                setup=setup,
                runs=runs,
                warnings=warnings,
                finished=finished,
            )
        )
    progress(Progress("evaluate", len(chosen), len(chosen), "acquisitions"))
    return found, skipped


def _tune(
    methods: Sequence[str], chosen: Sequence[_Chosen], setup: Setup, progress: ProgressCallback
) -> tuple[dict[str, Tuning], list[str]]:
    """Tune the baselines that have settings, on one window of up to six acquisitions; say on which."""
    tuners = {"gaussian": tune_gaussian, "richardson-lucy": tune_richardson_lucy}
    wanted = [name for name in methods if name in tuners]
    images, names = [], []
    for position in evenly(len(chosen), _TUNING_ACQUISITIONS) if wanted else []:
        image = _tuning_image(chosen[position].acquisition, setup)
        if image is not None:
            images.append(image)
            names.append(chosen[position].acquisition.id)
    tuned = {}
    for done, name in enumerate(wanted if images else []):
        progress(Progress("tune", done, len(wanted), "baselines", name))
        tuned[name] = tuners[name](images, setup.factor, crop=min(setup.crop, _smallest_side(images) // 4))
    progress(Progress("tune", len(wanted), len(wanted), "baselines"))
    return tuned, names


def _smallest_side(images: Sequence[TuningImage]) -> int:
    return min(int(side) for image in images for side in image.low.shape[1:])


def _tuning_image(acquisition: Acquisition, setup: Setup) -> TuningImage | None:
    """Return the central window of the first channel of an acquisition's middle plane; None when it has none."""
    one = Setup(**{name: getattr(setup, name) for name in Setup.__slots__} | {"planes": 1})
    samples, _ = draw_samples(acquisition, one)
    if not samples:
        return None
    sample = samples[0]
    windows = []
    limits = (_TUNING_DEPTH, *(_TUNING_SIDE // f for f in setup.factor[1:]))
    for n, limit in zip(sample.low.shape[1:], limits, strict=True):
        start = max(0, (n - limit) // 2)
        windows.append((start, min(n, start + limit)))
    low = sample.low[0][tuple(slice(a, b) for a, b in windows)]
    truth = sample.truth[0][tuple(slice(a * f, b * f) for (a, b), f in zip(windows, setup.factor, strict=True))]
    ranges, _ = data_ranges(acquisition, samples, setup=setup)
    return TuningImage(low, truth, sample.black[0], ranges[0])
