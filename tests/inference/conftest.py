"""What the tests of inference share: models of random weights, a small stack, workers, and what a store holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from superres.config import ClusterConfig
from superres.inference import Predictor
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.volumes.hyperstack import save_hyperstack

if TYPE_CHECKING:
    from superres.inference.cluster import Cluster

MakeModel = Callable[..., Path]
MakePredictor = Callable[..., Predictor]
FilesOf = Callable[[Path, str], dict[str, bytes]]

# Narrow and shallow: what is tested does not depend on the width, and every tile is seen with a wide border.
THIN: dict[str, Any] = {"channels": 1, "widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1}


def random_net(architecture: Architecture, std: float, seed: int = 0) -> UNet:
    """Make a net all of whose weights are random, so that every voxel depends on all that it sees."""
    torch.manual_seed(seed)
    net = UNet(architecture).eval()
    for parameter in net.parameters() if std else ():
        torch.nn.init.normal_(parameter, std=std)
    return net


def header_of(architecture: Architecture, name: str, axis: str = "", average: int = 1) -> ModelHeader:
    frames = {"axis": axis, "frames": architecture.frames, "target": architecture.target}
    return ModelHeader(
        name=name,
        architecture=architecture.to_json(),
        factor=architecture.factor,
        channels=architecture.channels,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity={"percentiles": [0.5, 99.9], "average": average},
        context=frames if axis else {},
    )


def write_model(
    path: Path,
    factor: tuple[int, int, int] = (1, 2, 2),
    *,
    axis: str = "",
    std: float = 0.03,
    seed: int = 0,
    average: int = 1,
    **kind: Any,
) -> Path:
    """Write a model file; `kind` are fields of `Architecture`, `std` 0 leaves plain cubic interpolation."""
    architecture = Architecture(factor=factor, **{"consistency_sigma": 1.0} | THIN | kind)
    weights = {key: value.numpy() for key, value in random_net(architecture, std, seed).state_dict().items()}
    save_model_file(path, header_of(architecture, f"random{seed}", axis, average), weights)
    return path


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a model file: ``make_model((1, 2, 2), frames=3, target=1, axis="z", seed=1, std=0)``."""

    def make(factor: tuple[int, int, int] = (1, 2, 2), *, seed: int = 0, **how: Any) -> Path:
        return write_model(tmp_path / f"model{seed}.safetensors", factor, seed=seed, **how)

    return make


@pytest.fixture
def make_predictor() -> MakePredictor:
    """Make a predictor of a preset."""

    def make(preset: str, factor: tuple[int, int, int], *, interval: bool = False) -> Predictor:
        architecture = Architecture.of_preset(preset, factor=factor, interval=interval)
        header = header_of(architecture, "random", average=4)
        return Predictor(random_net(architecture, 0.04), header, "0", torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def thin_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a model of each kind: for planes, volumes, planes with their neighbours, channels."""
    folder = tmp_path_factory.mktemp("models")
    kinds: dict[str, dict[str, Any]] = {
        "plane": {},
        "volume": {"dimensions": 3},
        "frames": {"axis": "z", "frames": 3, "target": 1},
        "channels": {"channels": 2},
    }
    return {name: write_model(folder / f"{name}.safetensors", **kind) for name, kind in kinds.items()}


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Write two channels of three planes; files that need another stack have their own."""
    image = np.random.default_rng(0).integers(300, 40_000, (1, 2, 3, 40, 30))
    save_hyperstack(tmp_path / "stack.tif", image.astype(np.uint16), voxel_size=(0.5, 0.2, 0.2))
    return tmp_path / "stack.tif"


@pytest.fixture(scope="session")
def files_of() -> FilesOf:
    """Return every file of a store and of the maps beside it, but metadata that hold its name."""

    def files(folder: Path, name: str) -> dict[str, bytes]:
        found = {}
        for kind in ("", ".trust", ".interval"):
            store = folder / f"{name}{kind}.zarr"
            for file in sorted(store.rglob("*")):
                if file.is_file() and file.parent != store:
                    found[f"{kind}.zarr/{file.relative_to(store)}"] = file.read_bytes()
        assert found
        return found

    return files


@pytest.fixture(scope="module")
def workers() -> Iterator[Cluster]:
    """Start two worker processes, which are started again when they are killed."""
    from superres.inference.cluster import open_cluster

    config = ClusterConfig(kind="local", workers=2, options={"memory_limit": 0})
    with open_cluster(config=config) as found:
        yield found
