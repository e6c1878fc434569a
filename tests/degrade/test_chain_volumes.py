"""Volumes are degraded along Z too, planes and channels with noise of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superres.config import DegradeStep
from superres.degrade import degrade, degrade_image
from superres.errors import ConfigError


def run(high: torch.Tensor, *steps: dict[str, object], factor: tuple[int, int, int] = (1, 1, 1)) -> torch.Tensor:
    chain = tuple(DegradeStep.model_validate(step) for step in steps)
    return degrade(high, chain, factor=factor, generator=torch.Generator().manual_seed(0))


def test_blur_of_a_point_has_its_sigma_along_each_axis() -> None:
    point = torch.zeros(2, 1, 41, 41, 41)
    point[:, :, 20, 20, 20] = 1
    spread = run(point, {"blur": {"sigma": 1.5, "axial_sigma": 3.0}})[1, 0].double()
    distance = torch.arange(-20, 21).double()
    for axis, sigma in enumerate((3.0, 1.5, 1.5)):
        profile = spread.sum(dim=[a for a in range(3) if a != axis])
        assert float(profile.sum()) == pytest.approx(1, abs=1e-5)
        assert float((profile * distance**2).sum()) ** 0.5 == pytest.approx(sigma, rel=0.02)


def test_no_axial_sigma_leaves_planes_as_they_are_alone() -> None:
    high = torch.rand(1, 1, 5, 16, 16)
    whole = run(high, {"blur": {"sigma": 1.2}})
    for z in range(5):
        torch.testing.assert_close(whole[:, :, z], run(high[:, :, z], {"blur": {"sigma": 1.2}}))


@pytest.mark.parametrize("factor", [(2, 2, 2), (3, 1, 2), (4, 2, 1)])
def test_binning_averages_blocks(factor: tuple[int, int, int]) -> None:
    high = torch.rand(2, 2, 12, 12, 12)
    expected = torch.nn.functional.avg_pool3d(high, factor)
    torch.testing.assert_close(run(high, {"downsample": "binning"}, factor=factor), expected)


@pytest.mark.parametrize("fz", [2, 3, 4])
def test_subsampling_keeps_the_middle_of_the_planes(fz: int) -> None:
    ramp = torch.arange(12.0).view(1, 1, 12, 1, 1).expand(1, 1, 12, 2, 2)
    low = run(ramp, {"downsample": "subsampling"}, factor=(fz, 1, 1))
    torch.testing.assert_close(low[0, 0, :, 0, 0], torch.arange(12 // fz) * float(fz) + (fz - 1) / 2)


@pytest.mark.parametrize("shape", [(1, 3, 600, 32), (1, 1, 3, 600, 32)])
def test_frames_and_planes_have_noise_of_their_own(shape: tuple[int, ...]) -> None:
    ramp = torch.linspace(0.2, 1, 32).expand(shape).contiguous()
    for step in ({"read_noise": {"sd": 0.1}}, {"poisson": {"photons": 50}}, {"line_jitter": {"sd": 1.0}}):
        noise = (run(ramp, step) - ramp).reshape(3, -1)
        correlation = torch.corrcoef(noise)
        assert float((correlation - torch.eye(3)).abs().max()) < 0.2


def test_single_planes_are_not_blurred_along_z() -> None:
    with pytest.raises(ConfigError, match="single planes"):
        run(torch.rand(1, 1, 8, 8), {"blur": {"sigma": 1.0, "axial_sigma": 1.0}})
    with pytest.raises(ConfigError, match="single planes"):
        run(torch.rand(1, 1, 8, 8), {"downsample": "binning"}, factor=(2, 1, 1))


def test_image_of_volumes_on_its_grey_scale() -> None:
    high = np.random.default_rng(0).uniform(50, 250, (2, 6, 8, 8))
    steps = (DegradeStep.model_validate({"downsample": "binning"}),)
    low = degrade_image(high, steps, factor=(3, 2, 2), grey_range=(0, 255))
    np.testing.assert_allclose(low, high.reshape(2, 2, 3, 4, 2, 4, 2).mean(axis=(2, 4, 6)), atol=1e-3)
