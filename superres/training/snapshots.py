"""Weights that a training passed on its way: the averaged net, evenly spaced from its start.

The finished model is the end of the way and is no snapshot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from superres.errors import InputError
from superres.training.run import replace_file


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Weights of one step.

    Parameters
    ----------
    step : int
        Steps that were done.
    number : int
        Which of the evenly spaced ones it is, counted from 0.
    path : Path
        Its file in the run folder.
    """

    step: int
    number: int
    path: Path

    def weights(self) -> dict[str, Tensor]:
        """Return all tensors of the net by name, on the CPU."""
        return load_file(self.path)


class Snapshots:
    """Takes the snapshots of one training.

    Number k is taken before the first step at which a share of k / `count` of the training is done. A training that is
    gone on with takes those after its checkpoint again: the same ones, where its length is in steps.

    Parameters
    ----------
    run : Path
        The run folder.
    count : int
        How many; 0 for none.
    step : int
        Where the training begins, or goes on.
    """

    def __init__(self, run: Path, count: int, step: int) -> None:
        self._run, self._count = run, count
        known = find_snapshots(run)
        for one in known:
            if one.step >= step:
                one.path.unlink()
        self._latest = max((one.number for one in known if one.step < step), default=-1)

    def take(self, share: float, step: int, net: nn.Module) -> None:
        """Write the weights of a net, where it is time to.

        Raises
        ------
        OutputWriteError
            When they cannot be written; the training can be gone on with from its checkpoint.
        """
        number = int(share * self._count)
        if number <= self._latest or self._count == 0:
            return
        replace_file(_folder(self._run) / f"step_{step:06d}.safetensors", net.state_dict(), {"number": number})
        self._latest = number


def find_snapshots(run: Path) -> list[Snapshot]:
    """Return the snapshots of a run folder in the order of the training; none where none were taken.

    Raises
    ------
    InputError
        When a file among them is damaged.
    """
    found = []
    for path in sorted(_folder(run).glob("step_*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
        except (SafetensorError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a snapshot of a training ({error}); remove it") from None
        found.append(Snapshot(int(path.stem.removeprefix("step_")), state["number"], path))
    return sorted(found, key=lambda one: one.step)


def _folder(run: Path) -> Path:
    return run / "snapshots"
