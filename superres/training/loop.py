"""The training loop, top to bottom in the order in which things happen."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from superres.config import Phase, TrainConfig
from superres.datasets.manifest import load_manifests
from superres.datasets.sources import Source
from superres.errors import Enough, InputError, SuperresError
from superres.modelfile import ModelFile, read_model_header, save_model_file
from superres.nets import choose_device
from superres.nets.device import autocast
from superres.progress import ProgressCallback, silent
from superres.training import losses
from superres.training.adversarial import Switcher
from superres.training.chance import seed_of
from superres.training.domain import measure_domain
from superres.training.feature_nets import compares_features, feature_net
from superres.training.header import make_header
from superres.training.kind import architecture_of, open_split
from superres.training.lattice import without_lattice
from superres.training.material import Material
from superres.training.memory import is_out_of_memory
from superres.training.objective import Objective
from superres.training.processes import ALONE, Processes, processes_of
from superres.training.record import Record, validate
from superres.training.result import TrainResult
from superres.training.run import RunFolder, to_numpy
from superres.training.snapshots import Snapshots
from superres.training.start import load_start
from superres.training.state import State, refuse_other_start
from superres.training.walk import Walk
from superres.training.windows import cut, window_of

# Part of a time budget that is kept for the last validation and for writing the model.
_RESERVE = 0.02
# The interval head learns at every second step: at each one it would take 14 to 23 % of the time of the smallest nets.
_INTERVAL_EVERY = 2


def train(
    config: TrainConfig, run: Path, *, progress: ProgressCallback = silent, switcher: Switcher | None = None
) -> TrainResult:
    """Train a model, or go on with a training that was stopped.

    Parameters
    ----------
    config : TrainConfig
        Everything that decides the training.
    run : Path
        Run folder. One that holds the same training unfinished is gone on with; with a length in steps, the outcome
        is the same, parameter for parameter, as without the interruption.
    progress : callable
        Receives events. `superres.errors.Enough`, raised out of an event of the stage ``"train"``, ends the training
        there and keeps the model.
    switcher : callable, optional
        In phases that train both: whose turn it is (`superres.training.adversarial.Switcher`), in the place of the
        recipe's ``gan.switcher``. It must be given again when the run is resumed.

    Raises
    ------
    OutputExistsError
        When `run` holds another training.
    InputError, ConfigError
        When data or settings cannot be used.

    Notes
    -----
    Of several processes that torchrun started (`superres.training.processes`) the first one does what is told here.
    """
    with processes_of(config) as together:
        result = _train(config, run, progress if together.first else silent, switcher, together)
        together.wait()
    return result


def _train(
    config: TrainConfig, run: Path, progress: ProgressCallback, switcher: Switcher | None, together: Processes
) -> TrainResult:
    started = time.monotonic()
    manifests = load_manifests(config.manifests, config.data_root)
    start = load_start(config)
    folder = together.after_the_first(lambda: RunFolder(run, config, writes=together.first))
    if folder.finished:
        header = read_model_header(folder.model)
        refuse_other_start(folder, header.parent, "" if start is None else start.sha256)
        seconds = max((record["seconds"] for record in folder.records()), default=0.0)
        steps = header.training["steps"]
        return TrainResult(folder.model, run, steps, seconds, header.metrics, ("already finished",))
    sources, notes = open_split(config, manifests, "train")
    valid, valid_notes = open_split(config, manifests, "val")
    if not valid and any(phase.trains == "both" for phase in config.phases):
        raise InputError(
            f"{', '.join(str(path) for path in config.manifests)}: a phase with a critic is stopped by figures on "
            "images that are not trained on, and no acquisition has 'split: val'; give some whole specimens or fields "
            "that split, or preset=balanced"
        )
    training = Training(config, folder, sources, valid, progress, switcher, start, together)
    training.fit(started)
    metrics: Mapping[str, Any] = {}
    for path, weights, display in training.models() if together.first else []:
        net = training.state.ema
        net.load_state_dict(weights)
        metrics = validate(net, training.material)
        header = make_header(
            config,
            manifests,
            sources,
            training.architecture,
            steps=training.state.step,
            seconds=None if config.time_budget is None else training.seconds(started),
            metrics=metrics,
            domain=training.domain(),
            gan=training.decision(),
            display=display,
            start=start,
        )
        save_model_file(path, header, to_numpy(net.state_dict()))
    if together.first:
        folder.clear_checkpoint()
    notes += valid_notes + training.notes()
    return TrainResult(folder.model, run, training.state.step, training.seconds(started), metrics, tuple(notes))


class Training:
    """One training between its first and its last step.

    Parameters
    ----------
    config : TrainConfig
        Everything that decides it.
    folder : RunFolder
        Where checkpoints, figures and helper networks are.
    sources, valid : list of Source
        Images to learn from, and to validate on.
    progress : callable
        Receives an event per step.
    switcher : callable, optional
        As in `train`.
    start : ModelFile, optional
        The model that it starts from.
    together : Processes
        Those that train the net with this one.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        sources: list[Source],
        valid: list[Source],
        progress: ProgressCallback = silent,
        switcher: Switcher | None = None,
        start: ModelFile | None = None,
        together: Processes = ALONE,
    ) -> None:
        self.together = together
        self.config = config
        self.folder = folder
        self.progress = progress
        self.start = start
        self.architecture = architecture_of(config)
        self.device = choose_device(config.device)
        self.material = Material(config, self.architecture, self.device, sources, valid)
        self.walk = Walk(config.phases, config.optimiser)
        self.record = Record(config, folder, self.material, progress)
        self.state = State(config, self.architecture, self.material, switcher, start, together)
        self.state.resume(folder)
        self._ended = ""
        self.snapshots = Snapshots(folder.path, config.snapshots, self.state.step) if together.first else None

    def fit(self, started: float) -> None:
        """Run the steps that are left.

        Raises
        ------
        SuperresError
            When memory does not suffice for a single patch.
        """
        try:
            self._fit(started)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise SuperresError(
                "out of memory between two steps, where the net is validated or prepared; give a smaller patch.size or "
                "model.preset"
            ) from None
        finally:
            self.material.stop()

    def _fit(self, started: float) -> None:
        state, objective = self.state, self._objective()
        self.record.begin(state.step)
        entered = None
        while (share := self._share(started)) < 1 and not self._turned(share):
            if self.snapshots is not None:
                self.snapshots.take(share, state.step, state.ema)
            phase = self.walk.at(share)
            if phase is not entered:
                self.material.enter(phase)
                state.enter(phase)
                entered = phase
            rate, momentum = self.walk.rate(share)
            state.set_rate(rate, momentum)
            terms = self._step(phase, objective)
            state.step += 1
            if not self.together.first:
                continue
            try:
                self.record.step(state.step, phase, share, self.seconds(started), rate, terms, state.ema)
            except Enough:
                if self.together.count > 1:  # the others would wait for this one
                    raise
                self._ended = f"ended at step {state.step}, before its time, as was asked; the model is that of then"
                return
            if state.step % self.config.checkpoint_every == 0:
                state.save(self.folder, self.seconds(started))
        self.record.announce(state.step, 1.0, {})

    def _step(self, phase: Phase, objective: Objective) -> dict[str, Tensor]:
        """Let the generator or the critic learn once; with half as many patches where memory does not suffice."""
        while True:
            batch = self._batch(phase)
            try:
                low, high = map(self.together.part, self.material.pairs(self.state.step, batch))
                critic = self.state.adversary is not None and (
                    phase.trains == "critic" or (phase.trains == "both" and self.state.adversary.turn() == "critic")
                )
                return self._criticise(low, high) if critic else self._learn(phase, objective, low, high)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._halve(batch)

    def _learn(self, phase: Phase, objective: Objective, low: Tensor, high: Tensor) -> dict[str, Tensor]:
        """Let the generator learn."""
        state = self.state
        if self.material.recorded:
            # Lamps drift and dyes fade between two recordings. The net's last layer makes the result follow the low
            # image in such smooth things, so they are not asked of it.
            high = state.net.follow(high, low)
        if self.architecture.dropblock > 0:  # what is dropped depends on the step, not on what was drawn before
            torch.manual_seed(seed_of(self.config.seed, "dropblock", state.step))
        with autocast(self.device, trains_dimensions=self.architecture.dimensions):
            # The last of each group of steps, so that logged steps are among them. Beside a critic at each: there the
            # generator's turns may all fall between.
            due = state.head and (phase.trains == "both" or state.step % _INTERVAL_EVERY == _INTERVAL_EVERY - 1)
            pred, *half_widths = state.net.with_interval(low) if due else (state.net(low),)
        opinion = None
        if phase.trains == "both" and state.adversary is not None:
            opinion = state.adversary.opinion(*self._shown(pred, high, low))
        terms = objective.terms(phase, state.step, pred, high, adversarial=opinion)
        interval = losses.interval(high, pred, half_widths[0], half_widths[1]) if half_widths else None
        state.update(terms["loss"], interval, phase)
        state.shares.observe({name: value for name, value in terms.items() if name != "loss"})
        return terms if interval is None else terms | {"interval": interval}

    @torch.no_grad()
    def _imagined(self, low: Tensor) -> Tensor:
        with autocast(self.device):
            pred: Tensor = self.state.ema(low)
        return pred

    def _criticise(self, low: Tensor, high: Tensor) -> dict[str, Tensor]:
        """Let the critic learn on what the generator makes."""
        assert self.state.adversary is not None
        if self.material.recorded:
            high = self.state.net.follow(high, low)
        return self.state.adversary.learn(*self._shown(self._imagined(low), high, low))

    def _shown(self, pred: Tensor, high: Tensor, low: Tensor) -> list[Tensor]:
        """Return what the critic sees: windows of the prediction, less its lattice, of truth, and of interpolation."""
        assert self.state.adversary is not None
        images = (without_lattice(pred, high, self.config.factor[1:]), high, self.state.net.interpolate(low))
        place = (self.config.seed, self.state.step)
        return [cut(image, self.state.adversary.window, place) for image in images]

    def _turned(self, share: float) -> bool:
        """Check a GAN phase where it is time to; return whether it must end."""
        watch, state = self.state.watch, self.state
        if watch is None or self.walk.at(share).trains != "both":
            return False
        if not watch.begun:
            # The averaged net is the model so far, and it is what goes on.
            state.net.load_state_dict(state.ema.state_dict())
        if watch.due(self.walk.progress(share)):
            watch.check(state.ema, state.step)
        return bool(watch.reason)

    def _halve(self, batch: int) -> None:
        if (count := self.together.count) > 1:
            raise SuperresError(
                f"out of memory in one of {count} processes with {batch // count} patches in each; give a patch.batch "
                f"below {batch}, or a smaller patch.size or model.preset"
            )
        if batch == 1:
            raise SuperresError(
                f"out of memory with one patch of {self.config.patch.size} voxels; give a smaller patch.size or "
                "model.preset"
            )
        self.state.halvings += 1
        self.state.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"out of memory at step {self.state.step + 1}: going on with {batch // 2} patches per step in the place of "
            f"{batch}; patch.batch={batch // 2} says so from the start",
            stacklevel=2,
        )

    def models(self) -> list[tuple[Path, dict[str, Tensor], bool]]:
        """Return what is to be written: path, weights, and whether a critic shaped them; the training's model last."""
        state, watch = self.state, self.state.watch
        if watch is None or not watch.begun:
            return [(self.folder.model, state.ema.state_dict(), False)]
        if not watch.reason:
            watch.check(state.ema, state.step)
        if watch.kept == 0:
            return [(self.folder.model, watch.before, False)]
        return [(self.folder.before_gan, watch.before, False), (self.folder.model, watch.best, True)]

    def decision(self) -> dict[str, Any]:
        """Return what is to be told of a GAN phase; empty where there was none."""
        watch = self.state.watch
        return watch.decision() if watch is not None and watch.begun else {}

    def notes(self) -> list[str]:
        """Return what a person should know of how it went."""
        state, watch = self.state, self.state.watch
        found = self.material.small_images()
        if self.start is not None and self.start.header.display:
            found.append(
                f"for display, as the model that it started from ({self.start.path}); for measurement start from the "
                "model_before_gan.safetensors beside that"
            )
        if state.skipped:
            found.append(f"{state.skipped} steps with non-finite gradients were skipped")
        if state.halvings:
            found.append(f"memory did not suffice: {self._batch(self.config.phases[-1])} patches per step in the end")
        if watch is not None and watch.begun:
            found.append(watch.ended())
        if self._ended:
            found.append(self._ended)
        return found

    def domain(self) -> dict[str, Any]:
        """Return where the averaged net is right, for the guard (`superres.nets.domain`), which examines planes."""
        if self.architecture.dimensions == 3 or self.architecture.channels > 1:
            return {}
        budget = self.config.time_budget
        found = measure_domain(
            self.state.ema,
            self.material.domain_batch,
            lambda batch, number: self.material.domain_pairs(self.state.step, batch, number),
            self.config,
            self.device,
            seconds=None if budget is None else _RESERVE / 2 * budget,
        )
        return {} if found is None else found.to_json()

    def seconds(self, started: float) -> float:
        """Return the time spent, earlier sessions included."""
        return self.state.seconds + time.monotonic() - started

    def _share(self, started: float) -> float:
        if self.config.time_budget is not None:
            return self.together.same(self.seconds(started)) / (self.config.time_budget * (1 - _RESERVE))
        assert self.config.steps is not None
        return self.state.step / self.config.steps

    def _batch(self, phase: Phase) -> int:
        return max(1, (phase.batch or self.config.patch.batch) >> self.state.halvings)

    def _objective(self) -> Objective:
        config = self.config
        features = self.together.after_the_first(
            lambda: feature_net(config, self.folder, self.material, self.device, self.progress)
        )
        if features is None:
            return Objective(config, None, 0, self.state.shares)
        side = min(phase.patch or config.patch.size for phase in config.phases if compares_features(phase))
        window = window_of(self.state.net, features.features, side, config.patch.depth, channels=1)
        return Objective(config, features, window, self.state.shares)
