"""A degradation as a handful of numbers, what it makes of sharp images, and the steps of a recipe that do the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superres.config import Blur, DegradeStep, LineJitter, Poisson, ReadNoise
from superres.degrade.chain import degrade
from superres.degrade.moments import moments

Triple = tuple[int, int, int]
Sampling = Literal["binning", "subsampling"]

NEGLIGIBLE = 0.25
"""Voxels; a blur or jitter below it leaves no trace."""


@dataclass(frozen=True, slots=True)
class Microscope:
    """What a microscope does to the light of a sharp image, in shares of the sharp image's grey range.

    Parameters
    ----------
    blur : float
        Sigma of the point spread function in high voxels, beyond the sharp image's own.
    sampling : str or None
        How high voxels become low ones; None at factor 1.
    photons : float
        Counted at the top of the grey range.
    read : float
        Standard deviation of the noise where there is no light.
    haze, haze_sigma : float
        Share of the light that is out of focus, and by how many high voxels it is spread instead of `blur`.
    jitter : float
        Standard deviation of the displacement of scan lines along X, in low voxels.
    smoothing : float
        Sigma in low voxels of a blur after the noise: denoised, resampled or compressed recordings.
    gain, offset : float
        ``share * gain + offset`` is what the detector shows, on the scale of the recording.
    """

    blur: float
    sampling: Sampling | None
    photons: float
    read: float
    haze: float = 0.0
    haze_sigma: float = 8.0
    jitter: float = 0.0
    smoothing: float = 0.0
    gain: float = 1.0
    offset: float = 0.0

    def on_own_scale(self) -> Microscope:
        """Return the same with gain 1 and offset 0, as seen on the scale that they lead to."""
        return replace(self, read=self.read / self.gain, gain=1.0, offset=0.0)

    def optics(self) -> tuple[DegradeStep, ...]:
        """Return the steps before any noise."""
        return _optics(self, self)

    def detector(self) -> tuple[DegradeStep, ...]:
        """Return the steps that add noise."""
        return _detector(self, self)

    def processing(self) -> tuple[DegradeStep, ...]:
        """Return the steps after the noise."""
        return _processing(self, self)

    def steps(self) -> tuple[DegradeStep, ...]:
        """Return all steps, in the order in which the microscope does them."""
        return steps_between(self, self)


def steps_between(low: Microscope, high: Microscope) -> tuple[DegradeStep, ...]:
    """Return the steps whose ranges go from one microscope to another; `high` holds the larger value of everything."""
    return (*_optics(low, high), *_detector(low, high), *_processing(low, high))


def _optics(low: Microscope, high: Microscope) -> tuple[DegradeStep, ...]:
    steps = []
    if high.blur > NEGLIGIBLE or high.haze > 0:
        haze = {"haze": (low.haze, high.haze), "haze_sigma": (low.haze_sigma, high.haze_sigma)} if high.haze > 0 else {}
        steps.append(DegradeStep(blur=Blur(sigma=(low.blur, high.blur), **haze)))
    if high.sampling is not None:
        steps.append(DegradeStep(downsample=high.sampling))
    if high.jitter > NEGLIGIBLE:
        steps.append(DegradeStep(line_jitter=LineJitter(sd=(low.jitter, high.jitter))))
    return tuple(steps)


def _detector(low: Microscope, high: Microscope) -> tuple[DegradeStep, ...]:
    noise = ReadNoise(sd=(low.read, high.read), gain=(low.gain, high.gain), offset=(low.offset, high.offset))
    return DegradeStep(poisson=Poisson(photons=(low.photons, high.photons))), DegradeStep(read_noise=noise)


def _processing(low: Microscope, high: Microscope) -> tuple[DegradeStep, ...]:
    if high.smoothing <= NEGLIGIBLE:
        return ()
    return (DegradeStep(blur=Blur(sigma=(low.smoothing, high.smoothing))),)


def default_steps(factor: Triple) -> tuple[DegradeStep, ...]:
    """Return the degradation that stands for any fluorescence microscope, where nothing is known of the real one.

    That of the recipe for fluorescence at factor 2, its blur in proportion to the factor.
    """
    wide = max(factor) / 2
    blur = DegradeStep(blur=Blur(sigma=(0.8 * wide, 1.6 * wide)))
    sampling = (DegradeStep(downsample="binning"),) if max(factor) > 1 else ()
    noise = (
        DegradeStep(poisson=Poisson(photons=(60.0, 400.0))),
        DegradeStep(read_noise=ReadNoise(sd=(0.005, 0.03))),
    )
    return (blur, *sampling, *noise)


def without_noise(high: Tensor, microscope: Microscope, factor: Triple, seed: int) -> Tensor:
    """Return the light that reaches the detector.

    Parameters
    ----------
    high : Tensor
        float32, (n, 1, y, x), shares of the grey range.
    seed : int
        Of the displacements of lines: the same ones whatever their size, so that results change smoothly with it.

    Returns
    -------
    Tensor
        float32, (n, 1, y / fy, x / fx).
    """
    generator = torch.Generator().manual_seed(seed)
    return degrade(high, microscope.optics(), factor=factor, generator=generator)


def with_noise(light: Tensor, microscope: Microscope, normal: Tensor) -> NDArray[np.float64]:
    """Return what the detector makes of light, with given standard normal noise in place of chance.

    Mean and variance are those of the chain, and everything is smooth in the parameters, as a fit needs it.

    Returns
    -------
    ndarray
        float64, (n, y, x).
    """
    mean, variance = moments(light, microscope.detector(), factor=(1, 1, 1))
    noisy = mean + variance.clamp_min(0).sqrt() * normal
    shown = degrade(noisy, microscope.processing(), factor=(1, 1, 1), generator=torch.Generator())
    return shown[:, 0].double().numpy()


def record(high: Tensor, steps: tuple[DegradeStep, ...], factor: Triple, seed: int) -> NDArray[np.float64]:
    """Run the chain itself; (n, y, x)."""
    generator = torch.Generator().manual_seed(seed)
    return degrade(high, steps, factor=factor, generator=generator)[:, 0].double().numpy()
