from __future__ import annotations

import pytest
import torch
from skimage import data

from superres.config import DegradeStep
from superres.degrade import degrade
from superres.degrade.chain import middle
from superres.degrade.moments import moments

CHAINS = {
    "binned counts": [{"downsample": "binning"}, {"poisson": {"photons": [100, 200]}}, {"read_noise": {"sd": 0.03}}],
    "scanned": [{"blur": {"sigma": 1.5}}, {"downsample": "subsampling"}, {"poisson": {"photons": 60}}],
    "noise before binning": [{"poisson": {"photons": 20}}, {"downsample": "binning"}],
    "noise before sub-sampling": [{"read_noise": {"sd": 0.1}}, {"downsample": "subsampling"}],
    "detector": [{"poisson": {"photons": 80}}, {"read_noise": {"sd": 0.02, "gain": 1.7, "offset": 0.2}}],
    "haze": [{"blur": {"sigma": 0.8, "haze": 0.5, "haze_sigma": 3}}, {"poisson": {"photons": 60}}],
    "noise before haze": [{"read_noise": {"sd": 0.1}}, {"blur": {"sigma": 0.6, "haze": 0.4, "haze_sigma": 2}}],
    "noise before blur": [{"read_noise": {"sd": 0.1}}, {"blur": {"sigma": 1.0}}],
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("factor", [(1, 2, 2), (1, 3, 3), (1, 4, 2)])
def test_moments_are_those_of_many_recordings(name: str, factor: tuple[int, int, int]) -> None:
    uses_factor = any("downsample" in step for step in CHAINS[name])
    factor = factor if uses_factor else (1, 1, 1)
    steps = tuple(DegradeStep.model_validate(step) for step in CHAINS[name])
    image = torch.from_numpy(data.camera()[:48, :48] / 255.0).float()[None, None]  # type: ignore[no-untyped-call]
    many = image.expand(3000, 1, 48, 48)
    recorded = degrade(many, middle(steps), factor=factor, generator=torch.Generator().manual_seed(1))
    mean, variance = moments(image, steps, factor=factor)
    error = (recorded.mean(dim=0) - mean[0]) / (variance[0] / 3000).sqrt().clamp_min(1e-6)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    scatter = (2 / error[inner].numel()) ** 0.5
    assert float((error[inner] ** 2).mean()) == pytest.approx(1, abs=5 * scatter)
    ratio = recorded.var(dim=0)[inner] / variance[0][inner].clamp_min(1e-9)
    bright = variance[0][inner] > 1e-6
    assert float(ratio[bright].mean()) == pytest.approx(1, abs=0.02)


def test_line_jitter_scatters_edges_and_leaves_flat_areas() -> None:
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64).contiguous()
    steps = (DegradeStep.model_validate({"line_jitter": {"sd": 0.5}}),)
    recorded = degrade(ramp.expand(500, 1, 64, 64), steps, factor=(1, 1, 1), generator=torch.Generator().manual_seed(2))
    _, variance = moments(ramp, steps, factor=(1, 1, 1))
    inner = (..., slice(4, -4))
    assert float(recorded.var(dim=0)[inner].mean() / variance[0][inner].mean()) == pytest.approx(1, abs=0.03)
    flat = torch.full((1, 1, 16, 16), 0.3)
    assert float(moments(flat, steps, factor=(1, 1, 1))[1].abs().max()) == 0


def test_nothing_but_a_mean_without_noise() -> None:
    high = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(3))
    steps = tuple(DegradeStep.model_validate(s) for s in ({"blur": {"sigma": 0.7}}, {"downsample": "binning"}))
    mean, variance = moments(high, steps, factor=(1, 2, 2))
    exact = degrade(high, steps, factor=(1, 2, 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean, exact)
    assert float(variance.abs().max()) == 0
