"""Sharp images and recordings as windows of one size, for a fit: files, planes, repeats, and what is wrong there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import Factor, IntensityRule, Settings
from superres.degrade.fields import Fields
from superres.errors import ConfigError, InputError
from superres.progress import ProgressCallback, silent
from superres.volumes import Volume, measure_intensity
from superres.volumes.collection import Found, find_acquisitions

Triple = tuple[int, int, int]

_SMALLEST = 32  # low voxels
_LOOKED_AT = 32  # planes, to find those with structure
_MOST_FILES = 12  # recordings that are looked at, each of which is fitted by itself
# Share of the windows of a plane with less contrast than the one that is taken: neither empty nor one bright spot.
_RANK = 0.8
# Fields of different specimens are alike only on average: windows in all, and the shares of those with less contrast.
_WINDOWS, _RANKS = 8, (0.5, 0.95)
# Smoothed images of one field correlate by more than this, those of two fields do not.
_SAME_FIELD = 0.7
_FIELD_SMOOTHING = 3.0
_ODD_FACTOR = 0.1


class FitConfig(Settings):
    """What a degradation is fitted to; the same for CLI, plugin and batch."""

    factor: Factor | None = None
    paired: bool = False
    axes: str | None = None
    sharp_channel: int = 0
    recorded_channel: int = 0
    grey_range: tuple[float, float] | None = None
    planes: int = 4
    window: int = 256
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """What a fit is made on.

    Parameters
    ----------
    fields : Fields
        The windows.
    sharp, recorded : tuple of str
        The files they are from.
    notes : tuple of str
        What a person should know about the choice.
    """

    fields: Fields
    sharp: tuple[str, ...]
    recorded: tuple[str, ...]
    notes: tuple[str, ...]


class _Place(NamedTuple):
    """One plane of one opened file."""

    volume: Volume
    channel: int
    t: int
    z: int

    def read(self) -> NDArray[np.float64]:
        everything = slice(None)
        plane = self.volume.read(t=self.t, c=self.channel, z=slice(self.z, self.z + 1), y=everything, x=everything)
        values: NDArray[np.float64] = plane[0].astype(np.float64)
        return values


def read_recordings(
    sharp: Sequence[str], recorded: Sequence[str], config: FitConfig, *, progress: ProgressCallback = silent
) -> Recordings:
    """Open files, folders or patterns, and cut windows out of evenly spread planes.

    Time points of a recording, or recordings of one shape, that show one field are taken as repeats.

    Raises
    ------
    ConfigError
        When the factor is missing and cannot be told, or planes cannot be degraded by it.
    InputError
        When a file cannot be read, is constant or holds NaN, or the images do not fit each other or the factor.
    """
    sharps, records = (_opened(paths, config, progress) for paths in (sharp, recorded))
    for volumes, channel, name in (
        (sharps, config.sharp_channel, "sharp_channel"), (records, config.recorded_channel, "recorded_channel"),
    ):  # fmt: skip
        _check_channel(volumes, channel, name)
    factor = _factor(sharps[0], records[0], config)
    if config.paired:
        _check_pairs(sharps, records, factor)
    side = _window_side(sharps, records, factor, config)
    places = _places(sharps, records, config)
    shares = {id(volume): _grey_range(volume, factor, config) for volume in {id(v): v for v in sharps}.values()}
    windows = _Windows(factor, side, shares)
    if config.paired:
        taken = [windows.pair(one, other) for one, other in zip(*places, strict=True)]
        fine, low = (np.stack([pair[i] for pair in taken]) for i in (0, 1))
        cut = [(other, pair[2]) for other, pair in zip(places[1], taken, strict=True)]
    else:
        cut = windows.spread(places[1], fine=False)
        fine = np.stack([windows.sharp(*one) for one in windows.spread(places[0], fine=True)])
        low = np.stack([windows.low(*one) for one in cut])
    again = _repeats(cut, low, records, windows, paired=config.paired)
    files = np.array([[id(volume) for volume in records].index(id(place.volume)) for place, _ in cut])
    fields = Fields(fine.astype(np.float32), low, again, files, config.paired, factor)
    notes = _notes(sharps[0], records[0], factor, number=(len(records), len(set(files.tolist()))))
    return Recordings(fields, _names(sharps), _names(records), tuple(notes))


def _opened(paths: Sequence[str], config: FitConfig, progress: ProgressCallback) -> list[Volume]:
    found: tuple[Found, ...] = find_acquisitions(list(paths), axes=config.axes, progress=progress)
    volumes = []
    for one in found:
        if one.volume is None:
            raise InputError(one.error or f"{one.path}: cannot be read")
        volumes.append(one.volume)
    return volumes


def _check_channel(volumes: Sequence[Volume], channel: int, name: str) -> None:
    for volume in volumes:
        if not 0 <= channel < volume.shape[1]:
            raise InputError(
                f"{volume.source}: channel {channel} wanted, {volume.shape[1]} found (counted from 0); give for "
                f"example --set {name}=0"
            )


def _factor(sharp: Volume, recorded: Volume, config: FitConfig) -> Triple:
    """Return the given factor, or what shapes of pairs or voxel sizes tell."""
    factor = config.factor or _told_factor(sharp, recorded, paired=config.paired)
    if factor is None:
        raise ConfigError(
            f"{recorded.source}: the files do not tell by which factor the sharp images are finer; give it, for "
            "example --factor 1,4,4"
        )
    if factor[0] != 1:
        raise ConfigError(
            f"factor {list(factor)}: planes are degraded one by one, so the factor along Z must be 1; give for example "
            f"--factor 1,{factor[1]},{factor[2]}"
        )
    return factor


def _told_factor(sharp: Volume, recorded: Volume, *, paired: bool) -> Triple | None:
    if paired:
        ratios = [fine / coarse for fine, coarse in zip(sharp.shape[2:], recorded.shape[2:], strict=True)]
    else:
        sizes = list(zip(sharp.voxel_size[1:], recorded.voxel_size[1:], strict=True))
        ratios = [1.0, *(coarse / fine for fine, coarse in sizes if fine and coarse)]
    whole = [round(ratio) for ratio in ratios]
    if len(whole) < 3 or min(whole) < 1 or any(abs(r / n - 1) > 0.02 for r, n in zip(ratios, whole, strict=True)):
        return None
    return whole[0], whole[1], whole[2]


def _check_pairs(sharps: Sequence[Volume], records: Sequence[Volume], factor: Triple) -> None:
    if len(sharps) != len(records):
        raise InputError(
            f"{len(sharps)} sharp and {len(records)} recorded images; with --paired the i-th sharp one shows the i-th "
            "recorded field, so give as many of both"
        )
    for sharp, recorded in zip(sharps, records, strict=True):
        expected = tuple(size // f for size, f in zip(sharp.shape[2:], factor, strict=True))
        if recorded.shape[2:] == expected:
            continue
        what = "is larger than" if math.prod(recorded.shape[2:]) > math.prod(expected) else "does not go with"
        raise InputError(
            f"{recorded.source}: {_times(recorded.shape[2:])} voxels (ZYX), {what} {sharp.source} of "
            f"{_times(sharp.shape[2:])}; at factor {list(factor)} it must be {_times(expected)}: give the factor of "
            "this pair, exchange --sharp and --recorded, or leave out --paired if they show different fields"
        )


def _window_side(
    sharps: Sequence[Volume], records: Sequence[Volume], factor: Triple, config: FitConfig
) -> tuple[int, int]:
    """Return height and width of the windows in low voxels: what the smallest image has."""
    sides = []
    for axis in (1, 2):
        smallest = min(
            [(v.shape[2 + axis], v) for v in records] + [(v.shape[2 + axis] // factor[axis], v) for v in sharps],
            key=lambda item: item[0],
        )
        if smallest[0] < _SMALLEST:
            raise InputError(
                f"{smallest[1].source}: {_times(smallest[1].shape[3:])} voxels (YX) are too few to fit to at factor "
                f"{list(factor)}; at least {_SMALLEST} low voxels are needed along Y and X: give larger images or the "
                "right --factor"
            )
        sides.append(min(config.window, smallest[0]))
    return sides[0], sides[1]


def _places(
    sharps: Sequence[Volume], records: Sequence[Volume], config: FitConfig
) -> tuple[list[_Place], list[_Place]]:
    """Choose planes with structure, evenly spread over files and depth, at the first time point."""
    sharp = [[_Place(v, config.sharp_channel, 0, z) for z in range(v.shape[2])] for v in sharps]
    recorded = [[_Place(v, config.recorded_channel, 0, z) for z in range(v.shape[2])] for v in records]
    if not config.paired:
        return _structured([place for file in sharp for place in file], config.planes), _of_each(
            recorded, config.planes
        )
    chosen = _of_each(sharp, config.planes)
    partners = {id(one): other for one, other in zip(sharps, records, strict=True)}
    return chosen, [p._replace(volume=partners[id(p.volume)], channel=config.recorded_channel) for p in chosen]


def _of_each(files: list[list[_Place]], wanted: int) -> list[_Place]:
    """Choose planes of every file, so that what varies between recordings is seen; of many, of evenly spread ones."""
    count = min(len(files), _MOST_FILES)
    kept = [files[(2 * i + 1) * len(files) // (2 * count)] for i in range(count)]
    return [place for file in kept for place in _structured(file, -(-wanted // count))]


def _structured(places: list[_Place], wanted: int) -> list[_Place]:
    """Leave out planes of little contrast beside others of their file: the ends of a stack tell nothing."""
    looked_at = _spread(places, max(_LOOKED_AT, wanted))
    contrast = {place: float(np.nanstd(place.read())) for place in looked_at} if len(looked_at) > wanted else {}
    best: dict[int, float] = {}
    for place, value in contrast.items():
        best[id(place.volume)] = max(best.get(id(place.volume), 0.0), value)
    kept = [place for place in looked_at if not contrast or contrast[place] >= best[id(place.volume)] / 2]
    return _spread(kept, wanted)


def _spread(places: list[_Place], wanted: int) -> list[_Place]:
    count = min(len(places), max(wanted, 1))
    return [places[(2 * i + 1) * len(places) // (2 * count)] for i in range(count)]


def _grey_range(volume: Volume, factor: Triple, config: FitConfig) -> tuple[float, float]:
    if config.grey_range is not None:
        return config.grey_range
    measured = measure_intensity(volume, IntensityRule(), factor=factor)[config.sharp_channel]
    return measured.black, measured.white


@dataclass(frozen=True, slots=True)
class _Windows:
    """Cuts windows; sharp ones become shares of the grey range."""

    factor: Triple
    side: tuple[int, int]
    ranges: dict[int, tuple[float, float]]

    def pair(self, sharp: _Place, recorded: _Place) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int]]:
        corner = self.corner(recorded, fine=False)
        return self.sharp(sharp, corner), self.low(recorded, corner), corner

    def corner(self, place: _Place, *, fine: bool) -> tuple[int, int]:
        """Choose where a window lies, in low voxels: by contrast among windows that overlap by half."""
        corners = self._by_contrast(place, fine=fine)
        return corners[round(_RANK * (len(corners) - 1))]

    def spread(self, places: Sequence[_Place], *, fine: bool) -> list[tuple[_Place, tuple[int, int]]]:
        """Choose windows of all contrasts from some planes, each once."""
        count = -(-_WINDOWS // len(places))
        found: list[tuple[_Place, tuple[int, int]]] = []
        for place in places:
            corners = self._by_contrast(place, fine=fine)
            ranks = np.linspace(*_RANKS, count) if count > 1 else np.array([_RANK])
            chosen = dict.fromkeys(np.rint(ranks * (len(corners) - 1)).astype(int).tolist())
            found += [(place, corners[index]) for index in chosen]
        return found

    def _by_contrast(self, place: _Place, *, fine: bool) -> list[tuple[int, int]]:
        plane = place.read()
        fy, fx = self.factor[1:] if fine else (1, 1)
        rows, columns = (
            range(0, max(1, n // f - side + 1), max(1, side // 2))
            for n, f, side in zip(plane.shape, (fy, fx), self.side, strict=True)
        )
        corners = [(y, x) for y in rows for x in columns]
        contrast = [
            float(np.std(plane[y * fy : (y + self.side[0]) * fy, x * fx : (x + self.side[1]) * fx])) for y, x in corners
        ]
        return [corners[index] for index in np.argsort(contrast, kind="stable")]

    def sharp(self, place: _Place, corner: tuple[int, int]) -> NDArray[np.float64]:
        black, white = self.ranges[id(place.volume)]
        fy, fx = self.factor[1:]
        y, x = corner[0] * fy, corner[1] * fx
        return (_checked(place, y, x, self.side[0] * fy, self.side[1] * fx) - black) / (white - black)

    def low(self, place: _Place, corner: tuple[int, int]) -> NDArray[np.float64]:
        return _checked(place, *corner, *self.side)


def _checked(place: _Place, y: int, x: int, height: int, width: int) -> NDArray[np.float64]:
    window = place.read()[y : y + height, x : x + width]
    bad = window.size - int(np.count_nonzero(np.isfinite(window)))
    if bad or np.ptp(window) == 0:
        what = f"holds {bad} NaN or infinite values" if bad else f"is constant ({window.flat[0]:g})"
        raise InputError(
            f"{place.volume.source}: plane {place.z} of channel {place.channel} {what}; expected structure and noise: "
            "leave this image out, or choose another channel with --set sharp_channel=... or recorded_channel=..."
        )
    return window


def _repeats(
    cut: Sequence[tuple[_Place, tuple[int, int]]],
    low: NDArray[np.float64],
    records: Sequence[Volume],
    windows: _Windows,
    *,
    paired: bool,
) -> NDArray[np.float64] | None:
    """Return the same fields recorded once more: at the next time point, or in the next file; None where none are."""
    later = [place._replace(t=1) for place, _ in cut if place.volume.shape[0] > 1]
    if len(later) < len(cut) and not paired and len(records) > 1 and len({v.shape for v in records}) == 1:
        following = {id(one): other for one, other in zip(records, [*records[1:], records[0]], strict=True)}
        later = [place._replace(volume=following[id(place.volume)]) for place, _ in cut]
    if len(later) < len(cut):
        return None
    again = np.stack([windows.low(place, corner) for place, (_, corner) in zip(later, cut, strict=True)])
    return again if all(_is_same_field(a, b) for a, b in zip(low, again, strict=True)) else None


def _is_same_field(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    smooth = [gaussian_filter(image, _FIELD_SMOOTHING).ravel() for image in (first, second)]
    return bool(np.corrcoef(smooth[0], smooth[1])[0, 1] > _SAME_FIELD)


def _notes(sharp: Volume, recorded: Volume, factor: Triple, *, number: tuple[int, int]) -> list[str]:
    notes = []
    for axis, letter in ((1, "Y"), (2, "X")):
        fine, coarse = sharp.voxel_size[axis], recorded.voxel_size[axis]
        if fine and coarse and abs(coarse / fine / factor[axis] - 1) > _ODD_FACTOR:
            notes.append(
                f"voxel sizes along {letter} are {fine:.4g} µm (sharp) and {coarse:.4g} µm (recorded), a factor of "
                f"{coarse / fine:.3g}, not {factor[axis]}: check --factor"
            )
    if number[1] < number[0]:
        notes.append(f"of {number[0]} recordings {number[1]} were looked at, evenly spread in their order")
    return notes


def _names(volumes: Sequence[Volume]) -> tuple[str, ...]:
    return tuple(str(volume.source) for volume in volumes)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
