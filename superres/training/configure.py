"""Write the recipe and the manifest for a folder of sharp images: look at them, choose, measure, say why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from superres.config import IntensityRule, TrainConfig, load_config
from superres.datasets.fingerprint import ImageFacts
from superres.datasets.folder_manifest import unique_ids, write_folder_manifest
from superres.datasets.manifest_reading import read_entry
from superres.degrade.block import degrade_block, write_text
from superres.degrade.fitting import Outcome, fit_degradation
from superres.degrade.recordings import FitConfig
from superres.errors import ConfigError, OutputExistsError
from superres.progress import Progress, ProgressCallback, silent
from superres.training import choices as rules
from superres.training.choices import Choice
from superres.training.draft import Draft, Probe
from superres.training.folder_images import FolderImages, UsableImage, listed, look_at, root_of
from superres.training.probe import measure_cost
from superres.training.processes import refuse_several
from superres.training.recipe_text import recipe_text, write_recipe
from superres.training.run import MANIFEST, MICROSCOPE, RECIPE

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A recipe that was written for images.

    Parameters
    ----------
    recipe, manifest : Path
        The files.
    config : TrainConfig
        The recipe as it is read.
    choices : tuple of Choice
        What stands in the recipe, and why.
    train, val : tuple of str
        Acquisitions that are learned from, and that are kept for validation.
    facts : tuple of ImageFacts
        What was measured, image by image; of very many a sample.
    left_out : tuple of str
        A line for each image that cannot be used, with the reason.
    notes : tuple of str
        What a person should know.
    seconds : float
        How long the training is expected to take.
    fit : Outcome or None
        What was fitted to recordings, where there were any.
    """

    recipe: Path
    manifest: Path
    config: TrainConfig
    choices: tuple[Choice, ...]
    train: tuple[str, ...]
    val: tuple[str, ...]
    facts: tuple[ImageFacts, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float
    fit: Outcome | None


def configure(
    images: Sequence[str | Path],
    factor: Triple,
    out: Path,
    *,
    low: Sequence[str] = (),
    axes: str | None = None,
    overrides: Sequence[str] = (),
    probe: Probe = measure_cost,
    progress: ProgressCallback = silent,
) -> Proposal:
    """Write a recipe and a manifest for sharp images into a run folder.

    The rules are those of `superres.training.choices`; nothing is drawn by chance. Only what is measured on the device
    (batch, preset, length) differs between machines.

    Parameters
    ----------
    images : sequence of str or Path
        Folders, patterns or files on this machine.
    factor : tuple of int
        ZYX, from recordings to come to the images.
    out : Path
        The run folder.
    low : sequence of str
        Real recordings of the low resolution: the degradation is fitted to them.
    axes : str, optional
        Of images whose files do not tell.
    overrides : sequence of str
        Settings that are given, ``"model.preset=M"``; they are written into the recipe.
    probe : callable
        Measures what a step costs.
    progress : callable
        Gets events.

    Raises
    ------
    ConfigError
        When the factor is 1, or a setting is wrong.
    MissingFileError, InputError
        When there is no image to learn from.
    OutputExistsError
        When the run folder holds a recipe or a training already.
    """
    _check(factor, out)
    refuse_several("write it first, without torchrun: superres train --images ... --dry-run; then train that recipe")
    looked = look_at(images, factor, IntensityRule(), axes=axes, leave_out=[out], progress=progress)
    try:
        return _written(looked, factor, out, low, tuple(overrides), probe, progress)
    except BaseException:  # half a proposal would be in the way of the next one
        for name in (RECIPE, MANIFEST, MICROSCOPE):
            (out / name).unlink(missing_ok=True)
        raise


def _written(
    looked: FolderImages,
    factor: Triple,
    out: Path,
    low: Sequence[str],
    overrides: tuple[str, ...],
    probe: Probe,
    progress: ProgressCallback,
) -> Proposal:
    """Choose, measure and write."""
    kind, why = rules.choose_kind(looked.facts, factor)
    name = unique_ids([out.resolve().name])[0]
    fit = _fit(looked.images, low, factor, out, progress) if low else None
    draft = Draft(name, factor, out, kind, why, looked, fit is not None, overrides)
    acquisitions, voxels, told = listed(looked.images, planes_apart=draft.planes_apart)
    written = write_folder_manifest(out / MANIFEST, looked.root, acquisitions, name=name, progress=progress)
    train, val = (written.manifest.of_split(split) for split in ("train", "val"))
    progress(Progress("try", 0, 1, "steps", "a few steps, to measure time and memory"))
    seconds = draft.measure(train, sum(voxels[one.id] for one in train), probe)
    progress(Progress("try", 1, 1, "steps"))
    choices = draft.choices(len(train), len(val))
    write_recipe(out / RECIPE, recipe_text(choices, _head(looked, out)))
    return Proposal(
        recipe=out / RECIPE,
        manifest=out / MANIFEST,
        config=load_config(TrainConfig, out / RECIPE),
        choices=choices,
        train=tuple(one.id for one in train),
        val=tuple(one.id for one in val),
        facts=looked.facts,
        left_out=looked.left_out,
        notes=(*told, *written.notes, *_remarks(looked.facts)),
        seconds=seconds,
        fit=fit,
    )


def known_recipe(images: Sequence[str | Path], factor: Triple, out: Path) -> Path | None:
    """Return the recipe that was written into a run folder for these images before; None where there is none.

    Raises
    ------
    OutputExistsError
        When there is one for other images or another factor.
    """
    recipe = out / RECIPE
    if not recipe.is_file():
        return None
    config = load_config(TrainConfig, recipe)
    manifest = out / MANIFEST
    entry = read_entry(manifest) if manifest in config.manifests else None
    root = root_of(images)
    if entry is not None and (config.factor != factor or entry.root != str(root)):
        raise OutputExistsError(
            f"{recipe}: is for factor {list(config.factor)} and the images of {entry.root}, not for factor "
            f"{list(factor)} and {root}; give another run folder, or train with that recipe: superres train {recipe} "
            f"--out {out}"
        )
    return recipe


def _check(factor: Triple, out: Path) -> None:
    if max(factor) == 1:
        raise ConfigError(
            f"factor {list(factor)} leaves the grid alone, and sharp images alone do not show what to restore; give "
            "--factor 2, or a recipe with pairs of recordings (as pipelines/restore_pairs.yaml)"
        )
    for name in (RECIPE, MANIFEST, MICROSCOPE, "config.yaml"):
        if (out / name).exists():
            raise OutputExistsError(f"{out / name}: is there already; give another run folder, or remove it")


def _fit(
    images: Sequence[UsableImage], low: Sequence[str], factor: Triple, out: Path, progress: ProgressCallback
) -> Outcome:
    """Fit the degradation to recordings, and write it beside the recipe."""
    outcome = fit_degradation([image.path for image in images], low, FitConfig(factor=factor), progress=progress)
    write_text(out / MICROSCOPE, degrade_block(outcome), overwrite=False)
    return outcome


def _remarks(facts: Sequence[ImageFacts]) -> list[str]:
    """Say what is odd about the images."""
    found = []
    counts = sorted({fact.shape[1] for fact in facts})
    if len(counts) > 1:
        found.append(
            f"the images have {counts[0]} to {counts[-1]} channels; each channel is learned on its own, by one net. "
            "--set channels=[0] learns from the first channel only"
        )
    found += [line for fact in facts for line in fact.without_structure]
    sizes = [size for fact in facts if (size := fact.voxel_size[2]) is not None]
    if sizes and max(sizes) > 1.5 * min(sizes):
        found.append(
            f"pixels differ from {min(sizes):.3g} to {max(sizes):.3g} µm; one net learns best from one magnification: "
            "put images of each into a folder of its own"
        )
    return found


def _head(looked: FolderImages, out: Path) -> list[str]:
    voxels = sum(math.prod(image.shape) for image in looked.images)
    return [
        f"Recipe for {len(looked.images)} image{'s' if len(looked.images) != 1 else ''} ({voxels / 1e6:.3g} million "
        f"voxels) in {looked.root}",
        "",
        "Written by 'superres train --images'. Above every choice stands what it rests on. Change what you know "
        "better, and train:",
        "",
        f"  superres train {out / RECIPE} --out {out}_2",
    ]
