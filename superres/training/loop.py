"""The training loop, top to bottom in the order in which things happen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from superres.config import Augment, TrainConfig
from superres.datasets.manifest import load_manifests
from superres.datasets.patches import Batch, PatchSampler
from superres.datasets.sources import Source
from superres.degrade import augment_range, degrade, own_range
from superres.degrade.chain import middle
from superres.modelfile import read_model_header, save_model_file
from superres.nets import FeatureNet, UNet, choose_device, place
from superres.nets.device import autocast, layout
from superres.progress import Progress, ProgressCallback, silent
from superres.training import losses
from superres.training.domain import measure_domain
from superres.training.feature_training import train_feature_net
from superres.training.header import make_header
from superres.training.kind import architecture_of, as_planes, open_split, sampler_of, statistics_of
from superres.training.run import RunFolder, optimiser_tensors, restore_optimiser, to_numpy
from superres.training.schedule import one_cycle
from superres.training.start import start_from

_LOG_EVERY = 20
_VALIDATION_IMAGES = 4  # per acquisition
# Part of a time budget that is kept for the last validation and for writing the model.
_RESERVE = 0.02
# Largest part of a time budget that trains the feature network.
_FEATURE_NET_SHARE = 0.05
# Features are compared on a window of this many high-resolution voxels, another one at every step: they cost more than
# the generator itself, and a quarter of a patch says as much about its texture.
_FEATURE_WINDOW = 96
# The interval head learns at every second step: at each one it would take 14 to 23 % of the time of the smallest nets.
_INTERVAL_EVERY = 2


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training left behind.

    Parameters
    ----------
    model, run : Path
        The model file and the run folder.
    steps : int
        Steps of the generator.
    seconds : float
        Time spent, over all sessions of the run.
    metrics : mapping
        Validation figures: PSNR of the model and of cubic interpolation, in dB, per acquisition and mean.
    notes : tuple of str
        What a person should know: images left out, steps skipped.
    """

    model: Path
    run: Path
    steps: int
    seconds: float
    metrics: Mapping[str, Any]
    notes: tuple[str, ...]


def train(config: TrainConfig, run: Path, *, progress: ProgressCallback = silent) -> TrainResult:
    """Train a model, or go on with a training that was stopped.

    Parameters
    ----------
    config : TrainConfig
        Everything that decides the training.
    run : Path
        Run folder. One that holds the same training unfinished is gone on with; with a length in steps, the outcome
        is the same, parameter for parameter, as without the interruption.
    progress : callable
        Receives an event per step.

    Raises
    ------
    OutputExistsError
        When `run` holds another training.
    InputError, ConfigError
        When data or settings cannot be used.
    """
    started = time.monotonic()
    manifests = load_manifests(config.manifests, config.data_root)
    folder = RunFolder(run, config)
    if folder.finished:
        header = read_model_header(folder.model)
        return TrainResult(
            folder.model,
            run,
            header.training["steps"],
            header.training["seconds"],
            header.metrics,
            ("already finished",),
        )
    sources, notes = open_split(config, manifests, "train")
    valid, valid_notes = open_split(config, manifests, "val")
    session = _Session(config, folder, sources, valid, progress)
    skipped = session.fit(started)
    metrics = session.validate()
    notes += valid_notes + ([f"{skipped} steps with non-finite gradients were skipped"] if skipped else [])
    domain = session.domain()
    seconds = session.seconds(started)
    header = make_header(
        config,
        manifests,
        session.sources,
        session.architecture,
        steps=session.step,
        seconds=seconds,
        metrics=metrics,
        domain=domain,
    )
    save_model_file(folder.model, header, to_numpy(session.ema.state_dict()))
    folder.clear_checkpoint()
    return TrainResult(folder.model, run, session.step, seconds, metrics, tuple(notes))


