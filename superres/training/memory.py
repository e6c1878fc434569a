"""What is done so that memory does not run out, and how it is told that it did."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_TOGETHER = 8


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch found no memory, on a GPU or (as a plain RuntimeError) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )


def in_parts(apply: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply a net to a few images at a time, so that memory does not grow with their number.

    Parameters
    ----------
    apply : callable
        Takes and returns (n, ...).
    images : Tensor
        (n, ...).

    Returns
    -------
    Tensor
        What `apply` makes of all of them.
    """
    return torch.cat([apply(part) for part in torch.split(images, _TOGETHER)])
