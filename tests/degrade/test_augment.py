"""What patches are turned into: inverted, softer, noisier; and that what is off changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from superres.config import Augment, DegradeStep
from superres.degrade import degrade
from superres.degrade.augment import inverted, noise_factors, softened


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=generator(seed))


@pytest.mark.parametrize(("black", "width"), [(0.0, 1.0), (0.1, 0.2), (-0.5, 2.0)])
def test_inversion_exchanges_black_and_white(black: float, width: float) -> None:
    """Black becomes white, white black, and doing it twice changes nothing."""
    high = torch.stack([torch.full((1, 4, 4), black), torch.full((1, 4, 4), black + width)])
    limits = {"black": torch.full((2, 1, 1, 1), black), "white": torch.full((2, 1, 1, 1), black + width)}
    always = Augment(inversion=1)
    once, _ = inverted(high, None, always, generator(), **limits)
    torch.testing.assert_close(once, high.flip(0), atol=1e-6, rtol=0)
    twice, _ = inverted(once, None, always, generator(), **limits)
    torch.testing.assert_close(twice, high, atol=1e-6, rtol=0)


def test_a_recording_is_inverted_with_its_truth() -> None:
    high = noise(40, 2, 8, 8)
    low = high + 0.1 * noise(40, 2, 8, 8, seed=1)
    changed, recorded = inverted(high, low, Augment(inversion=0.5), generator())
    assert recorded is not None
    untouched = (changed == high).flatten(1).all(dim=1)
    assert 8 <= int(untouched.sum()) <= 32
    assert torch.equal(recorded[untouched], low[untouched])
    torch.testing.assert_close(recorded[~untouched] - changed[~untouched], high[~untouched] - low[~untouched])


@pytest.mark.parametrize("shape", [(3, 2, 24, 30), (3, 2, 4, 24, 30)])
def test_softening_is_a_gaussian_within_planes(shape: tuple[int, ...]) -> None:
    """The Gaussian filter of scipy, cut off at 3 sigma too, says the same."""
    high = noise(*shape)
    soft = softened(high, Augment(softer=1, softer_sigma=(2.0, 2.0)), generator())
    sigma = (0,) * (len(shape) - 2) + (2, 2)
    expected = gaussian_filter(high.double().numpy(), sigma, mode="nearest", truncate=3)
    np.testing.assert_allclose(soft.numpy(), expected, atol=1e-5)


def test_softness_differs_from_patch_to_patch_and_spares_some() -> None:
    high = noise(60, 1, 32, 32)
    soft = softened(high, Augment(softer=0.5, softer_sigma=(0.5, 2.0)), generator())
    spared = (soft == high).flatten(1).all(dim=1)
    assert 15 <= int(spared.sum()) <= 45, "every bit of those that are not chosen stays"
    left = soft[~spared].flatten(1).std(dim=1) / high[~spared].flatten(1).std(dim=1)
    # Gaussians of 0.5 and 2 voxels keep 0.64 and 0.14 of the standard deviation of white noise.
    assert 0.1 < float(left.min()) < 0.25
    assert 0.45 < float(left.max()) < 0.7


def test_half_the_noise_is_as_likely_as_double() -> None:
    factors = noise_factors(noise(4000, 1, 2, 2), Augment(noise=(0.5, 2.0)), generator())
    assert factors.shape == (4000, 1, 1, 1)
    assert 0.5 <= float(factors.min()) < 0.51
    assert 1.98 < float(factors.max()) <= 2.0
    # the mean logarithm of 4000 draws scatters by ln 4 / sqrt(12 * 4000)
    assert abs(float(factors.log().mean())) < 4 * np.log(4) / np.sqrt(12 * 4000)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_noise_goes_with_its_factor(factor: float) -> None:
    """Variance of counts and of the detector goes with the square; the mean stays."""
    steps = (
        DegradeStep.model_validate({"poisson": {"photons": 50}}),
        DegradeStep.model_validate({"read_noise": {"sd": 0.05}}),
    )
    high = torch.full((1, 1, 200, 200), 0.5)
    low = degrade(high, steps, factor=(1, 1, 1), generator=generator(), noise=torch.full((1, 1, 1, 1), factor))
    assert float(low.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(low.var()) == pytest.approx(factor**2 * (0.5 / 50 + 0.05**2), rel=0.05)
    if factor == 1:
        assert torch.equal(low, degrade(high, steps, factor=(1, 1, 1), generator=generator()))


@pytest.mark.parametrize("wrong", [{"noise": (0.0, 1.0)}, {"softer_sigma": (-1.0, 1.0)}, {"inversion": 1.5}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Augment.model_validate(wrong)
