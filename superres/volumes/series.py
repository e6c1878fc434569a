"""Series of single files: one file per plane, channel or time point, or a folder per time point.

Which axis a number in a name counts is read from the word before it (``z``, ``t``, ``ch``), or given by the user, never
guessed. Words that differ between the names (``DAPI``, ``GFP``) are channels.
"""

from __future__ import annotations

import glob
import itertools
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError, MissingFileError, UnknownAxesError
from superres.volumes.axes import TCZYX, Region, TczyxArray
from superres.volumes.opening import open_volume
from superres.volumes.unchanged import Stamp
from superres.volumes.volume import Calibration, Volume, make_volume

_WORDS = {
    "T": {"t", "time", "timepoint", "tp", "frame", "frames", "tl"},
    "C": {"c", "ch", "chan", "channel", "w", "wavelength"},
    "Z": {"z", "zplane", "zslice", "slice", "plane", "focus"},
}
_LETTER = {word: letter for letter, words in _WORDS.items() for word in words}
# Opened files kept: enough for the planes below a tile, few enough for any limit on open files.
_MOST_OPEN = 64
# Where fewer than one number in this many is there, the numbers do not count planes or time points.
_MOST_MISSING = 1000


@dataclass(frozen=True, slots=True)
class _Axis:
    """One field of the names that differs between the files.

    Parameters
    ----------
    letter : str
        T, C or Z.
    field : int
        Which token of the names.
    values : tuple of int or str
        In their order.
    """

    letter: str
    field: int
    values: tuple[int | str, ...]


class FileSeries:
    """The files of a series as one TCZYX array; a file is opened when it is first read.

    Parameters
    ----------
    files : tuple of Stamp
        In the order of the series' axes T, C, Z.
    counts : tuple of int
        Files along T, C and Z.
    member : tuple of int
        TCZYX shape of one file.
    dtype : numpy.dtype
        Native byte order.
    axes : str, optional
        Axes of one file, where the user gave them.
    """

    def __init__(
        self,
        files: tuple[Stamp, ...],
        counts: tuple[int, ...],
        member: tuple[int, ...],
        dtype: np.dtype[Any],
        axes: str | None,
    ) -> None:
        self.files = files
        self.counts = counts
        self.member = member
        self.dtype = dtype
        self.axes = axes
        self.shape = tuple(n * size for n, size in zip((*counts, 1, 1), member, strict=True))
        self._lock = threading.Lock()
        self._opened: OrderedDict[int, TczyxArray] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return FileSeries, (self.files, self.counts, self.member, self.dtype, self.axes)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        block = np.empty([item.stop - item.start for item in region], self.dtype)
        counted = [count > 1 for count in (*self.counts, 1, 1)]
        # Along an axis that counts files, every file has length 1.
        inner = tuple(slice(0, 1) if many else item for many, item in zip(counted, region, strict=True))
        steps = [
            range(item.start, item.stop) if many else range(1)
            for many, item in zip(counted[:3], region[:3], strict=True)
        ]
        for index in itertools.product(*steps):
            outer = tuple(
                slice(i - item.start, i - item.start + 1) if many else slice(None)
                for i, many, item in zip(index, counted, region, strict=False)
            )
            block[outer] = self._open(int(np.ravel_multi_index(index, self.counts)))[inner]
        return block

    def _open(self, number: int) -> TczyxArray:
        stamp = self.files[number]
        stamp.check()
        with self._lock:
            if number in self._opened:
                self._opened.move_to_end(number)
                return self._opened[number]
        array = _member(stamp.path, self.axes, self.member, self.dtype)
        with self._lock:
            self._opened[number] = array
            if len(self._opened) > _MOST_OPEN:
                self._opened.popitem(last=False)
        return array


