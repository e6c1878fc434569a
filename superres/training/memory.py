"""Whether an error means that memory ran out."""

from __future__ import annotations

import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch found no memory, on a GPU or (as a plain RuntimeError) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )
