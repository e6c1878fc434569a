"""The one self-describing model file: a ``.safetensors`` file whose JSON header says all that inference needs.

Loading never unpickles. Tensors are NumPy arrays here; `superres.nets` turns them into a net.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from superres.errors import MissingFileError, ModelFileError, OutputWriteError

FORMAT = "superres-model-1"
FOR_DISPLAY = "for display, not for measurement: a critic (GAN) shaped the model"
"""What is said of a model whose header has `display`, and of all that it makes."""

_KEY = "superres"
# What decides the output of a model besides its weights.
_DECISIVE = (
    "architecture",
    "factor",
    "channels",
    "receptive_radius",
    "stride",
    "intensity",
    "degradation",
    "domain",
)
# The same, left out where a model has none of it, so that older models keep their identity.
_DECISIVE_IF_GIVEN = ("context",)


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """What a model is and where it comes from.

    Parameters
    ----------
    name : str
        The model's name, from the recipe.
    architecture : mapping
        Keyword arguments that rebuild the net (`superres.nets.UNet`).
    factor : tuple of int
        Upscaling along Z, Y, X.
    channels : int
        Channels that the net takes and predicts together; 1 means that each channel is upscaled on its own.
    receptive_radius : tuple of int
        Input voxels along Z, Y, X that one output voxel can see on either side, rounded up to the stride.
    stride : tuple of int
        Tile origins must be multiples of it, along Z, Y, X.
    intensity : mapping
        The rule by which black and white are measured (`superres.config.IntensityRule`).
    voxel_size : tuple of float or None
        Micrometre along Z, Y, X of the low-resolution recordings that it was trained for; None where unknown.
    degradation : list of mapping
        How low images were made from high ones; empty for real pairs.
    training : mapping
        Manifests with hashes, licences and credits, voxel sizes, steps, seconds, the whole recipe.
    domain : mapping
        Where the net was right on its training data and near them (`superres.nets.domain`); empty in older models.
    display : bool
        Whether a critic shaped the net: its outputs are for display, not for measurement.
    context : mapping
        Which images the net takes to predict one: the axis (``z``, ``t`` or ``c``) along which they lie beside each
        other, how many frames, and which of them (`target`) is predicted. Empty for one image alone.
    metrics : mapping
        Validation figures beside their baselines.
    calibration : mapping
        What `superres calibrate` found: the factor on the half-widths, and for what it holds; empty before.
    lineage : list of mapping
        Models that it was fine-tuned from, oldest first: name, SHA-256, identity, factor, and on what each was trained.
    card : mapping
        What it is for, and what it did on images that it was not trained on (`superres.sharing.card`); empty before
        ``superres models describe``.
    version : str
        The superres version that wrote it.
    """

    name: str
    architecture: Mapping[str, Any]
    factor: tuple[int, int, int]
    channels: int
    receptive_radius: tuple[int, int, int]
    stride: tuple[int, int, int]
    intensity: Mapping[str, Any]
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    degradation: list[Mapping[str, Any]] = field(default_factory=list)
    training: Mapping[str, Any] = field(default_factory=dict)
    domain: Mapping[str, Any] = field(default_factory=dict)
    display: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    lineage: list[Mapping[str, Any]] = field(default_factory=list)
    card: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def looks_along(self) -> str:
        """The axis along which the net sees more than one plane: ``z``, ``t``, or empty."""
        axis = str(self.context.get("axis", ""))
        return "z" if self.receptive_radius[0] > 0 or axis == "z" else axis.replace("c", "")

    @property
    def voxel_range(self) -> tuple[tuple[float, float] | None, ...]:
        """Smallest and largest voxel size along Z, Y, X of the low-resolution recordings that it was trained for."""
        told = self.training.get("voxel_sizes") or (None, None, None)
        pairs = zip(told, self.voxel_size, strict=True)
        return tuple((ends[0], ends[1]) if ends else (size, size) if size else None for ends, size in pairs)

    def unlike(self, voxel_size: Sequence[float | None]) -> tuple[bool, ...]:
        """Say for Z, Y, X whether a recording's voxel size is far from those that it was trained for.

        Half as large or small again is far: a net invents at a sampling that it never saw.
        """
        pairs = zip(self.voxel_range, voxel_size, strict=True)
        return tuple(bool(ends and here and not 2 / 3 * ends[0] < here < 3 / 2 * ends[1]) for ends, here in pairs)

    @property
    def parent(self) -> str:
        """SHA-256 of the model file that it was fine-tuned from; empty for a model from scratch."""
        return str(self.lineage[-1].get("sha256", "")) if self.lineage else ""

    @property
    def trainings(self) -> tuple[Mapping[str, Any], ...]:
        """The records of all trainings that made it, oldest first, its own last."""
        return (*(ancestor.get("training", {}) for ancestor in self.lineage), self.training)

    @property
    def licences(self) -> tuple[str, ...]:
        """Every licence of the images that it or a model before it learnt from, each once.

        A training that does not tell its images is ``"not told"``, an image without a licence ``"not stated"``.
        """
        found: list[str] = []
        for training in self.trainings:
            entries = training.get("acquisitions", ())
            found += [entry.get("licence") or "not stated" for entry in entries] or ["not told"]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file's header, weights, path and SHA-256 of its bytes."""

    header: ModelHeader
    weights: Mapping[str, NDArray[Any]]
    path: Path
    sha256: str

    @property
    def identity(self) -> str:
        """SHA-256 of the weights and of all in the header that decides the output.

        Calibrating a model, renaming it or telling more of it changes the file and not this.
        """
        decisive = {name: getattr(self.header, name) for name in _DECISIVE}
        decisive |= {name: value for name in _DECISIVE_IF_GIVEN if (value := getattr(self.header, name))}
        digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
        for name, value in sorted(self.weights.items()):
            digest.update(json.dumps([name, str(value.dtype), value.shape]).encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


def save_model_file(path: Path, header: ModelHeader, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write a model file at once: a reader sees the old file or the new one, never half of it.

    Raises
    ------
    OutputWriteError
        When it cannot be written; nothing of it is left.
    """
    # One key: several would be written in random order, and equal models would have different hashes.
    content = {"format": FORMAT, "header": dataclasses.asdict(header)}
    metadata = {_KEY: json.dumps(content, sort_keys=True)}
    partial = path.with_name(path.name + ".partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # safetensors would let nobody else read it, and models are for labs
        save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, partial, metadata=metadata)
        partial.chmod(mode)
        partial.replace(path)
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        partial.unlink(missing_ok=True)
        raise OutputWriteError(f"{path}: cannot write the model ({error}); free some space and run again") from None


def read_model_header(path: Path) -> ModelHeader:
    """Read only the header of a model file.

    Raises
    ------
    MissingFileError, ModelFileError
        When there is no file, or it is not a superres model.
    """
    if path.is_dir() and (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if not path.is_file():
        raise MissingFileError(f"{path}: no such model file; give the path of a .safetensors file or of a run folder")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ModelFileError(
            f"{path}: not a readable .safetensors file ({error}); expected a model written by 'superres train'"
        ) from None
    return _header_from_json(metadata.get(_KEY, "{}"), path)


def load_model_file(path: Path) -> ModelFile:
    """Read header and weights; a run folder stands for the model in it."""
    if path.is_dir():
        path = path / "model.safetensors"
    header = read_model_header(path)
    with safe_open(path, framework="np") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return ModelFile(header, weights, path, hashlib.sha256(path.read_bytes()).hexdigest())


def _header_from_json(text: str, path: Path) -> ModelHeader:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelFileError(f"{path}: its superres header is damaged ({error}); give another copy of it") from None
    if whole.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: a .safetensors file without a superres header (format {whole.get('format')!r}, expected "
            f"{FORMAT!r}); give a model written by 'superres train'"
        )
    content = whole["header"]
    known = {item.name for item in dataclasses.fields(ModelHeader)}
    needed = {item.name for item in dataclasses.fields(ModelHeader) if item.default is item.default_factory}
    if not known >= content.keys() >= needed:
        unfit = ", ".join(sorted((content.keys() - known) | (needed - content.keys())))
        raise ModelFileError(
            f"{path}: written by superres {content.get('version') or '(unknown)'}, whose header differs from what this "
            f"version reads ({unfit}); update superres"
        )
    for name in ("factor", "receptive_radius", "stride", "voxel_size"):
        if name in content:
            content[name] = tuple(content[name])
    return ModelHeader(**content)
