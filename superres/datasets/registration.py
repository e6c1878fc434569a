"""Registration of real pairs: whether low and high show the same field, and how far they are shifted.

Measured per plane, summed up robustly, and refused where it cannot be trusted. Nothing is warped: a pair that one shift
does not bring together is refused with what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superres.datasets.alignment import Alignment, Peak, align, bin_voxels, correlation, find_peak, overlap_of
from superres.datasets.moved import move_pair, shared_span
from superres.volumes import Volume

Triple = tuple[int, int, int]
Shift = tuple[float, float, float]

# Standard deviations by which the peak of a pair must stand out. Measured on real images: 25 and more for pairs, up to
# 12 for images of different fields.
CERTAIN = 15.0
# Correlation that a pair must reach at its best scale. Measured: 0.9 and more for pairs; hot pixels and illumination,
# which different fields share, give less.
ALIKE = 0.4
# Voxels of high that one shift may be wrong by: a perfect image off by so much scores 40 dB, by 0.5 voxels 34 dB.
TOLERATED = 0.25
# Planes measured per file, and voxels of high along Y and X, and altogether for a stack, that they are measured on.
_PLANES = 9
_SIDE = 1024
_STACK_VOXELS = 2**22
# Low planes that a stack must have for its shift along Z to be measured.
_DEEP = 8
# Low voxels along Y and X below which phases are too few.
_SMALLEST = 32


@dataclass(frozen=True, slots=True)
class PlaneShift:
    """What was found on one plane.

    Parameters
    ----------
    t, c, z : int
        Which plane of `low`.
    shift : tuple of float
        ZYX in voxels of `high`, by which this must be moved to lie on `low`.
    error : float
        Standard error of the shift, voxels of `high`; infinite where nothing is certain, and the shift is whole.
    certainty : float
        Standard deviations by which the correlation of phases stands out from that of unrelated images.
    correlation : float
        Of low and binned high under the shift, at the scale at which they agree most.
    unregistered : float
        The same as they lie in the files.
    residual : float
        What the forward model leaves of the contrast of low, 0 to 1; NaN where nothing is certain.
    """

    t: int
    c: int
    z: int
    shift: Shift
    error: float
    certainty: float
    correlation: float
    unregistered: float
    residual: float


@dataclass(frozen=True, slots=True)
class Registration:
    """How a `high` lies on its `low`, and whether that can be relied on.

    Parameters
    ----------
    shift : tuple of float
        ZYX in voxels of `high`, by which this must be moved to lie on `low`: the median of the planes.
    shift_um : tuple of float or None
        The same in micrometre; None along axes whose voxel size is unknown.
    error : float
        Standard error of the shift, voxels of `high`.
    drift : float
        Largest distance of a plane's shift from the median, voxels of `high`, beyond what its error explains.
    certainty, correlation, unregistered, residual : float
        As in `PlaneShift`, median of the planes that `shift` is of.
    planes : tuple of PlaneShift
        Those with structure, in the order T, C, Z.
    problem : str
        Why the pair is refused and what to do; empty when it is accepted.
    """

    shift: Shift
    shift_um: tuple[float | None, float | None, float | None]
    error: float
    drift: float
    certainty: float
    correlation: float
    unregistered: float
    residual: float
    planes: tuple[PlaneShift, ...]
    problem: str

    @property
    def is_accepted(self) -> bool:
        """Whether low and high are the same field, and one shift brings them together."""
        return not self.problem

    @property
    def stated(self) -> Shift:
        """The shift as a manifest states it: to a hundredth of a voxel, 0 along axes where it is lost in its error."""
        floor = max(0.05, 2 * self.error)
        z, y, x = (round(s, 2) if abs(s) > floor else 0.0 for s in self.shift)
        return z, y, x


class _Place(NamedTuple):
    t: int
    c: int
    z: int


def register_pair(low: Volume, high: Volume, *, factor: Triple, planes: int = _PLANES) -> Registration:
    """Measure the shift between a real pair, plane by plane, and say whether they belong together.

    `high` is binned to the grid of `low`; the phases of the two tell whether they show the same field,
    cross-correlation and then least squares through the forward model tell the shift. Along Z it is measured on a block
    of the stack, along Y and X on up to `planes` planes, spread over time and depth.

    Parameters
    ----------
    low, high : Volume
        As many time points and channels each; what of them does not lie on each other is left out.
    factor : tuple of int
        Upscaling along Z, Y, X.
    planes : int
        Most planes per channel.

    Returns
    -------
    Registration
        Accepted, or refused with the reason.

    Raises
    ------
    InputError
        When a file is damaged, or the numbers of time points or channels differ.
    """
    low, high = move_pair(low, high, factor=factor, shift=(0.0, 0.0, 0.0))
    if min(low.shape[3:]) < _SMALLEST:
        sides = f"{low.shape[3]} x {low.shape[4]} low voxels (Y, X)"
        return _refused(high, f"{sides} are too few to tell; {_SMALLEST} are needed: leave this pair out")
    depth = _depth(low, high, factor)
    moved = move_pair(low, high, factor=factor, shift=(depth, 0.0, 0.0))
    first, _ = shared_span(low.shape[2], high.shape[2], factor[0], depth)
    found, faults = [], []
    for place in _places(moved[0], planes):
        window = _window(*moved, place, factor)
        fault = _fault(*window)
        if fault:
            faults.append(fault)
        else:
            found.append(_measure(*window, place._replace(z=place.z + first), factor, depth))
    return _summary(found, faults, high)


def register_images(low: NDArray[Any], high: NDArray[Any], *, factor: Triple) -> PlaneShift | str:
    """Measure one plane, or the planes of one stack, that is in memory already.

    Parameters
    ----------
    low : ndarray, (z, y, x)
        One channel.
    high : ndarray, (z * fz, y * fy, x * fx)
        The same field.

    Returns
    -------
    PlaneShift or str
        What was found, or why nothing can be measured (constant, NaN).
    """
    fault = _fault(low, high)
    if fault or min(low.shape[1:]) < _SMALLEST:
        return fault or f"{low.shape[1]} x {low.shape[2]} low voxels (Y, X) are too few to tell"
    y, x = _busiest(low.mean(axis=0), (_SIDE // factor[1], _SIDE // factor[2]))
    fine = tuple(slice(part.start * f, part.stop * f) for part, f in zip((y, x), factor[1:], strict=True))
    return _measure(low[:, y, x], high[(slice(None), *fine)], _Place(0, 0, 0), factor, 0.0)


def _places(low: Volume, planes: int) -> Iterator[_Place]:
    t, c, z = low.shape[:3]
    wanted = min(planes, t * z)
    chosen = [(2 * i + 1) * t * z // (2 * wanted) for i in range(wanted)]
    return (_Place(i // z, channel, i % z) for channel in range(c) for i in chosen)


def _window(low: Volume, high: Volume, place: _Place, factor: Triple) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read a plane of low and the planes of high on it, where a large image has most structure."""
    t, c, z = place
    fz, fy, fx = factor
    everything = slice(None)
    plane = low.read(t=t, c=c, z=slice(z, z + 1), y=everything, x=everything)
    y, x = _busiest(plane[0], (_SIDE // fy, _SIDE // fx))
    sharp = high.read(
        t=t,
        c=c,
        z=slice(z * fz, (z + 1) * fz),
        y=slice(y.start * fy, y.stop * fy),
        x=slice(x.start * fx, x.stop * fx),
    )
    return plane[:, y, x], sharp


def _busiest(plane: NDArray[Any], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the window of that size in which a plane varies most, of those half a window apart."""
    starts = [
        sorted({*range(0, max(1, n - side), max(1, side // 2)), max(0, n - side)})
        for n, side in zip(plane.shape, size, strict=True)
    ]
    windows = [(slice(y, y + size[0]), slice(x, x + size[1])) for y in starts[0] for x in starts[1]]
    contrast = [float(np.nan_to_num(_coarse(plane[window])).std()) for window in windows]
    y, x = windows[int(np.argmax(contrast))]
    return slice(y.start, min(y.stop, plane.shape[0])), slice(x.start, min(x.stop, plane.shape[1]))


def _coarse(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Average 8 x 8 voxels, so that noise does not pass for structure."""
    y, x = (max(1, n // 8) for n in plane.shape)
    by, bx = plane.shape[0] // y, plane.shape[1] // x
    return bin_voxels(plane[: y * by, : x * bx], (by, bx))


def _fault(low: NDArray[Any], high: NDArray[Any]) -> str:
    for name, image in (("low", low), ("high", high)):
        bad = image.size - int(np.count_nonzero(np.isfinite(image)))
        if bad:
            return f"the {name} image holds {bad} NaN or infinite values"
        if image.min() == image.max():
            return f"the {name} image is flat ({image.flat[0]:g} everywhere)"
    return ""


def _measure(low: NDArray[Any], high: NDArray[Any], place: _Place, factor: Triple, depth: float) -> PlaneShift:
    if low.shape[0] == 1:  # one plane: the planes of high on it are binned away
        high, factor = bin_voxels(high, (factor[0], 1, 1)), (1, *factor[1:])
    binned = bin_voxels(high, factor)
    peak = find_peak(low, binned)
    if peak.height >= CERTAIN:
        found = align(low, high, factor=factor, start=peak.shift)
    else:  # to no field in common there is no shift to refine
        at = tuple(float(s * f) for s, f in zip(peak.shift, factor, strict=True))
        found = Alignment(at, (math.inf,), math.nan, math.nan, math.nan)
    whole = [round(s / f) for s, f in zip(found.shift, factor, strict=True)]
    first, second = overlap_of(low.shape, whole)
    certainty = peak.height
    if any(abs(s) > n // 8 for s, n in zip(whole, low.shape, strict=True)):
        # One bright spot fits on any other: what a large shift leaves must agree by itself.
        certainty = min(certainty, find_peak(low[first], binned[second]).height)
    return PlaneShift(
        *place,
        shift=(found.shift[0] + depth, found.shift[1], found.shift[2]),
        error=max(found.error),
        certainty=certainty,
        correlation=correlation(low[first], binned[second]),
        unregistered=correlation(low, binned),
        residual=found.residual,
    )


def _depth(low: Volume, high: Volume, factor: Triple) -> float:
    """Measure the shift along Z on a block from the middle of a stack; 0 where there is no depth to tell it by."""
    nz = low.shape[2]
    if nz < _DEEP:
        return 0.0
    depth = min(nz, 48)
    side = int(math.sqrt(_STACK_VOXELS / (depth * math.prod(factor))))
    z, y, x = (_central(n, m) for n, m in zip(low.shape[2:], (depth, side, side), strict=True))
    fine = [slice(part.start * f, part.stop * f) for part, f in zip((z, y, x), factor, strict=True)]
    best: tuple[Peak, float, float] | None = None
    for c in range(low.shape[1]):
        blurred = low.read(t=low.shape[0] // 2, c=c, z=z, y=y, x=x)
        sharp = high.read(t=low.shape[0] // 2, c=c, z=fine[0], y=fine[1], x=fine[2])
        if _fault(blurred, sharp):
            continue
        peak = find_peak(blurred, bin_voxels(sharp, factor))
        if peak.height >= CERTAIN and (best is None or peak.height > best[0].height):
            found = align(blurred, sharp, factor=factor, start=peak.shift)
            best = (peak, found.shift[0], found.error[0])
    if best is None or abs(best[1]) < max(0.05, 2 * best[2]):
        return 0.0
    return best[1]


def _central(size: int, wanted: int) -> slice:
    start = max(0, (size - wanted) // 2)
    return slice(start, min(size, start + wanted))


def _summary(found: list[PlaneShift], faults: list[str], high: Volume) -> Registration:
    """Sum up the planes that are certain; where none is, the most certain one says how far that is from enough."""
    if not found:
        return _refused(high, f"{faults[0]}: there is nothing to register by; leave this pair out")
    certain = [plane for plane in found if plane.certainty >= CERTAIN] or [max(found, key=lambda p: p.certainty)]
    shift = tuple(float(np.median([plane.shift[axis] for plane in certain])) for axis in range(3))
    error = float(np.median([plane.error for plane in certain])) / math.sqrt(len(certain))
    drift = max(max(0.0, math.dist(plane.shift, shift) - 3 * math.hypot(plane.error, error)) for plane in certain)
    middle = {
        name: float(np.median([getattr(plane, name) for plane in certain]))
        for name in ("certainty", "correlation", "unregistered", "residual")
    }
    registration = Registration(
        shift=(shift[0], shift[1], shift[2]),
        shift_um=_in_micrometre(shift, high),
        error=error,
        drift=drift,
        **middle,
        planes=tuple(found),
        problem="",
    )
    values = {name: getattr(registration, name) for name in Registration.__slots__}
    return Registration(**values | {"problem": _problem(registration)})


def _problem(found: Registration) -> str:
    """Say why a pair is refused, and what to do."""
    where = "shift " + ", ".join(f"{s:+.2f}" for s in found.shift) + " high voxels (ZYX)"
    if found.certainty < CERTAIN:
        return (
            f"low and high do not register: the best match, at {where}, stands out by {found.certainty:.1f} standard "
            f"deviations ({CERTAIN:g} are needed; unrelated images reach 12) and correlates by "
            f"{found.correlation:.2f}: another field, or too noisy or too empty to tell; check that the two files "
            "belong together, or leave the pair out"
        )
    if found.correlation < ALIKE:
        return (
            f"low and high share a fixed pattern but not their structure: they correlate by {found.correlation:.2f} "
            f"at {where} ({ALIKE:g} is needed): another field of one camera, or another channel; check the files, or "
            "leave the pair out"
        )
    if found.drift > TOLERATED:
        return (
            f"one shift does not fit all planes: they differ by up to {found.drift:.2f} high voxels from {where} "
            f"({TOLERATED:g} is tolerated): the specimen drifted, or channels are shifted; list the planes or channels "
            "as files of their own, or correct the drift in the recording"
        )
    if found.error > TOLERATED:
        return (
            f"the {where} is uncertain by {found.error:.2f} high voxels ({TOLERATED:g} is tolerated): too noisy or too "
            "smooth; leave the pair out"
        )
    return ""


def _refused(high: Volume, problem: str) -> Registration:
    nothing = (math.nan, math.nan, math.nan)
    return Registration(nothing, (None, None, None), math.nan, math.nan, 0.0, 0.0, 0.0, 1.0, (), problem)


def _in_micrometre(shift: tuple[float, ...], high: Volume) -> tuple[float | None, float | None, float | None]:
    z, y, x = (None if size is None else size * s for size, s in zip(high.voxel_size, shift, strict=True))
    return z, y, x
