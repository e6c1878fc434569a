"""The same net with neighbouring images as further inputs, and in three dimensions."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from superres.errors import ModelFileError
from superres.nets import Architecture, UNet
from superres.nets.device import autocast
from superres.nets.resample import bicubic, block_mean, pixel_shuffle

DEEP = (2, 3, 2)
# Narrow and shallow: the laws do not depend on the width, and three dimensions take long.
THIN = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1}


def thin(factor: tuple[int, int, int], *, sigma: float = 0.0, **kind: Any) -> Architecture:
    return Architecture(factor=factor, consistency_sigma=sigma, **{"channels": 1} | THIN | kind)


def random_net(architecture: Architecture) -> UNet:
    """A net whose every weight is random: a fresh one is plain interpolation and hides mistakes."""
    torch.manual_seed(0)
    net = UNet(architecture).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


# --- neighbouring images ---------------------------------------------------------------------------------------------


def test_fresh_net_interpolates_the_predicted_frame() -> None:
    architecture = Architecture.of_preset("XS", factor=(1, 2, 2), consistency_sigma=0, frames=5, target=2)
    low = torch.randn(2, 5, 16, 24)
    torch.testing.assert_close(UNet(architecture)(low), UNet(architecture).interpolate(low[:, 2:3]), atol=0, rtol=0)


def test_every_frame_is_seen_and_one_is_followed() -> None:
    net = random_net(Architecture.of_preset("XS", factor=(1, 2, 2), frames=3, target=1))
    low = torch.rand(1, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(low)[..., 16, 16].sum(), low)
    assert (gradient.abs().amax(dim=(0, 2, 3)) > 0).all()
    pred, frames = torch.rand(1, 1, 32, 32), low.detach()
    assert torch.equal(net.follow(pred, frames), net.follow(pred, frames[:, 1:2]))


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_widen_the_first_layer_only(frames: int) -> None:
    one = UNet(Architecture.of_preset("S", factor=(1, 4, 4)))
    several = UNet(Architecture.of_preset("S", factor=(1, 4, 4), frames=frames, target=frames // 2))
    sizes = [{name: p.shape for name, p in net.named_parameters()} for net in (one, several)]
    assert {name for name in sizes[0] if sizes[0][name] != sizes[1][name]} <= {"stem.weight"}
    assert sizes[0].keys() == sizes[1].keys()
    assert several.architecture.receptive_radii == one.architecture.receptive_radii


# --- three dimensions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [(1, 1, 1), (1, 2, 2), (2, 1, 1), (2, 3, 2), (4, 1, 2)])
@pytest.mark.parametrize("channels", [1, 2])
def test_shape_of_volumes(factor: tuple[int, int, int], channels: int) -> None:
    net = random_net(thin(factor, channels=channels, interval=True, dimensions=3))
    parts = net.with_interval(torch.zeros(1, channels, 6, 8, 12))
    assert [part.shape[2:] for part in parts] == [(6 * factor[0], 8 * factor[1], 12 * factor[2])] * 3
    assert all(part.shape[:2] == (1, channels) for part in parts)


def test_fresh_net_of_three_dimensions_is_interpolation() -> None:
    net = UNet(thin(DEEP, dimensions=3))
    low = torch.randn(1, 1, 4, 8, 8)
    assert torch.equal(net(low), net.interpolate(low))


@given(factor=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_cubic_interpolation_is_separable(factor: tuple[int, int, int], seed: int) -> None:
    """Of a product of one function per axis it is the product of the functions interpolated each on its own."""
    torch.manual_seed(seed)
    lines = [torch.randn(n) for n in (5, 6, 7)]

    def product(parts: list[Tensor]) -> Tensor:
        return (parts[0][:, None, None] * parts[1][:, None] * parts[2])[None, None]

    fine = [bicubic(line.view(1, 1, 1, -1), (1, f))[0, 0, 0] for line, f in zip(lines, factor, strict=True)]
    torch.testing.assert_close(bicubic(product(lines), factor), product(fine), atol=1e-5, rtol=1e-5)


def test_shuffle_puts_each_part_into_its_place() -> None:
    x = torch.randn(2, 3 * 12, 2, 3, 4)
    shuffled = pixel_shuffle(x, DEEP)
    for number, (z, y, x_) in enumerate((z, y, x_) for z in range(2) for y in range(3) for x_ in range(2)):
        assert torch.equal(shuffled[:, :, z::2, y::3, x_::2], x[:, number::12])
    assert torch.equal(block_mean(shuffled, DEEP), torch.nn.functional.avg_pool3d(shuffled, DEEP))


@pytest.mark.parametrize("depths", [(1, 1), (2, 2)])
def test_receptive_radii_against_gradients(depths: tuple[int, int]) -> None:
    """No input voxel beyond the radius moves an output voxel, along each axis, and one near it does."""
    kind = {"blocks": depths[0], "middle_blocks": depths[1], "dimensions": 3}
    net = random_net(thin((2, 1, 1), sigma=1.0, **kind))
    for parameter in net.parameters():
        parameter.data.abs_()
    radii, strides = net.architecture.receptive_radii, net.architecture.strides
    for axis in range(3):
        size = [2 * s for s in strides]
        size[axis] = 2 * radii[axis] + 4 * strides[axis]
        centre = size[axis] // 2 // strides[axis] * strides[axis]
        low = torch.rand(1, 1, *size, requires_grad=True)
        f = 2 if axis == 0 else 1
        output = net(low).narrow(2 + axis, f * centre, f * strides[axis]).sum()
        (gradient,) = torch.autograd.grad(output, low)
        others = tuple(d for d in range(5) if d != 2 + axis)
        touched = gradient.abs().sum(dim=others).nonzero().flatten()
        reach = max(centre - int(touched.min()), int(touched.max()) - (centre + strides[axis] - 1))
        assert radii[axis] - 3 * strides[axis] < reach <= radii[axis]


def test_first_pooling_leaves_z_alone() -> None:
    architecture = Architecture.of_preset("M", factor=(1, 2, 2), dimensions=3)
    assert architecture.poolings == ((1, 2, 2), (2, 2, 2))
    assert architecture.strides == (2, 4, 4)


def test_shift_of_a_volume_along_z_by_the_stride_is_exact() -> None:
    axis = 0
    net = random_net(Architecture.of_preset("XS", factor=DEEP, dimensions=3, consistency_sigma=0))
    radii, strides = net.architecture.receptive_radii, net.architecture.strides
    size = [2 * radius + 2 * stride for radius, stride in zip(radii, strides, strict=True)]
    low = torch.randn(1, 1, *size)
    moved = low.narrow(2 + axis, strides[axis], size[axis] - strides[axis])
    with torch.no_grad():
        whole, part = net(low), net(moved)
    for other in range(3):
        start = DEEP[other] * radii[other]
        length = DEEP[other] * strides[other]
        whole = whole.narrow(2 + other, start + (length if other == axis else 0), length)
        part = part.narrow(2 + other, start, length)
    assert whole.std() > 0
    assert torch.equal(whole, part)


def gradients(net: UNet, low: Tensor, context: AbstractContextManager[Any]) -> Tensor:
    net.zero_grad()
    with context:
        pred = net(low)
    pred.float().square().mean().backward()  # type: ignore[no-untyped-call]
    return torch.cat([one.grad.flatten() for one in net.parameters() if one.grad is not None])


@pytest.mark.parametrize("planes", [2, 4, 8])
def test_gradients_in_three_dimensions_are_whole(planes: int) -> None:
    """As training takes them; where the hardware rounds, those of two planes would be of memory that nobody wrote."""
    net, low = random_net(thin((2, 2, 2), dimensions=3)), torch.rand(2, 1, planes, 8, 8)
    wanted = gradients(net, low, nullcontext())
    for _ in range(3):
        found = gradients(net, low, autocast(torch.device("cpu"), trains_dimensions=3))
        assert float((found - wanted).norm() / wanted.norm()) < 1e-5


def test_factor_along_z_needs_three_dimensions() -> None:
    with pytest.raises(ModelFileError, match="two-dimensional"):
        UNet(Architecture.of_preset("XS", factor=(2, 2, 2)))


# --- model files -----------------------------------------------------------------------------------------------------


def test_old_headers_are_read_and_plain_nets_write_them() -> None:
    old = {"factor": [1, 2, 2], "channels": 1, "widths": [32, 48, 64], "blocks": 1, "middle_blocks": 2}
    old |= {"consistency_sigma": 2.5, "interval": False}
    assert Architecture.from_json(old) == Architecture.of_preset("XS", factor=(1, 2, 2))
    assert json.loads(json.dumps(Architecture.of_preset("XS", factor=(1, 2, 2)).to_json())) == old


def test_what_is_new_comes_back() -> None:
    for architecture in (
        Architecture.of_preset("XS", factor=(2, 2, 2), dimensions=3),
        Architecture.of_preset("S", factor=(1, 2, 2), frames=3, target=1),
    ):
        assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture
