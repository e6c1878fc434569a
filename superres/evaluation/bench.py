"""The baselines of one evaluation, ready to run: which ones, their point spread function, and their tuned settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.datasets import Acquisition, Manifest
from superres.errors import ConfigError
from superres.evaluation.baselines import Recording, methods_for, restore
from superres.evaluation.psf import Optics, Psf, find_psf
from superres.evaluation.sampling import Sample, Setup
from superres.evaluation.scoring import Run
from superres.evaluation.settings import EvaluateConfig
from superres.evaluation.tuning import DECONVOLUTIONS, GRIDS, Tuning, tune
from superres.evaluation.tuning_set import TuningSet, choose_tuning_set, tuning_warnings
from superres.modelfile import ModelHeader
from superres.progress import Progress, ProgressCallback


@dataclass(frozen=True, slots=True)
class Bench:
    """Baselines and what they were tuned on.

    Parameters
    ----------
    setup : Setup
        How images are read for all methods.
    methods : tuple of str
        The baselines, weakest first.
    optics : Optics
        Factor and point spread function.
    tuned : mapping
        Settings of those that have any.
    tuning_set : TuningSet
        The images that they were tuned on.
    """

    setup: Setup
    methods: tuple[str, ...]
    optics: Optics
    tuned: Mapping[str, Tuning]
    tuning_set: TuningSet

    @property
    def runs(self) -> dict[str, Run]:
        """The baselines by name."""
        return {name: _baseline_run(name, self.optics, self.tuned) for name in self.methods}

    @property
    def warnings(self) -> list[str]:
        """What a reader of their figures should know."""
        return tuning_warnings(self.tuned, self.tuning_set)

    def to_json(self) -> dict[str, Any]:
        """Return what a report says of them."""
        return {
            "psf": None if self.optics.psf is None else self.optics.psf.origin,
            "tuned": {name: dataclasses.asdict(tuning) for name, tuning in self.tuned.items()},
            "tuned_on": self.tuning_set.to_json() if self.tuned else None,
        }


def prepare_bench(
    config: EvaluateConfig,
    setup: Setup,
    manifests: Sequence[Manifest],
    scored: Sequence[Acquisition],
    rivals: Mapping[str, ModelHeader],
    progress: ProgressCallback,
) -> Bench:
    """Choose baselines, find their point spread function and tune them.

    Parameters
    ----------
    config, setup
        What is scored, and how images are read.
    manifests, scored
        All images, and the acquisitions that are scored.
    rivals : mapping
        Other nets, which may need whole stacks.
    progress : callable
        Hears of the tuning.

    Raises
    ------
    ConfigError, InputError
        When the point spread function cannot be had.
    """
    methods = methods_for(config.baselines, setup.factor)
    optics = Optics(setup.factor, _psf(config, methods), is_binned=_is_binned(setup))
    setup = _with_depth(setup, optics, rivals.values())
    has_settings = any(name in GRIDS for name in methods)
    tuning_set = choose_tuning_set(manifests, scored, setup) if has_settings else TuningSet.empty()
    return Bench(setup, methods, optics, _tune(methods, tuning_set, optics, setup, progress), tuning_set)


def _psf(config: EvaluateConfig, methods: Sequence[str]) -> Psf | None:
    """Find the point spread function where a baseline uses it."""
    return find_psf(config.psf) if any(name in DECONVOLUTIONS for name in methods) else None


def _is_binned(setup: Setup) -> bool:
    return not any(step.downsample == "subsampling" for step in setup.degrade)


def _with_depth(setup: Setup, optics: Optics, rivals: Iterable[ModelHeader]) -> Setup:
    """Have whole stacks read where a known blur or another net goes across planes."""
    is_deep = optics.psf is not None and optics.psf.sigma[0] > 0
    along = {"z" if is_deep or setup.whole_stacks else "", "t" if setup.whole_series else ""}
    along |= {rival.looks_along for rival in rivals}
    if along >= {"z", "t"}:
        raise ConfigError(
            "one of the methods looks at neighbouring planes and another at neighbouring time points; evaluate them "
            "one after another"
        )
    return dataclasses.replace(setup, whole_stacks="z" in along, whole_series="t" in along)


def _tune(
    methods: Sequence[str], images: TuningSet, optics: Optics, setup: Setup, progress: ProgressCallback
) -> dict[str, Tuning]:
    """Tune the baselines that have settings."""
    wanted = [name for name in methods if name in GRIDS]
    tuned = {}
    for done, name in enumerate(wanted if images.images else []):
        progress(Progress("tune", done, len(wanted), "baselines", name))
        tuned[name] = tune(name, images.images, optics, crop=min(setup.crop, images.crop))
    progress(Progress("tune", len(wanted), len(wanted), "baselines"))
    return tuned


def _baseline_run(name: str, optics: Optics, tuned: Mapping[str, Tuning]) -> Run:
    def run(sample: Sample) -> NDArray[Any]:
        values = tuned[name].values if name in GRIDS else {}
        channels = zip(sample.low, sample.black, strict=True)
        found = [restore(name, Recording(low, black, sample.voxel_size), optics, values) for low, black in channels]
        return np.stack(found)

    return run
