"""What a report shows of one acquisition: crops side by side, an intensity profile and radial power spectra.

Numbers only; `superres.evaluation.figures` draws them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.evaluation.metrics import inner

Triple = tuple[int, int, int]

WINDOW = 192
"""Largest side of a shown crop in high voxels."""

_CONTRAST_RANK = 0.9
_DISPLAY_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Views of one plane and channel.

    Parameters
    ----------
    label : str
        Which plane and channel.
    factor : tuple of int
        Along Z, Y, X.
    pixel_size : float or None
        Of truth along X, in micrometre.
    corner : tuple of int
        (y, x) of the crop in the high plane.
    crops : mapping
        Name to float32 (y, x): ``"low"``, the shown methods, ``"truth"``; all on the high grid but ``"low"``.
    row : int
        Line of the profile, counted in the crop.
    levels : tuple of float
        Grey levels shown as black and white, the same for all crops.
    frequencies : ndarray
        Of the spectra, in cycles per high voxel.
    spectra : mapping
        Name to mean power at `frequencies`.
    deviations : mapping
        Name to float32 (y, x) on the low grid, the same window: how far the degraded plane is from the recording, in
        standard deviations of its noise; empty where it is not known how recordings come about.
    not_compared : str
        Why `deviations` is empty.
    weight : ndarray or None
        float32 (y, x) on the low grid, the same window: the share of the model's residual that the guard keeps; None
        without a model.
    """

    label: str
    factor: Triple
    pixel_size: float | None
    corner: tuple[int, int]
    crops: Mapping[str, NDArray[np.float32]]
    row: int
    levels: tuple[float, float]
    frequencies: NDArray[np.float64]
    spectra: Mapping[str, NDArray[np.float64]]
    deviations: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    not_compared: str = ""
    weight: NDArray[np.float32] | None = None

    @property
    def error_limit(self) -> float:
        """Grey levels at which error maps are saturated: what a hundredth of the interpolation's errors exceed."""
        plain = self.crops.get("bicubic", self.crops.get("input", self.crops["truth"]))
        limit = float(np.percentile(np.abs(plain - self.crops["truth"]), 99))
        return limit if limit > 0 else 1.0


def make_exhibit(
    low: NDArray[Any],
    planes: Mapping[str, NDArray[Any]],
    *,
    label: str,
    factor: Triple,
    crop: tuple[int, int],
    pixel_size: float | None,
    deviations: Mapping[str, NDArray[np.float32]] | None = None,
    not_compared: str = "",
    weight: NDArray[np.float32] | None = None,
) -> Exhibit:
    """Cut the same window out of every plane and measure spectra.

    Parameters
    ----------
    low : ndarray
        (y, x).
    planes : mapping
        Shown methods and ``"truth"``, (y * fy, x * fx) each.
    crop : tuple of int
        High voxels left out at every border of spectra and window.
    deviations, weight : optional
        Of whole planes; see `Exhibit`.
    not_compared : str
        As for `Exhibit`.
    """
    truth = planes["truth"]
    _, fy, fx = factor
    (y, x), (height, width) = choose_window(truth, factor=(fy, fx), crop=crop)
    coarse = (slice(y // fy, (y + height) // fy), slice(x // fx, (x + width) // fx))
    crops = {"low": low[coarse]}
    crops |= {name: plane[y : y + height, x : x + width] for name, plane in planes.items()}
    black, white = (float(level) for level in np.percentile(crops["truth"], _DISPLAY_PERCENTILES))
    spectra = {name: radial_spectrum(inner(plane, crop)) for name, plane in planes.items()}
    return Exhibit(
        label=label,
        factor=factor,
        pixel_size=pixel_size,
        corner=(y, x),
        crops={name: view.astype(np.float32) for name, view in crops.items()},
        row=height // 2,
        levels=(black, white if white > black else black + 1.0),
        frequencies=spectra["truth"][0],
        spectra={name: power for name, (_, power) in spectra.items()},
        deviations={name: plane[coarse] for name, plane in (deviations or {}).items()},
        not_compared=not_compared,
        weight=None if weight is None else weight[coarse],
    )


def choose_window(
    truth: NDArray[Any], *, factor: tuple[int, int], crop: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose the window that is shown, without looking at any prediction.

    Of all windows on a grid that overlaps by half, the one with a tenth of the others above it in contrast: neither
    empty background nor the one spectacular spot. Borders that are not scored are shown only where the plane is hardly
    larger than the window.

    Returns
    -------
    tuple
        Corner (y, x) and size (y, x), in voxels of `truth`, multiples of the factor.
    """
    sizes = []
    corners = []
    for n, f, c in zip(truth.shape, factor, crop, strict=True):
        side = min(WINDOW, n) // f
        margin = min(c // f, (n // f - side) // 2)
        sizes.append(side * f)
        corners.append([start * f for start in range(margin, n // f - margin - side + 1, max(1, side // 2))])
    places = [(y, x) for y in corners[0] for x in corners[1]]
    contrasts = [float(np.std(truth[y : y + sizes[0], x : x + sizes[1]], dtype=np.float64)) for y, x in places]
    rank = round(_CONTRAST_RANK * (len(places) - 1))
    return places[int(np.argsort(contrasts, kind="stable")[rank])], (sizes[0], sizes[1])


def radial_spectrum(plane: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean power of a plane at each spatial frequency, whatever its direction.

    The mean is subtracted and a Hann window applied, so that the borders do not leak into high frequencies.

    Returns
    -------
    tuple
        Frequencies up to 0.5 in cycles per voxel, without 0, and the mean of |F|^2 in rings around them.
    """
    image = plane.astype(np.float64)
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2 / np.sum(window**2)
    q = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1]))
    side = min(image.shape)
    ring = np.rint(q * side).astype(np.intp).ravel()
    # A column of rfft2 stands for two of the whole plane, save the first and, for even sizes, the last.
    weight = np.full(power.shape, 2.0)
    weight[:, 0] = 1.0
    if image.shape[1] % 2 == 0:
        weight[:, -1] = 1.0
    total = np.bincount(ring, weights=(weight * power).ravel())
    count = np.bincount(ring, weights=weight.ravel())
    kept = np.arange(1, side // 2 + 1)
    return kept / side, total[kept] / count[kept]
