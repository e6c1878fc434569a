"""The interval head changes nothing of the net that it sits on, and its half-widths are never negative."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.errors import ModelFileError
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.nets import Architecture, UNet, net_from_model_file


def make(*, interval: bool, factor: tuple[int, int, int] = (1, 2, 2), sigma: float = 2.5, channels: int = 1) -> UNet:
    torch.manual_seed(3)
    return UNet(
        Architecture.of_preset("XS", factor=factor, consistency_sigma=sigma, channels=channels, interval=interval)
    )


def randomised(net: UNet, std: float = 0.05) -> UNet:
    torch.manual_seed(5)
    for parameter in [*net.main_parameters(), *([] if net.interval_head is None else net.interval_head.parameters())]:
        torch.nn.init.normal_(parameter, std=std)
    return net


def test_a_net_with_a_head_starts_and_predicts_as_one_without() -> None:
    plain = make(interval=False)
    after = torch.rand(3)
    net = make(interval=True)
    assert torch.equal(torch.rand(3), after), "a head must draw nothing from the random numbers of the training"
    for (name, a), (_, b) in zip(plain.state_dict().items(), net.state_dict().items(), strict=False):
        assert torch.equal(a, b), name
    plain, net = randomised(plain), randomised(net)
    low = torch.rand(2, 1, 24, 32)
    assert torch.equal(net(low), plain(low))
    assert torch.equal(net.with_interval(low)[0], plain(low))


def test_no_gradient_reaches_the_net() -> None:
    net = randomised(make(interval=True))
    low = torch.rand(1, 1, 16, 16, requires_grad=True)
    _, below, above = net.with_interval(low)
    (below.sum() + above.sum()).backward()
    assert low.grad is None
    assert all(parameter.grad is None for parameter in net.main_parameters())
    assert net.interval_head is not None
    assert all(parameter.grad is not None for parameter in net.interval_head.parameters())


@given(st.integers(0, 1000), st.sampled_from([0.05, 0.5]), st.sampled_from([(1, 1, 1), (1, 2, 3)]), st.booleans())
@settings(max_examples=15, deadline=None)
def test_half_widths_are_never_negative(seed: int, std: float, factor: tuple[int, int, int], constant: bool) -> None:
    net = randomised(make(interval=True, factor=factor, channels=2), std)
    generator = torch.Generator().manual_seed(seed)
    low = torch.full((1, 2, 16, 16), seed / 100) if constant else 3 * torch.randn(1, 2, 16, 16, generator=generator)
    with torch.no_grad():
        pred, below, above = net.with_interval(low)
    assert pred.shape == below.shape == above.shape == (1, 2, 16 * factor[1], 16 * factor[2])
    for half in (below, above):
        assert torch.isfinite(half).all()
        assert (half >= 0).all()


@pytest.mark.parametrize("sigma", [0.0, 2.5])
def test_half_widths_see_no_further_than_the_receptive_radius(sigma: float) -> None:
    """Without the consistency layer the radius is the head's and the tail's; gradients cannot show it, changes do."""
    net = randomised(make(interval=True, sigma=sigma), 0.2).eval()
    radius, stride = net.architecture.receptive_radius, net.architecture.stride
    size = 2 * radius + 6 * stride
    low = torch.rand(1, 1, size, size)
    far = low.clone()
    far[..., radius + stride :] += 1
    with torch.no_grad():
        before, after = net.with_interval(low)[1], net.with_interval(far)[1]
    assert torch.equal(before[..., : 2 * stride], after[..., : 2 * stride])
    assert not torch.equal(before, after)


def test_a_net_without_a_head_says_how_to_get_one() -> None:
    with pytest.raises(ModelFileError, match=r"model\.interval=true"):
        make(interval=False).with_interval(torch.rand(1, 1, 16, 16))


def test_files_from_before_the_head_are_read(tmp_path: Path) -> None:
    net = randomised(make(interval=False)).eval()
    architecture = {name: value for name, value in net.architecture.to_json().items() if name != "interval"}
    header = ModelHeader("old", architecture, (1, 2, 2), 1, (0, 44, 44), (1, 4, 4), {})
    save_model_file(tmp_path / "old.safetensors", header, {k: v.numpy() for k, v in net.state_dict().items()})
    read = net_from_model_file(load_model_file(tmp_path / "old.safetensors"))
    low = torch.rand(1, 1, 16, 16)
    assert read.interval_head is None
    assert torch.equal(read(low), net(low))
