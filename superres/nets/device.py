"""Where nets run."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from superres.errors import SuperresError

NetT = TypeVar("NetT", bound=nn.Module)


def place(net: NetT, device: torch.device) -> NetT:
    """Move a net to a device, its kernels stored channels last: the layout in which convolutions run fastest."""
    is_deep = any(parameter.ndim == 5 for parameter in net.parameters())
    last = torch.channels_last_3d if is_deep else torch.channels_last
    return net.to(device).to(memory_format=last)  # type: ignore[call-overload,no-any-return]


def layout(batch: Tensor) -> torch.memory_format:
    """Return the layout that `place` gives the kernels of a net that takes this batch, (n, c, [z,] y, x)."""
    return torch.channels_last if batch.ndim == 4 else torch.channels_last_3d


def choose_device(name: str) -> torch.device:
    """Return the device of a setting; ``auto`` takes CUDA, then Apple's GPU, then the CPU.

    Raises
    ------
    SuperresError
        When the device asked for is not there.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SuperresError(f"device {name}: no CUDA GPU is available to torch {torch.__version__}; use device=cpu")
    if name.startswith("cuda:") and int(name.removeprefix("cuda:")) >= (count := torch.cuda.device_count()):
        raise SuperresError(f"device {name}: this machine has {count}, counted from 0; use device=cuda:{count - 1}")
    if name == "mps" and not torch.backends.mps.is_available():
        raise SuperresError(f"device mps: no Apple GPU is available to torch {torch.__version__}; use device=cpu")
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """Return bfloat16 autocast where the hardware has it, else a context that does nothing."""
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bool(fast) and device.type in ("cuda", "cpu"))


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context without autocast: what is added to a prediction must not be rounded to 8 bits of mantissa."""
    return torch.autocast(device.type, enabled=False)
