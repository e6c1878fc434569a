from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from superres.config import TrainConfig, load_config
from superres.errors import Cancelled, OutputExistsError
from superres.modelfile import load_model_file
from superres.progress import Progress
from superres.training import train
from superres.training.run import RunFolder

MakeConfig = Callable[..., TrainConfig]


def stop_at(step: int) -> Callable[[Progress], None]:
    """Cancel when the loop has logged this step."""

    def callback(event: Progress) -> None:
        if event.stage == "train" and event.note == f"step {step}":
            raise Cancelled(f"stopped at step {step}")

    return callback


def test_resumed_equals_uninterrupted_parameter_for_parameter(make_config: MakeConfig, tmp_path: Path) -> None:
    """Stopped at step 3, in a phase without features: goes on from the checkpoint of step 2."""
    config = make_config()
    whole = train(config, tmp_path / "whole")
    with pytest.raises(Cancelled):
        train(config, tmp_path / "stopped", progress=stop_at(3))
    events: list[Progress] = []
    resumed = train(config, tmp_path / "stopped", progress=events.append)
    assert resumed.steps == whole.steps == 6
    assert not [event for event in events if event.stage == "feature network"], "trained once, then kept"
    expected, found = load_model_file(whole.model), load_model_file(resumed.model)
    assert expected.weights.keys() == found.weights.keys()
    for name, value in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], value, err_msg=name)
    assert resumed.metrics == whole.metrics

    def figures(run: Path) -> list[dict[str, object]]:
        records = RunFolder(run, config).records()
        return [{k: v for k, v in record.items() if k != "seconds"} for record in records]

    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")


def test_run_folder_holds_what_a_person_needs(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    result = train(config, tmp_path / "run")
    assert load_config(TrainConfig, tmp_path / "run" / "config.yaml") == config
    assert (tmp_path / "run" / "samples" / "step_000004.png").is_file()
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    header = load_model_file(result.model).header
    assert header.factor == (1, 2, 2)
    assert header.receptive_radius == (0, 44, 44)
    assert header.training["acquisitions"][0]["id"] == "top"
    assert len(header.domain["weights"]) > 10, "what the guard needs"
    assert header.metrics["psnr_per_acquisition"].keys() == {"bottom"}


def test_settings_of_a_run_are_good_from_any_folder(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(steps=2)
    monkeypatch.chdir(config.manifests[0].parent)
    relative = config.model_copy(update={"manifests": (Path(config.manifests[0].name),)})
    first = train(relative, tmp_path / "run")
    monkeypatch.chdir("/")
    again = train(load_config(TrainConfig, tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert again.model.read_bytes() == first.model.read_bytes()


def test_finished_run_is_not_trained_again(make_config: MakeConfig, tmp_path: Path) -> None:
    first = train(make_config(steps=2), tmp_path / "run")
    stamp = first.model.stat().st_mtime_ns
    again = train(make_config(steps=2), tmp_path / "run")
    assert again.steps == 2
    assert again.model.stat().st_mtime_ns == stamp


def test_another_run_in_the_folder_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(steps=1), tmp_path / "run")
    with pytest.raises(OutputExistsError, match="other settings"):
        train(make_config(steps=2), tmp_path / "run")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExistsError, match="not a run folder"):
        train(make_config(), tmp_path / "foreign")
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "years of work"


def test_time_budget_ends_the_schedule_on_time(make_config: MakeConfig, tmp_path: Path) -> None:
    started = time.monotonic()
    config = make_config(steps=None, time_budget="6s", validate_every=1)
    train(config, tmp_path / "run")
    # The tolerance is for writing and for a busy machine; what is tested is that the budget decides, not the steps.
    assert 4 < time.monotonic() - started < 30
    rates = [record["learning_rate"] for record in RunFolder(tmp_path / "run", config).records()]
    assert rates[-1] < 0.2 * max(rates), "the learning rate came down"


def test_seed_decides_the_training(make_config: MakeConfig, tmp_path: Path) -> None:
    first, again, other = (
        load_model_file(train(make_config(seed=seed, steps=2), tmp_path / name).model)
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first.sha256 == again.sha256, "the file, and not the weights alone"
    assert not all(np.array_equal(value, other.weights[name]) for name, value in first.weights.items())


@pytest.mark.slow
def test_training_beats_interpolation(make_config: MakeConfig, tmp_path: Path) -> None:
    metrics = train(make_config(steps=80, patch={"size": 32, "batch": 4}), tmp_path / "run").metrics
    assert metrics["psnr"] > metrics["psnr_bicubic"]
