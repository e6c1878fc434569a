from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

from superres.config import DegradeStep
from superres.degrade import degrade_image
from superres.degrade.moments import moments
from superres.degrade.noise_line import measure_noise_line
from superres.degrade.transfer import transfer_of
from superres.errors import ConfigError

CHAINS: list[tuple[list[dict[str, Any]], tuple[int, int, int]]] = [
    ([{"downsample": "binning"}], (1, 4, 4)),
    ([{"blur": {"sigma": [0.8, 1.6]}}, {"downsample": "binning"}, {"poisson": {"photons": 100}}], (1, 2, 3)),
    ([{"blur": {"sigma": 2.0}}, {"downsample": "subsampling"}, {"blur": {"sigma": 0.7}}], (1, 4, 3)),
    ([{"blur": {"sigma": 1.0}}, {"read_noise": {"sd": 0.1}}], (1, 1, 1)),
    ([], (1, 1, 1)),
]


def steps_of(chain: list[dict[str, Any]]) -> tuple[DegradeStep, ...]:
    return tuple(DegradeStep.model_validate(step) for step in chain)


@pytest.mark.parametrize(("chain", "factor"), CHAINS)
def test_one_filter_is_the_mean_of_the_chain(chain: list[dict[str, Any]], factor: tuple[int, int, int]) -> None:
    high = torch.rand(1, 1, 96, 60, generator=torch.Generator().manual_seed(0))
    transfer = transfer_of(steps_of(chain), factor)
    mean, _ = moments(high, steps_of(chain), factor=factor)
    inner = (..., *(slice(transfer.reach, n - transfer.reach) for n in mean.shape[2:]))
    torch.testing.assert_close(transfer.record(high)[inner], mean[inner], rtol=0, atol=1e-6)
    flat = transfer.record(torch.full((1, 96, 60), 0.7))
    torch.testing.assert_close(flat, torch.full_like(flat, 0.7), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("chain", "factor"), CHAINS)
def test_a_part_is_recorded_as_the_whole_is(chain: list[dict[str, Any]], factor: tuple[int, int, int]) -> None:
    high = torch.rand(96, 60, generator=torch.Generator().manual_seed(0))
    transfer = transfer_of(steps_of(chain), factor)
    whole, (fy, fx), reach = transfer.record(high), factor[1:], transfer.reach
    part = transfer.record(high[3 * fy : 20 * fy, 2 * fx : 18 * fx])
    rows, columns = (slice(reach, n - reach) for n in part.shape)
    expected = whole[3 : 3 + len(part), 2 : 2 + part.shape[1]][rows, columns]
    assert torch.equal(part[rows, columns], expected)


def test_blur_in_micrometre_needs_the_voxel_size() -> None:
    optics = steps_of([{"blur": {"na": 1.4, "wavelength": 0.5}}, {"downsample": "binning"}])
    with pytest.raises(ConfigError, match="voxel size"):
        transfer_of(optics, (1, 2, 2))
    sigma = transfer_of(steps_of([{"blur": {"sigma": 0.21 * 0.5 / 1.4 / 0.05}}, {"downsample": "binning"}]), (1, 2, 2))
    assert transfer_of(optics, (1, 2, 2), (None, 0.05, 0.05)).taps[0] == pytest.approx(sigma.taps[0])


@pytest.mark.parametrize(
    ("chain", "factor", "step"),
    [
        ([{"downsample": "binning"}], (1, 4, 4), (2, 2)),
        ([{"blur": {"sigma": 1.2}}, {"downsample": "binning"}], (1, 2, 2), (2, 2)),
        ([{"blur": {"sigma": 2.0}}, {"downsample": "subsampling"}], (1, 4, 6), (2, 3)),
        ([{"blur": {"sigma": 2.0}}, {"downsample": "binning"}], (1, 1, 4), (1, 2)),
    ],
)
def test_made_coarser_a_recording_is_a_specimen_further_away(
    chain: list[dict[str, Any]], factor: tuple[int, int, int], step: tuple[int, int]
) -> None:
    transfer = transfer_of(steps_of(chain), factor)
    low = torch.rand(24, 36, generator=torch.Generator().manual_seed(0))
    high = low.repeat_interleave(factor[1] // step[0], 0).repeat_interleave(factor[2] // step[1], 1)
    coarser = transfer.coarser(step)
    torch.testing.assert_close(coarser.record(low), transfer.record(high))
    noise = torch.randn(600, 600, generator=torch.Generator().manual_seed(1))
    assert float(coarser.record(noise).var()) == pytest.approx(coarser.white_noise, rel=0.03)


class TestNoiseLine:
    def test_variance_of_a_recording(self) -> None:
        truth = data.camera()[None, None].astype(np.float64)
        steps = steps_of([{"downsample": "binning"}, {"poisson": {"photons": 200}}, {"read_noise": {"sd": 0.03}}])
        low = degrade_image(truth, steps, factor=(1, 2, 2), grey_range=(0, 255))[0, 0] / 255
        line = measure_noise_line([low], least=1e-9)
        assert line is not None
        found = line.variance(torch.tensor([0.1, 0.4, 0.8]))
        expected = torch.tensor([0.1, 0.4, 0.8]) / 200 + 0.03**2
        torch.testing.assert_close(found, expected, rtol=0.25, atol=0)
        beyond = torch.tensor([-5.0, line.lowest, line.highest, 5.0])
        assert line.variance(beyond)[0] == line.variance(beyond)[1]
        assert line.variance(beyond)[3] > line.variance(beyond)[2], "photon noise grows where too few voxels show it"

    def test_a_nearly_empty_image_has_a_noise_too(self) -> None:
        image = np.random.default_rng(0).normal(0.1, 0.02, (40, 40))
        image[20:22, 20:22] = 5
        line = measure_noise_line([image], least=1e-9)
        assert line is not None
        assert float(line.variance(torch.tensor(0.1))) == pytest.approx(0.02**2, rel=0.25)

    def test_too_small_and_constant_ones_have_none(self) -> None:
        assert measure_noise_line([np.random.default_rng(0).random((8, 40))], least=1e-9) is None
        assert measure_noise_line([np.full((40, 40), 3.0)], least=1e-9) is None
