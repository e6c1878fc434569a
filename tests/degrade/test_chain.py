from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.config import Augment, DegradeStep
from superres.degrade import augment_range, degrade, degrade_image
from superres.errors import ConfigError, InputError

BINNING = DegradeStep(downsample="binning")
SAMPLING = DegradeStep(downsample="subsampling")


def step(**content: object) -> DegradeStep:
    return DegradeStep.model_validate(content)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(
    high: torch.Tensor, *steps: DegradeStep, factor: tuple[int, int, int] = (1, 1, 1), seed: int = 0
) -> torch.Tensor:
    return degrade(high, steps, factor=factor, generator=generator(seed))


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from(["binning", "subsampling"]))
@settings(max_examples=25, deadline=None)
def test_downsampling_keeps_a_ramp_in_place(fy: int, fx: int, how: str) -> None:
    """Low voxel i is the value at the centre of its block: the convention of the written grid."""
    y, x = torch.meshgrid(torch.arange(fy * 6.0), torch.arange(fx * 7.0), indexing="ij")
    low = run((y + 100 * x)[None, None], step(downsample=how), factor=(1, fy, fx))
    cy, cx = torch.meshgrid((torch.arange(6) + 0.5) * fy - 0.5, (torch.arange(7) + 0.5) * fx - 0.5, indexing="ij")
    torch.testing.assert_close(low[0, 0], cy + 100 * cx)


@pytest.mark.parametrize(("how", "expected"), [("binning", 0.25), ("subsampling", 0.5)])
def test_the_operator_sets_the_noise_that_comes_before_it(how: str, expected: float) -> None:
    noise = torch.randn(1, 1, 1024, 1024, generator=generator())
    assert float(run(noise, step(downsample=how), factor=(1, 4, 4)).std()) == pytest.approx(expected, rel=0.03)


def test_sampling_by_an_odd_factor_keeps_the_noise() -> None:
    noise = torch.randn(1, 1, 999, 999, generator=generator())
    assert float(run(noise, SAMPLING, factor=(1, 3, 3)).std()) == pytest.approx(1, rel=0.03)


def test_order_of_noise_and_binning_matters() -> None:
    flat = torch.full((1, 1, 512, 512), 0.5)
    counting = step(poisson={"photons": 100})
    before = run(flat, counting, BINNING, factor=(1, 4, 4)).std()
    after = run(flat, BINNING, counting, factor=(1, 4, 4)).std()
    assert float(after / before) == pytest.approx(4, rel=0.1)


@given(st.floats(0.1, 1.0), st.floats(20, 500))
@settings(max_examples=15, deadline=None)
def test_poisson_has_the_variance_of_counting(level: float, photons: float) -> None:
    counted = run(torch.full((1, 1, 256, 256), level), step(poisson={"photons": photons}))
    assert float(counted.mean()) == pytest.approx(level, rel=0.05)
    assert float(counted.var()) == pytest.approx(level / photons, rel=0.1)


def test_values_below_black_are_not_lost_by_counting() -> None:
    low = run(torch.full((1, 1, 8, 8), -0.25), step(poisson={"photons": 100}))
    assert torch.equal(low, torch.full((1, 1, 8, 8), -0.25))


def test_detector_gain_offset_and_noise() -> None:
    noisy = run(torch.full((1, 1, 256, 256), 0.5), step(read_noise={"sd": 0.1, "gain": 2, "offset": 0.3}))
    assert float(noisy.mean()) == pytest.approx(1.3, abs=0.01)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_blur_is_the_gaussian_of_scipy(sigma: float) -> None:
    from scipy.ndimage import gaussian_filter

    image = torch.rand(2, 1, 40, 50, generator=generator(), dtype=torch.float32)
    blurred = run(image, step(blur={"sigma": sigma}))
    for one, expected in zip(blurred, image, strict=True):
        radius = int(np.ceil(3 * sigma))
        reference = gaussian_filter(expected[0].numpy(), sigma, mode="nearest", radius=radius)
        np.testing.assert_allclose(one[0].numpy(), reference, atol=1e-5)


