"""Several processes that train one net: each learns from a part of the patches of a step, and all do the same step.

``torchrun --nproc-per-node 2 -m superres train recipe.yaml --out run`` starts them, one for each GPU of a machine.
Every process draws all patches of a step, so that together they see what one alone would; gradients are averaged. The
first process writes, validates and reports.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from superres.config import TrainConfig
from superres.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train together, and which of them this one is.

    Parameters
    ----------
    rank : int
        Its number, counted from 0.
    count : int
        How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is this process that writes and reports."""
        return self.rank == 0

    def part(self, patches: Tensor) -> Tensor:
        """Return this process's part of the patches of a step, (n, ...) to (n / count, ...)."""
        each = len(patches) // self.count
        return patches[self.rank * each : (self.rank + 1) * each] if self.count > 1 else patches

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all processes."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over all processes in the place of every gradient."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        averaged = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(averaged, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def same(self, value: float) -> float:
        """Return the first process's value."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return float(shared)

    def after_the_first(self, make: Callable[[], T]) -> T:
        """Let the first process make something, then the others, which find what it left in the run folder."""
        if not self.first:
            self.wait()
        made = make()
        if self.first:
            self.wait()
        return made

    def wait(self) -> None:
        """Go on when all have come here."""
        self.mean(torch.zeros(1))


ALONE = Processes()


@contextmanager
def processes_of(config: TrainConfig) -> Iterator[Processes]:
    """Join the other processes of a training where torchrun started some; leave them at the end.

    Raises
    ------
    ConfigError
        When the recipe asks for something that does not go with several.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    check_recipe(config, count)
    if config.device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()  # gloo for tensors on the CPU, NCCL for those on GPUs
    try:
        yield Processes(dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def is_first() -> bool:
    """Return whether this process reports; it does where it is alone."""
    return os.environ.get("RANK", "0") == "0"


def refuse_several(instead: str) -> None:
    """Refuse what one process alone must do.

    Raises
    ------
    ConfigError
        Where torchrun started several; `instead` says what to type before.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"several processes would all write the recipe; {instead}")


def check_recipe(config: TrainConfig, count: int) -> None:
    """Refuse a recipe that several processes cannot follow as one would.

    Raises
    ------
    ConfigError
        Saying what to change.
    """
    batches = {phase.name: phase.batch or config.patch.batch for phase in config.phases}
    odd = [f"{batch} (phase {name})" for name, batch in batches.items() if batch % count]
    found = ""
    if config.device not in ("auto", "cpu", "cuda"):
        found = f"device {config.device} is one, and each process needs its own; give device=auto"
    elif odd:
        found = f"{', '.join(odd)} patches per step are no multiple of {count}; give a patch.batch that is one"
    elif any(phase.trains != "generator" for phase in config.phases):
        found = "a critic learns in one process only; give preset=balanced, or start the training without torchrun"
    elif any(phase.losses.gram > 0 for phase in config.phases):
        found = "losses.gram compares all patches of a step with each other; leave it out"
    elif config.model.norm == "batch" or config.model.dropblock > 0:
        found = "batch norm and DropBlock depend on all patches of a step; leave model.norm and model.dropblock out"
    if found:
        raise ConfigError(f"{count} processes: {found}")
