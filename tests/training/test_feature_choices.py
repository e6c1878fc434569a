"""Feature networks: VGG16 from torchvision's names, wrong files refused, random and own kept in the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from superres.config import TrainConfig
from superres.errors import ConfigError, MissingFileError
from superres.modelfile import load_model_file
from superres.nets import Architecture, FeatureNet, UNet
from superres.nets.features import VggFeatures
from superres.training import train
from superres.training.losses import perceptual
from superres.training.windows import window_of

MakeConfig = Callable[..., TrainConfig]

pytestmark = pytest.mark.usefixtures("without_domain")

# The first two blocks of torchvision's vgg16().features: the layers' numbers and shapes, written out by hand.
SHAPES = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128)}


def torchvision_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for place, (out, into) in SHAPES.items():
        found[f"features.{place}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (3 * into**0.5)
        found[f"features.{place}.bias"] = torch.randn(out, generator=generator) / 10
    return found | {"classifier.0.weight": torch.zeros(2, 2)}


def test_vgg16_is_the_network_that_the_names_belong_to() -> None:
    """Compared with the same layers put together as torchvision does, fed as its documentation says."""
    weights = torchvision_weights()
    stack: list[nn.Module] = []
    for place, (out, into) in SHAPES.items():
        if place == 5:
            stack.append(nn.MaxPool2d(2))
        conv = nn.Conv2d(into, out, 3, padding=1)
        conv.load_state_dict({part: weights[f"features.{place}.{part}"] for part in ("weight", "bias")})
        stack += [conv, nn.ReLU()]
    grey = torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    colour = grey.repeat(1, 3, 1, 1)
    mean, sd = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = nn.Sequential(*stack)((colour - mean) / sd)
    found = VggFeatures(weights, ("relu1_2", "relu2_2")).activations(grey)
    assert list(found) == ["relu1_2", "relu2_2"]
    torch.testing.assert_close(found["relu2_2"], expected)
    assert found["relu1_2"].shape == (2, 64, 24, 24)


def test_calibrated_vgg_features_have_mean_one() -> None:
    net, sharp = VggFeatures(torchvision_weights(), ("relu2_2",)), torch.rand(4, 1, 24, 24)
    net.calibrate(sharp)
    means = net.features(sharp)[0].mean(dim=(0, 2, 3))
    torch.testing.assert_close(means[means > 0.5], torch.ones(int((means > 0.5).sum())), atol=1e-4, rtol=0)


def test_layer_weights_choose_between_layers() -> None:
    torch.manual_seed(0)
    net, pred, high = FeatureNet().eval(), torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32)
    first = perceptual(pred, high, net, (1, 0, 0), {"feature"})["feature"]
    expected = (net.features(pred)[0] - net.features(high)[0]).abs().mean()
    torch.testing.assert_close(first, expected)


def test_gram_sees_texture_and_not_its_place() -> None:
    torch.manual_seed(0)
    net = FeatureNet().eval().requires_grad_(False)
    high = torch.rand(1, 1, 32, 32)
    net.choose(("stage1",))
    shifted = torch.roll(high, (8, 8), (2, 3))
    found = perceptual(shifted, high, net, (), {"feature", "gram"})
    other = perceptual(high * 0.3, high, net, (), {"gram"})
    assert float(found["gram"]) < 0.2 * float(other["gram"])
    assert float(found["feature"]) > 0.1


def test_features_cost_at_most_what_the_generator_does() -> None:
    features = FeatureNet()
    sides = {
        preset: window_of(UNet(Architecture.of_preset(preset, factor=(1, 4, 4))), features.features, 48)
        for preset in ("XS", "S")
    }
    assert sides == {"XS": 64, "S": 96}


def write_pth(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_wrong_files_of_weights_are_named(make_config: MakeConfig, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    wrong = torchvision_weights() | {"features.5.weight": torch.zeros(3, 3)}
    lacking = {k: v for k, v in torchvision_weights().items() if not k.startswith("features.7")}
    (tmp_path / "text.pth").write_text("not weights")
    cases: list[tuple[Path, type[Exception], str]] = [
        (tmp_path / "none.pth", MissingFileError, "no such file"),
        (tmp_path / "text.pth", ConfigError, "not a file of weights"),
        (write_pth(tmp_path / "wrong.pth", wrong), ConfigError, r"features.5.weight of shape \[128, 64, 3, 3\]"),
        (write_pth(tmp_path / "lacking.pth", lacking), ConfigError, "features.7.weight"),
        (write_pth(tmp_path / "list.pth", [1, 2]), ConfigError, "holds no tensors by name"),
        (write_pth(tmp_path / "trap.pth", {"features.0.weight": Trap()}), ConfigError, "not a file of weights"),
    ]
    for number, (path, kind, says) in enumerate(cases):
        config = make_config(features={"net": "vgg16", "weights": path, "layers": ["relu2_2"]})
        with pytest.raises(kind, match=says):
            train(config, tmp_path / f"run{number}")
    assert not (tmp_path / "sprung").exists(), "a file of weights runs no code"


def test_a_layer_that_is_not_there_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stage9; this network has stage1, stage2, stage3"):
        train(make_config(features={"net": "random", "layers": ["stage9"]}), tmp_path / "run")


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_vgg16_is_kept_in_the_run_and_not_its_place(make_config: MakeConfig, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"vgg.{kind}"
    if kind == "pth":
        torch.save(torchvision_weights(), path)
    else:
        save_file(torchvision_weights(), path)
    config = make_config(features={"net": "vgg16", "weights": path, "layers": ["relu1_2", "relu2_2"]}, steps=2)
    first = train(config, tmp_path / "run")
    one = load_model_file(first.model)
    assert one.header.training["config"]["features"]["weights"] == path.name
    path.unlink()
    first.model.unlink()
    again = train(config, tmp_path / "run")
    for name, value in load_model_file(again.model).weights.items():
        np.testing.assert_array_equal(value, one.weights[name], err_msg=name)


def test_random_features_are_not_trained(make_config: MakeConfig, tmp_path: Path) -> None:
    events: list[str] = []
    config = make_config(features={"net": "random", "layers": ["stage1", "stage2"]}, steps=2)
    train(config, tmp_path / "run", progress=lambda event: events.append(event.stage))
    assert "feature network" not in events
    assert (tmp_path / "run" / "feature_net.safetensors").is_file()
