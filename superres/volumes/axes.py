"""From the axes of a file to TCZYX: which axis is which, and a view that permutes on reading.

This is the one place where axis orders are converted. Nothing here reads a file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from superres.errors import InputError, UnknownAxesError

TCZYX = "TCZYX"
Region = tuple[slice, ...]


class FileArray(Protocol):
    """An array in a file, in the file's own axis order; picklable, and read only when indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels, with the file's byte order."""

    def __getitem__(self, region: Region, /) -> NDArray[Any]:
        """Read the region; slices have start, stop and step 1 within the shape."""
        ...


class TczyxArray:
    """A `FileArray` seen as TCZYX, native byte order; reading touches only what is asked for.

    Parameters
    ----------
    inner : FileArray
        The array in the file's axis order.
    axes : str
        One letter of TCZYX per axis of `inner`; missing letters become axes of length 1.

    Attributes
    ----------
    block : tuple of int
        What the file reads as a whole, TCZYX; empty where reading is free of that.
    """

    ndim = 5

    def __init__(self, inner: FileArray, axes: str) -> None:
        self.inner = inner
        self.axes = axes
        sizes = dict(zip(axes, inner.shape, strict=True))
        self.shape: tuple[int, int, int, int, int] = tuple(sizes.get(letter, 1) for letter in TCZYX)  # type: ignore[assignment]
        self.dtype: np.dtype[Any] = inner.dtype.newbyteorder("=")
        blocks = dict(zip(axes, getattr(inner, "block", ()), strict=False))
        self.block: tuple[int, ...] = tuple(blocks.get(letter, 1) for letter in TCZYX) if blocks else ()

    def __getitem__(self, index: tuple[slice | int, ...]) -> NDArray[Any]:
        """Read by slices (any positive step) and integers, as NumPy would."""
        index = tuple(index) + (slice(None),) * (5 - len(index))
        wanted = [_bounds(item, size) for item, size in zip(index, self.shape, strict=True)]
        by_letter = dict(zip(TCZYX, wanted, strict=True))
        block = np.asarray(self.inner[tuple(by_letter[letter] for letter in self.axes)])
        order = [self.axes.index(letter) for letter in TCZYX if letter in self.axes]
        block = block.transpose(order)
        block = np.expand_dims(block, [i for i, letter in enumerate(TCZYX) if letter not in self.axes])
        # Axes that the file lacks have not been read, so all of the index is still to do.
        left = (_within(item) if letter in self.axes else item for letter, item in zip(TCZYX, index, strict=True))
        block = block[tuple(left)]
        return np.ascontiguousarray(block, dtype=self.dtype)


def _bounds(item: slice | int, size: int) -> slice:
    if isinstance(item, slice):
        start, stop, step = item.indices(size)
        if step < 1:
            raise IndexError(f"step {step} is not supported; read forwards and flip")
        return slice(start, max(start, stop))
    position = range(size)[item]
    return slice(position, position + 1)


def _within(item: slice | int) -> slice | int:
    """What is left to do of `item` after its bounds were read."""
    return slice(None, None, item.step) if isinstance(item, slice) else 0


def resolve_axes(found: str, shape: Sequence[int], *, given: str | None, path: Path) -> str:
    """Decide what each axis of a file is.

    Parameters
    ----------
    found : str
        One letter per axis as the file says: TCZYX, S for samples of one pixel (RGB), Q or I where it does not say.
    shape : sequence of int
        Lengths of the axes.
    given : str or None
        The user's word, which wins.
    path : Path
        For the message.

    Returns
    -------
    str
        One letter of TCZYX per axis, each at most once.

    Raises
    ------
    UnknownAxesError
        When the axes cannot be told.
    InputError
        When `given` does not fit, or the image is empty.
    """
    sizes = "x".join(map(str, shape))
    if math.prod(shape) == 0:
        raise InputError(f"{path}: the image is empty (axes {found}, shape {sizes}); nothing to read")
    if given is not None:
        return _check_given(given.upper().strip(), found, sizes, path)
    if "S" in found:
        raise _refuse_colours(found, shape, sizes, path)
    if set(found) - set(TCZYX) or len(set(found)) < len(found):
        raise UnknownAxesError(
            f"{path}: cannot tell what the axes are (found {found}, shape {sizes}; expected letters of {TCZYX}); "
            + _what_to_type(found),
            found,
            tuple(shape),
        )
    return found


def _refuse_colours(found: str, shape: Sequence[int], sizes: str, path: Path) -> InputError:
    samples = shape[found.index("S")]
    kind = "RGB; " if samples == 3 else ""
    message = f"{path}: {samples} samples per pixel found ({kind}axes {found}, shape {sizes}), one intensity per voxel "
    if "C" in found:
        return InputError(message + "expected; convert the image to grey levels or to one channel per sample")
    given = suggest_axes(found.replace("S", "C"))
    if "?" in given:
        return InputError(f"{message}expected; convert the image to grey levels")
    return UnknownAxesError(
        f"{message}expected; give axes={given} (--set axes={given}) to treat the samples as channels",
        found,
        tuple(shape),
    )


def _what_to_type(found: str) -> str:
    example = suggest_axes(found)
    if "?" in example:
        return f"there are more than the {len(TCZYX)} that superres reads; split the file"
    return f"give axes, e.g. axes={example} (--set axes={example})"


def suggest_axes(found: str) -> str:
    """Guess axes for a message: unknown ones become X, Y, Z, C, T from the last to the first, "?" when none is left."""
    free = [letter for letter in "XYZCT" if letter not in found]
    letters: list[str] = []
    for letter in reversed(found):
        known = letter in TCZYX and letter not in letters
        letters.append(letter if known else (free.pop(0) if free else "?"))
    return "".join(reversed(letters))


def possible_axes(found: str) -> tuple[str, ...]:
    """Return what the axes of a file may be whose letters it does not tell all, the likeliest first.

    Parameters
    ----------
    found : str
        One letter per axis: TCZYX where known, S for samples of one pixel (which become channels), others unknown.

    Returns
    -------
    tuple of str
        Each a letter of TCZYX per axis, Y before X; empty where there are more axes than letters.
    """
    likeliest = suggest_axes(found.replace("S", "C"))
    if "?" in likeliest or len(found) < 2:
        return ()
    open_places = [
        i for i, letter in enumerate(found.replace("S", "C")) if letter != likeliest[i] or letter not in TCZYX
    ]
    stacked = [place for place in open_places if likeliest[place] not in "YX"]
    free = [letter for letter in "ZTC" if letter not in (likeliest[i] for i in range(len(found)) if i not in stacked)]
    choices = [likeliest]
    for letters in itertools.permutations(free, len(stacked)):
        taken = dict(zip(stacked, letters, strict=True))
        choices.append("".join(taken.get(i, letter) for i, letter in enumerate(likeliest)))
    return tuple(dict.fromkeys(choices))


def _check_given(given: str, found: str, sizes: str, path: Path) -> str:
    if len(given) != len(found):
        raise InputError(
            f"{path}: axes={given} names {len(given)} axes, the file has {len(found)} (found {found}, shape {sizes}); "
            f"give one letter per axis, e.g. axes={suggest_axes(found.replace('S', 'C'))}"
        )
    wrong = set(given) - set(TCZYX)
    if wrong or len(set(given)) < len(given) or not {"Y", "X"} <= set(given):
        raise InputError(
            f"{path}: axes={given} is not usable for shape {sizes}; expected each letter of {TCZYX} at most once, "
            "with Y and X among them"
        )
    return given
