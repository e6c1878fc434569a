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
from typing import Any

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
# One read gets the header of a page with up to 20 tags of BigTIFF; tifffile refuses more tags than 4096.
_USUAL_HEADER, _MOST_TAGS = 416, 4096
_ABSENT = re.compile(r"failed to read '([^']*)'")
_TAG = re.compile(r"TiffTag (\d+) @")
# Tags that decide where the voxels are and what they mean; a damaged private tag does no harm.
_STRUCTURAL = {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 330, 339}


def open_tifffile(path: Path, *, omexml: str | None = None) -> tifffile.TiffFile:
    """Open a file, as plain TIFF where the tag of Zeiss LSM survives in a file that is LSM no more.

    `omexml` stands in for the OME-XML of the file: that of a companion, or with names mended.
    """
    check_chain(path)
    described: dict[str, Any] = {} if omexml is None else {"omexml": omexml, "is_ome": True}
    try:
        return tifffile.TiffFile(path, **described)
    except IndexError:
        return tifffile.TiffFile(path, is_lsm=False, **described)


def check_chain(path: Path) -> None:
    """Follow the headers of a TIFF from page to page; tifffile would follow them in a circle for ever.

    Raises
    ------
    InputError
        When a header points back to one before it.
    """
    with path.open("rb", buffering=0) as file:
        start = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(start[:2])
        if order is None or len(start) < 16:
            return
        big = struct.unpack(order + "H", start[2:4])[0] == 43
        count_format, entry, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
        size = struct.calcsize(count_format)
        (offset,) = struct.unpack_from(order + offset_format, start, 8 if big else 4)
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise InputError(
                    f"{path}: the header of plane {len(seen) - 1} points back to one before it; the file is damaged, "
                    "copy or export it again"
                )
            seen.add(offset)
            file.seek(offset)
            header = file.read(_USUAL_HEADER)
            if len(header) < size:
                return  # what ends too early is found by tifffile
            (count,) = struct.unpack_from(order + count_format, header)
            end = size + count * entry
            if count > _MOST_TAGS:
                return
            if len(header) < end + struct.calcsize(offset_format):
                file.seek(offset + end)
                header, end = file.read(8), 0
            if len(header) < end + struct.calcsize(offset_format):
                return
            (offset,) = struct.unpack_from(order + offset_format, header, end)


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
        if str(error) == "incompatible keyframe":
            raise InputError(
                f"{path}: planes of different size or encoding found, planes of one size expected; split the file into "
                "images of one size each"
            ) from None
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
