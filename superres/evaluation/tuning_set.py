"""Which images the baselines are tuned on: of another split than the one that is scored, wherever there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from superres.datasets import Acquisition, Manifest
from superres.errors import InputError
from superres.evaluation.baselines import Recording
from superres.evaluation.sampling import Sample, Setup, draw_samples, evenly
from superres.evaluation.scoring import data_ranges
from superres.evaluation.tuning import Tuning, TuningImage

WINDOWS, SIDE = 6, 256
"""Windows that baselines are tuned on, at most, and their side in high voxels."""

# Deconvolution in three dimensions costs much more.
STACKS, STACK_SIDE, STACK_DEPTH = 3, 128, 8
"""The same for stacks that are taken as a whole, and their low planes."""

_SPLITS = {"test": ("val", "train", "test"), "val": ("train", "val"), "train": ("val", "train")}
# Test images are never looked at for another split: they are kept for the end.


@dataclass(frozen=True, slots=True)
class TuningSet:
    """Windows of images, and where they come from.

    Parameters
    ----------
    split : str
        The split; empty when no image could be used.
    acquisitions : tuple of str
        Their ids.
    images : tuple of TuningImage
        First channel only.
    is_scored : bool
        Whether the same acquisitions are scored, which flatters the tuned baselines.
    left_out : tuple of str
        Acquisitions that could not be used, with the reason.
    """

    split: str
    acquisitions: tuple[str, ...]
    images: tuple[TuningImage, ...]
    is_scored: bool
    left_out: tuple[str, ...]

    @classmethod
    def empty(cls, left_out: Sequence[str] = ()) -> TuningSet:
        """Return a set without images."""
        return cls("", (), (), False, tuple(left_out))

    @property
    def crop(self) -> int:
        """Largest crop in low voxels that leaves half of the smallest window."""
        return min((int(side) for image in self.images for side in image.recording.low.shape[1:]), default=0) // 4

    def to_json(self) -> dict[str, Any]:
        """Return what a report says of it."""
        return {
            "split": self.split,
            "acquisitions": list(self.acquisitions),
            "windows": len(self.images),
            "same_as_scored": self.is_scored,
            "left_out": list(self.left_out),
        }


def choose_tuning_set(manifests: Sequence[Manifest], scored: Sequence[Acquisition], setup: Setup) -> TuningSet:
    """Read up to six windows (three of stacks), of the first split that has usable images of the kind that is scored.

    Validation is tuned on training images, test on validation images (or else training images), and training images on
    validation images. Only where no other split has any are the scored images used themselves.
    """
    kinds = {bool(acquisition.low) for acquisition in scored}
    most = STACKS if setup.whole_stacks else WINDOWS
    left_out: list[str] = []
    for split in _SPLITS[scored[0].split]:
        found = [entry for manifest in manifests for entry in manifest.of_split(split) if bool(entry.low) in kinds]
        chosen = [found[i] for i in evenly(len(found), most)] if found else []
        images: list[TuningImage] = []
        names = []
        for acquisition in chosen:
            windows, faults = _windows(acquisition, setup, most // len(chosen))
            images += windows
            names += [acquisition.id] if windows else []
            left_out += [f"{acquisition.id}: {fault}" for fault in faults]
        if images:
            return TuningSet(split, tuple(names), tuple(images), split == scored[0].split, tuple(left_out))
    return TuningSet.empty(left_out)


def tuning_warnings(tuned: Mapping[str, Tuning], images: TuningSet) -> list[str]:
    """Say what a reader of the tuned baselines' figures should know."""
    found = []
    if tuned and images.is_scored:
        found.append(
            f"{', '.join(tuned)}: tuned on the images that are scored, as no other split of the manifests has any that "
            "can be used: flattering to them"
        )
    for name, tuning in tuned.items():
        for key in tuning.at_edge:
            first, last, _ = tuning.grid[key]
            found.append(
                f"{name}: the best {key}, {tuning.values[key]:g}, is the end of those tried ({first:g} to {last:g}); "
                "a better one may lie beyond"
            )
    return found


def _windows(acquisition: Acquisition, setup: Setup, wanted: int) -> tuple[list[TuningImage], list[str]]:
    """Return central windows of the first channel: one per plane, or one of a stack."""
    planes = dataclasses.replace(setup, planes=wanted)
    try:
        samples, left_out = draw_samples(acquisition, planes)
    except InputError as error:
        # What is scored must be right; what only helps to tune may be passed over.
        return [], [str(error)]
    if not samples:
        return [], left_out
    data_range = data_ranges(acquisition, samples, setup=setup)[0][0]
    windows = []
    for sample in samples:
        depth = len(sample.low[0])
        parts = [(0, depth)] if setup.whole_stacks else [(z, z + 1) for z in range(depth)]
        windows += [_window(sample, part, data_range, setup) for part in parts]
    return windows[:wanted], left_out


def _window(sample: Sample, planes: tuple[int, int], data_range: float, setup: Setup) -> TuningImage:
    side = STACK_SIDE if setup.whole_stacks else SIDE
    sides = zip(sample.low.shape[2:], setup.factor[1:], strict=True)
    cuts = [_middle(*planes, STACK_DEPTH), *(_middle(0, n, side // f) for n, f in sides)]
    low = sample.low[0][tuple(slice(a, b) for a, b in cuts)]
    truth = sample.truth[0][tuple(slice(a * f, b * f) for (a, b), f in zip(cuts, setup.factor, strict=True))]
    return TuningImage(Recording(low, sample.black[0], sample.voxel_size), truth, data_range)


def _middle(start: int, stop: int, limit: int) -> tuple[int, int]:
    first = start + max(0, (stop - start - limit) // 2)
    return first, min(stop, first + limit)
