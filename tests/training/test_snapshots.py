"""Weights on the way of a training: which ones are kept, and that keeping them changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from superres.config import TrainConfig
from superres.errors import Cancelled, InputError, OutputWriteError
from superres.modelfile import load_model_file
from superres.progress import Progress
from superres.training import run as run_folder
from superres.training import train
from superres.training.snapshots import Snapshots, find_snapshots

MakeConfig = Callable[..., TrainConfig]

PHASES = [{"name": "fidelity", "share": 1.0}]


def steps_of(run: Path) -> list[int]:
    return [one.step for one in find_snapshots(run)]


def content_of(run: Path) -> dict[str, bytes]:
    return {one.path.name: one.path.read_bytes() for one in find_snapshots(run)}


@given(steps=st.integers(1, 60), count=st.integers(1, 12), stopped=st.integers(0, 60), saved=st.integers(0, 60))
def test_a_stopped_training_keeps_the_same_set(
    tmp_path_factory: pytest.TempPathFactory, steps: int, count: int, stopped: int, saved: int
) -> None:
    net = nn.Linear(1, 1)

    def walk(run: Path, first: int, last: int) -> None:
        snapshots = Snapshots(run, count, first)
        for step in range(first, last):
            snapshots.take(step / steps, step, net)

    whole, parted = (tmp_path_factory.mktemp(name) for name in ("whole", "parted"))
    for run in (whole, parted):
        (run / "snapshots").mkdir()
    stopped = min(stopped, steps)
    walk(whole, 0, steps)
    walk(parted, 0, stopped)
    walk(parted, min(saved, stopped), steps)
    assert steps_of(parted) == steps_of(whole)
    assert [one.number for one in find_snapshots(parted)] == [one.number for one in find_snapshots(whole)]
    assert len(steps_of(whole)) == min(count, steps), "as many as were asked for, or one a step"
    assert steps_of(whole)[0] == 0, "the start is among them"


@pytest.mark.usefixtures("without_domain")
def test_snapshots_change_nothing(make_config: MakeConfig, tmp_path: Path) -> None:
    changes = {"phases": PHASES, "validate_every": 100, "sample_every": 100, "steps": 3}
    without = load_model_file(train(make_config(**changes), tmp_path / "without").model)
    kept = load_model_file(train(make_config(**changes, snapshots=3), tmp_path / "with").model)
    assert kept.identity == without.identity
    assert steps_of(tmp_path / "with") == [0, 1, 2]
    assert not (tmp_path / "without" / "snapshots").exists(), "none unless asked for"


@pytest.mark.usefixtures("without_domain")
def test_snapshots_are_of_the_averaged_net(make_config: MakeConfig, tmp_path: Path) -> None:
    """Stopped at step 4; the checkpoint and the last snapshot are of step 2."""
    config = make_config(phases=PHASES, validate_every=4, sample_every=100, steps=6, snapshots=3)

    def stop(event: Progress) -> None:
        if event.stage == "train" and event.note == "step 4":
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train(config, tmp_path / "run", progress=stop)
    checkpoint = load_file(tmp_path / "run" / "checkpoint.safetensors")
    assert steps_of(tmp_path / "run") == [0, 2]
    first, second = (one.weights() for one in find_snapshots(tmp_path / "run"))
    assert second.keys() == {name.removeprefix("ema.") for name in checkpoint if name.startswith("ema.")}
    for name, value in second.items():
        assert torch.equal(checkpoint[f"ema.{name}"], value), name
    assert not torch.equal(first["tail.weight"], second["tail.weight"]), "it has moved"


@pytest.mark.usefixtures("without_domain")
def test_a_full_disk_at_a_snapshot_stops_a_training_that_can_go_on(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(phases=PHASES, validate_every=100, sample_every=100, steps=6, snapshots=2)
    whole = train(config, tmp_path / "whole")
    write = run_folder.save_file

    def fill_up(tensors: object, path: Path, metadata: object) -> None:
        if path.name.startswith("step_000003"):
            path.write_bytes(b"half of it")
            raise SafetensorError("No space left on device")
        write(tensors, path, metadata)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "save_file", fill_up)
        with pytest.raises(OutputWriteError, match="free some space and run again to go on"):
            train(config, tmp_path / "full")
    assert not list((tmp_path / "full").glob("**/*.partial"))
    assert (tmp_path / "full" / "checkpoint.safetensors").is_file()
    resumed = train(config, tmp_path / "full")
    assert content_of(tmp_path / "full") == content_of(tmp_path / "whole")
    one, other = load_model_file(whole.model), load_model_file(resumed.model)
    for name, value in one.weights.items():
        np.testing.assert_array_equal(other.weights[name], value, err_msg=name)


def test_a_damaged_snapshot_is_named(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "step_000010.safetensors").write_bytes(b"cut sh")
    with pytest.raises(InputError, match=r"step_000010.safetensors: not a snapshot"):
        find_snapshots(tmp_path)
