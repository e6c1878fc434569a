"""The network of the feature loss: trained, random or read from a file, once per run."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from superres.config import FeatureConfig, Phase, TrainConfig
from superres.errors import ConfigError, MissingFileError
from superres.nets import FeatureNet, place
from superres.nets.features import Features, VggFeatures
from superres.progress import ProgressCallback
from superres.training.feature_training import train_feature_net
from superres.training.material import Material
from superres.training.run import RunFolder

_VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
_VGG_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
_VGG_LAYERS = ("relu2_2", "relu3_3")
# Largest part of a time budget that trains the network of one's own.
_SHARE_OF_BUDGET = 0.05
_CALIBRATION_BATCHES = 8
_LARGEST_PATCH = 96


def feature_net(
    config: TrainConfig, folder: RunFolder, material: Material, device: torch.device, progress: ProgressCallback
) -> Features | None:
    """Return the frozen network of the feature loss; None where no phase needs one.

    It is kept in the run folder: a resumed training has the same one, also when the file it came from is gone.

    Raises
    ------
    ConfigError
        When weights or layers do not fit.
    """
    if not any(compares_features(phase) for phase in config.phases):
        return None
    known = folder.load_net("feature_net")
    if known is not None:
        net = place(_empty(config.features, known), device)
        net.load_state_dict(known)
        return net.eval().requires_grad_(False)
    net = _make(config, material, device, progress)
    with torch.no_grad():
        sharp = [
            material.sharp(number)[..., :_LARGEST_PATCH, :_LARGEST_PATCH] for number in range(_CALIBRATION_BATCHES)
        ]
        net.calibrate(torch.cat(sharp))
    folder.save_net("feature_net", net)
    return net.eval().requires_grad_(False)


def compares_features(phase: Phase) -> bool:
    """Return whether a phase needs the network."""
    return phase.losses.feature > 0 or phase.losses.gram > 0


def _make(config: TrainConfig, material: Material, device: torch.device, progress: ProgressCallback) -> Features:
    features, budget = config.features, config.time_budget
    if features.net == "vgg16":
        return place(VggFeatures(_vgg_weights(features), features.layers or _VGG_LAYERS), device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        net = place(FeatureNet(), device)
    if features.layers:
        net.choose(features.layers)
        net.to(device)
    if features.net == "own":
        train_feature_net(
            net,
            lambda number: material.sharp(number)[..., :_LARGEST_PATCH, :_LARGEST_PATCH],
            steps=features.steps,
            seconds=None if budget is None else _SHARE_OF_BUDGET * budget,
            seed=config.seed,
            device=device,
            progress=progress,
        )
    return net


def _empty(features: FeatureConfig, known: dict[str, Tensor]) -> Features:
    """Return a network into which the kept weights fit."""
    if features.net == "vgg16":
        layers = features.layers or _VGG_LAYERS
        return VggFeatures(_torchvision_names(known), layers)
    net = FeatureNet()
    if features.layers:
        net.choose(features.layers)
    return net


def _torchvision_names(known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return kept weights of VGG16 by the names that they came with."""
    names: dict[str, Tensor] = {}
    place, blocks = 0, VggFeatures.layer_names
    for index, name in enumerate(blocks):
        place += 1 if index and name.endswith("_1") else 0
        for part in ("weight", "bias"):
            if (value := known.get(f"features_by_layer.{name}.{part}")) is not None:
                names[f"features.{place}.{part}"] = value
        place += 2
    return names


def _vgg_weights(features: FeatureConfig) -> dict[str, Tensor]:
    """Read the weights of VGG16 from the file that is given, or fetch torchvision's.

    Raises
    ------
    ConfigError, MissingFileError
        When there is no such file, it is not one of weights, or it cannot be fetched.
    """
    path = features.weights or _fetched()
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file (features.weights); give torchvision's vgg16-397923af.pth, or features.net=own, "
            "which needs no download"
        )
    try:
        # Nothing but tensors is unpickled: a file of weights can run no code here.
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{path}: not a file of weights ({reason}); give torchvision's vgg16-397923af.pth, or the same tensors as "
            ".safetensors"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ConfigError(f"{path}: holds no tensors by name; give torchvision's vgg16-397923af.pth")
    return found


def _fetched() -> Path:
    import pooch

    try:
        return Path(pooch.retrieve(_VGG_URL, known_hash=f"sha256:{_VGG_SHA256}"))  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{_VGG_URL}: cannot be fetched ({error}); fetch it where there is a network and give its path as "
            "features.weights, or give features.net=own, which needs no download"
        ) from None
