"""A recipe on the way: what was chosen for images, what was given and wins, and what was measured of both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from superres.config import TrainConfig, load_config
from superres.datasets.acquisition import Acquisition
from superres.datasets.fingerprint import ImageFacts
from superres.datasets.sources import Source, open_sources
from superres.nets import choose_device
from superres.training import choices as rules
from superres.training.choices import Choice, Cost
from superres.training.folder_images import FolderImages
from superres.training.kind import several_at_once
from superres.training.probe import free_memory
from superres.training.run import MANIFEST, MICROSCOPE

Triple = tuple[int, int, int]
Probe = Callable[[TrainConfig, list[Source]], Cost]

_MOST_PROBED = 8  # acquisitions that a few steps are made with
_GIVEN = "Given with --set."


class Draft:
    """A recipe on the way: what stands in it, and the settings that were given and win.

    Parameters
    ----------
    name : str
        Of the model.
    factor, out, overrides
        As for `configure`.
    kind, why : dict and str
        Which net, and the reason.
    looked : FolderImages
        The images.
    fitted : bool
        Whether the degradation stands in a file of its own.
    """

    def __init__(
        self,
        name: str,
        factor: Triple,
        out: Path,
        kind: dict[str, Any],
        why: str,
        looked: FolderImages,
        fitted: bool,
        overrides: tuple[str, ...],
    ) -> None:
        self._overrides = overrides
        self._reasons = {"factor": _magnification(looked.facts, factor), "model": why}
        steps, self._reasons["degrade"] = rules.choose_degradation(looked.facts, factor)
        noise = rules.noise_simulated(steps)
        self._content: dict[str, Any] = {
            "name": name,
            "manifests": str(out / MANIFEST),
            "factor": list(factor),
            "model": {"preset": "S"} | kind,
            "patch": {},
            "degrade": steps,
            "steps": 1,
        }
        if fitted:
            self._content["degrade"] = str(out / MICROSCOPE)
            self._reasons["degrade"] = (
                f"measured on the recordings that were given; the ranges and how they were found stand in {MICROSCOPE}."
            )
        elif noise >= rules.NOISY:
            self._content["loss"] = {"charbonnier_epsilon": rules.EPSILON}
            self._reasons["loss"] = (
                f"near to squared errors, as noise of {noise:.1%} of the range rules the recordings: the mean of what "
                "may be there, not the median."
            )
        if not rules.is_dark(looked.facts):
            self._content["augment"] = {"own_range": 0}
            self._reasons["augment"] = (
                "images without empty background fill their range alike, so patches keep the scale of the whole image."
            )
        self._choose_patch([one.shape for one in looked.images])

    @property
    def config(self) -> TrainConfig:
        """The training as it stands, given settings included."""
        # A copy, since what is given is written into it.
        return load_config(TrainConfig, None, self._overrides, **copy.deepcopy(self._content))

    @property
    def planes_apart(self) -> bool:
        """Whether the net restores each plane on its own."""
        model = self.config.model
        return model.dimensions == 2 and model.context is None

    def _choose_patch(self, shapes: Sequence[tuple[int, ...]]) -> None:
        config = self.config
        self._device = "gpu" if choose_device(config.device).type == "cuda" else "cpu"
        dimensions = config.model.dimensions
        patch = rules.choose_patch(shapes, config.factor, dimensions=dimensions, device=self._device)
        self._content["patch"] = patch | {"batch": rules.batch_wanted(dimensions, self._device)}
        side = min(min(shape[3] // config.factor[1], shape[4] // config.factor[2]) for shape in shapes)
        self._reasons["patch"] = f"size: in low voxels; the smallest image has {side}."

    def measure(self, train: Sequence[Acquisition], voxels: int, probe: Probe) -> float:
        """Measure what a step costs; choose preset, batch and length by it; return the seconds of the training."""
        free = free_memory(choose_device(self.config.device))
        dimensions = self.config.model.dimensions
        self._content["model"]["preset"] = rules.preset_wanted(self._device, free, voxels, dimensions=dimensions)
        sources = self._sources(train)
        cost = probe(self.config, sources)
        preset = self._content["model"]["preset"]
        if preset != "XS" and self.config.model.preset == preset and rules.is_too_slow(cost.seconds):
            self._content["model"]["preset"] = "XS"
            cost = probe(self.config, sources)
        preset = self.config.model.preset
        self._reasons["model"] = f"preset: {_preset_reason(preset, self._device, cost)}\n{self._reasons['model']}"
        batch, why = rules.choose_batch(cost, self._content["patch"]["batch"])
        self._content["patch"]["batch"] = batch
        self._reasons["patch"] += f"\n{why}"
        config = self.config
        seconds = cost.seconds * config.patch.batch / cost.batch
        self._content["steps"], self._reasons["steps"] = rules.choose_length(
            voxels, _patch_voxels(config), config.patch.batch, seconds
        )
        config = self.config
        return config.time_budget or (config.steps or 0) * seconds * rules.OVERHEAD

    def _sources(self, train: Sequence[Acquisition]) -> list[Source]:
        few = [train[i * len(train) // _MOST_PROBED] for i in range(_MOST_PROBED)]
        config = self.config
        sources, _ = open_sources(
            list(dict.fromkeys(few)),
            factor=config.factor,
            rule=config.intensity,
            channels=config.channels,
            together=several_at_once(config),
        )
        return sources

    def choices(self, train: int, val: int) -> tuple[Choice, ...]:
        """Return what is to stand in the recipe, and why; what was given wins, and is said to be given."""
        plain = load_config(TrainConfig, None, (), **self._content).model_dump(mode="json", exclude_none=True)
        given = self.config.model_dump(mode="json", exclude_none=True)
        content = self._content | {"manifests": MANIFEST}
        if "degrade" in content and isinstance(content["degrade"], str):
            content["degrade"] = MICROSCOPE
        reasons = self._reasons | {
            "manifests": f"{train} acquisition{'s' if train != 1 else ''} to learn from, {val} for validation."
        }
        found = []
        for key in [*content, *(key for key in given if key not in content)]:
            if key == "manifests" or plain.get(key) == given.get(key):
                if key in content:
                    found.append(Choice(key, content[key], reasons.get(key, "")))
                continue
            value = _with_given(content.get(key), plain.get(key), given.get(key))
            found.append(Choice(key, value, "\n".join([_GIVEN, *self._kept_reasons(key, value)])))
        return tuple(found)

    def _kept_reasons(self, key: str, value: Any) -> list[str]:
        """Return the reasons for those parts of a group that were not given."""
        mine = self._content.get(key)
        if not isinstance(mine, dict):
            return []
        same = [part for part in mine if isinstance(value, dict) and value.get(part) == mine[part]]
        return [line for line in self._reasons.get(key, "").splitlines() if line.split(":")[0] in same]


def _with_given(mine: Any, plain: Any, given: Any) -> Any:
    """Return what stands in the recipe, with the settings that differ because they were given."""
    if not (isinstance(mine, dict) or mine is None) or not isinstance(plain, dict) or not isinstance(given, dict):
        return given
    changed = {key: value for key, value in given.items() if plain.get(key) != value}
    kept = {key: value for key, value in (mine or {}).items() if key in given}
    return kept | {key: _with_given(kept.get(key), plain.get(key), value) for key, value in changed.items()}


def _patch_voxels(config: TrainConfig) -> int:
    fz, fy, fx = config.factor
    depth = config.patch.depth * fz if config.model.dimensions == 3 else 1
    return config.patch.size**2 * fy * fx * depth


def _preset_reason(preset: str, device: str, cost: Cost) -> str:
    where = "a GPU" if device == "gpu" else "the CPU"
    return (
        f"{preset}, of XS, S, M and L, for {where}: "
        f"a step of {cost.batch} patches takes {cost.seconds:.2g} s (measured)."
    )


def _magnification(facts: Sequence[ImageFacts], factor: Triple) -> str:
    """Say which recordings the model will be for."""
    sizes = [fact.voxel_size[2] for fact in facts if fact.voxel_size[2] is not None]
    if not sizes:
        return "Z, Y, X: how many output voxels for one input voxel. The files tell no voxel size."
    low, high = (end(sizes) * factor[2] for end in (min, max))
    text = f"{low:.3g}" if high < 1.05 * low else f"{low:.3g} to {high:.3g}"
    return f"Z, Y, X: how many output voxels for one input voxel. For recordings with pixels of {text} µm."