def open_series(pattern: str, *, axes: str | None = None, voxel_size: Sequence[float] | None = None) -> Volume:
    """Open the files that a pattern matches as one volume.

    Parameters
    ----------
    pattern : str
        As in a shell: ``folder/scan_z*.tif``, ``folder/t*/scan_z*.tif``. A folder per time point is one of them.
    axes : str, optional
        Where the names do not say what their numbers count: first the axes of the names, slowest first, then those of
        one file, e.g. ``"ZYX"`` for planes, ``"TZYX"`` for a folder per time point with a file per plane.
    voxel_size : sequence of float, optional
        ZYX in micrometre.

    Raises
    ------
    MissingFileError
        When nothing matches.
    InputError
        When files are missing, doubled or unlike each other, or it cannot be told what the numbers count.
    """
    # Unlike Path.glob this leaves out hidden files, which other systems put beside every file.
    names = sorted(glob.glob(pattern, recursive=True), key=_natural)  # noqa: PTH207
    files = [Path(name) for name in names if not Path(name).is_dir()]
    if not files:
        raise MissingFileError(f"{pattern}: no file matches this pattern; check the folder and the pattern")
    if len(files) == 1:
        volume = open_volume(files[0], axes=axes, voxel_size=voxel_size)
        return replace(volume, source=files[0])
    root = os.path.commonpath([file.parent for file in files])
    tokens = [_tokens(os.path.relpath(file, root)) for file in files]
    fields = _fields(tokens, files, pattern)
    given = None if axes is None else axes.upper().strip()
    if given is not None and len(given) < len(fields) + 2:
        raise InputError(
            f"{pattern}: axes={given} found, expected {len(fields)} for the numbers in the names and then those of one "
            f"file, e.g. axes={'ZTC'[: len(fields)][::-1]}YX"
        )
    own_axes = None if given is None else given[len(fields) :]
    first = open_volume(files[0], axes=own_axes)
    if {file.resolve() for file in files} <= {file.resolve() for file in first.files}:
        return first  # the parts of one OME-TIFF set, of which each opens the whole
    found = _counted(fields, tokens, first, pattern, given)
    ordered = _grid(found, tokens, files, pattern)
    _check_alike(ordered, first, own_axes)
    counts = tuple(next((len(axis.values) for axis in found if axis.letter == letter), 1) for letter in "TCZ")
    array = FileSeries(tuple(map(Stamp.of, ordered)), counts, first.shape, first.dtype, own_axes)
    letters = "".join(axis.letter for axis in found)
    return make_volume(
        [TczyxArray(array, TCZYX)],
        _calibration(first, found),
        axes=letters + "".join(letter for letter in first.axes if letter not in letters),
        format=f"{first.format} series",
        source=Path(pattern),
        voxel_size=voxel_size,
        files=tuple(ordered),
    )


def pattern_of(files: Sequence[str | Path]) -> str:
    """Return the pattern that matches just these files, so that one name tells them all.

    Raises
    ------
    InputError
        When every pattern for them matches others, too.
    """
    names = sorted(str(file) for file in files)
    start = _common(names)
    end = _common([name[len(start) :][::-1] for name in names])[::-1]
    # An asterisk goes over no folder, so folders that differ need one each.
    middle = "/".join("*" * (names[0][len(start) : len(names[0]) - len(end)].count(os.sep) + 1))
    pattern = f"{glob.escape(start)}{middle}{glob.escape(end)}"
    if sorted(glob.glob(pattern)) != names:  # noqa: PTH207
        raise InputError(
            f"{Path(names[0]).parent}: {len(names)} files chosen as one series, but there are others with names like "
            "theirs; choose all files of the series, or put them into a folder of their own"
        )
    return pattern


def _common(names: Sequence[str]) -> str:
    """Return what all names begin with."""
    return next(
        (names[0][:place] for place, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1),
        min(names, key=len),
    )


def _natural(name: str) -> list[Any]:
    return [(int(text), "") if text.isdecimal() else (-1, text) for text in re.split(r"(\d+)", name)]


def _tokens(name: str) -> list[str]:
    """Split a name into words, numbers and what stands between them."""
    return re.findall(r"\d+|[^\W\d_]+|[\W_]+", name)


def _fields(tokens: Sequence[list[str]], files: Sequence[Path], pattern: str) -> list[int]:
    """Return the places where the names differ, leaving out numbers that repeat an earlier one."""
    fields: list[int] = []
    for file, words in zip(files, tokens, strict=True):
        alike = len(words) == len(tokens[0]) and all(map(_same_kind, words, tokens[0]))
        if not alike:
            raise InputError(
                f"{pattern}: {file.name} and {files[0].name} are not named alike, names that differ in numbers or one "
                "word expected; give a pattern that matches one series"
            )
    for place in range(len(tokens[0])):
        values = [words[place] for words in tokens]
        repeated = any(
            [_value(words[field]) for words in tokens] == [_value(value) for value in values] for field in fields
        )
        if len(set(values)) > 1 and not repeated:
            fields.append(place)
    return fields


def _same_kind(one: str, other: str) -> bool:
    if one.isdecimal() or other.isdecimal():
        return one.isdecimal() and other.isdecimal()
    return one == other or (one.isalpha() and other.isalpha())


def _value(token: str) -> int | str:
    return int(token) if token.isdecimal() else token


def _counted(
    fields: Sequence[int], tokens: Sequence[list[str]], first: Volume, pattern: str, given: str | None
) -> list[_Axis]:
    """Decide which axis each field counts: by the user's word, else by the word before it."""
    letters = list(given[: len(fields)]) if given is not None else [_letter(tokens[0], field) for field in fields]
    if "?" in letters:
        field = fields[letters.index("?")]
        values = sorted({_value(words[field]) for words in tokens}, key=str)
        free = [letter for letter in "ZTC" if letter not in letters + [c for c in first.axes if c not in "YX"]]
        example = "".join(letter if letter != "?" else (free.pop(0) if free else "?") for letter in letters)
        found = "".join(letter.replace("?", "Q") for letter in letters) + first.axes
        counts = [len({words[place] for words in tokens}) for place in fields]
        sizes = dict(zip(TCZYX, first.shape, strict=True))
        raise UnknownAxesError(
            f"{pattern}: cannot tell what {values[0]} to {values[-1]} in names like {''.join(tokens[0])} count; "
            f"give axes, e.g. axes={example}{first.axes} (--set axes={example}{first.axes})",
            found,
            (*counts, *(sizes[letter] for letter in first.axes)),
        )
    found = "".join(letters)
    sizes = dict(zip(TCZYX, first.shape, strict=True))
    wrong = [letter for letter in letters if letter not in "TCZ" or letters.count(letter) > 1 or sizes[letter] > 1]
    if wrong:
        raise InputError(
            f"{pattern}: the names count {found}, one file has axes {first.axes}, shape "
            f"{'x'.join(map(str, first.shape))} (TCZYX); each of T, C and Z expected once; give other axes or a "
            "pattern that matches fewer files"
        )
    return [
        _Axis(letter, field, tuple(dict.fromkeys(_ordered([_value(words[field]) for words in tokens]))))
        for letter, field in zip(letters, fields, strict=True)
    ]


