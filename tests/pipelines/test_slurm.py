"""What is handed to users of SLURM works on a real one: job arrays, and jobs that are workers of Dask."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
import yaml

from superres.config import UpscaleConfig
from superres.inference import upscale
from superres.volumes import open_volume

CLUSTERS = Path(__file__).parents[2] / "pipelines" / "clusters"
PLAIN = ("--guard", "off", "--trust", "off", "--set", "device=cpu", "--set", "tile=64", "--set", "shard=1")
Run = Callable[..., str]

pytestmark = pytest.mark.slurm


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.tif"
    tifffile.imwrite(path, skimage.data.cell()[100:196, 60:188].astype(np.uint8))
    return path


@pytest.fixture
def expected(tmp_path: Path, volume: Path, model: Path) -> dict[str, bytes]:
    """Return the files of the store that one process makes of the volume."""
    config = UpscaleConfig(model=model, device="cpu", guard=False, trust=False, tile=64, shard=1)
    return contents(upscale(volume, tmp_path / "alone" / "out.ome.zarr", config).path)


def contents(store: Path) -> dict[str, bytes]:
    """Return the shards of a store and its metadata, by their place in it."""
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def submit(slurm: Run, log: Path, *words: str | Path) -> None:
    """Submit a job or an array and wait for its end; what its tasks wrote stands in the message if it fails."""
    # Not sbatch --wait, which looks after 2, 10 and 42 seconds.
    job = slurm("sbatch", "--parsable", "--cpus-per-task=1", "--mem=2G", f"--output={log}.%a", *words)
    while (states := states_of(slurm, job)) & {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}:
        time.sleep(0.3)
    said = "\n".join(path.read_text()[-2000:] for path in log.parent.glob(f"{log.name}.*"))
    assert states == {"COMPLETED"}, said


def states_of(slurm: Run, job: str) -> set[str]:
    return set(re.findall(r"JobState=(\w+)", slurm("scontrol", "show", "job", job)))


@pytest.mark.long
def test_an_array_upscales_a_file_in_every_task(slurm: Run, model: Path, tmp_path: Path) -> None:
    for task in (1, 2):
        tifffile.imwrite(tmp_path / f"{task}.tif", skimage.data.cell()[: 32 * task, :48].astype(np.uint8))
    options = " ".join(PLAIN)
    script = f'n=$SLURM_ARRAY_TASK_ID; superres upscale $n.tif --model "{model}" --out $n.ome.zarr {options}'
    script += "; echo GPU $CUDA_VISIBLE_DEVICES"
    submit(slurm, tmp_path / "log", "--array=1-2", "--gres=gpu:1", f"--chdir={tmp_path}", "--wrap", f"set -e; {script}")
    shapes = [open_volume(tmp_path / f"{task}.ome.zarr").shape for task in (1, 2)]
    assert shapes == [(1, 1, 1, 64, 96), (1, 1, 1, 128, 96)]
    assert all("GPU " in (tmp_path / f"log.{task}").read_text() for task in (1, 2))


def test_the_job_array_makes_what_one_process_makes(
    slurm: Run, model: Path, volume: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out.ome.zarr"
    job = (CLUSTERS / "job_array.sh", volume, model, out, *PLAIN)
    submit(slurm, tmp_path / "parts", "--array=1-2", *job)
    submit(slurm, tmp_path / "end", "--array=1", *job)
    assert contents(out) == expected


@pytest.mark.long
def test_workers_in_jobs_make_what_one_process_makes(
    slurm: Run, model: Path, volume: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue: pip install 'superres[cluster]'")
    cluster = yaml.safe_load((CLUSTERS / "slurm.yaml").read_text())
    here = {"memory": "2GB", "job_cpu": 1, "walltime": "00:10:00", "interface": "lo", "death_timeout": 60}
    folders = {"log_directory": str(tmp_path / "logs"), "local_directory": str(tmp_path / "local")}
    file = tmp_path / "slurm.yaml"
    file.write_text(yaml.safe_dump(cluster | {"workers": 2, "options": cluster["options"] | here | folders}))
    out = tmp_path / "out.ome.zarr"
    slurm("superres", "upscale", volume, "--model", model, "--out", out, "--cluster", file, *PLAIN)
    assert contents(out) == expected
