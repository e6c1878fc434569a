"""The point spread function of Wiener and Richardson-Lucy: a Gaussian, tuned, from the optics, or measured on beads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from superres.errors import ConfigError
from superres.evaluation.beads import measure_beads
from superres.evaluation.settings import PointSpread

Triple = tuple[int, int, int]
Sigmas = tuple[float, float, float]
VoxelSize = tuple[float | None, float | None, float | None]

LATERAL = 0.21
"""Sigma in units of wavelength / NA: least-squares Gaussian of the Airy pattern (Zhang et al. 2007)."""

_REACH = 4.0  # sigmas at which a Gaussian is cut
_NODES = 32  # of the quadrature over the aperture; exact to rounding


@dataclass(frozen=True, slots=True)
class Psf:
    """A known Gaussian point spread function.

    Parameters
    ----------
    sigma : tuple of float
        ZYX in micrometre; 0 along Z where planes are taken as independent.
    origin : str
        Where it comes from, in words, for reports.
    """

    sigma: Sigmas
    origin: str


@dataclass(frozen=True, slots=True)
class Optics:
    """What the blur of a low image depends on besides the images.

    Parameters
    ----------
    factor : tuple of int
        ZYX.
    psf : Psf or None
        None where sigma is tuned.
    is_binned : bool
        Whether a low voxel is the mean of the high voxels below it, which adds to a known point spread function.
    """

    factor: Triple
    psf: Psf | None = None
    is_binned: bool = True

    def sigmas(self, sigma: float | None, voxel_size: VoxelSize, *, depth: int) -> Sigmas:
        """Return sigma along Z, Y, X in high voxels.

        Parameters
        ----------
        sigma : float or None
            Tuned, in low voxels; unused where the point spread function is known.
        voxel_size : tuple of float or None
            ZYX of the high grid in micrometre.
        depth : int
            High planes; a single one is not blurred along Z.

        Raises
        ------
        ConfigError
            When a known point spread function meets images of unknown voxel size.
        """
        if self.psf is None:
            return tuned_sigmas(0.0 if sigma is None else sigma, self.factor)
        psf = self.psf if depth > 1 else Psf((0.0, *self.psf.sigma[1:]), self.psf.origin)
        return known_sigmas(psf, voxel_size, self.factor, is_binned=self.is_binned)


def find_psf(settings: PointSpread | None) -> Psf | None:
    """Compute or measure the point spread function that the settings ask for.

    Raises
    ------
    InputError
        When no point spread function can be measured on the beads.
    """
    if settings is None:
        return None
    if settings.beads is not None:
        found = measure_beads(settings.beads, settings.beads_voxel_size)
        return Psf(
            found.sigma,
            f"measured on {found.beads} of {found.candidates} beads in {settings.beads.name}: sigma "
            f"{_words(found.sigma)} micrometre (ZYX)",
        )
    assert settings.na is not None and settings.wavelength is not None
    return optical_psf(settings.na, settings.wavelength, settings.immersion)


def optical_psf(na: float, wavelength: float, immersion: float | None = None) -> Psf:
    """Return the Gaussian next to the point spread function of a widefield microscope.

    Laterally sigma is 0.21 wavelength / NA. Along Z it is that of the Gaussian with the curvature of the intensity on
    the axis at the focus of an aplanatic lens, whose amplitude is the integral of sqrt(c) exp(i k n z c) over the
    cosines c of the cone of light: 1 / (k n sqrt(2 var c)), var c weighted by sqrt(c) between cos(alpha) and 1. It
    tends to 2 sqrt(6) n / (k NA^2) = 0.78 n wavelength / NA^2 for low apertures. Source: Zhang, Zerubia &
    Olivo-Marin 2007, Appl. Opt. 46:1819, who give its closed form (3-D, non-paraxial widefield).

    Parameters
    ----------
    na : float
        Numerical aperture, below `immersion`.
    wavelength : float
        Of the emitted light in vacuum, micrometre.
    immersion : float, optional
        Refractive index; without it sigma along Z is 0.
    """
    lateral = LATERAL * wavelength / na
    axial = 0.0 if immersion is None else _axial(na, wavelength, immersion)
    index = "" if immersion is None else f", refractive index {immersion:g}"
    words = f"NA {na:g}, wavelength {wavelength:g} micrometre{index}: sigma {_words((axial, lateral, lateral))} (ZYX)"
    return Psf((axial, lateral, lateral), words)


def _axial(na: float, wavelength: float, immersion: float) -> float:
    cosine = math.sqrt(1 - (na / immersion) ** 2)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # Measured down from 1, so that the variance of a narrow cone is not lost in rounding.
    below = (1 - cosine) * (nodes + 1) / 2
    weights = weights * np.sqrt(1 - below)
    mean = np.average(below, weights=weights)
    variance = float(np.average((below - mean) ** 2, weights=weights))
    return wavelength / (2 * math.pi * immersion * math.sqrt(2 * variance))


def tuned_sigmas(sigma: float, factor: Triple) -> Sigmas:
    """Turn a tuned sigma in low voxels into high voxels; an axis that is not upscaled is not blurred."""
    if max(factor) == 1:
        return 0.0, sigma, sigma
    z, y, x = (sigma * f if f > 1 else 0.0 for f in factor)
    return z, y, x


def known_sigmas(psf: Psf, voxel_size: VoxelSize, factor: Triple, *, is_binned: bool) -> Sigmas:
    """Turn a known sigma into high voxels; the extent of a low voxel, of variance (f^2 - 1) / 12, is added to it."""
    found = []
    for name, sigma, step, f in zip("ZYX", psf.sigma, voxel_size, factor, strict=True):
        if sigma > 0 and step is None:
            raise ConfigError(
                f"psf is in micrometre, and the voxel size along {name} of an image is unknown; write voxel_size into "
                "the manifest, or leave psf out so that sigma is tuned"
            )
        extent = (f**2 - 1) / 12 if is_binned else 0.0
        found.append(math.hypot(sigma / step if step else 0.0, math.sqrt(extent)))
    return found[0], found[1], found[2]


def gaussian_psf(sigmas: Sigmas) -> NDArray[np.float64]:
    """Sample a Gaussian, cut at 4 sigmas, of sum 1; (z, y, x), odd sides, one voxel where sigma is 0."""
    taps = []
    for sigma in sigmas:
        distance = np.arange(-reach(sigma), reach(sigma) + 1)
        weights = np.exp(-0.5 * (distance / sigma) ** 2) if sigma > 0 else np.ones(1)
        taps.append(weights / weights.sum())
    psf: NDArray[np.float64] = taps[0][:, None, None] * taps[1][:, None] * taps[2]
    return psf


def reach(sigma: float) -> int:
    """Return the radius in voxels at which a Gaussian is cut."""
    return math.ceil(_REACH * sigma)


def _words(sigma: Sigmas) -> str:
    return ", ".join(f"{value:.3g}" for value in sigma)
