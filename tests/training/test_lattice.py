"""The lattice of the low grid: found exactly, taken out exactly, and nothing that a critic can reward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from superres.training.lattice import lattice_of, without_lattice

FACTORS = [(2, 2), (4, 4), (1, 3)]


def images(factor: tuple[int, int], seed: int) -> Tensor:
    return torch.randn(3, 2, 6 * factor[0], 5 * factor[1], generator=torch.Generator().manual_seed(seed))


def pattern_of(factor: tuple[int, int]) -> Tensor:
    pattern = torch.randn(2, *factor, generator=torch.Generator().manual_seed(9))
    return pattern - pattern.mean(dim=(1, 2), keepdim=True)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_pattern_is_found_and_taken_out(factor: tuple[int, int]) -> None:
    pred, high, pattern = images(factor, 0), images(factor, 1), pattern_of(factor)
    patterned = pred + pattern.repeat(1, 6, 5)
    found = lattice_of(patterned, high, factor) - lattice_of(pred, high, factor)
    torch.testing.assert_close(found, pattern, atol=1e-5, rtol=0)
    clean = without_lattice(patterned, high, factor)
    torch.testing.assert_close(clean, without_lattice(pred, high, factor), atol=1e-5, rtol=0)
    torch.testing.assert_close(lattice_of(clean, high, factor), torch.zeros(2, *factor), atol=1e-6, rtol=0)


def test_brightness_is_no_lattice_and_one_grid_has_none() -> None:
    high = images((2, 2), 0)
    torch.testing.assert_close(lattice_of(high + 0.3, high, (2, 2)), torch.zeros(2, 2, 2), atol=1e-6, rtol=0)
    assert without_lattice(high, high, (1, 1)) is high


@pytest.mark.parametrize("factor", FACTORS)
def test_no_gradient_leads_into_a_lattice(factor: tuple[int, int]) -> None:
    """Whatever is asked of the images without it, no pattern brings it nearer."""
    pattern = pattern_of(factor).requires_grad_()
    pred = images(factor, 0) + pattern.repeat(1, 6, 5)
    (without_lattice(pred, images(factor, 1), factor) * images(factor, 2)).sum().backward()  # type: ignore[no-untyped-call]
    assert pattern.grad is not None
    inner = pattern.grad - pattern.grad.mean(dim=(1, 2), keepdim=True)  # the mean is brightness
    torch.testing.assert_close(inner, torch.zeros_like(inner), atol=1e-4, rtol=0)
