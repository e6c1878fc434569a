"""The nouns of a data set: acquisitions, and the manifest that lists them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Whole:
    """What was measured on a whole pair of one channel that files are pieces of.

    Parameters
    ----------
    black, white : float
        Grey levels of its low image that a net sees as 0 and 1.
    gain, offset : float
        ``high * gain + offset`` is on the grey scale of the low image.
    """

    black: float
    white: float
    gain: float
    offset: float


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One specimen, field or volume: the unit of splits and of statistics.

    Parameters
    ----------
    id : str
        Unique within the manifest.
    split : str
        ``"train"``, ``"val"`` or ``"test"``.
    high, low : tuple of Path
        Image files. `low` is empty (low images are made by degrading `high`) or as long as `high` (real pairs).
    axes : str or None
        Axes of every file, where the files do not tell.
    voxel_size : tuple of float or None
        ZYX of `high` in micrometre; None where unknown.
    grey_range : tuple of float or None
        Black and white in grey levels; None where they are to be measured.
    source, licence, credit : str
        Origin, terms of use, and whom to name.
    modality, note : str
        For people; may be empty.
    high_sha256, low_sha256 : tuple of str
        SHA-256 of the files in `high` and `low`, in the same order.
    shifts : tuple of (tuple of float or None)
        For each low file, by how many voxels of its `high` this is moved to lie on it (ZYX); None where nobody stated
        it, and empty where nobody did for any.
    high_channels, low_channels : tuple of (tuple of int or None)
        For each file, which of its channels belong to the pair; None for all, and empty where that goes for all files.
    weight : float or None
        How many patches are drawn of it for one of an acquisition of weight 1; None where its size decides.
    whole : Whole or None
        Of pieces of a larger pair, what was measured there; None where the files themselves are measured.
    """

    id: str
    split: str
    high: tuple[Path, ...]
    low: tuple[Path, ...]
    axes: str | None
    voxel_size: tuple[float | None, float | None, float | None]
    grey_range: tuple[float, float] | None
    source: str
    licence: str
    credit: str
    modality: str = ""
    note: str = ""
    high_sha256: tuple[str, ...] = ()
    low_sha256: tuple[str, ...] = ()
    shifts: tuple[tuple[float, float, float] | None, ...] = ()
    high_channels: tuple[tuple[int, ...] | None, ...] = ()
    low_channels: tuple[tuple[int, ...] | None, ...] = ()
    weight: float | None = None
    whole: Whole | None = None

    def shift_of(self, index: int) -> tuple[float, float, float] | None:
        """Return the stated shift of a pair, ZYX in high voxels; None where none is stated."""
        return self.shifts[index] if self.shifts else None

    def channels_of(self, index: int) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """Return which channels of the low and of the high file of a pair are used; None for all."""
        low, high = (chosen[index] if chosen else None for chosen in (self.low_channels, self.high_channels))
        return low, high

    def of_images(self, indices: Sequence[int]) -> Acquisition:
        """Return the same acquisition with some of its images only, by their indices in `high`."""

        def some(values: tuple[_T, ...]) -> tuple[_T, ...]:  # those that say nothing of any file are empty
            return tuple(values[index] for index in indices) if values else ()

        return replace(
            self,
            high=some(self.high),
            low=some(self.low),
            high_sha256=some(self.high_sha256),
            low_sha256=some(self.low_sha256),
            shifts=some(self.shifts),
            high_channels=some(self.high_channels),
            low_channels=some(self.low_channels),
        )

    @property
    def files(self) -> tuple[tuple[Path, str], ...]:
        """Every file, high ones first, with its SHA-256."""
        return (*zip(self.high, self.high_sha256, strict=True), *zip(self.low, self.low_sha256, strict=True))

    @property
    def sha256(self) -> str:
        """SHA-256 over those of its files in any order: the same images under another id; empty where unknown."""
        digests = sorted(digest for _, digest in self.files)
        return hashlib.sha256("".join(digests).encode()).hexdigest() if digests and all(digests) else ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set: its acquisitions, and the SHA-256 of the manifest file that lists them."""

    name: str
    description: str
    path: Path
    sha256: str
    acquisitions: tuple[Acquisition, ...]

    def of_split(self, split: str) -> tuple[Acquisition, ...]:
        """Return the acquisitions of ``"train"``, ``"val"`` or ``"test"``, in the order of the manifest."""
        return tuple(acquisition for acquisition in self.acquisitions if acquisition.split == split)

    @property
    def files(self) -> Iterator[tuple[Acquisition, Path, str]]:
        """Every file with its acquisition and SHA-256, in the order of the manifest."""
        for acquisition in self.acquisitions:
            for file, digest in acquisition.files:
                yield acquisition, file, digest

    @property
    def licences(self) -> tuple[str, ...]:
        """Every licence that applies, each once, in the order of the manifest."""
        return tuple(dict.fromkeys(acquisition.licence for acquisition in self.acquisitions))

    @property
    def credits(self) -> tuple[str, ...]:
        """Everyone to be named, each once, in the order of the manifest."""
        return tuple(dict.fromkeys(acquisition.credit for acquisition in self.acquisitions))
