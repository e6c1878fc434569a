"""Score a model and its baselines against truth, acquisition by acquisition, and write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from superres.config import DegradeStep, IntensityRule, check_degrade
from superres.datasets import Acquisition, Manifest, load_manifest, refuse_duplicates
from superres.errors import ConfigError, InputError, ModelFileError
from superres.evaluation.bench import prepare_bench
from superres.evaluation.controls import Control, negative_controls
from superres.evaluation.conventions import describe_run
from superres.evaluation.misregistration import misregistered
from superres.evaluation.report import write_report
from superres.evaluation.results import MODEL, Evaluation, gains_over, mean_over_acquisitions
from superres.evaluation.rivals import budget_warnings, describe_net, read_headers
from superres.evaluation.sampling import Sample, Setup, draw_samples
from superres.evaluation.scoring import Examine, Run, Scored, score_acquisition, with_micro_ssim
from superres.evaluation.settings import EvaluateConfig
from superres.evaluation.stopwatch import Stopwatch
from superres.evaluation.stored import stored_run
from superres.inference import Predictor, load_model
from superres.modelfile import ModelHeader, read_model_header
from superres.progress import Progress, ProgressCallback, silent


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An acquisition, the name of the manifest that lists it, and the models that were trained on it."""

    manifest: str
    acquisition: Acquisition
    trained_on: tuple[str, ...]


def evaluate(config: EvaluateConfig, out: Path, *, progress: ProgressCallback = silent) -> Evaluation:
    """Score a model, or only the baselines, against truth.

    Planes are averaged within an acquisition first, then acquisitions are averaged, so that a large one does not
    outweigh the others.

    Parameters
    ----------
    config : EvaluateConfig
        What is scored. Without a model only baselines are, or a result as it stands, and `factor` must be given.
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
    entries = _choose(config, manifests)
    setup = plan(config, header, acquisitions=[acquisition for _, acquisition in entries])
    rivals = read_headers(config.models, setup.factor)
    bench = prepare_bench(config, setup, manifests, [entry for _, entry in entries], rivals, progress)
    headers = rivals if header is None else rivals | {MODEL: header}
    chosen = [_Chosen(name, entry, _trained_on(headers, name, entry)) for name, entry in entries]
    predictor = None if config.model is None else load_model(config.model, config.device)
    watch = Stopwatch(bench.runs | _model_runs(config, predictor) | _result_run(config, entries, bench.setup))
    examine = None if predictor is None else _examine(predictor)
    scored, skipped = _score_all(chosen, bench.setup, watch.runs, examine, progress)
    results, factors = with_micro_ssim(scored)
    conventions = describe_run(
        config,
        bench.setup,
        header=header,
        manifests=manifests,
        methods=bench.methods,
        micro_ssim_factors=factors,
    )
    warnings = [*bench.warnings, *budget_warnings(header, rivals)]
    nets = {name: describe_net(rival) for name, rival in rivals.items()}
    conventions |= bench.to_json() | {"rivals": nets, "seconds": watch.seconds_per_megavoxel, "warnings": warnings}
    evaluation = Evaluation(
        report=out / "report.html",
        data=out / "report.json",
        methods=tuple(watch.runs),
        reference="input" if max(setup.factor) == 1 else "bicubic",
        acquisitions=tuple(results),
        skipped=skipped,
        mean=mean_over_acquisitions(results, tuple(watch.runs)),
        gains=gains_over(results, (*bench.methods, *rivals)) if MODEL in watch.runs else {},
        conventions=conventions,
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
    if header is not None and header.context.get("axis") == "c":
        raise ConfigError(
            f"{config.model}: the model predicts one of {header.context['frames']} channels, which cannot be scored "
            "beside baselines of all channels; upscale with it and compare the stores"
        )
    steps = _steps(config, header)
    needy = [acquisition.id for acquisition in acquisitions if not acquisition.low]
    if needy and not steps:
        others = f" (nor have {len(needy) - 1} others)" if len(needy) > 1 else ""
        raise ConfigError(
            f"{needy[0]} has no recorded low images{others}, and neither the settings nor "
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
        whole_stacks=factor[0] > 1 or (header is not None and header.looks_along == "z"),
        whole_series=header is not None and header.looks_along == "t",
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


def _choose(config: EvaluateConfig, manifests: Sequence[Manifest]) -> list[tuple[str, Acquisition]]:
    """Return the acquisitions of the split with the names of their manifests."""
    chosen = [(manifest.name, entry) for manifest in manifests for entry in manifest.of_split(config.split)]
    if not chosen:
        splits = sorted({entry.split for manifest in manifests for entry in manifest.acquisitions})
        raise InputError(
            f"{', '.join(str(path) for path in config.manifests)}: no acquisition in split {config.split!r}; found "
            f"{', '.join(splits)}; give one that exists, for example --set split={splits[0]}"
        )
    return chosen


def _trained_on(headers: Mapping[str, ModelHeader], manifest: str, acquisition: Acquisition) -> tuple[str, ...]:
    """Return the models that learned from an acquisition, or started from one that did."""

    def knows(training: Mapping[str, Any]) -> bool:
        names = {entry["name"] for entry in training.get("manifests", ())}
        return manifest in names and acquisition.id in {entry["id"] for entry in training.get("acquisitions", ())}

    return tuple(name for name, header in headers.items() if any(map(knows, header.trainings)))


def _model_runs(config: EvaluateConfig, predictor: Predictor | None) -> dict[str, Run]:
    """Return the other nets, then the model."""
    runs = {name: _model_run(load_model(path, config.device)) for name, path in config.models.items()}
    return runs if predictor is None else runs | {MODEL: _model_run(predictor)}


def _result_run(config: EvaluateConfig, entries: Sequence[tuple[str, Acquisition]], setup: Setup) -> dict[str, Run]:
    """Return the result that stands in the place of the model."""
    acquisitions = [acquisition for _, acquisition in entries]
    return {} if config.result is None else {MODEL: stored_run(config, acquisitions, setup)}


def _model_run(predictor: Predictor) -> Run:
    def run(sample: Sample) -> NDArray[Any]:
        return predictor.restore(sample.low)

    return run


def _examine(predictor: Predictor) -> Examine:
    def examine(sample: Sample) -> tuple[NDArray[Any], NDArray[Any]]:
        return predictor.examine(sample.low)

    return examine


def _score_all(
    chosen: Sequence[_Chosen],
    setup: Setup,
    runs: dict[str, Run],
    examine: Examine | None,
    progress: ProgressCallback,
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
        warnings += [
            f"{'the model' if name == MODEL else name} was trained on this acquisition: its figures say nothing about "
            "new images"
            for name in entry.trained_on
        ]
        found.append(
            score_acquisition(
                entry.acquisition,
                samples,
                manifest=entry.manifest,
                setup=setup,
                runs=runs,
                examine=examine,
                warnings=warnings,
                finished=finished,
            )
        )
    progress(Progress("evaluate", len(chosen), len(chosen), "acquisitions"))
    return found, skipped
