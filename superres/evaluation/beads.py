"""A point spread function from a stack of beads: find them, fit each, lay those that stand alone over each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, median_filter
from scipy.optimize import least_squares

from superres.errors import InputError
from superres.volumes import open_volume

_MOST = 60  # beads that are fitted, the brightest first
_CLEAR = 6.0  # standard deviations of the noise that a bead stands above the background at least
_FAINTEST = 0.1  # height of a bead as a share of the brightest that is not a single hot voxel
_SLOW = 4.0  # sigmas of beads over which the background is averaged
_WINDOW = 2.5  # sigmas around the centre that are fitted: the core, of which a Gaussian is a fair picture
_ALONE = 5.0  # sigmas to the nearest other bead
_ALIKE = 1.15  # largest ratio of the sigma of a bead to that of the narrow ones: two beads in one are wider
_HALF_WIDTH = math.sqrt(2 * math.log(2))  # half width at half height of a Gaussian, in sigmas
_MAD_TO_SD = 1.4826

Image = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BeadFit:
    """A Gaussian fitted to beads.

    Parameters
    ----------
    sigma : tuple of float
        ZYX, in voxels of `fit_beads`, in micrometre of `measure_beads`; 0 along Z for a single plane.
    beads, candidates : int
        Beads that were used, and bright spots that were found. The others touch a border or each other, or differ.
    """

    sigma: tuple[float, float, float]
    beads: int
    candidates: int


@dataclass(frozen=True, slots=True)
class _Bead:
    """One fitted bead: its voxels relative to its centre, less background and divided by its height."""

    sigma: Image
    positions: Image
    values: Image


def measure_beads(path: Path, voxel_size: tuple[float, float, float] | None = None) -> BeadFit:
    """Measure sigma in micrometre on the first time point and channel of a file.

    Parameters
    ----------
    path : Path
        Beads smaller than the resolution, on the microscope that recorded the low images.
    voxel_size : tuple of float, optional
        ZYX in micrometre, where the file does not tell.

    Raises
    ------
    InputError
        When the voxel size is unknown or no bead stands alone.
    """
    volume = open_volume(path, voxel_size=voxel_size)
    z, y, x = (slice(0, n) for n in volume.shape[2:])
    needed = [
        name for name, n, step in zip("ZYX", volume.shape[2:], volume.voxel_size, strict=True) if n > 1 and step is None
    ]
    if needed:
        raise InputError(
            f"{path}: the voxel size along {', '.join(needed)} is unknown; give it in micrometre, for example "
            "--set psf.beads_voxel_size=[0.2,0.1,0.1]"
        )
    try:
        found = fit_beads(volume.read(t=0, c=0, z=z, y=y, x=x))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    sigma = [s * (step or 0.0) for s, step in zip(found.sigma, volume.voxel_size, strict=True)]
    return BeadFit((sigma[0], sigma[1], sigma[2]), found.beads, found.candidates)


def fit_beads(stack: NDArray[Any]) -> BeadFit:
    """Fit one Gaussian to all beads of a stack that stand alone.

    Each bead is fitted on its own first (height, centre, sigma, background), which gives its place to a fraction of a
    voxel and tells pairs of touching beads by their width. The voxels of the others, moved to a common centre and
    brought to one height, are then fitted together, so that nothing is interpolated.

    Parameters
    ----------
    stack : ndarray
        (z, y, x), grey levels; one plane gives sigma along Y and X.

    Raises
    ------
    InputError
        When the stack holds NaN, or no bead stands alone in it.
    """
    image = np.asarray(stack, dtype=np.float64)
    if not np.isfinite(image).all():
        raise InputError("the stack of beads holds NaN or infinite values; give one without")
    flat = image[0] if len(image) == 1 else image
    rough, peaks = _find(flat)
    alone = [peak for peak in peaks if _stands_alone(peak, peaks, rough, flat.shape)][:_MOST]
    fitted = [bead for peak in alone if (bead := _fit_one(flat, peak, rough)) is not None]
    kept = _alike(fitted)
    if not kept:
        raise InputError(
            f"no point spread function can be measured: of {len(peaks)} bright spots none stands alone and away "
            "from the borders; give a stack of beads that are further apart, or na and wavelength instead"
        )
    sigma = _fit_together(kept)
    z, y, x = (0.0, *sigma) if flat.ndim == 2 else sigma
    return BeadFit((z, y, x), len(kept), len(peaks))


def _find(image: Image) -> tuple[Image, NDArray[np.intp]]:
    """Return a rough sigma per axis, in voxels, and the places of the spots, (n, axes), brightest first."""
    sigma = np.ones(image.ndim)
    image = median_filter(image, size=3)  # a single hot voxel is no bead
    peaks = _peaks(image, sigma)
    # Once more with the width that was found: at a fine step noise makes many peaks of one bead.
    for _ in range(2):
        if len(peaks) == 0:
            break
        sigma = _rough_sigma(image, peaks[:_MOST], sigma)
        peaks = _peaks(image, sigma)
    return sigma, peaks


def _peaks(image: Image, sigma: Image) -> NDArray[np.intp]:
    smooth = _band(image, sigma)
    background = float(np.median(smooth))
    noise = _MAD_TO_SD * float(np.median(np.abs(smooth - background)))
    threshold = max(_CLEAR * noise, _FAINTEST * (float(smooth.max()) - background))
    highest = maximum_filter(smooth, size=[2 * math.ceil(s) + 1 for s in sigma])
    found = np.argwhere((smooth == highest) & (smooth > background + threshold))
    return found[np.argsort(-smooth[tuple(found.T)], kind="stable")]


def _band(image: Image, sigma: Image) -> Image:
    """Smooth the noise a little and take off what varies slowly, which is no bead."""
    smooth: Image = gaussian_filter(image, sigma / 2) - gaussian_filter(image, _SLOW * sigma)
    return smooth


def _rough_sigma(image: Image, peaks: NDArray[np.intp], sigma: Image) -> Image:
    """Return the median over spots of sigma from the width at half height, per axis."""
    smooth = _band(image, sigma)
    background = float(np.median(smooth))
    widths = [
        [_width(np.moveaxis(smooth, axis, 0), peak, axis, background) for axis in range(image.ndim)] for peak in peaks
    ]
    wide = np.median(np.array(widths), axis=0) / 2 / _HALF_WIDTH
    # What the smoothing added is taken off again.
    found: Image = np.sqrt(np.maximum(wide**2 - (sigma / 2) ** 2, 0.25))
    return found


def _width(image: Image, peak: NDArray[np.intp], axis: int, background: float) -> float:
    """Return the full width at half height of one spot along the first axis of `image`, in voxels."""
    line = image[(slice(None), *np.delete(peak, axis))] - background
    centre = int(peak[axis])
    above = line > line[centre] / 2
    after = np.argmin(above[centre:]) if not above[centre:].all() else len(line) - centre
    before = np.argmin(above[centre::-1]) if not above[centre::-1].all() else centre + 1
    return float(after + before - 1)


def _stands_alone(peak: NDArray[np.intp], peaks: NDArray[np.intp], sigma: Image, shape: tuple[int, ...]) -> bool:
    margin = np.ceil(_WINDOW * sigma)
    if (peak < margin).any() or (peak >= np.array(shape) - margin).any():
        return False
    distance = np.sqrt((((peaks - peak) / sigma) ** 2).sum(axis=1))
    return int((distance < _ALONE).sum()) == 1  # the bead itself


def _gaussian(positions: Image, sigma: Image) -> Image:
    values: Image = np.exp(-0.5 * ((positions / sigma[:, None]) ** 2).sum(axis=0))
    return values


def _fit_one(image: Image, peak: NDArray[np.intp], rough: Image) -> _Bead | None:
    """Fit height, background, centre and sigma; None where the fit runs away or the detector was saturated."""
    n = image.ndim
    radius = np.ceil(_WINDOW * rough).astype(int)
    window = image[tuple(slice(p - r, p + r + 1) for p, r in zip(peak, radius, strict=True))]
    top = window.max()
    if top == image.max() and np.count_nonzero(window == top) > 2:  # a flat top: the detector was at its end
        return None
    places = np.indices(window.shape).reshape(n, -1) - radius[:, None].astype(np.float64)
    values = window.ravel()
    base = float(np.quantile(values, 0.1))

    def residual(p: Image) -> Image:
        misfit: Image = p[0] * _gaussian(places - p[2 : 2 + n, None], p[2 + n :]) + p[1] - values
        return misfit

    start = np.array([float(values.max()) - base, base, *np.zeros(n), *rough])
    low = np.array([0.0, -np.inf, *(-rough), *(rough / 3)])
    high = np.array([np.inf, np.inf, *rough, *(rough * 3)])
    found = least_squares(residual, start, bounds=(low, high), x_scale=np.maximum(np.abs(start), 0.1))
    height, background, centre, sigma = found.x[0], found.x[1], found.x[2 : 2 + n], found.x[2 + n :]
    if not found.success or height <= 0:
        return None
    return _Bead(sigma, places - centre[:, None], (values - background) / height)


def _alike(beads: Sequence[_Bead]) -> list[_Bead]:
    """Leave out beads that are wider or narrower than the narrow ones: those that touch are all wider."""
    if not beads:
        return []
    middle = np.quantile([bead.sigma for bead in beads], 0.25, axis=0)
    return [bead for bead in beads if (np.maximum(bead.sigma / middle, middle / bead.sigma) < _ALIKE).all()]


def _fit_together(beads: Sequence[_Bead]) -> tuple[float, ...]:
    places = np.concatenate([bead.positions for bead in beads], axis=1)
    values = np.concatenate([bead.values for bead in beads])
    start = np.median([bead.sigma for bead in beads], axis=0)

    def residual(p: Image) -> Image:
        misfit: Image = p[0] * _gaussian(places, p[2:]) + p[1] - values
        return misfit

    low = [0.0, -1.0, *(start / 2)]
    found = least_squares(
        residual, [1.0, 0.0, *start], bounds=(low, [2.0, 1.0, *(start * 2)]), loss="soft_l1", f_scale=0.1
    )
    return tuple(float(s) for s in found.x[2:])
