"""Where the point spread function comes from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superres.errors import ConfigError
from superres.evaluation.psf import Optics, Psf, gaussian_psf, known_sigmas, optical_psf, tuned_sigmas


def closed_form(na: float, wavelength: float, index: float) -> float:
    """Sigma along Z by the formula of Zhang, Zerubia & Olivo-Marin 2007."""
    c = math.cos(math.asin(na / index))
    k = 2 * math.pi / wavelength
    root = math.sqrt(4 * c**5 - 25 * c**3.5 + 42 * c**2.5 - 25 * c**1.5 + 4)
    return 5 * math.sqrt(7) * (1 - c**1.5) / (math.sqrt(6) * index * k * root)


@given(st.floats(0.4, 0.95), st.floats(0.3, 0.9), st.floats(1, 1.6))
def test_sigma_is_that_of_the_formulas(share: float, wavelength: float, index: float) -> None:
    na = share * index
    z, y, x = optical_psf(na, wavelength, index).sigma
    assert y == x == pytest.approx(0.21 * wavelength / na)
    assert z == pytest.approx(closed_form(na, wavelength, index), rel=1e-6)
    assert z > y


def test_sigma_along_z_at_low_aperture_is_the_paraxial_one() -> None:
    z, _, _ = optical_psf(0.02, 0.5, 1.0).sigma
    assert z == pytest.approx(2 * math.sqrt(6) * 0.5 / (2 * math.pi * 0.02**2), rel=1e-3)


def test_the_width_along_z_is_that_of_the_focus_of_a_lens() -> None:
    """Full width at half height of the exact intensity on the axis, by summing over the aperture."""
    na, wavelength, index = 1.2, 0.52, 1.33
    cosines = np.linspace(math.sqrt(1 - (na / index) ** 2), 1, 2001)
    z = np.linspace(0, 1, 1001)
    waves = np.exp(2j * math.pi * index / wavelength * z[:, None] * (cosines - 1)) * np.sqrt(cosines)
    intensity = np.abs(waves.mean(axis=1)) ** 2
    half = z[np.argmin(intensity > intensity[0] / 2)]
    sigma = optical_psf(na, wavelength, index).sigma[0]
    assert sigma * math.sqrt(2 * math.log(2)) == pytest.approx(half, rel=0.06)


def test_without_an_index_planes_are_independent() -> None:
    assert optical_psf(1.4, 0.5).sigma[0] == 0


def test_known_sigma_is_turned_into_voxels_and_widened_by_binning() -> None:
    psf = Psf((0.6, 0.2, 0.2), "")
    assert known_sigmas(psf, (0.3, 0.1, 0.05), (1, 1, 1), is_binned=True) == pytest.approx((2, 2, 4))
    _, y, x = known_sigmas(Psf((0, 0.3, 0.3), ""), (None, 0.1, 0.1), (1, 4, 4), is_binned=True)
    # The matched sigma of the reference scene: sigma 3 and 4 x 4 binning make 3.2.
    assert y == x == pytest.approx(3.2, abs=0.01)
    assert known_sigmas(psf, (0.3, 0.1, 0.1), (1, 4, 4), is_binned=False) == pytest.approx((2, 2, 2))
    with pytest.raises(ConfigError, match="voxel size along Z"):
        known_sigmas(psf, (None, 0.1, 0.1), (1, 1, 1), is_binned=True)


def test_a_single_plane_needs_no_voxel_size_along_z() -> None:
    optics = Optics((1, 1, 1), Psf((0.6, 0.2, 0.2), ""))
    assert optics.sigmas(None, (None, 0.1, 0.1), depth=1) == pytest.approx((0, 2, 2))
    assert optics.sigmas(None, (0.3, 0.1, 0.1), depth=2) == pytest.approx((2, 2, 2))


def test_tuned_sigma_is_in_low_voxels_along_upscaled_axes() -> None:
    assert tuned_sigmas(0.5, (1, 4, 2)) == (0, 2, 1)
    assert tuned_sigmas(0.5, (2, 2, 2)) == (1, 1, 1)
    assert tuned_sigmas(0.5, (1, 1, 1)) == (0, 0.5, 0.5)


def test_a_gaussian_has_sum_one_and_its_sigma() -> None:
    psf = gaussian_psf((0, 1.5, 2.5))
    assert psf.shape == (1, 13, 21)
    assert psf.sum() == pytest.approx(1)
    distance = np.arange(-10, 11)
    assert math.sqrt((psf.sum(axis=(0, 1)) * distance**2).sum()) == pytest.approx(2.5, rel=0.01)
    np.testing.assert_array_equal(gaussian_psf((0, 0, 0)), np.ones((1, 1, 1)))