def test_blur_by_optics_uses_the_voxel_size() -> None:
    """The width is 0.21 wavelength / NA = 0.105 micrometre, which is 2.1 voxels of 50 nm."""
    image = torch.zeros(1, 1, 41, 41)
    image[..., 20, 20] = 1
    optics = step(blur={"na": 1.0, "wavelength": 0.5})
    by_optics = degrade(image, (optics,), factor=(1, 1, 1), generator=generator(), voxel_sizes=[(None, 0.05, 0.05)])
    torch.testing.assert_close(by_optics, run(image, step(blur={"sigma": 2.1})), atol=1e-6, rtol=1e-4)
    with pytest.raises(ConfigError, match="voxel size"):
        degrade(image, (optics,), factor=(1, 1, 1), generator=generator(), voxel_sizes=[(None, None, None)])


def test_line_jitter_shifts_whole_lines() -> None:
    columns = torch.arange(64.0).expand(1, 1, 200, 64)
    shift = run(columns, step(line_jitter={"sd": 1.5})) - columns
    inner = shift[..., 10:-10]
    assert float((inner - inner.mean(dim=-1, keepdim=True)).abs().max()) < 1e-3
    assert float(inner.mean(dim=-1).std()) == pytest.approx(1.5, rel=0.2)


@given(st.booleans(), st.booleans())
@settings(deadline=None)
def test_noise_free_chain_commutes_with_flips(flip_y: bool, flip_x: bool) -> None:
    dims = [d for d, flag in ((2, flip_y), (3, flip_x)) if flag]
    image = torch.rand(1, 1, 24, 36, generator=generator())
    steps = (step(blur={"sigma": 1.3}), BINNING)
    torch.testing.assert_close(
        run(image.flip(dims), *steps, factor=(1, 4, 4)), run(image, *steps, factor=(1, 4, 4)).flip(dims)
    )


def test_seed_decides_everything() -> None:
    image = torch.rand(3, 1, 32, 32)
    steps = (step(blur={"sigma": [0.5, 2]}), BINNING, step(poisson={"photons": [50, 90]}), step(read_noise={"sd": 0.1}))
    first, again, other = (run(image, *steps, factor=(1, 2, 2), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_image_keeps_its_grey_scale() -> None:
    """16-bit values survive, whatever the range that the noise refers to."""
    high = np.full((2, 1, 64, 64), 40_000, np.uint16)
    low = degrade_image(
        high, (BINNING, step(poisson={"photons": [200, 300]})), factor=(1, 4, 4), grey_range=(0, 65535), seed=3
    )
    assert low.shape == (2, 1, 16, 16)
    assert low.dtype == np.float32
    assert low.mean() == pytest.approx(40_000, rel=0.02)
    assert low.var() == pytest.approx(40_000 * 65535 / 250, rel=0.2)


def test_image_that_is_no_multiple_of_the_factor_is_refused() -> None:
    with pytest.raises(InputError, match="multiple"):
        degrade_image(np.zeros((1, 1, 10, 12)), (BINNING,), factor=(1, 4, 4), grey_range=(0, 1))


def test_augmentation_off_changes_nothing() -> None:
    high = torch.rand(4, 1, 16, 16)
    changed, low = augment_range(high, None, Augment(probability=0), generator())
    assert low is None
    torch.testing.assert_close(changed, high)


def test_augmentation_shows_empty_and_saturated_areas() -> None:
    high = torch.rand(64, 1, 32, 32, generator=generator()) * 0.5 + 0.25
    changed, _ = augment_range(high, None, Augment(probability=1, rectangle=1), generator())
    assert float(changed.min()) == 0
    assert float(changed.max()) == 1
    flat = (changed.flatten(1) == changed.flatten(1).mode(dim=1, keepdim=True).values).float().mean(dim=1)
    assert float(flat.max()) > 0.2


def test_recorded_pairs_change_together() -> None:
    """Where no rectangle lies, low and high get the same contrast and offset; inside one, low keeps its noise."""
    high = torch.rand(32, 1, 24, 24, generator=generator())
    noise = 0.1 * torch.randn(high.shape, generator=generator(1))
    changed, low = augment_range(high, high + noise, Augment(probability=1, rectangle=0.5), generator())
    assert low is not None
    ratio = (low - changed) / noise
    contrast = ratio.flatten(1).median(dim=1).values
    assert float(contrast.min()) > 0.3
    assert float(contrast.max()) < 2.5
