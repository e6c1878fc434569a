"""From a model file to a predictor."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

from superres.config import Precision
from superres.errors import ModelFileError
from superres.inference.predictor import Predictor
from superres.modelfile import load_model_file
from superres.nets import choose_device, net_from_model_file


def load_model(path: Path | str, device: str = "auto") -> Predictor:
    """Load a model file or the model of a run folder.

    Parameters
    ----------
    path : path
        A ``.safetensors`` file written by a training, or a run folder.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ``mps``.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no model, or it cannot be read.
    """
    file = load_model_file(Path(path))
    return Predictor(
        net_from_model_file(file), file.header, file.identity, choose_device(device), file.path, wanted=device
    )


@lru_cache(maxsize=2)
def load_same(path: Path, identity: str, device: str, precision: Precision) -> Predictor:
    """Load a model in another process, once, and refuse one that is not the same."""
    predictor = load_model(path, device).at(precision)
    if predictor.identity != identity:
        raise ModelFileError(
            f"{path}: on {platform.node()} this is another model than where the upscaling was started "
            f"({predictor.identity[:12]}, expected {identity[:12]}); give all hosts the same file"
        )
    return predictor
