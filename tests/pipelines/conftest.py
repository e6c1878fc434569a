"""A SLURM on this host alone, from Debian's packages and without systemd; and the command that jobs call.

The daemons run in a temporary folder, on ports of their own, and are stopped by their pid files; nothing is read from
or written to /etc. Two harmless devices stand for two GPUs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet

PROJECT = Path(__file__).parents[2]
_DAEMONS = ("munged", "slurmctld", "slurmd")
_SETTLES = 60  # seconds that daemons are given to come up or go

_CONF = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 \
RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# Must be devices; their numbers are all that a job gets to know, as CUDA_VISIBLE_DEVICES.
_GRES = "NodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"


@dataclass(frozen=True, slots=True)
class Slurm:
    """A SLURM in a folder, and the environment of commands that submit to it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str | Path) -> str:
        """Run a command that knows of this SLURM, and return what it prints."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment whose ``superres`` is that of this checkout, with one thread a process."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "superres"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{PROJECT}:$PYTHONPATH" exec "{sys.executable}" -m superres "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    return {**os.environ, **threads, "PATH": path}


@pytest.fixture(scope="session")
def slurm(environment: dict[str, str]) -> Iterator[Callable[..., str]]:
    """Start a SLURM, return what runs commands that know of it, and stop it with all its jobs."""
    missing = [name for name in _DAEMONS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs SLURM and root: {', '.join(missing) or 'this is another user'}")
    # Not below pytest's folder, which only its owner may enter: munged has a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        yield _start(folder, environment).run
    finally:
        _stop(folder)
        shutil.rmtree(folder)


def _start(folder: Path, environment: dict[str, str]) -> Slurm:
    folder.chmod(0o755)
    host = socket.gethostname().split(".")[0]
    for name in ("run", "spool", "state", "bin"):
        (folder / name).mkdir()
    port, node_port = _free_ports()
    conf = folder / "slurm.conf"
    conf.write_text(_CONF.format(folder=folder, host=host, port=port, node_port=node_port))
    (folder / "gres.conf").write_text(_GRES.format(host=host))
    # Snakemake takes SLURM_CONF away from what it runs inside of a job.
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF="{conf}" exec "{shutil.which("srun")}" "$@"\n')
    srun.chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), environment["PATH"]])
    slurm = Slurm(folder, environment | {"PATH": path, "SLURM_CONF": str(conf)})
    _start_munge(slurm)
    slurm.run("slurmctld", "-f", conf)
    slurm.run("slurmd", "-f", conf, "-N", host)
    _wait_for_node(slurm)
    return slurm


def _start_munge(slurm: Slurm) -> None:
    run = slurm.folder / "run"
    key = run / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    for path in (run, key):
        shutil.chown(path, "munge", "munge")
    files = {"socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "munge.seed"}
    options = [f"--{name}={run / file}" for name, file in (files | {"key-file": "munge.key"}).items()]
    slurm.run("runuser", "-u", "munge", "--", shutil.which("munged") or "munged", "--force", *options)


def _wait_for_node(slurm: Slurm) -> None:
    until, state = time.monotonic() + _SETTLES, ""
    while time.monotonic() < until:
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=slurm.environment, capture_output=True, text=True, check=False
        )
        state = done.stdout.strip() or done.stderr.strip()
        if state == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join((slurm.folder / f"{name}.log").read_text()[-2000:] for name in ("slurmctld", "slurmd"))
    raise AssertionError(f"SLURM does not come up: {state}\n{logs}")


def _stop(folder: Path) -> None:
    """Cancel what runs, then stop the daemons, the node first."""
    conf = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    if (folder / "run" / "slurmctld.pid").is_file():
        subprocess.run(["scancel", "--user=root"], env=conf, capture_output=True, check=False)
    for name in reversed(_DAEMONS):
        file = folder / "run" / f"{name}.pid"
        if file.is_file() and (text := file.read_text().strip()):
            _end(int(text))


def _end(pid: int) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _SETTLES / 3
        try:
            os.kill(pid, kind)
            while time.monotonic() < until:
                os.kill(pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a model with random weights, 2 times finer along Y and X."""
    torch.manual_seed(0)
    architecture = Architecture.of_preset("XS", factor=(1, 2, 2))
    radius, stride = architecture.receptive_radius, architecture.stride
    header = ModelHeader(
        name="random",
        architecture=architecture.to_json(),
        factor=(1, 2, 2),
        channels=1,
        receptive_radius=(0, radius, radius),
        stride=(1, stride, stride),
        intensity={"percentiles": [0.5, 99.9], "average": 4},
    )
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model_file(path, header, {key: value.numpy() for key, value in UNet(architecture).state_dict().items()})
    return path
