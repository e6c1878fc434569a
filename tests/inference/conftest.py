from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from superres.inference import Predictor
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet

MakeModel = Callable[..., Path]
MakePredictor = Callable[..., Predictor]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model file with random weights; ``std=0`` leaves plain cubic interpolation."""

    def make(factor: tuple[int, int, int] = (1, 2, 2), *, std: float = 0.04, channels: int = 1, seed: int = 0) -> Path:
        torch.manual_seed(seed)
        architecture = Architecture.of_preset("XS", factor=factor, channels=channels)
        net = UNet(architecture)
        if std > 0:
            for parameter in net.parameters():
                torch.nn.init.normal_(parameter, std=std)
        radius, stride = architecture.receptive_radius, architecture.stride
        header = ModelHeader(
            name=f"random{seed}",
            architecture=architecture.to_json(),
            factor=factor,
            channels=channels,
            receptive_radius=(0, radius, radius),
            stride=(1, stride, stride),
            intensity={"percentiles": [0.5, 99.9], "average": 4},
        )
        path = tmp_path / f"model_{seed}_{channels}_{'_'.join(map(str, factor))}.safetensors"
        save_model_file(path, header, {k: v.numpy() for k, v in net.state_dict().items()})
        return path

    return make


@pytest.fixture
def make_predictor() -> MakePredictor:
    """Make a predictor with random weights, all of them, so that every voxel depends on all that it sees."""

    def make(preset: str, factor: tuple[int, int, int], *, interval: bool = False) -> Predictor:
        torch.manual_seed(0)
        architecture = Architecture.of_preset(preset, factor=factor, interval=interval)
        net = UNet(architecture).eval()
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.04)
        radius, stride = architecture.receptive_radius, architecture.stride
        header = ModelHeader(
            name="random",
            architecture=architecture.to_json(),
            factor=factor,
            channels=1,
            receptive_radius=(0, radius, radius),
            stride=(1, stride, stride),
            intensity={"percentiles": [0.5, 99.9], "average": 4},
        )
        return Predictor(net, header, "0", torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def thin_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a narrow and shallow model of each kind: for planes, volumes, planes with their neighbours, channels."""
    folder = tmp_path_factory.mktemp("models")
    thin: dict[str, Any] = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "consistency_sigma": 1.0}
    kinds: dict[str, dict[str, Any]] = {
        "plane": {"channels": 1},
        "volume": {"channels": 1, "dimensions": 3},
        "frames": {"channels": 1, "frames": 3, "target": 1},
        "channels": {"channels": 2},
    }
    return {name: _thin_model(folder / f"{name}.safetensors", thin | kind) for name, kind in kinds.items()}


def _thin_model(path: Path, kind: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    architecture = Architecture(factor=(1, 2, 2), **kind)
    net = UNet(architecture)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    frames = architecture.frames
    header = ModelHeader(
        name=path.stem,
        architecture=architecture.to_json(),
        factor=(1, 2, 2),
        channels=architecture.channels,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity={"percentiles": [0.5, 99.9], "average": 1},
        context={"axis": "z", "frames": frames, "target": architecture.target} if frames > 1 else {},
    )
    save_model_file(path, header, {k: v.numpy() for k, v in net.state_dict().items()})
    return path
