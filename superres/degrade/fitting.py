"""From files to a fitted degradation, and how far its recordings are from the real ones, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from superres.config import IntensityRule
from superres.degrade.chain import middle
from superres.degrade.fields import Fields
from superres.degrade.fit import Fit, fit_microscope
from superres.degrade.microscope import Microscope, Sampling, default_steps, record
from superres.degrade.noise import noise_autocorrelation
from superres.degrade.recordings import FitConfig, Recordings, read_recordings
from superres.degrade.statistics import Gaps, Statistics, compare, measure
from superres.degrade.sureness import Sureness, sureness
from superres.errors import InputError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import measure_intensity_of


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """Recordings made by a degradation, on the scale of the fit.

    Parameters
    ----------
    name : str
        ``"default"`` or ``"fitted"``.
    images : ndarray
        float64, (n, y, x), shares of the grey range.
    statistics : Statistics
        Of the images.
    gaps : Gaps
        To the real recordings.
    autocorrelation : ndarray
        (2, lags), of the noise, see `noise_autocorrelation`.
    """

    name: str
    images: NDArray[np.float64]
    statistics: Statistics
    gaps: Gaps
    autocorrelation: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alone:
    """One of several recordings, fitted by itself.

    Parameters
    ----------
    recorded : str
        The file.
    microscope : Microscope
        In shares of the grey range.
    default, fitted : Gaps
        Of recordings by the default degradation, and by this microscope, to this file.
    """

    recorded: str
    microscope: Microscope
    default: Gaps
    fitted: Gaps

    @property
    def is_understood(self) -> bool:
        """Whether its own fit describes it; else its numbers say nothing, and ranges need not hold them."""
        return self.fitted.spectrum <= _POOR


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came out of a fit.

    Parameters
    ----------
    recordings : Recordings
        What it was made on.
    fit : Fit
        The microscope.
    default, fitted : Simulation
        Recordings by the default degradation of this factor, and by the fitted one; both by the chain itself.
    shares : ndarray
        float64, (m, y, x), the real recordings on the same scale.
    autocorrelation : ndarray
        (2, lags), of their noise.
    sureness : Sureness or None
        Half-widths of intervals around what was fitted; None where windows are too small for them.
    alone : tuple of Alone
        Each recording by itself; empty where there is only one.
    warnings : tuple of str
        Why the figures may not be what they seem.
    """

    recordings: Recordings
    fit: Fit
    default: Simulation
    fitted: Simulation
    shares: NDArray[np.float64]
    autocorrelation: NDArray[np.float64]
    sureness: Sureness | None
    alone: tuple[Alone, ...]
    warnings: tuple[str, ...]


# Correlation of neighbouring noise beyond that of simulated recordings, at which something is said.
_CORRELATED = 0.05
# Share of the measured slope that is left as photon noise, below which it is uncertain.
_TEXTURE = 0.3
# Log10 of a ratio of power; a fit that is further off has not understood the recordings.
_POOR = 0.15


def fit_degradation(
    sharp: Sequence[str], recorded: Sequence[str], config: FitConfig, *, progress: ProgressCallback = silent
) -> Outcome:
    """Fit the degradation that turns sharp images into recordings like the real ones.

    Parameters
    ----------
    sharp, recorded : sequence of str
        Files, folders or patterns; of the same fields in the same order with ``config.paired``.

    Raises
    ------
    ConfigError, InputError
        As `read_recordings`; also when a recording shows too few grey levels to measure noise in.
    """
    progress(Progress("read", 0, 1, "steps"))
    recordings = read_recordings(sharp, recorded, config, progress=progress)
    fields = recordings.fields
    files = np.unique(fields.files).tolist() if len(recordings.recorded) > 1 else []
    steps = 1 + len(files)
    progress(Progress("fit", 0, steps, "steps"))
    fit = fit_microscope(fields, seed=config.seed)
    alone: list[Alone] = []
    for number in files:
        progress(Progress("fit", 1 + len(alone), steps, "steps"))
        alone.append(_alone(recordings, number, fit.microscope.sampling, config.seed))
    default, fitted = _simulations(fields, fit, config.seed)
    shares = fit.shares(fields.recorded)
    outcome = Outcome(
        recordings=recordings,
        fit=fit,
        default=default,
        fitted=fitted,
        shares=shares,
        autocorrelation=noise_autocorrelation(shares),
        sureness=sureness(fields, fit, seed=config.seed),
        alone=tuple(alone),
        warnings=(),
    )
    progress(Progress("fit", steps, steps, "steps"))
    return _warned(outcome)


