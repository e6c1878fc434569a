"""The run folder of one training: resolved config, checkpoints, figures, sample pictures, the model.

::

    config.yaml             everything that decides the training
    recipe.yaml             with manifest.yaml and microscope.yaml: what was written for images (`training.configure`)
    crops/                  images that were cut for this training (`datasets.marked_pair`)
    metrics.jsonl           one line of figures every few steps
    samples/step_000200.png low, interpolation, prediction and truth side by side
    feature_net.safetensors the feature network, trained once
    checkpoint.safetensors  where to go on from, until the model is written
    snapshots/step_000200.safetensors  weights on the way, where the recipe asks for them
    model.safetensors       the finished model
    model_before_gan.safetensors  after a GAN phase: the model before it, for measurement
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from superres.config import TrainConfig, dump_config
from superres.datasets.marked_crops import CROPS
from superres.errors import OutputExistsError, OutputWriteError
from superres.training.muon import MuonAndAdamW

RECIPE, MANIFEST, MICROSCOPE = "recipe.yaml", "manifest.yaml", "microscope.yaml"
_BEFORE = {RECIPE, MANIFEST, MICROSCOPE, "microscope.html", CROPS}
"""What may lie in a run folder before a training begins."""


class RunFolder:
    """Opens, fills and resumes the folder of one training.

    Parameters
    ----------
    path : Path
        The folder; made if it does not exist.
    config : TrainConfig
        The training; a folder that holds another one is refused.
    writes : bool
        Whether this process writes here; one of several that train together does, the others read.

    Raises
    ------
    OutputExistsError
        When the folder holds another training, or files that are not a training's.
    """

    def __init__(self, path: Path, config: TrainConfig, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self.model = path / "model.safetensors"
        self.before_gan = path / "model_before_gan.safetensors"
        self._checkpoint = path / "checkpoint.safetensors"
        self._metrics = path / "metrics.jsonl"
        text = dump_config(_from_anywhere(config))
        known = path / "config.yaml"
        if known.is_file() and known.read_text(encoding="utf-8") not in (text, dump_config(config)):
            raise OutputExistsError(
                f"{path}: holds the training of other settings (see {known}); give another run folder, "
                "or remove this one"
            )
        if not known.is_file() and path.exists() and not (path.is_dir() and _names(path) <= _BEFORE):
            raise OutputExistsError(f"{path}: exists and is not a run folder; give a new or empty folder")
        if not writes:
            return
        try:
            (path / "samples").mkdir(parents=True, exist_ok=True)
            if config.snapshots:
                (path / "snapshots").mkdir(exist_ok=True)
            known.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputWriteError(f"{path}: cannot write the run folder ({error}); give another folder") from None

    @property
    def finished(self) -> bool:
        """Whether the model is written."""
        return self.model.is_file()

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line of figures."""
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise _full(self._metrics, error) from None

    def records(self) -> list[dict[str, Any]]:
        """Return all lines of figures."""
        if not self._metrics.is_file():
            return []
        lines = self._metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        # A line that was cut short, by a full disk or a kill, has no end and is of a step that will be done again.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def save_sample(self, step: int, panels: list[Tensor]) -> None:
        """Write a picture: one row per image, one column per panel, one grey scale per row.

        Parameters
        ----------
        panels : list of Tensor
            Each (n, 1, y, x) of one size; the last one (truth) sets the grey scale.
        """
        rows = []
        for images in zip(*panels, strict=True):
            truth = images[-1].float()
            black, white = torch.quantile(
                truth.flatten()[:: max(1, truth.numel() // 100_000)], torch.tensor([0.005, 0.995])
            )
            row = torch.cat([image[0].float() for image in images], dim=1)
            rows.append(((row - black) / (white - black).clamp_min(1e-6)).clamp(0, 1))
        picture = (torch.cat(rows) * 255).round().to(torch.uint8).numpy()
        path = self.path / "samples" / f"step_{step:06d}.png"
        try:
            imageio.imwrite(path, picture)
        except OSError as error:
            raise _full(path, error) from None

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Replace the checkpoint at once: a kill leaves the old one or the new one."""
        replace_file(self._checkpoint, tensors, state)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and state to go on from, and forget figures logged after them."""
        if not self._checkpoint.is_file():
            if self._writes:
                self._metrics.unlink(missing_ok=True)
            return None
        with safe_open(self._checkpoint, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
        if self._writes:
            kept = [json.dumps(record) + "\n" for record in self.records() if record["step"] <= state["step"]]
            self._metrics.write_text("".join(kept), encoding="utf-8")
        return load_file(self._checkpoint), state

    def clear_checkpoint(self) -> None:
        """Remove the checkpoint of a finished training."""
        self._checkpoint.unlink(missing_ok=True)

    def save_net(self, name: str, net: nn.Module) -> None:
        """Keep a helper network, e.g. the feature network."""
        if self._writes:
            replace_file(self.path / f"{name}.safetensors", net.state_dict(), {})

    def load_net(self, name: str) -> dict[str, Tensor] | None:
        """Return the weights of a helper network, or None."""
        path = self.path / f"{name}.safetensors"
        return load_file(path) if path.is_file() else None


def _from_anywhere(config: TrainConfig) -> TrainConfig:
    """Return the same settings with absolute paths, so that they can be used again from any folder."""
    weights = config.features.weights
    changes = {
        "manifests": tuple(path.absolute() for path in config.manifests),
        "data_root": None if config.data_root is None else config.data_root.absolute(),
        "start_from": None if config.start_from is None else config.start_from.absolute(),
        "features": config.features.model_copy(update={"weights": None if weights is None else weights.absolute()}),
    }
    return config.model_copy(update=changes)


def _names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def optimiser_tensors(optimiser: torch.optim.Optimizer | MuonAndAdamW) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors, without pickling."""
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{index}.{key}": torch.as_tensor(value)
        for index, group in state.items()
        for key, value in group.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer | MuonAndAdamW, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def replace_file(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a state of plain values at once: a kill leaves the old file or the new one.

    Raises
    ------
    OutputWriteError
        When it cannot be written; what was there before is whole.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
            partial,
            {"state": json.dumps(state)},
        )
        partial.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        partial.unlink(missing_ok=True)
        raise _full(path, error) from None


def _full(path: Path, error: Exception) -> OutputWriteError:
    return OutputWriteError(
        f"{path}: cannot write ({error}); what was written before is whole: free some space and run again to go on"
    )


def to_numpy(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """Return tensors as NumPy arrays, for the model file."""
    return {name: value.detach().float().cpu().numpy() for name, value in tensors.items()}
