"""Norms, DropBlock and self-attention: off they change nothing, on they do what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from superres.nets import Architecture, UNet
from superres.nets.layers import drop_blocks

THIN: dict[str, Any] = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "channels": 1, "consistency_sigma": 0.0}


def net_with(**options: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(Architecture(factor=(1, 2, 2), **THIN | options))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "options", [{"norm": "weight"}, {"norm": "spectral"}, {"norm": "batch"}, {"dropblock": 0.2}, {"attention": True}]
)
def test_a_fresh_net_is_interpolation_and_learns(options: dict[str, Any], dimensions: int) -> None:
    net = net_with(dimensions=dimensions, **options)
    low = torch.rand(2, 1, *(8,) * dimensions)
    assert torch.equal(net(low), net.interpolate(low))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d) and not module.weight.any():
                module.weight.normal_(std=0.1)
    net(low).square().mean().backward()
    gradients = [p.grad for p in net.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    again = net_with(dimensions=dimensions, **options)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(low), net.eval()(low))


def test_without_options_nothing_is_drawn_or_added() -> None:
    plain, dropping = net_with(), net_with(dropblock=0.3)
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, dropping.state_dict()[name])
    low = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        for net in (plain, dropping):
            for parameter in net.parameters():
                parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
    assert not torch.equal(plain(low), dropping(low)), "drops while training"
    assert torch.equal(plain.eval()(low), dropping.eval()(low)), "and not after"


def test_spectral_norm_has_the_largest_singular_value_1() -> None:
    net = net_with(norm="spectral")
    low = torch.rand(1, 1, 16, 16)
    for _ in range(30):
        net(low)
    weight = net.eval().middle[0].first.weight
    assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("dims", [2, 3])
def test_blocks_are_dropped_and_the_rest_scaled_up(dims: int) -> None:
    torch.manual_seed(0)
    ones = torch.ones(2, 40, *(24,) * dims)
    dropped = drop_blocks(ones, 0.2)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(0.2, abs=0.04)
    assert float(dropped.mean()) == pytest.approx(1, abs=1e-4)


def test_what_breaks_exact_tiling_declares_it() -> None:
    for options in ({}, {"norm": "weight"}, {"norm": "spectral"}, {"norm": "batch"}, {"dropblock": 0.1}):
        assert net_with(**options).architecture.exact_tiling
    attending = net_with(attention=True).architecture
    assert not attending.exact_tiling
    assert attending.to_json()["exact_tiling"] is False
    assert Architecture.from_json(attending.to_json()) == attending
