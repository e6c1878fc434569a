from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.errors import ModelFileError
from superres.nets import Architecture, UNet
from superres.nets.resample import block_mean, cubic_phases, gaussian_taps, pixel_shuffle, separable, upsample_cubic

PRESETS = ("XS", "S", "M", "L")
FACTORS = ((1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 4, 4), (1, 2, 3))


def randomised(preset: str, factor: tuple[int, int, int], *, sigma: float = 2.5, channels: int = 1) -> UNet:
    """A net whose every weight is random: a fresh one is plain interpolation and hides mistakes."""
    torch.manual_seed(0)
    net = UNet(Architecture.of_preset(preset, factor=factor, channels=channels, consistency_sigma=sigma)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("channels", [1, 3])
def test_output_shape(factor: tuple[int, int, int], channels: int) -> None:
    net = randomised("XS", factor, channels=channels)
    assert net(torch.zeros(2, channels, 16, 24)).shape == (2, channels, 16 * factor[1], 24 * factor[2])


@pytest.mark.parametrize("factor", FACTORS)
def test_fresh_net_is_interpolation(factor: tuple[int, int, int]) -> None:
    net = UNet(Architecture.of_preset("XS", factor=factor, consistency_sigma=0))
    low = torch.randn(1, 1, 16, 16)
    assert torch.equal(net(low), net.interpolate(low))


def test_interpolation_agrees_with_torch() -> None:
    low = torch.randn(1, 2, 17, 13, dtype=torch.float32)
    phases = cubic_phases(4)
    expected = torch.nn.functional.interpolate(low, scale_factor=4, mode="bicubic", align_corners=False)
    torch.testing.assert_close(upsample_cubic(low, phases, phases), expected, atol=1e-5, rtol=0)


@given(st.floats(-5, 5), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_interpolation_keeps_constants(value: float, fy: int, fx: int) -> None:
    fine = upsample_cubic(torch.full((1, 1, 6, 7), value), cubic_phases(fy), cubic_phases(fx))
    torch.testing.assert_close(fine, torch.full((1, 1, 6 * fy, 7 * fx), value))


def test_pixel_shuffle_agrees_with_torch() -> None:
    x = torch.randn(2, 18, 5, 4)
    assert torch.equal(pixel_shuffle(x, (3, 3)), torch.nn.functional.pixel_shuffle(x, 3))


@pytest.mark.parametrize("preset", [*PRESETS[:-1], pytest.param(PRESETS[-1], marks=pytest.mark.long)])
def test_receptive_radius_against_gradients(preset: str) -> None:
    """No input voxel beyond the radius moves an output voxel, and one just inside the last stride does."""
    net = randomised(preset, (1, 2, 2))
    radius, stride = net.architecture.receptive_radius, net.architecture.stride
    # Positive weights and inputs: nothing cancels and every ReLU passes, so that the gradient shows the whole field.
    for parameter in net.parameters():
        parameter.data.abs_()
    size = 2 * radius + 4 * stride
    centre = size // 2 // stride * stride
    low = torch.rand(1, 1, size, size, requires_grad=True)
    output = net(low)[0, 0, 2 * centre : 2 * (centre + stride), 2 * centre : 2 * (centre + stride)].sum()
    (gradient,) = torch.autograd.grad(output, low)
    rows = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
    reach = max(centre - int(rows.min()), int(rows.max()) - (centre + stride - 1))
    assert reach <= radius
    # The formula rounds up to the stride and is not wasteful by more than two strides.
    assert reach > radius - 3 * stride


def test_consistency_makes_the_low_pass_follow_the_input() -> None:
    net = randomised("XS", (1, 4, 4), sigma=2.5)
    free = randomised("XS", (1, 4, 4), sigma=0)
    low = torch.rand(1, 1, 64, 64)
    taps = gaussian_taps(8.0)

    def worst(pred: torch.Tensor) -> float:
        gap = separable(block_mean(pred, (4, 4)) - low, taps, taps)
        return float(gap[..., 24:-24, 24:-24].abs().max())

    with torch.no_grad():
        assert worst(net(low)) < 0.1 * worst(free(low))


@pytest.mark.parametrize("factor", [(1, 1, 1), (1, 2, 2)])
def test_what_drifted_between_two_recordings_is_taken_out_of_the_truth(factor: tuple[int, int, int]) -> None:
    """Truth that follows the low image differs from it in detail only, whatever smooth field lies between the two."""
    net = UNet(Architecture.of_preset("XS", factor=factor, consistency_sigma=2.5))
    _, fy, fx = factor
    detail = torch.randn(1, 1, 64 * fy, 64 * fx, generator=torch.Generator().manual_seed(1))
    ramp = torch.linspace(-3, 3, 64 * fx).expand_as(detail)
    low = block_mean(detail, (fy, fx))
    plain, drifted = net.follow(detail, low), net.follow(detail + ramp, low)
    inner = (..., slice(16 * fy, -16 * fy), slice(16 * fx, -16 * fx))
    assert float((drifted - plain)[inner].abs().max()) < 0.05 * float(ramp.max())


def test_shift_by_the_stride_is_exact() -> None:
    net = randomised("S", (1, 3, 3))
    radius, stride = net.architecture.receptive_radius, net.architecture.stride
    # Not below 144 voxels, where torch changes the algorithm of convolutions over one channel.
    low = torch.randn(1, 1, 2 * radius + 48, 2 * radius + 48)
    with torch.no_grad():
        whole, moved = net(low), net(low[:, :, stride:, stride:])
    inner = slice(3 * (radius + stride), 3 * (radius + 20))
    shifted = slice(3 * radius, 3 * (radius + 20 - stride))
    assert torch.equal(whole[..., inner, inner], moved[..., shifted, shifted])


def test_factor_along_z_is_refused() -> None:
    with pytest.raises(ModelFileError, match="two-dimensional"):
        UNet(Architecture.of_preset("XS", factor=(2, 2, 2)))


def test_one_patch_can_be_overfitted() -> None:
    torch.manual_seed(0)
    net = UNet(Architecture.of_preset("XS", factor=(1, 2, 2), consistency_sigma=0))
    high = torch.nn.functional.avg_pool2d(torch.rand(1, 1, 34, 34), 3, stride=1)
    low = block_mean(high, (2, 2))
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    start = float((net(low) - high).square().mean().detach())
    for _ in range(250):
        loss = (net(low) - high).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1 * start


def test_architecture_round_trip() -> None:
    architecture = Architecture.of_preset("M", factor=(1, 4, 4))
    import json

    assert Architecture.from_json(json.loads(json.dumps(architecture.to_json()))) == architecture


def test_what_a_prediction_rests_on_is_not_rounded_by_autocast() -> None:
    """At initialisation a net is interpolation, also where its layers work in bfloat16."""
    net = UNet(Architecture((1, 4, 4), 1, widths=(8, 12), blocks=1, middle_blocks=1, consistency_sigma=2.0))
    low = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = net.interpolate(low)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(net.interpolate(low), exact, rtol=0, atol=0)
            torch.testing.assert_close(net(low), net.follow(exact, low), rtol=0, atol=1e-6)
