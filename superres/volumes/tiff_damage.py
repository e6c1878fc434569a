"""What tifffile makes of damaged files, turned into errors.

tifffile repairs and guesses, and logs that it did; a measurement must not rest on that.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tifffile

from superres.errors import InputError

# What tifffile, struct and NumPy raise on damaged headers, by trial on malformed files.
_PARSE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
_DAMAGE = re.compile(
    r"invalid page offset|corrupt|missing|incorrect|truncat|zeroed|cannot handle|out of range|raised .*Error"
)
_ABSENT = re.compile(r"failed to read '([^']*)'")
_TAG = re.compile(r"TiffTag (\d+) @")
# Tags that decide where the voxels are and what they mean; a damaged private tag does no harm.
_STRUCTURAL = {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 339}


def open_tifffile(path: Path) -> tifffile.TiffFile:
    """Open a file, as plain TIFF where the tag of Zeiss LSM survives in a file that is LSM no more."""
    try:
        return tifffile.TiffFile(path)
    except IndexError:
        return tifffile.TiffFile(path, is_lsm=False)


@contextmanager
def damage_is_an_error(path: Path) -> Iterator[None]:
    """Raise `InputError` for what tifffile raises on damaged headers, and for what it only logs about them."""
    messages: list[str] = []
    try:
        with _collected(messages):
            yield
    except InputError:
        _raise_absent(path, messages)
        raise
    except _PARSE_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{path}: damaged TIFF, the headers cannot be read ({reason}); copy or export the file again"
        ) from None
    _raise_absent(path, messages)
    damage = next((text for text in messages if _is_damage(text)), None)
    if damage is not None:
        raise InputError(
            f"{path}: damaged or truncated TIFF ({' '.join(damage.split())[:200]}); copy or export the file again"
        )


def _raise_absent(path: Path, messages: list[str]) -> None:
    absent = next(filter(None, map(_ABSENT.search, messages)), None)
    if absent is not None:
        raise InputError(
            f"{path}: {absent[1]}, a file of the same set, cannot be read; put all files of the set into one folder"
        )


@contextmanager
def _collected(messages: list[str]) -> Iterator[None]:
    """Keep tifffile's warnings and errors instead of showing them."""
    handler = _Collector(messages)
    logger = tifffile.logger()
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


class _Collector(logging.Handler):
    """Keeps the warnings of a logger."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _is_damage(message: str) -> bool:
    tag = _TAG.search(message)
    if tag is not None:
        return int(tag[1]) in _STRUCTURAL
    return _DAMAGE.search(message) is not None
