"""The rules by which a recipe is written for images: pure functions of what was measured, each with its reason.

The numbers below are the whole of the rules; what they rest on stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from superres.datasets.fingerprint import EMPTY_BELOW, NOISE_LEVEL, ChannelFacts, ImageFacts
from superres.errors import ConfigError

Triple = tuple[int, int, int]

# Neighbours whose detail correlates by more tell something of the frame between them. Measured: 0.70 to 1.0 in series
# and stacks that are sampled finely enough, 0.04 to 0.08 in stacks with 3 µm between planes or with planes left out.
ALIKE = 0.5
# A dark background: fluorescence has 0.4 to 0.9 of empty area, electron micrographs and bright field below 0.2.
DARK_BACKGROUND = 0.3
# A low pixel gets from as much light as a sharp one down to a sixteenth, that is up to 4 times the noise.
FAINTEST = 16.0
# Even where the sharp images have no noise to be measured, recordings have some.
PHOTONS_OF_FAINT, PHOTONS_OF_BRIGHT = (20.0, 250.0), (80.0, 2000.0)
READ_NOISE_OF_FAINT = (0.02, 0.06)
LEAST_READ_NOISE = 0.003
# Per voxel of the factor: those of the recipe for fluorescence, and of the one for volumes along Z.
BLUR, AXIAL_BLUR = (0.4, 0.8), (0.3, 0.7)
# Simulated noise from which on squared errors, which ask for the mean, do better than absolute ones.
NOISY, EPSILON = 0.04, 0.05

SMALLEST_PATCH = 16  # low voxels
_PATCHES = {"cpu": 48, "gpu": 64}
_DEEP_PATCH, _SHALLOWEST = 32, 4
_LARGEST_DEPTH = 12
# Images that may be smaller than a patch; they are continued by mirroring.
_SMALL_IMAGES = 0.1
_BATCHES = {("cpu", 2): 8, ("gpu", 2): 32, ("cpu", 3): 4, ("gpu", 3): 8}
MEMORY_SHARE = 0.5  # of what is free
# How often each voxel is seen, and for how long at most.
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 20, 2000, 20_000
_LEAST_STEPS = 200
LONGEST = 3600.0  # seconds
# The feature loss doubles the time of the last quarter; validation and pictures take the rest.
OVERHEAD = 1.3


@dataclass(frozen=True, slots=True)
class Choice:
    """One key of the recipe, its value, and why: a line for each part of it."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step of training costs on the device, measured.

    Parameters
    ----------
    seconds : float
        Of one step with `batch` patches.
    batch : int
        Patches per step.
    fixed_bytes, patch_bytes : float
        Memory that the net takes, and that each patch adds.
    free_bytes : float
        Memory that is free.
    """

    seconds: float
    batch: int
    fixed_bytes: float
    patch_bytes: float
    free_bytes: float


# --- the net ---------------------------------------------------------------------------------------------------------


def choose_kind(images: Sequence[ImageFacts], factor: Triple) -> tuple[dict[str, Any], str]:
    """Choose between nets of two dimensions, with or without neighbouring frames, and of three.

    Returns
    -------
    tuple
        Keys of `ModelConfig`, and why.
    """
    if factor[0] > 1:
        return {"dimensions": 3}, f"dimensions: the factor along Z is {factor[0]}, so the net convolves along Z too."
    told = {}
    for axis, name, index, what in (("z", "planes_alike", 2, "planes"), ("t", "times_alike", 0, "time points")):
        values = [value for one in images if (value := getattr(one, name)) is not None]
        if values:
            told[axis] = (float(median(values)), _share_with_frames(images, index), what)
    good = {axis: found for axis, found in told.items() if found[0] >= ALIKE and found[1] >= 0.5}
    if good:
        axis = max(good, key=lambda one: good[one][0])
        alike, _, what = good[axis]
        reason = (
            f"context: neighbouring {what} have {alike:.2f} of their detail in common ({ALIKE:g} is asked for), so "
            "the net is given one on either side as well (2.5-D)."
        )
        return {"context": {"axis": axis, "frames": 3}}, reason
    if not told:
        return {}, "dimensions: single planes, so each is restored on its own (2-D)."
    axis = max(told, key=lambda one: told[one][0])
    alike, share, what = told[axis]
    why = f"have {alike:.2f} of their detail in common ({ALIKE:g} is asked for)"
    if alike >= ALIKE:
        why = f"are there in {share:.0%} of the images only"
    return {}, f"dimensions: neighbouring {what} {why}, so each plane is restored on its own (2-D)."


def _share_with_frames(images: Sequence[ImageFacts], index: int) -> float:
    """Return the share of the voxels in images that have at least three frames along an axis of TCZYX."""
    sizes = [math.prod(one.shape) for one in images]
    return sum(size for size, one in zip(sizes, images, strict=True) if one.shape[index] > 2) / sum(sizes)


def choose_patch(shapes: Sequence[Sequence[int]], factor: Triple, *, dimensions: int, device: str) -> dict[str, int]:
    """Choose the size of a patch: the device's, or less where more than a tenth of the images are smaller.

    Parameters
    ----------
    shapes : sequence of sequence of int
        TCZYX of the sharp images; all at least `SMALLEST_PATCH` low voxels along Y and X.
    device : str
        ``"cpu"`` or ``"gpu"``.

    Returns
    -------
    dict
        Keys of `PatchConfig`: size, and in three dimensions depth.
    """
    sides = sorted(min(shape[3] // factor[1], shape[4] // factor[2]) for shape in shapes)
    side = sides[int(_SMALL_IMAGES * len(sides))]
    wanted = _DEEP_PATCH if dimensions == 3 else _PATCHES[device]
    patch = {"size": max(SMALLEST_PATCH, min(wanted, side // 8 * 8))}
    if dimensions == 3:
        depth = sorted(shape[2] // factor[0] for shape in shapes)[int(_SMALL_IMAGES * len(shapes))]
        patch["depth"] = max(_SHALLOWEST, min(_LARGEST_DEPTH, depth // 4 * 4))
    return patch


def too_small(shape: Sequence[int], factor: Triple) -> str:
    """Say why an image cannot be learned from; nothing where it can."""
    least = [SMALLEST_PATCH * f for f in factor[1:]]
    if any(n < wanted for n, wanted in zip(shape[3:], least, strict=True)):
        return f"{shape[3]} x {shape[4]} voxels (Y, X) are fewer than {least[0]} x {least[1]}, the smallest patch"
    if factor[0] > 1 and shape[2] < _SHALLOWEST * factor[0]:
        return f"{shape[2]} planes are fewer than {_SHALLOWEST * factor[0]}, the least at factor {factor[0]} along Z"
    return ""


def batch_wanted(dimensions: int, device: str) -> int:
    """Return the patches per step that a device is asked for, before memory is looked at."""
    return _BATCHES[device, dimensions]


def choose_batch(cost: Cost, wanted: int) -> tuple[int, str]:
    """Choose the largest batch, wanted or a half, a quarter ... of it, that takes no more than half of the memory.

    Raises
    ------
    ConfigError
        When not even one patch fits.
    """
    room = MEMORY_SHARE * cost.free_bytes - cost.fixed_bytes
    batch = wanted
    while batch > 1 and batch * cost.patch_bytes > room:
        batch //= 2
    taken = (cost.fixed_bytes + batch * cost.patch_bytes) / 1e9
    if taken > cost.free_bytes / 1e9:
        raise ConfigError(
            f"one patch takes {taken:.2g} GB and {cost.free_bytes / 1e9:.2g} GB of memory are free; give a smaller "
            "--set patch.size=32 or --set model.preset=XS"
        )
    reason = f"batch: {batch} patches take about {taken:.2g} GB of the {cost.free_bytes / 1e9:.2g} GB that are free"
    return batch, reason + ("." if batch == wanted else f"; {wanted} would take more than half.")


def choose_length(voxels: int, patch_voxels: int, batch: int, seconds: float) -> tuple[int, str]:
    """Choose the number of steps: every voxel about 20 times, within bounds, and no longer than an hour.

    Parameters
    ----------
    voxels : int
        Of the sharp training images.
    patch_voxels : int
        Of a sharp patch.
    seconds : float
        Of one step.
    """
    wanted = min(max(_PASSES * voxels // (patch_voxels * batch), _FEWEST_STEPS), _MOST_STEPS)
    possible = int(LONGEST / (seconds * OVERHEAD))
    steps = max(_LEAST_STEPS, min(wanted, possible) // 100 * 100)
    taken = steps * seconds * OVERHEAD
    long = f"{taken / 60:.0f} min" if taken >= 90 else f"{taken:.0f} s"
    reason = f"steps: about {long} on this machine, at {seconds:.2g} s a step (measured)."
    if steps < wanted // 100 * 100:
        reason += f" These images are worth {wanted}; in its place, time_budget: 8h trains for a night."
    return steps, reason


def preset_wanted(device: str, free_bytes: float, voxels: int, *, dimensions: int) -> str:
    """Return the preset that a device is asked for, before its speed is measured."""
    if device == "cpu":
        return "XS" if dimensions == 3 else "S"
    if dimensions == 3:
        return "S"
    if free_bytes >= 40e9 and voxels >= 1e10:
        return "L"
    return "M" if free_bytes >= 8e9 else "S"


def is_too_slow(seconds: float) -> bool:
    """Say whether the fewest steps that a net should get take longer than a training may."""
    return seconds * OVERHEAD * _FEWEST_STEPS > LONGEST


# --- the images ------------------------------------------------------------------------------------------------------


def is_dark(images: Sequence[ImageFacts]) -> bool:
    """Say whether the images show objects on a dark background."""
    return median(channel.empty for channel in channels_of(images)) >= DARK_BACKGROUND


def channels_of(images: Sequence[ImageFacts]) -> list[ChannelFacts]:
    """Return the channels of all images."""
    return [channel for image in images for channel in image.channels]


def choose_degradation(images: Sequence[ImageFacts], factor: Triple) -> tuple[list[dict[str, Any]], str]:
    """Choose blur, binning and noise that cover a coarser and fainter recording of such images.

    Returns
    -------
    tuple
        Steps as they stand in a recipe, and why.
    """
    channels = channels_of(images)
    noise = median(channel.noise for channel in channels)
    read = median(channel.read_noise for channel in channels)
    counted = [channel.photons for channel in channels if channel.photons is not None]
    light = median(counted) if 2 * len(counted) > len(channels) else math.inf
    empty = median(channel.empty for channel in channels)
    faint = _within(light / FAINTEST, PHOTONS_OF_FAINT)
    bright = _within(light, PHOTONS_OF_BRIGHT)
    sd = [max(read, LEAST_READ_NOISE), _within(math.sqrt(FAINTEST) * read, READ_NOISE_OF_FAINT)]
    dark = is_dark(images)
    optics: dict[str, Any] = {"sigma": _rounded(share * max(factor[1:]) for share in BLUR)} if dark else {}
    if factor[0] > 1:
        optics = {"sigma": [0.0, 0.0]} | optics
        optics["axial_sigma"] = _rounded(share * factor[0] for share in AXIAL_BLUR)
    steps: list[dict[str, Any]] = [{"blur": optics}] if optics else []
    steps += [{"downsample": "binning"}]
    steps += [{"poisson": {"photons": _rounded([faint, bright])}}, {"read_noise": {"sd": _rounded(sorted(sd))}}]
    return steps, "\n".join(
        (
            _told_of_blur(empty, dark=dark),
            f"poisson: the sharp images have noise of {noise:.1%} of the range (measured, at {NOISE_LEVEL:.0%} of it; "
            + (f"about {light:.3g} photons at white" if math.isfinite(light) else "too even to count photons by")
            + "). A low pixel gets from as much light down to a sixteenth, that is up to four times the noise.",
            f"read_noise: {read:.2%} of the range without light (measured), and up to four times that, within "
            f"{LEAST_READ_NOISE:.1%} and {READ_NOISE_OF_FAINT[1]:.0%}.",
        )
    )


def _told_of_blur(empty: float, *, dark: bool) -> str:
    measured = f"{empty:.0%} of the area is darker than {EMPTY_BELOW:.0%} of the range"
    if dark:
        return (
            f"blur: {measured}: objects on a dark background, as in fluorescence, where a coarser recording is also "
            "blurred. In voxels of the sharp image."
        )
    return (
        f"no blur along Y and X: only {measured}, as in electron micrographs and bright field, where coarser pixels "
        "are sharp."
    )


def noise_simulated(steps: Sequence[dict[str, Any]]) -> float:
    """Return the noise that the middle of the ranges gives at `NOISE_LEVEL`, as a share of the range."""
    (photons,) = (step["poisson"]["photons"] for step in steps if "poisson" in step)
    (sd,) = (step["read_noise"]["sd"] for step in steps if "read_noise" in step)
    return math.sqrt(NOISE_LEVEL / (sum(photons) / 2) + (sum(sd) / 2) ** 2)


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.3g}") for value in values]
