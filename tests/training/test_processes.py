"""Several processes train the net that one would have trained; only the first one leaves anything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from superres.config import TrainConfig, dump_config
from superres.errors import ConfigError, SuperresError
from superres.modelfile import load_model_file
from superres.training import train
from superres.training.loop import Training
from superres.training.processes import ALONE, Processes, check_recipe

MakeConfig = Callable[..., TrainConfig]


class Pretended(Processes):
    """One of two, without the other."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return values


@contextmanager
def pretended(config: TrainConfig) -> Iterator[Processes]:
    yield Pretended(0, 2)


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return subprocess.run(
        [*command, "-m", "superres", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


@pytest.mark.long
def test_two_processes_train_what_one_trains(make_config: MakeConfig, tmp_path: Path, without_domain: None) -> None:
    """A weight moves by about the learning rate in a step; what sums of another order change is far less."""
    config = make_config(patch={"size": 16, "batch": 4}, steps=4, checkpoint_every=2)
    alone = load_model_file(train(config, tmp_path / "alone").model)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_config(config), encoding="utf-8")
    ran = torchrun(2, "train", str(recipe), "--out", str(tmp_path / "both"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Trained") == 1, "one of them reports"
    both = load_model_file(tmp_path / "both" / "model.safetensors")
    furthest = max(float(np.abs(both.weights[name] - value).max()) for name, value in alone.weights.items())
    assert furthest < 0.1 * config.optimiser.learning_rate
    assert both.header.metrics["psnr"] == pytest.approx(alone.header.metrics["psnr"], abs=0.01)
    kept = {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*")}
    assert {path.relative_to(tmp_path / "both") for path in (tmp_path / "both").rglob("*")} == kept


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": {"size": 16, "batch": 3}}, r"3 \(phase fidelity\).* no multiple of 2"),
        ({"device": "cuda:1"}, "device=auto"),
        ({"preset": "display", "phases": []}, "preset=balanced"),
        ({"phases": [{"name": "a", "share": 1, "losses": {"gram": 0.1}}]}, "gram"),
        ({"model": {"norm": "batch"}}, r"model\.norm"),
        ({"model": {"dropblock": 0.1}}, "DropBlock"),
    ],
)
def test_what_does_not_go_with_several_processes_is_refused(
    make_config: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_recipe(make_config(**changes), 2)


def test_parts_make_up_the_whole() -> None:
    patches = torch.arange(12).view(6, 2)
    assert torch.equal(torch.cat([Processes(rank, 3).part(patches) for rank in range(3)]), patches)
    assert ALONE.part(patches) is patches


def test_alone_nothing_is_asked_of_others() -> None:
    value = torch.ones(2)
    assert ALONE.mean(value) is value
    assert ALONE.same(0.3) == 0.3
    assert ALONE.after_the_first(lambda: 5) == 5
    ALONE.average_gradients([torch.nn.Parameter(value)])
    ALONE.wait()


def test_too_little_memory_in_one_of_several_ends_all(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that went on with fewer patches would wait for the others without end."""

    def exhausted(self: Training, *args: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Training, "_learn", exhausted)
    monkeypatch.setattr("superres.training.loop.processes_of", pretended)
    with pytest.raises(SuperresError, match=r"one of 2 processes .*patch\.batch below 2"):
        train(make_config(preset="quantitative", phases=[]), tmp_path / "run")
