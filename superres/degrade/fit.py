"""Fit a degradation to real recordings: every parameter by the statistic that tells it best, in turns.

Contrast and offset come from quantiles, gain and read noise from noise against grey level, blur and line jitter from
the spectrum, smoothing after the noise from how neighbouring noise is correlated. Trials are simulated and measured by
the estimators that measure the recordings, so that what biases an estimator (texture taken for noise) biases both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from superres.degrade.fields import Fields
from superres.degrade.levels import agreed, dark_line, level_line
from superres.degrade.microscope import Microscope, Sampling, with_noise, without_noise
from superres.degrade.noise import clipped_ends, noise_of_image, noise_of_pair, noise_of_repeats
from superres.degrade.smoothing import excess_of, noise_passed, smoothing_of, smoothing_transfer
from superres.degrade.statistics import Statistics, direction_gap, measure, spectrum, spectrum_gap

# Log10 power that counts as much as a gap of 1: what two spectra of one kind differ by, radial and along Y over X.
_SPECTRUM_UNIT, _DIRECTION_UNIT = 0.03, 0.06
# Share by which jitter, or the less common way of sampling, must better the fit, or it stays out.
_WORTH = 0.15
# Excess correlation of neighbouring noise, beyond what texture explains, from which on smoothing is fitted.
_SMOOTHED = 0.04
_LEAST_JITTER = 0.3  # low voxels
_UNEXPLAINED = 1.0  # misfit below which there is nothing left to explain
_EXPLAINED = 0.7  # of the misfit may be left when haze is added, of the gap in direction when jitter is
_ROUNDS, _ROUNDS_AGAIN, _SETTLED = 5, 2, 0.02  # turns at most, and the change of the misfit that ends them
# Cycles per voxel from which on noise is seen in the spectrum, and by how much it may differ from what was measured.
_FINE, _NOISE_OFF = 0.35, 1.25
_RULED = 0.1  # share of structure in the power there, up to which noise rules
_FIELDS_OF_NOISE = 3
_LEAST_LEFT = 0.1  # share of the measured noise that cannot be texture
_MIDDLE = 0.3  # share of the grey range at which two measures of the noise are compared
_NARROWEST, _WIDEST, _WIDEST_HAZE = 0.1, 6.0, 24.0  # low voxels of blur
_STEP, _TRIALS = 0.15, 22  # first step of the search, and trials per parameter
_LEAST_VARIANCE = 1e-8  # shares of the grey range squared


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted microscope.

    Parameters
    ----------
    microscope : Microscope
        With gain 1 and offset 0, in shares of the grey range.
    contrast, offset : ndarray
        float64, (m,); ``share * contrast + offset`` are grey levels of each recording: offset is its level without
        light.
    other_sampling : float or None
        The spectrum gap of the other way of sampling.
    from_repeats : bool
        Whether the noise was measured from repeats, and not from single images.
    recorded : Statistics
        Of the recordings, in shares.
    ends : tuple of float or None
        Shares at which most recordings are clipped, at the dark and the bright end.
    """

    microscope: Microscope
    contrast: NDArray[np.float64]
    offset: NDArray[np.float64]
    other_sampling: float | None
    from_repeats: bool
    recorded: Statistics
    ends: tuple[float | None, float | None]

    @property
    def grey_levels_per_photon(self) -> NDArray[np.float64]:
        """The detector's gain, (m,)."""
        return self.contrast / self.microscope.photons

    @property
    def read_noise(self) -> NDArray[np.float64]:
        """Standard deviation without light in grey levels, (m,)."""
        return self.contrast * self.microscope.read

    def shares(self, recorded: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring recordings, (m, y, x), to shares of the grey range."""
        shares: NDArray[np.float64] = (recorded - self.offset[:, None, None]) / self.contrast[:, None, None]
        return shares

    def clipped_like(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clip simulated recordings where the real ones are."""
        return shares if self.ends == (None, None) else np.clip(shares, *self.ends)


def fit_microscope(fields: Fields, *, seed: int = 0, sampling: Sampling | None = None) -> Fit:
    """Fit blur, sampling, noise, contrast and offset, and jitter and smoothing where the recordings show them.

    Parameters
    ----------
    seed : int
        Of the noise and line displacements of trials.
    sampling : str, optional
        Where it is known.

    Raises
    ------
    InputError
        When the recordings are constant, hold NaN or show too few grey levels.
    """
    torch.set_num_threads(1)  # so that sums come out alike everywhere
    # At factors up to 2 sub-sampling at the centre of a block is binning.
    ways: tuple[Sampling | None, ...] = ("binning", "subsampling") if max(fields.factor) > 2 else ("binning",)
    ways = ways if sampling is None else (sampling,)
    searches = [_Search(fields, way, seed) for way in (ways if max(fields.factor) > 1 else (None,))]
    for search in searches:
        search.run()
    # The two differ little behind a wide blur: the common one wins ties.
    best = searches[-1] if searches[-1].score < (1 - _WORTH) * searches[0].score else searches[0]
    best.explain_rest()
    others = [search for search in searches if search is not best]
    return best.result(others[0] if others else None)


def fit_again(fields: Fields, start: Microscope, *, seed: int = 0) -> Fit:
    """Fit the parameters that a microscope has anew, to part of the recordings that it was fitted to.

    Raises
    ------
    InputError
        When that part shows too few grey levels.
    """
    search = _Search(fields, start.sampling, seed)
    search.start_from(start)
    return search.result(None)


class _Search:
    """The state of one fit: a microscope with gain 1 and offset 0, and the scale of every recording."""

    def __init__(self, fields: Fields, sampling: Sampling | None, seed: int) -> None:
        self._fields, self._seed = fields, seed
        self._high = torch.from_numpy(fields.sharp[:, None])
        self._normal = torch.randn(
            (_FIELDS_OF_NOISE, len(fields.sharp), 1, *fields.recorded.shape[1:]),
            generator=torch.Generator().manual_seed(seed),
        )
        self.microscope = Microscope(0.5 * max(fields.factor), sampling, photons=1e3, read=0.01)
        self.score = math.inf
        self._names: tuple[str, ...] = ("blur",)

    def run(self) -> None:
        """Fit levels, noise and blur in turns until the misfit stays."""
        smoothing = 0.0
        for number in range(_ROUNDS):
            self._match_all_but_blur(is_first=number == 0)
            if number == 0 or self.microscope.smoothing > 0 == smoothing:
                self._choose_from_grid()
            smoothing = self.microscope.smoothing
            before = self.score
            self.microscope, self.score = self._refine(self._names, self.microscope, step=_STEP / (1 + number))
            if number > 1 and abs(self.score - before) < _SETTLED * before:
                break

    def start_from(self, start: Microscope) -> None:
        """Fit levels, noise and blur once more, from a microscope that is nearly right."""
        self.microscope = start
        hazy = ("haze", "haze_sigma") if start.haze > 0 else ()
        self._names = ("blur", *hazy, *(("jitter",) if start.jitter > 0 else ()))
        for _ in range(_ROUNDS_AGAIN):
            self._match_all_but_blur()
            self.microscope, self.score = self._refine(self._names, self.microscope)

    def explain_rest(self) -> None:
        """See whether haze or line jitter explains what is left."""
        if self.score > _UNEXPLAINED:
            self._try_haze()
            self._try_jitter()

    def _match_all_but_blur(self, *, is_first: bool = False) -> None:
        light = self._light(self.microscope)
        self._match_levels(light[:, 0].double().numpy())
        self._match_noise(light, is_first=is_first)

    def result(self, other: _Search | None) -> Fit:
        """Put together what was found."""
        return Fit(
            microscope=self.microscope,
            contrast=self.contrast,
            offset=self.offset,
            other_sampling=None if other is None else other.score,
            from_repeats=self._fields.again is not None,
            recorded=self.recorded,
            ends=self._ends,
        )

    def _light(self, microscope: Microscope) -> Tensor:
        return without_noise(self._high, microscope, self._fields.factor, self._seed)

    # --- grey scale --------------------------------------------------------------------------------------------------

    def _match_levels(self, light: NDArray[np.float64]) -> None:
        """Find contrast and offset of every recording by quantiles, which need no registration, and measure it anew.

        Noise is averaged away first, else it would widen the recordings. Files of pairs may each have been
        stretched separately; recordings without partners share one scale.
        """
        fields = self._fields
        if fields.paired:
            lines = [level_line(light[own], fields.recorded[own]) for own in fields.files[:, None] == fields.files]
        else:
            lines = [dark_line(light, fields.recorded)] * len(fields.recorded)
        self.contrast, self.offset = np.array(lines).T
        shares = self._shares(fields.recorded)
        self.recorded = measure(shares)
        ends = [clipped_ends(one) for one in shares]
        self._ends = (agreed([pair[0] for pair in ends]), agreed([pair[1] for pair in ends]))
        self._noise = self.recorded.noise
        if fields.again is not None:
            self._noise = noise_of_repeats(shares, self._shares(fields.again))

    def _shares(self, recorded: NDArray[np.float64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = (recorded - self.offset[:, None, None]) / self.contrast[:, None, None]
        return shares

    # --- noise -------------------------------------------------------------------------------------------------------

    def _match_noise(self, light: Tensor, *, is_first: bool) -> None:
        """Take the noise as measured at first; then without what texture adds to it.

        Variances here are those that are measured, behind the smoothing.
        """
        measured = max(self._noise.gain, 1e-7), max(self._noise.variance_at(0.0), _LEAST_VARIANCE)
        smoothing = self.microscope.smoothing
        if is_first or self._fields.again is not None:
            self.microscope = _with_noise_of(self.microscope, *measured, smoothing)
            return
        known = self._noise_beside(light[:, 0].double().numpy())
        slope, dark, excess = self._noise_left(light) if known is None else known
        if smoothing > 0 or excess > _SMOOTHED:
            smoothing = smoothing_of(excess + excess_of(smoothing))
        slope, dark = max(slope, _LEAST_LEFT * measured[0]), max(dark, _LEAST_LEFT * measured[1])
        if smoothing == 0 and self._ends == (None, None):
            # The errors of the two are independent; those of the curve of a single image are larger.
            weight = 2 / 3 if known is None else 1 / 2
            slope += weight * (self._slope_by_spectrum(light[:, 0].double().numpy(), slope, dark) - slope)
        self.microscope = _with_noise_of(self.microscope, slope, dark, smoothing)

    def _noise_beside(self, light: NDArray[np.float64]) -> tuple[float, float, float] | None:
        """Return slope, variance without light and excess correlation of what pairs differ by from the light.

        None without pairs, or where they do not lie on each other so that the difference holds more than the recording.
        """
        if not self._fields.paired:
            return None
        found = noise_of_pair(light, self._shares(self._fields.recorded))
        if found.variance_at(_MIDDLE) > self._noise.variance_at(_MIDDLE):
            return None
        excess = float(np.mean(found.correlation)) - excess_of(self.microscope.smoothing)
        return found.gain, found.constant, excess

    def _noise_left(self, light: Tensor) -> tuple[float, float, float]:
        """Return the same as measured in the recordings, less what simulated ones measure beyond their own noise.

        What texture adds to the measurement of real noise, it adds to that of simulated noise.
        """
        seen = [noise_of_image(self._simulated(light, self.microscope, normal)) for normal in self._normal]
        passed = noise_passed(self.microscope.smoothing)
        slope = passed / self.microscope.photons + self._noise.gain - float(np.mean([one.gain for one in seen]))
        dark = passed * self.microscope.read**2 + self._noise.constant - float(np.mean([one.constant for one in seen]))
        excess = float(np.mean(self.recorded.noise.correlation) - np.mean([one.correlation for one in seen]))
        return slope, dark, excess

    def _slope_by_spectrum(self, light: NDArray[np.float64], slope: float, dark: float) -> float:
        """Return the slope by the total noise in the spectrum, which every voxel adds to, where noise rules there."""
        _, power, _ = spectrum(light)
        fine = self.recorded.frequency > _FINE
        structure, seen = (float(np.mean(one[fine])) for one in (power.mean(axis=0), self.recorded.radial))
        if structure > _RULED * seen:
            return slope
        # The window of the spectrum weighs the middle most; sharp images of other fields have another mean level.
        window = np.square(np.hanning(light.shape[1])[:, None] * np.hanning(light.shape[2]))
        level = float(np.average(self._shares(self._fields.recorded).mean(axis=0), weights=window))
        better = (seen - structure - dark) / max(level, 1e-9)
        return min(max(better, slope / _NOISE_OFF), slope * _NOISE_OFF)

    def _simulated(self, light: Tensor, microscope: Microscope, normal: Tensor) -> NDArray[np.float64]:
        values = with_noise(light, microscope, normal)
        return values if self._ends == (None, None) else np.clip(values, *self._ends)

    # --- blur --------------------------------------------------------------------------------------------------------

    def _choose_from_grid(self) -> None:
        wide = max(self._fields.factor)
        trials = [replace(self.microscope, blur=float(b) * wide) for b in np.geomspace(_NARROWEST, _WIDEST, 14)]
        self.microscope = min(trials, key=lambda trial: self._misfit(trial, 1.0))

    def _try_haze(self) -> None:
        """See whether part of the light is out of focus, as in widefield recordings of thick specimens."""
        kept = dict(vars(self))
        hazy = replace(self.microscope, haze=0.5, haze_sigma=max(4.0 * max(self._fields.factor), self.microscope.blur))
        self._names = ("blur", "haze", "haze_sigma")
        self.microscope, score = self._refine(self._names, hazy)
        for _ in range(2 if score < _EXPLAINED * self.score else 0):
            self._match_all_but_blur()
            self.microscope, score = self._refine(self._names, self.microscope)
        is_wider = self.microscope.haze_sigma > 2 * max(self.microscope.blur, max(self._fields.factor))
        if is_wider and score < _EXPLAINED * self.score:
            self.score = score
        else:
            vars(self).update(kept)

    def _try_jitter(self) -> None:
        names = (*self._names, "jitter")
        trial, score = self._refine(names, replace(self.microscope, jitter=0.5))
        # It must explain that waves along X are weaker, not stand in for a blur of another shape.
        straight, jittered = (self._gaps(microscope, 1.0)[1] for microscope in (self.microscope, trial))
        explains = jittered < _EXPLAINED * straight and score < (1 - _WORTH) * self.score
        if trial.jitter > _LEAST_JITTER and explains:
            self._names, self.microscope, self.score = names, trial, score

    def _refine(self, names: tuple[str, ...], start: Microscope, *, step: float = _STEP) -> tuple[Microscope, float]:
        """Search by Nelder and Mead; without pairs, also how much contrast the fields differ by."""
        wide = max(self._fields.factor)
        first = np.array([_coded(name, getattr(start, name), wide) for name in names])
        first = first if self._fields.paired else np.append(first, 0.0)
        simplex = np.vstack([first, first + np.diag([step] * len(first))])

        def decoded(values: NDArray[np.float64]) -> tuple[Microscope, float]:
            found = {name: _decoded(name, float(value), wide) for name, value in zip(names, values, strict=False)}
            scale = 1.0 if self._fields.paired else math.exp(min(max(float(values[-1]), -1.0), 1.0))
            return replace(start, **found), scale  # type: ignore[arg-type]

        options: dict[str, Any] = {
            "initial_simplex": simplex, "maxfev": _TRIALS * len(first), "xatol": 3e-3, "fatol": 1e-4,
        }  # fmt: skip
        found = minimize(  # type: ignore[call-overload]
            lambda values: self._misfit(*decoded(values)), first, method="Nelder-Mead", options=options
        )
        return decoded(found.x)[0], float(found.fun)

    def _misfit(self, microscope: Microscope, scale: float) -> float:
        radial, direction = self._gaps(microscope, scale)
        return math.hypot(radial / _SPECTRUM_UNIT, direction / _DIRECTION_UNIT)

    def _gaps(self, microscope: Microscope, scale: float) -> tuple[float, float]:
        """Compare spectra, radial and along Y over along X, with the noise in closed form."""
        light = self._light(microscope)
        _, power, _ = spectrum(light[:, 0].double().numpy())
        found = self.recorded
        passed = smoothing_transfer(microscope.smoothing, found.frequency) ** 2
        level = float(light.clamp_min(0).mean()) / microscope.photons + microscope.read**2
        # A noise level that is off by a few per cent would be made up for by the blur: see it where noise rules.
        fine = found.frequency > _FINE
        seen = float(np.mean((found.radial / passed - power.mean(axis=0) * scale**2)[fine]))
        level = min(max(seen, level / _NOISE_OFF), level * _NOISE_OFF)
        expected = (power * scale**2 + level) * passed
        radial = spectrum_gap(expected.mean(axis=0), found.radial, found.pixels)
        return radial, direction_gap(expected, found.power, found.pixels)


def _coded(name: str, value: float, wide: int) -> float:
    """Return a parameter as it is searched: lengths in low voxels, that of haze by its logarithm."""
    if name == "haze_sigma":
        return math.log(value / wide)
    return value / wide if name == "blur" else value


def _decoded(name: str, value: float, wide: int) -> float:
    if name == "haze_sigma":
        return math.exp(min(max(value, 0.0), math.log(_WIDEST_HAZE))) * wide
    if name == "haze":
        return min(max(value, 0.0), 0.95)
    return min(abs(value), _WIDEST) * (wide if name == "blur" else 1)


def _with_noise_of(microscope: Microscope, slope: float, dark: float, smoothing: float) -> Microscope:
    """Return the microscope whose noise has such a variance against grey level behind the smoothing."""
    passed = noise_passed(smoothing)
    read = math.sqrt(max(dark / passed, _LEAST_VARIANCE))
    return replace(microscope, photons=passed / slope, read=read, smoothing=smoothing)