def _alone(recordings: Recordings, number: int, sampling: Sampling | None, seed: int) -> Alone:
    """Fit one of several recordings by itself; how they are sampled is what all have in common."""
    name, fields = recordings.recorded[number], recordings.fields.of_file(number)
    try:
        found = fit_microscope(fields, seed=seed, sampling=sampling)
    except InputError as error:
        raise InputError(f"{name}: {error}, or leave this one out") from None
    default, fitted = _simulations(fields, found, seed)
    return Alone(name, found.microscope, default.gaps, fitted.gaps)


def _simulations(fields: Fields, fit: Fit, seed: int) -> tuple[Simulation, Simulation]:
    """Record the sharp windows by the default degradation and by a fitted one."""
    high = torch.from_numpy(fields.sharp[:, None])
    fitted = record(high, fit.microscope.steps(), fields.factor, seed)
    default = record(high, middle(default_steps(fields.factor)), fields.factor, seed)
    return _simulation("default", _on_scale_of(fit, fields, default), fit), _simulation("fitted", fitted, fit)


def _on_scale_of(fit: Fit, fields: Fields, default: NDArray[np.float64]) -> NDArray[np.float64]:
    """See what the default makes of sharp images on the scale of the fit, black and white laid on the recordings'.

    That is how a net trained with it would meet the recordings.
    """
    same = fields.files[:, None] == fields.files if fields.paired else np.ones((1, len(fields.recorded)), dtype=bool)
    measured = [measure_intensity_of(fields.recorded[own][None], IntensityRule())[0] for own in same]
    black, white = (np.array([getattr(one, name) for one in measured]) for name in ("black", "white"))
    contrast, offset = (one if fields.paired else one[:1] for one in (fit.contrast, fit.offset))
    grey = default * (white - black)[:, None, None] + black[:, None, None]
    shares: NDArray[np.float64] = (grey - offset[:, None, None]) / contrast[:, None, None]
    return shares


def _simulation(name: str, images: NDArray[np.float64], fit: Fit) -> Simulation:
    clipped = fit.clipped_like(images)
    try:
        statistics = measure(clipped)
    except InputError:  # clipped so much that no noise is left to measure
        clipped, statistics = images, measure(images)
    images = clipped
    return Simulation(name, images, statistics, compare(statistics, fit.recorded), noise_autocorrelation(images))


def _warned(outcome: Outcome) -> Outcome:
    return replace(outcome, warnings=(*outcome.recordings.notes, *_warnings(outcome)))


def _warnings(outcome: Outcome) -> list[str]:
    """Say in words what is wrong with the recordings or the fit."""
    fit, found = outcome.fit, []
    found += [text for text in fit.recorded.noise.warnings if "clipped" in text or "no photon noise" in text]
    if not fit.from_repeats and 1 / fit.microscope.photons < _TEXTURE * fit.recorded.noise.gain:
        found.append(
            "most of what looks like photon noise in the recordings is explained by structure as fine as voxels, so "
            "gain and photons are uncertain: give two recordings of one field to measure noise from"
        )
    smoothing = fit.microscope.smoothing
    excess = float(np.mean(outcome.autocorrelation[:, 0]) - np.mean(outcome.fitted.autocorrelation[:, 0]))
    if smoothing > 0:
        found.append(
            "noise of neighbouring voxels is correlated: the recordings were denoised, resampled or compressed before "
            f"they were saved; a blur of {smoothing:.2g} low voxels after the noise stands for that, and gain and read "
            "noise are those before it. Give the raw recordings if there are any"
        )
    elif abs(excess) > _CORRELATED:
        how = "more" if excess > 0 else "less"
        found.append(
            f"noise of neighbouring voxels correlates by {abs(excess):.2f} {how} than in simulated recordings: the "
            "recordings hold finer texture than the sharp images, or were denoised or sharpened before they were saved"
        )
    found += [
        f"{one.recorded}: by itself its spectrum is still off by {one.fitted.spectrum:.2f} (log10), so the ranges were "
        "not widened to hold it: give sharp images of the same structures, or leave it out"
        for one in outcome.alone
        if not one.is_understood
    ]
    if outcome.fitted.gaps.spectrum > _POOR:
        found.append(
            f"the spectrum is still off by {outcome.fitted.gaps.spectrum:.2f} (log10): this microscope does something "
            "that blur, sampling and noise do not describe, or the sharp images show other structures; look at the "
            "spectra before training with this"
        )
    return found
