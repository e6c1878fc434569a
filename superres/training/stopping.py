"""When a GAN phase ends: before the figures on validation images turn, whatever its losses say.

A generator that learns against a critic gets sharper for a while and then begins to invent; its loss shows nothing of
that (DeOldify's "inflection point", found there by eye). Three things are watched on validation images: fidelity,
whether the prediction still explains the recording, and whether there is more fine detail than in truth.

What is kept has lost at most 0.5 dB, and is no less consistent than the model before the phase. Degraded again, a
prediction deviates from the recording, and so does truth: by the noise, which on the same crops comes to 1 standard
deviation or close to it. A net that copies a part of the noise deviates less than truth. So a model is less consistent
where its deviation is above that of the model before *and* above that of truth: below both, noise explains all of it.
A rise by more than 5 % ends the phase even there, so that a model that starts far below truth does not fill the gap
with inventions. Where no degradation is known, truth cannot be degraded, and every rise counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from superres.degrade.moments import moments
from superres.degrade.noise_line import LEAST_VARIANCE
from superres.nets import resample
from superres.training.kind import as_planes
from superres.training.lattice import lattice_of, without_lattice
from superres.training.material import Material
from superres.training.memory import in_parts

CHECKS = 20
"""Times that a GAN phase is checked."""

# What the figures may lose against the model before the phase: beyond, it is stopped.
_PSNR_DROP = 0.5
_SSIM_DROP = 0.015
_CONSISTENCY_RISE = 0.05
_SPECTRAL_EXCESS = 0.10
# Of the range from black to white, or of what the model before the phase has: less is not seen.
_LATTICE = 0.005
_LATTICE_RISE = 0.5
# What the spectrum must win for a model to be changed, and marked for display: less is chance.
_LEAST_GAIN = 0.05
_BANDS = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """What is watched, on validation images.

    Parameters
    ----------
    psnr : float
        dB, mean over the crops, on the normalised scale.
    ssim : float
        Mean over the crops.
    consistency : float
        Root mean square of the deviation of the degraded prediction from the recording, in standard deviations of its
        noise; of pairs without a known degradation, in normalised intensity.
    excess : float
        Largest ratio of the prediction's power to truth's in four bands above the low image's Nyquist frequency, minus
        1: positive where there is more fine detail than in truth.
    spectral : float
        Mean absolute logarithm of these ratios: 0 where there is as much fine detail as in truth. The lattice does not
        count as detail.
    truth : float
        What `consistency` is of truth itself, which is the work of noise; 0 where no degradation is known.
    lattice : float
        Standard deviation of the pattern that repeats with every low voxel (`superres.training.lattice`), normalised
        intensity.
    """

    psnr: float
    ssim: float
    consistency: float
    excess: float
    spectral: float
    truth: float = 0.0
    lattice: float = 0.0

    def faults(self, before: Figures) -> list[str]:
        """Return in words what is too much worse than before the phase; empty where nothing is."""
        found = []
        if self.psnr < before.psnr - _PSNR_DROP:
            found.append(f"PSNR fell from {before.psnr:.2f} to {self.psnr:.2f} dB")
        if self.ssim < before.ssim - _SSIM_DROP:
            found.append(f"SSIM fell from {before.ssim:.3f} to {self.ssim:.3f}")
        if self.consistency > before.consistency * (1 + _CONSISTENCY_RISE):
            found.append(f"deviation from the recording rose from {before.consistency:.4f} to {self.consistency:.4f}")
        if self.excess > max(_SPECTRAL_EXCESS, before.excess + _SPECTRAL_EXCESS):
            found.append(f"fine detail has {1 + self.excess:.0%} of truth's power in one band")
        if self.lattice > max(_LATTICE, before.lattice * (1 + _LATTICE_RISE)):
            found.append(f"a lattice of the low grid rose from {before.lattice:.2%} to {self.lattice:.2%} of the range")
        return found

    def better(self, than: Figures, before: Figures) -> bool:
        """Whether a model may replace another one.

        It must be nearer to truth's spectrum, by a twentieth at least than `before`, and no less consistent than that.
        """
        consistent = self.consistency <= max(before.consistency, before.truth)
        sharper = self.spectral < min(than.spectral, (1 - _LEAST_GAIN) * before.spectral)
        return not self.faults(before) and consistent and sharper


class Watch:
    """The record of a GAN phase: the model before it, the best one since, and why it ended.

    Parameters
    ----------
    material : Material
        With validation images.
    """

    def __init__(self, material: Material) -> None:
        self._material = material
        self.checks: list[dict[str, float]] = []
        self.before: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.kept = 0  # which check the best model is of; 0 is before the phase
        self.reason = ""

    @property
    def begun(self) -> bool:
        """Whether the model before the phase is known."""
        return bool(self.before)

    def due(self, progress: float) -> bool:
        """Return whether it is time for a check, `progress` (0 to 1) into the phase."""
        return int(progress * CHECKS) >= len(self.checks)

    def check(self, net: torch.nn.Module, step: int) -> Figures:
        """Measure; keep the model if it is the best one, and say so in `reason` when the phase must end."""
        found = measure(net, self._material)
        weights = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self.checks.append({"step": float(step), **asdict(found)})
        if not self.before:
            self.before = self.best = weights
            return found
        before, best = self._figures(0), self._figures(self.kept)
        if found.better(best, before):
            self.best, self.kept = weights, len(self.checks) - 1
        faults = found.faults(before)
        if faults:
            self.reason = f"stopped at step {step}: " + "; ".join(faults)
        return found

    def _figures(self, number: int) -> Figures:
        return Figures(**{name: value for name, value in self.checks[number].items() if name != "step"})

    def decision(self) -> dict[str, Any]:
        """Return what a model file says of the phase."""
        kept = self.checks[self.kept]
        return {"checks": self.checks, "kept_step": int(kept["step"]), "changed": self.kept > 0, "ended": self.ended()}

    def ended(self) -> str:
        """Return in words how the phase ended."""
        end = self.reason or "ran to its end: no figure turned"
        if self.kept == 0:
            return f"the GAN phase {end}; nothing in it was better, and the model before it was kept"
        first, kept = self._figures(0), self._figures(self.kept)
        deviation = kept.consistency / first.consistency - 1
        return (
            f"the GAN phase {end}; kept is the model of step {self.checks[self.kept]['step']:.0f}: PSNR "
            f"{kept.psnr - first.psnr:+.2f} dB, deviation from the recording {deviation:+.2%}"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the models, for a checkpoint."""
        both = (("before", self.before), ("best", self.best if self.kept else {}))
        return {f"{prefix}.{name}": value for prefix, weights in both for name, value in weights.items()}

    def state(self) -> dict[str, Any]:
        """Return the rest, for a checkpoint."""
        return {"checks": self.checks, "kept": self.kept, "reason": self.reason}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `state` returned."""
        for prefix, weights in (("before.", self.before), ("best.", self.best)):
            weights |= {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        self.checks, self.kept, self.reason = state["checks"], state["kept"], state["reason"]
        if not self.kept:
            self.best = self.before


@torch.no_grad()
def measure(net: torch.nn.Module, material: Material) -> Figures:
    """Measure a net on the validation images."""
    low, high = material.validation_pairs()
    pred = in_parts(net, low)
    psnr = -10 * torch.log10(((pred - high) ** 2).mean(dim=(1, 2, 3)).clamp_min(1e-12))
    planes, truth = as_planes(pred, -1), as_planes(high, -1)
    factor = material.config.factor[1:]
    ratios = band_ratios(without_lattice(planes, truth, factor), truth, factor)
    logs = np.log(ratios)
    return Figures(
        psnr=float(psnr.mean()),
        ssim=_ssim(planes, truth),
        consistency=_consistency(pred, low, material),
        truth=_consistency(high, low, material) if material.config.degrade else 0.0,
        excess=float(np.exp(logs.max()) - 1),
        spectral=float(np.abs(logs).mean()),
        lattice=float(lattice_of(pred, high, factor).pow(2).mean().sqrt()),
    )


def band_ratios(pred: Tensor, high: Tensor, factor: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the power of predictions relative to truth's in bands of radial frequency, geometric mean over images.

    The bands lie between the Nyquist frequency of the low grid, or half of it where the grids are the same, and that of
    the high grid.

    Parameters
    ----------
    pred, high : Tensor
        float32, (n, 1, y, x).
    factor : tuple of int
        Upscaling along Y and X.

    Returns
    -------
    ndarray
        float64, (bands,), lowest frequencies first.
    """
    y, x = high.shape[-2:]
    window = torch.outer(torch.hann_window(y, periodic=False), torch.hann_window(x, periodic=False)).to(high.device)
    frequency = torch.hypot(torch.fft.fftfreq(y)[:, None], torch.fft.rfftfreq(x)[None]).to(high.device)
    lowest = 0.5 / (max(factor) if max(factor) > 1 else 2)
    edges = torch.linspace(lowest, 0.5, _BANDS + 1)
    power = [
        torch.fft.rfft2((image[:, 0] - image[:, 0].mean(dim=(1, 2), keepdim=True)) * window).abs() ** 2
        for image in (pred.float(), high.float())
    ]
    ratios = []
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        inside = (frequency >= start) & (frequency < end)
        sums = [values[:, inside].double().sum(dim=1) for values in power]
        # An image without any detail in a band, like an empty one, says nothing of the ratio.
        told = sums[1] > 1e-12
        logs = torch.log(sums[0][told].clamp_min(1e-12) / sums[1][told])
        ratios.append(float(torch.exp(logs.mean())) if told.any() else 1.0)
    return np.array(ratios)


def _ssim(pred: Tensor, high: Tensor) -> float:
    values = []
    for made, truth in zip(pred[:, 0].float().cpu().numpy(), high[:, 0].float().cpu().numpy(), strict=True):
        width = max(float(np.ptp(truth)), 1e-6)
        similarity = structural_similarity(  # type: ignore[no-untyped-call]
            truth, made, data_range=width, gaussian_weights=True, sigma=1.5
        )
        values.append(float(similarity))
    return float(np.mean(values))


def _consistency(pred: Tensor, low: Tensor, material: Material) -> float:
    config, batch = material.config, material.validation
    assert batch is not None
    low = material.predicted_of(low)
    if not config.degrade:
        return float((resample.block_mean(pred, config.factor[1:]) - low).pow(2).mean().sqrt())
    scale, shift = (material.predicted_of(part.to(pred.device)) for part in (batch.scale, batch.shift))
    mean, variance = moments(
        (pred - shift) / scale, config.degrade, factor=config.factor, voxel_sizes=batch.voxel_sizes
    )
    return float(((mean - (low - shift) / scale) ** 2 / variance.clamp_min(LEAST_VARIANCE)).mean().sqrt())
