"""superres: upscale and restore microscopy volumes larger than memory.

Public names load on first use, so that ``import superres`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superres.evaluation import evaluate
    from superres.inference import Predictor, load_model, upscale
    from superres.sharing import find_model
    from superres.training import train
    from superres.volumes import Volume, open_volume

__version__ = "0.1.0"

_ROOMS = {
    "Volume": "volumes",
    "open_volume": "volumes",
    "Predictor": "inference",
    "load_model": "inference",
    "upscale": "inference",
    "train": "training",
    "evaluate": "evaluation",
    "find_model": "sharing",
}

__all__ = [
    "Predictor",
    "Volume",
    "__version__",
    "evaluate",
    "find_model",
    "load_model",
    "open_volume",
    "train",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'superres' has no attribute {name!r}")
    return getattr(importlib.import_module(f"superres.{_ROOMS[name]}"), name)
