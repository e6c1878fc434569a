"""The example of every kind of cluster is one: its options are those of the class that they are handed to."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTERS = Path(__file__).parents[2] / "pipelines" / "clusters"
FILES = sorted(CLUSTERS.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_kind_workers_and_options(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content.keys() == {"kind", "workers", "options"}
    assert content["kind"] == path.stem
    assert content["workers"] > 0
    # One process of one thread a job: each holds the model once.
    assert (content["options"].get("cores", 1), content["options"].get("processes", 1)) == (1, 1)
    assert f"--cluster {path.name}" in path.read_text()


def test_there_is_one_of_every_kind() -> None:
    assert {path.stem for path in FILES} == {"local", "slurm", "pbs", "lsf", "sge", "cuda"}


@pytest.mark.parametrize(
    ("kind", "name", "gpu"),
    [
        ("slurm", "SLURM", "#SBATCH --gres=gpu:1"),
        ("pbs", "PBS", "#PBS -l select=1:ncpus=8:ngpus=1:mem=32gb"),
        ("lsf", "LSF", "#BSUB -gpu num=1"),
        ("sge", "SGE", "#$ -l h_vmem=4G,gpu=1"),
    ],
)
def test_the_options_become_a_job_with_a_gpu(kind: str, name: str, gpu: str) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue: pip install 'superres[cluster]'")
    job = getattr(importlib.import_module(f"dask_jobqueue.{kind}"), f"{name}Job")
    core = importlib.import_module("dask_jobqueue.core")
    options: dict[str, Any] = yaml.safe_load((CLUSTERS / f"{kind}.yaml").read_text())["options"]
    known = {key for one in (job, core.Job, core.JobQueueCluster) for key in inspect.signature(one.__init__).parameters}
    assert options.keys() <= known
    own = {key: value for key, value in options.items() if key != "scheduler_options"}
    lines = job(scheduler="tcp://127.0.0.1:1", name="worker", **own).job_script().splitlines()
    assert gpu in lines
    assert any(options["queue"] in line and " -" in line for line in lines)
    assert any("04:00" in line for line in lines)