def _ordered(values: list[int | str]) -> list[int | str]:
    """Sort numbers; words stay as the sorted file names have them."""
    numbers = [value for value in values if isinstance(value, int)]
    return [*sorted(numbers)] if len(numbers) == len(values) else values


def _letter(tokens: list[str], field: int) -> str:
    """Return the axis that a field counts, "?" when the names do not tell."""
    if not tokens[field].isdecimal():
        return "C"
    before = [token for token in tokens[max(0, field - 2) : field] if token.isalpha()]
    if not before:
        return "?"
    # "imageZ12": a capital letter at the end of a word counts as a word.
    end = re.search(r"(?<=[a-z])[ZTC]$", before[-1])
    return _LETTER.get(before[-1].lower(), end[0] if end else "?")


def _grid(axes: Sequence[_Axis], tokens: Sequence[list[str]], files: Sequence[Path], pattern: str) -> list[Path]:
    """Order the files along T, C, Z; every place must have one."""
    ordered = sorted(axes, key=lambda axis: "TCZ".index(axis.letter))
    places: dict[tuple[int | str, ...], Path] = {}
    for words, file in zip(tokens, files, strict=True):
        place = tuple(_value(words[axis.field]) for axis in ordered)
        if place in places:
            raise InputError(
                f"{pattern}: {places[place].name} and {file.name} have the same place in the series; "
                "remove one of them or give a pattern that leaves it out"
            )
        places[place] = file
    wanted = list(itertools.product(*(_without_gaps(axis, pattern) for axis in ordered)))
    missing = [place for place in wanted if place not in places]
    if missing:
        shown = ", ".join(_name_at(place, ordered, tokens) for place in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"{pattern}: {len(missing)} of {len(wanted)} files of the series are missing ({shown}{more}); "
            "copy them, or give a pattern that matches a complete series"
        )
    return [places[place] for place in wanted]


def _without_gaps(axis: _Axis, pattern: str) -> Sequence[int | str]:
    """Return the values that an axis ought to have: the numbers of planes and time points go up in equal steps."""
    numbers = [value for value in axis.values if isinstance(value, int)]
    if axis.letter == "C" or len(numbers) < 2:
        return axis.values
    step = math.gcd(*(b - a for a, b in itertools.pairwise(numbers)))
    full = range(numbers[0], numbers[-1] + 1, step)
    if len(full) > _MOST_MISSING * len(numbers):
        raise InputError(
            f"{pattern}: the numbers along {axis.letter} ({numbers[0]}, {numbers[1]}, ... {numbers[-1]}) are unevenly "
            "spaced; number the files one by one"
        )
    return full


def _name_at(place: tuple[int | str, ...], axes: Sequence[_Axis], tokens: Sequence[list[str]]) -> str:
    """Return the name that a missing file would have."""
    words = list(tokens[0])
    for value, axis in zip(place, axes, strict=True):
        words[axis.field] = str(value).zfill(len(words[axis.field])) if isinstance(value, int) else value
    return "".join(words)


def _check_alike(files: Sequence[Path], first: Volume, axes: str | None) -> None:
    """Open one file of every size in bytes; files of one size are checked again when they are read."""
    sizes: dict[int, Path] = {}
    for file in files:
        sizes.setdefault(file.stat().st_size, file)
    for file in sizes.values():
        _member(file, axes, first.shape, first.dtype)


def _member(path: Path, axes: str | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> TczyxArray:
    volume = open_volume(path, axes=axes)
    if volume.shape != shape or volume.dtype != dtype or volume.finest is None:
        raise InputError(
            f"{path}: {'x'.join(map(str, volume.shape))} voxels (TCZYX) of type {volume.dtype} found, the other files "
            f"of the series have {'x'.join(map(str, shape))} of type {dtype}; leave it out of the pattern or export it "
            "again"
        )
    return volume.finest


def _calibration(first: Volume, axes: Sequence[_Axis]) -> Calibration:
    channels = next((axis.values for axis in axes if axis.letter == "C"), None)
    names = first.channel_names
    if channels is not None:
        names = tuple(map(str, channels)) if all(isinstance(value, str) for value in channels) else ()
    return Calibration(voxel_size=first.voxel_size, channel_names=names, time_step=first.time_step)
