"""What a person should know about an image before using it, in plain words, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from superres.volumes.survey import ChannelSurvey, Survey
from superres.volumes.volume import Volume

_SATURATED = 1e-4
_CLIPPED = 0.01
_FEW_VALUES = 8
_ENOUGH_VOXELS = 20_000
# Micrometre: beyond these a unit was probably mistaken.
_SMALLEST, _LARGEST = 1e-4, 1e3
_LARGEST_RATIO = 50.0


def remarks(volume: Volume, survey: Survey) -> tuple[str, ...]:
    """Return warnings about a volume: unknown or odd sizes, saturation, stretched or missing values, no signal."""
    found = [*_about_sizes(volume), *_about_file(volume)]
    for channel in survey.channels:
        found += _about_channel(channel, alone=volume.shape[1] == 1, kind=volume.dtype.kind, exact=survey.exact)
    if len(survey.channels) < volume.shape[1]:
        found.append(f"{volume.shape[1]} channels: only the first {len(survey.channels)} were looked at")
    return tuple(found)


def _about_sizes(volume: Volume) -> Iterator[str]:
    needed = {
        letter: size
        for letter, size, voxels in zip("ZYX", volume.voxel_size, volume.shape[2:], strict=True)
        if letter != "Z" or voxels > 1
    }
    unknown = [letter for letter, size in needed.items() if size is None]
    known = [size for size in needed.values() if size is not None]
    if len(unknown) == len(needed):
        yield "voxel size unknown: give --set voxel_size=[Z,Y,X] in micrometre, e.g. --set voxel_size=[0.5,0.1,0.1]"
    elif unknown:
        given = [
            f"{size:.6g}" if size is not None else letter for letter, size in zip("ZYX", volume.voxel_size, strict=True)
        ]
        axes, example = " and ".join(unknown), ",".join(given)
        yield f"voxel size unknown along {axes}: give --set voxel_size=[{example}] in micrometre"
    if known and (min(known) < _SMALLEST or max(known) > _LARGEST or max(known) > _LARGEST_RATIO * min(known)):
        sizes = ", ".join(f"{letter} {size:.6g}" for letter, size in needed.items() if size is not None)
        yield (
            f"voxel size looks wrong ({sizes} µm), perhaps another unit was meant: if so, give "
            "--set voxel_size=[Z,Y,X] in micrometre"
        )


def _about_file(volume: Volume) -> Iterator[str]:
    if volume.format == "JPEG":
        yield "JPEG changes grey levels to save space: do not measure in it, go back to the original if there is one"


def _about_channel(channel: ChannelSurvey, *, alone: bool, kind: str, exact: bool) -> Iterator[str]:
    name = "the image" if alone else f"channel {channel.channel}" + (f" ({channel.name})" if channel.name else "")
    if channel.not_a_number or channel.infinite:
        yield f"{_percent(channel.not_a_number + channel.infinite)} of {name} is not a number (NaN) or infinite"
    if not channel.percentiles:
        return
    lowest, highest = channel.percentile(0), channel.percentile(100)
    if channel.values == 1:
        where = "" if exact else ", in all places that were looked at"
        yield f"{name} is empty: every voxel is {_level(lowest)}{where}"
        return
    if channel.values <= _FEW_VALUES and channel.voxels >= _ENOUGH_VOXELS:
        yield f"{name} has only {channel.values} different values: a mask or labels, not a recorded image?"
        return
    if channel.saturated_at is not None and channel.saturated >= _SATURATED:
        top = _level(channel.saturated_at) + _bits(highest, kind)
        yield f"{_percent(channel.saturated)} of {name} is saturated at {top}"
    if channel.clipped_at is not None and channel.clipped >= _CLIPPED:
        part, bottom = _percent(channel.clipped), _level(channel.clipped_at)
        yield f"{part} of {name} is exactly {bottom}: an empty area, or the dark end was cut off"
    if kind in "iu" and channel.voxels >= _ENOUGH_VOXELS:
        yield from _about_gaps(channel, name, lowest, highest)


def _about_gaps(channel: ChannelSurvey, name: str, lowest: float, highest: float) -> Iterator[str]:
    """Tell a stretched contrast by the grey levels that it leaves out."""
    possible = int(highest - lowest) + 1
    # The sparse bright tail of a deep image leaves levels out too; its bulk does not.
    bulk = channel.percentile(99) - channel.percentile(1)
    if possible > 2 * channel.values and bulk > 2 * channel.values and channel.values <= 256:
        yield (
            f"{name} has only {channel.values} different values between {_level(lowest)} and {_level(highest)}: its "
            "contrast was stretched after recording, so intensities may not compare between images"
        )


def _bits(highest: float, kind: str) -> str:
    bits = {1023: 10, 4095: 12, 16383: 14}.get(int(highest)) if kind in "iu" else None
    return f", the highest value of {bits} bits" if bits else ""


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.4g} %"


def _level(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"
