"""Nets whose layers work on the high grid: the radius, the stride and the residual come out right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from superres.config import ModelConfig
from superres.errors import ModelFileError
from superres.nets import Architecture, UNet

THIN: dict[str, Any] = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "channels": 1, "grid": "high"}


def net_on_the_high_grid(factor: tuple[int, int, int], sigma: float = 0.0, **options: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(Architecture(factor=factor, consistency_sigma=sigma, **THIN | options))


@pytest.mark.parametrize(("factor", "stride"), [((1, 4, 4), 1), ((1, 2, 2), 2), ((1, 3, 3), 4), ((1, 2, 3), 4)])
def test_the_stride_is_that_of_the_layers_seen_on_the_low_grid(factor: tuple[int, int, int], stride: int) -> None:
    net = net_on_the_high_grid(factor)
    assert net.architecture.strides == (1, stride, stride)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    radius = net.architecture.receptive_radius
    side = (2 * radius + 60) // 4 * 4
    low = torch.rand(1, 1, side, side)
    with torch.no_grad():
        whole, moved = net(low), net(low[:, :, 4:, stride:])
    fy, fx = factor[1:]
    inner = (slice(radius * fy, (radius + 40) * fy), slice(radius * fx, (radius + 40) * fx))
    shifted = (
        slice((radius + 4) * fy, (radius + 44) * fy),
        slice((radius + stride) * fx, (radius + 40 + stride) * fx),
    )
    assert torch.equal(moved[..., inner[0], inner[1]], whole[..., shifted[0], shifted[1]])


@pytest.mark.parametrize("factor", [(1, 4, 4), (1, 2, 2), (1, 2, 3)])
@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_receptive_radius_against_gradients(factor: tuple[int, int, int], sigma: float) -> None:
    """No voxel beyond the radius moves what lies over a low voxel, and the formula wastes little."""
    net = net_on_the_high_grid(factor, sigma)
    radius, stride = net.architecture.receptive_radius, net.architecture.stride
    for parameter in net.parameters():  # nothing cancels, and every ReLU passes
        torch.nn.init.normal_(parameter, std=0.05)
        parameter.data.abs_()
    centre, (fy, fx) = (radius + 8) // 4 * 4, factor[1:]
    low = torch.rand(1, 1, 2 * centre + 4, 2 * centre + 4, requires_grad=True)
    seen = net(low)[0, 0, fy * centre : fy * (centre + stride), fx * centre : fx * (centre + stride)].sum()
    (gradient,) = torch.autograd.grad(seen, low)
    reach = 0
    for axis in (0, 1):
        places = gradient[0, 0].abs().sum(dim=axis).nonzero().flatten()
        reach = max(reach, centre - int(places.min()), int(places.max()) - (centre + stride - 1))
    assert radius - 3 * stride - 2 < reach <= radius


@pytest.mark.parametrize("interval", [False, True])
def test_a_fresh_net_is_interpolation_and_all_of_it_learns(interval: bool) -> None:
    net = net_on_the_high_grid((1, 2, 2), interval=interval)
    low = torch.rand(2, 1, 8, 8)
    assert torch.equal(net(low), net.interpolate(low))
    if interval:
        _, below, above = net.with_interval(low)
        assert below.shape == above.shape == (2, 1, 16, 16)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
                module.weight.normal_(std=0.1)
    net(low).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.main_parameters())


def test_frames_are_interpolated_and_one_is_predicted() -> None:
    net = net_on_the_high_grid((1, 2, 2), frames=3, target=1)
    assert net.stem.in_channels == 3
    low = torch.rand(1, 3, 8, 8)
    np.testing.assert_array_equal(net(low).detach(), net.interpolate(low[:, 1:2]))


def test_architectures_without_a_grid_are_read_and_written_as_before() -> None:
    content = {"factor": [1, 2, 2], "channels": 1, "widths": [8, 12], "blocks": 1, "middle_blocks": 1}
    old = Architecture.from_json(content | {"consistency_sigma": 1.0})
    assert old.grid == "low"
    assert "grid" not in old.to_json()
    high = net_on_the_high_grid((1, 2, 2)).architecture
    assert high.to_json()["grid"] == "high"
    assert Architecture.from_json(high.to_json()) == high


def test_three_dimensions_are_refused() -> None:
    with pytest.raises(ValidationError, match="dimensions=2"):
        ModelConfig(grid="high", dimensions=3)
    with pytest.raises(ModelFileError, match="grid low"):
        UNet(Architecture.of_preset("XS", factor=(1, 2, 2), dimensions=3, grid="high"))