class _Session:
    """The state of one training: net, averaged net, optimiser, step, coefficients."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        sources: list[Source],
        valid: list[Source],
        progress: ProgressCallback,
    ) -> None:
        self.config = config
        self.folder = folder
        self.progress = progress
        self.device = choose_device(config.device)
        self.architecture = architecture_of(config)
        torch.manual_seed(config.seed)
        self.net = place(UNet(self.architecture), self.device)
        if config.start is not None:
            start_from(self.net, config.start)
        self.ema = place(UNet(self.architecture), self.device).eval()
        self.ema.load_state_dict(self.net.state_dict())
        self.parameters = self.net.main_parameters()
        self.statistics = statistics_of(self.ema, self.net)
        self.head = [] if self.net.interval_head is None else list(self.net.interval_head.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters if p.ndim > 1]},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups += [{"params": self.head, "weight_decay": 0.0}] if self.head else []
        self.optimiser = torch.optim.AdamW(
            groups,
            lr=config.optimiser.learning_rate,
            betas=(config.optimiser.momentum[1], config.optimiser.beta2),
            weight_decay=config.optimiser.weight_decay,
        )
        self.sources = sources
        self.sampler = self._sampler(sources, config.augment)
        self.validation: Batch | None = None
        self.validation_names: list[str] = []
        if valid:
            self.validation, self.validation_names = self._sampler(valid, None).crops(_VALIDATION_IMAGES)
        self.step, self.spent, self.skipped = 0, 0.0, 0
        self.first, self.began = 0, time.monotonic()
        self.coefficients: dict[str, float] = {}
        self._resume()

    def fit(self, started: float) -> int:
        """Run the steps that are left; return how many were skipped for non-finite gradients."""
        features = self._feature_net() if self.config.loss.feature > 0 and self.config.loss.feature_from < 1 else None
        self.first, self.began = self.step, time.monotonic()
        while (share := self._share(started)) < 1:
            rate, momentum = one_cycle(share, self.config.optimiser)
            for group in self.optimiser.param_groups:
                group["lr"], group["betas"] = rate, (momentum, self.config.optimiser.beta2)
            low, high = self._pairs(self.sampler.draw(self.step, self.config.patch.batch), augmented=True)
            terms = self._loss(low, high, features if share >= self.config.loss.feature_from else None)
            self._update(terms["loss"], terms.get("interval"))
            self.step += 1
            self._report(share, rate, terms, started)
        self._announce(1.0, {})
        return self.skipped

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Return PSNR of the averaged net and of cubic interpolation on the validation crops, per acquisition."""
        if self.validation is None:
            return {}
        low, high = self._pairs(self.validation, augmented=False)
        errors = {"psnr": self.ema(low) - high, "psnr_bicubic": self.ema.interpolate(low) - high}
        scale = self.ema.predicted_of(self.validation.scale.to(self.device))
        figures: dict[str, Any] = {}
        for name, error in errors.items():
            # On the grey scale of the acquisition, so that the figure does not depend on the measured intensities.
            squares = ((error / scale) ** 2).mean(dim=tuple(range(1, error.ndim)))
            psnr = -10 * torch.log10(squares.clamp_min(1e-12))
            means = {
                key: float(psnr[[n == key for n in self.validation_names]].mean()) for key in self.validation_names
            }
            figures[name] = sum(means.values()) / len(means)
            figures[f"{name}_per_acquisition"] = means
        return figures

    def domain(self) -> dict[str, Any]:
        """Return where the averaged net is right, for the guard (`superres.nets.domain`), which examines planes."""
        if self.architecture.dimensions == 3 or self.architecture.channels > 1:
            return {}
        budget = self.config.time_budget
        found = measure_domain(
            self.ema,
            lambda number: self.sampler.draw((1 << 41) + number, self.config.patch.batch),
            lambda batch, number: self._pairs(batch, augmented=True, number=number),
            self.config,
            self.device,
            seconds=None if budget is None else _RESERVE / 2 * budget,
        )
        return {} if found is None else found.to_json()

    def seconds(self, started: float) -> float:
        """Return the time spent, earlier sessions included."""
        return self.spent + time.monotonic() - started

    def _share(self, started: float) -> float:
        if self.config.time_budget is not None:
            return self.seconds(started) / (self.config.time_budget * (1 - _RESERVE))
        assert self.config.steps is not None
        return self.step / self.config.steps

    def _sampler(self, sources: list[Source], augment: Augment | None) -> PatchSampler:
        return sampler_of(self.config, sources, augment)

    def _pairs(self, batch: Batch, *, augmented: bool, number: int = 0) -> tuple[Tensor, Tensor]:
        """Return low and high patches as the net sees them: augmented, degraded, normalised."""
        seed = (self.config.seed << 32) + (self.step + 1 + number if augmented else 0)
        generator = Generator(self.device).manual_seed(seed)
        high = batch.high.to(self.device)
        low = None if batch.low is None else batch.low.to(self.device)
        scale, shift = batch.scale.to(self.device), batch.shift.to(self.device)
        if augmented:
            limits = {"black": -shift / scale, "white": (1 - shift) / scale}
            high, low = augment_range(high, low, self.config.augment, generator, **limits)
            scale, shift = own_range(high, scale, shift, self.config, generator)
        if low is None:
            low = degrade(
                high,
                self.config.degrade if augmented else middle(self.config.degrade),
                factor=self.config.factor,
                generator=generator,
                voxel_sizes=batch.voxel_sizes,
            )
        low = low * scale + shift
        return low.contiguous(memory_format=layout(low)), self.net.predicted_of(high * scale + shift)

    def _loss(self, low: Tensor, high: Tensor, features: FeatureNet | None) -> dict[str, Tensor]:
        """Return the loss and its terms; shares are measured on first use and then frozen."""
        config = self.config.loss
        if self.sources[0].low is not None:
            # Lamps drift and dyes fade between two recordings. The net's last layer makes the result follow the low
            # image in such smooth things, so they are not asked of it.
            high = self.net.follow(high, low)
        if self.architecture.dropblock > 0:  # what is dropped depends on the step, not on what was drawn before
            torch.manual_seed((self.config.seed << 32) + self.step)
        with autocast(self.device):
            # The last of each group of steps, so that logged steps are among them.
            due = self.head and self.step % _INTERVAL_EVERY == _INTERVAL_EVERY - 1
            pred, *half_widths = self.net.with_interval(low) if due else (self.net(low),)
        terms = {"charbonnier": losses.charbonnier(pred, high, config.charbonnier_epsilon)}
        total = terms["charbonnier"]
        if config.frequency > 0:
            terms["frequency"] = losses.frequency(pred, high)
            total = (
                total + self._coefficient("frequency", config.frequency, terms["frequency"], total) * terms["frequency"]
            )
        if features is not None:
            with autocast(self.device):
                terms["feature"] = losses.feature(self._window(pred), self._window(high), features)
            total = total + self._coefficient("feature", config.feature, terms["feature"], total) * terms["feature"]
        if half_widths:
            below, above = half_widths
            terms["interval"] = losses.interval(high, pred, below, above)
        return {"loss": total, **terms}

    def _window(self, image: Tensor) -> Tensor:
        random = np.random.default_rng([self.config.seed, self.step, 1])
        y, x = (int(random.integers(max(1, n - _FEATURE_WINDOW + 1))) for n in image.shape[-2:])
        plane = int(random.integers(image.shape[2])) if image.ndim == 5 else 0
        return as_planes(image[..., y : y + _FEATURE_WINDOW, x : x + _FEATURE_WINDOW], plane)

    def _coefficient(self, name: str, share: float, term: Tensor, rest: Tensor) -> float:
        if name not in self.coefficients:
            self.coefficients[name] = losses.coefficient_for_share(share, term, rest)
        return self.coefficients[name]

    def _update(self, loss: Tensor, interval: Tensor | None) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.optimiser.clip)
        if not torch.isfinite(norm):
            self.skipped += 1
            return
        if interval is not None:
            self._update_head(interval)
        self.optimiser.step()
        # Warm-started, so that a short training does not average over its beginning.
        decay = min(self.config.optimiser.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for averaged, current in zip(self.ema.parameters(), self.net.parameters(), strict=True):
                averaged.lerp_(current, 1 - decay)
            for kept, now in self.statistics:
                kept.copy_(now)

    def _update_head(self, interval: Tensor) -> None:
        """Give the interval head its gradient, clipped on its own: the net is trained as it would be without it."""
        interval.backward()  # type: ignore[no-untyped-call]
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.head, self.config.optimiser.clip)):
            for parameter in self.head:
                parameter.grad = None

    def _report(self, share: float, rate: float, terms: dict[str, Tensor], started: float) -> None:
        config, validated = self.config, {}
        if self.step % config.validate_every == 0:
            validated = {k: v for k, v in self.validate().items() if isinstance(v, float)}
        if self.step % _LOG_EVERY == 0 or validated:
            values = {name: round(float(term.detach()), 6) for name, term in terms.items()} | validated
            seconds = round(self.seconds(started), 2)
            self.folder.log({"step": self.step, "seconds": seconds, "learning_rate": rate, **values})
            self._announce(share, values | {"steps/s": (self.step - self.first) / (time.monotonic() - self.began)})
        if self.step % config.sample_every == 0:
            self._sample()
        if self.step % config.checkpoint_every == 0:
            self._checkpoint(started)

    def _announce(self, share: float, values: Mapping[str, float]) -> None:
        done, total, unit = float(self.step), float(self.config.steps or 0), "steps"
        if self.config.time_budget is not None:
            done, total, unit = min(share, 1.0) * self.config.time_budget, self.config.time_budget, "s"
        self.progress(Progress("train", done, total, unit, f"step {self.step}", values))

    @torch.no_grad()
    def _sample(self) -> None:
        if self.validation is None:
            return
        low, high = (tensor[:3] for tensor in self._pairs(self.validation, augmented=False))
        nearest = torch.nn.functional.interpolate(self.ema.predicted_of(low), size=high.shape[2:], mode="nearest")
        panels = [nearest, self.ema.interpolate(low), self.ema(low), high]
        self.folder.save_sample(self.step, [as_planes(panel, -1).cpu() for panel in panels])

    def _checkpoint(self, started: float) -> None:
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser)
        state = {"step": self.step, "seconds": self.seconds(started), "skipped": self.skipped}
        self.folder.save_checkpoint(tensors, state | {"coefficients": self.coefficients})

    def _resume(self) -> None:
        found = self.folder.load_checkpoint()
        if found is None:
            return
        tensors, state = found
        for prefix, net in (("net.", self.net), ("ema.", self.ema)):
            net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        restore_optimiser(self.optimiser, tensors)
        self.step, self.spent, self.skipped = state["step"], state["seconds"], state["skipped"]
        self.coefficients = state["coefficients"]

    def _feature_net(self) -> FeatureNet:
        known = self.folder.load_net("feature_net")
        if known is not None:
            net = place(FeatureNet(), self.device)
            net.load_state_dict(known)
            return net.eval().requires_grad_(False)

        def sharp(step: int) -> Tensor:
            batch = self.sampler.draw((1 << 40) + step, self.config.patch.batch)
            high = self.net.predicted_of(batch.high * batch.scale + batch.shift)
            return as_planes(high, -1).to(self.device)

        net = train_feature_net(
            sharp,
            steps=self.config.loss.feature_net_steps,
            seconds=None if self.config.time_budget is None else _FEATURE_NET_SHARE * self.config.time_budget,
            seed=self.config.seed,
            device=self.device,
            progress=self.progress,
        )
        self.folder.save_net("feature_net", net)
        return net
