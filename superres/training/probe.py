"""What a step of a training costs on this device: time and memory, measured on a few steps of it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from superres.config import TrainConfig
from superres.datasets.sources import Source
from superres.errors import SuperresError
from superres.nets import choose_device
from superres.nets.device import autocast
from superres.training import losses
from superres.training.choices import Cost
from superres.training.kind import architecture_of
from superres.training.material import Material
from superres.training.memory import is_out_of_memory
from superres.training.state import State

_SECONDS, _STEPS = 4.0, 6
# What a step takes beside what forward keeps of it: gradients on the way, the room that convolutions work in, the
# patches themselves. Measured on a CPU: 140 MB where 25 MB are kept.
_BACKWARD = 4.5
# Weights, gradients, two moments of the optimiser and the averaged weights.
_COPIES = 5
_FALLBACK_FREE = 4e9


def measure_cost(config: TrainConfig, sources: list[Source]) -> Cost:
    """Measure a few steps of the training that a recipe asks for; nothing of it is kept.

    Parameters
    ----------
    config : TrainConfig
        The recipe.
    sources : list of Source
        Some of its images.

    Raises
    ------
    SuperresError
        When memory does not suffice for a single patch.
    """
    device = choose_device(config.device)
    free = free_memory(device)
    try:
        return _measured(config, sources, device, free)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    if config.patch.batch == 1:
        raise SuperresError(
            f"out of memory with one patch of {config.patch.size} voxels; give a smaller --set patch.size=32 or "
            "--set model.preset=XS"
        )
    half = config.patch.model_copy(update={"batch": config.patch.batch // 2})
    return measure_cost(config.model_copy(update={"patch": half}), sources)


def _measured(config: TrainConfig, sources: list[Source], device: torch.device, free: float) -> Cost:
    architecture = architecture_of(config)
    material = Material(config, architecture, device, sources, [])
    with torch.random.fork_rng(devices=[]):
        state = State(config, replace(architecture), material)
    patch = _bytes_kept(state, material)
    seconds, started = [], time.monotonic()
    for number in range(_STEPS):
        begun = time.monotonic()
        _step(state, material, number)
        seconds.append(time.monotonic() - begun)
        if number and time.monotonic() - started > _SECONDS:
            break
    fixed = _COPIES * sum(value.numel() * value.element_size() for value in state.net.parameters())
    # The first step chooses algorithms and reads images.
    later = sorted(seconds[1:])
    return Cost(later[len(later) // 2], config.patch.batch, float(fixed), (1 + _BACKWARD) * patch, free)


def _step(state: State, material: Material, number: int) -> None:
    """Do one step as in training, the interval head with every second one."""
    low, high = material.pairs(number, material.config.patch.batch)
    with autocast(material.device, trains_dimensions=state.net.architecture.dimensions):
        pred, *half_widths = state.net.with_interval(low) if state.head and number % 2 else (state.net(low),)
    loss = losses.charbonnier(pred, high, material.config.loss.charbonnier_epsilon)
    interval = losses.interval(high, pred, half_widths[0], half_widths[1]) if half_widths else None
    state.update(loss, interval, material.config.phases[0])
    float(loss.detach())  # waits for the device


def _bytes_kept(state: State, material: Material) -> float:
    """Return the bytes that the net keeps of one patch until backward, weights aside."""
    own = {value.untyped_storage().data_ptr() for value in state.net.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    low, high = material.pairs(0, 1)
    rounding = autocast(material.device, trains_dimensions=state.net.architecture.dimensions)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack), rounding:
        loss = losses.charbonnier(state.net(low), high, material.config.loss.charbonnier_epsilon)
    del loss
    return float(sum(kept.values()))


def free_memory(device: torch.device) -> float:
    """Return the bytes of memory that are free where a net would be trained."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    found = [_available_of_linux(), _left_of_group()]
    known = [value for value in found if value is not None]
    if known:
        return min(known)
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) / 2
    except (AttributeError, OSError, ValueError):
        return _FALLBACK_FREE


def _available_of_linux() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = {name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return values["MemAvailable"] * 1024 if "MemAvailable" in values else None


def _left_of_group() -> float | None:
    """Return what a container or a batch system leaves of its limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (folder.joinpath(name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return max(float(limit) - float(used), 0.0)
    except (OSError, ValueError):  # no such group, or "max"
        return None
