"""The manifest as a file: a YAML list of acquisitions that a biologist can read and write.

.. code-block:: yaml

    name: em
    description: What the set holds, in a sentence.
    licence: CC BY 4.0          # licence, credit and source may also stand in an acquisition
    credit: Who recorded it
    source: Where it came from
    acquisitions:
      - id: brain_3             # one specimen, field or volume; its files are planes or images of it
        split: train            # train, val or test
        high:
          - {file: brain_3/z000.tif, sha256: 64 hexadecimal digits}   # null where no checksum is known
        low: []                 # one low file per high file where real pairs were recorded, each perhaps with the
                                # shift: [0, 1.25, -0.4] by which its high image is moved to lie on it: high voxels, ZYX
                                # a file of a pair may be some channels of one: {file: both.tif, channels: [1], ...}
        axes: YX                # only where the file does not tell
        voxel_size: [null, 0.07, 0.07]   # ZYX in micrometre; null where unknown
        grey_range: [0, 255]    # black and white; left out where they are to be measured
        weight: 3               # three patches for one of weight 1; left out, the square root of the size decides

A file may also be a Zarr folder, a pattern (``brain_3/z*.tif``, one stack) or one image of several (``cells.lif::2``);
the checksum of several files is that of ``superres.datasets.checksum.image_sha256``. All other keys may be left out.
They say more of the set (``url``, ``doi``, ``cite``, ``version``, ``published``, ``instrument``, ``datasheet``), of its
files (``bytes``), where to fetch them from (``url``, or ``archive`` and ``member`` of one of the ``archives``), and
what is not known (``unknown``), how the files are to be read (``reading``) and why nothing may be trained on them
(``evaluation_only``). Of pairs that were cut out of a larger one, ``whole`` says what was measured there.

Checked strictly, and every fault is named on a line of its own by `superres.datasets.manifest_reading`.
"""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, field_validator, model_validator

from superres.config import Settings

_DRIVE = re.compile(r"[A-Za-z]:")
_ADDRESS = re.compile(r"(https?://[^\s/]+/?|doi:10\.\d{4,9}/\S+/)\S*")
_DOI = re.compile(r"10\.\d{4,9}/\S+")


def _stays_inside(value: str) -> str:
    """Refuse a path that leaves the folder it is relative to, on any system."""
    if any(ord(letter) < 32 for letter in value):
        raise ValueError("expected a file name without control characters")
    if "\\" in value:
        raise ValueError("expected folders separated by /, also on Windows, and no backslash in a name")
    if value.startswith(("/", "~")) or _DRIVE.match(value):
        raise ValueError("expected a path relative to the data root, such as brain_3/z000.tif, not an absolute one")
    if ".." in value.split("/"):
        raise ValueError("expected a path inside the data root; '..' would leave it")
    if not value.strip("./"):
        raise ValueError("expected the path of a file below the data root, such as brain_3/z000.tif")
    return value


def _is_digest(value: str) -> str:
    if len(value) != 64 or not set(value.lower()) <= set("0123456789abcdef"):
        raise ValueError("expected the 64 hexadecimal digits that 'sha256sum FILE' prints, or null where none is known")
    return value.lower()


def _is_address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError("expected an address that begins with https:// or http://, or doi:10.NUMBER/NAME/FILE")
    return value


def _is_doi(value: str) -> str:
    if not _DOI.fullmatch(value):
        raise ValueError("expected a DOI without anything before it, such as 10.5281/zenodo.123456")
    return value


def _is_name(value: str) -> str:
    if "/" in value:
        raise ValueError("expected the name of the archive without a folder, such as images.zip")
    return _stays_inside(value)


def _in_a_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_in_a_list)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Grey = Annotated[float, Field(allow_inf_nan=False)]
RelativePath = Annotated[Text, AfterValidator(_stays_inside)]
Digest = Annotated[str, AfterValidator(_is_digest)]
Address = Annotated[str, AfterValidator(_is_address)]
Doi = Annotated[str, AfterValidator(_is_doi)]
Size = Annotated[int, Field(ge=0)]
Voxels = Annotated[float, Field(allow_inf_nan=False)]
Multiple = Annotated[int, Field(ge=1, le=16)]
Channel = Annotated[int, Field(ge=0)]


class FileEntry(Settings):
    """One image file, relative to the data root, the SHA-256 of its bytes, and where it can be had."""

    file: RelativePath
    sha256: Digest | None  # must be there: null says that none is known
    bytes: Size | None = None
    url: Address | None = None
    archive: Text | None = None
    member: RelativePath | None = None
    shift: tuple[Voxels, Voxels, Voxels] | None = None  # of low files only
    channels: tuple[Channel, ...] | None = Field(None, min_length=1)  # of real pairs; all where left out

    @field_validator("channels")
    @classmethod
    def _are_different(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("expected each channel once, counted from 0, such as [1]")
        return value

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if self.url is not None and self.archive is not None:
            raise ValueError(f"{self.file}: give either url, or archive and member, not both")
        if self.member is not None and self.archive is None:
            raise ValueError(f"{self.file}: member is a path inside an archive; add 'archive:'")
        return self


class ArchiveEntry(Settings):
    """A ZIP or tar file that holds images: those that name it, or, where none does, all that is in it."""

    archive: Annotated[Text, AfterValidator(_is_name)]
    sha256: Digest | None
    bytes: Size | None = None
    url: Address | None = None
    unpack: RelativePath | None = None  # folder for everything; the name without its suffix where left out
    note: Text | None = None


class WholeEntry(Settings):
    """What was measured on a whole pair of one channel, and is not measured again on the pieces that were cut from it.

    `intensity` is black and white of the low image, and ``high * gain + offset`` is on its grey scale.
    """

    intensity: tuple[Grey, Grey]
    gain: Grey
    offset: Grey

    @model_validator(mode="after")
    def _white_is_above(self) -> Self:
        if self.intensity[0] >= self.intensity[1]:
            raise ValueError(f"intensity is [black, white] with black below white, got {list(self.intensity)}")
        return self


class AcquisitionEntry(Settings):
    """One specimen, field or volume; splits are made of whole acquisitions."""

    id: Name
    split: Literal["train", "val", "test"]
    high: tuple[FileEntry, ...] = Field(min_length=1)
    low: tuple[FileEntry, ...] = ()
    factor: tuple[Multiple, Multiple, Multiple] | None = None
    axes: str | None = None
    voxel_size: tuple[Length | None, Length | None, Length | None] | None = None
    grey_range: tuple[Grey, Grey] | None = None
    weight: Length | None = None
    whole: WholeEntry | None = None
    modality: Text | None = None
    instrument: Text | None = None
    licence: Text | None = None
    credit: Text | None = None
    source: Text | None = None
    doi: Doi | None = None
    note: Text | None = None

    @field_validator("axes")
    @classmethod
    def _are_axes(cls, value: str | None) -> str | None:
        if value is not None and (len(set(value)) != len(value) or not {"Y", "X"} <= set(value) <= set("TCZYX")):
            raise ValueError("expected letters of TCZYX, each once, with Y and X among them, such as ZYX or YXC")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.low and len(self.low) != len(self.high):
            raise ValueError(
                f"low lists {len(self.low)} and high {len(self.high)} files; real pairs need one low file for each "
                "high file, in the same order"
            )
        if any(file.shift is not None for file in self.high):
            raise ValueError("shift belongs to a file of low: the high voxels, ZYX, by which its high image is moved")
        if not self.low and any(file.channels is not None for file in self.high):
            raise ValueError("channels says which part of a file is high and which is low, and there are no low files")
        for low, high in zip(self.low, self.high[: len(self.low)], strict=True):
            if low.file == high.file and (
                low.channels is None or high.channels is None or set(low.channels) & set(high.channels)
            ):
                raise ValueError(
                    f"{low.file} is both low and high; say which channels of it are which, for example channels: [1] "
                    "beside the one and channels: [0] beside the other"
                )
        if self.factor is not None and not self.low:
            raise ValueError("factor says how many times finer high is than low, and there are no low files")
        if self.whole is not None and not self.low:
            raise ValueError("whole says what was measured on a pair of low and high, and there are no low files")
        if self.grey_range is not None and self.grey_range[0] >= self.grey_range[1]:
            raise ValueError(f"grey_range is [black, white] with black below white, got {list(self.grey_range)}")
        return self

    @property
    def files(self) -> tuple[tuple[FileEntry, str], ...]:
        """Every file with what it is, ``"high"`` or ``"low"``; high ones first."""
        return (*((file, "high") for file in self.high), *((file, "low") for file in self.low))


class Datasheet(Settings):
    """What a person should know before using a set, in a few sentences each."""

    why: Text | None = None
    how: Text | None = None
    processing: Text | None = None
    biases: Text | None = None
    limits: Text | None = None
    uses: Text | None = None
    upkeep: Text | None = None


class ManifestEntry(Settings):
    """A whole manifest as it stands in the file."""

    name: Name
    description: Text
    licence: Text | None = None
    credit: Text | None = None
    source: Text | None = None
    url: Address | None = None
    doi: Doi | None = None
    cite: Text | None = None
    version: Text | None = None
    published: datetime.date | None = None
    instrument: Text | None = None
    evaluation_only: Text | None = None
    unknown: Texts = ()
    reading: Text | None = None
    datasheet: Datasheet = Datasheet()
    root: Text | None = None
    archives: tuple[ArchiveEntry, ...] = ()
    acquisitions: tuple[AcquisitionEntry, ...]

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not (self.acquisitions or self.archives or self.unknown):
            raise ValueError(
                "acquisitions: expected at least 1 item, or 'archives:' whose content is not listed yet, or 'unknown:' "
                "with the reason why nothing can be listed"
            )
        return self

    @model_validator(mode="after")
    def _origin_is_told(self) -> Self:
        for key in ("licence", "credit", "source"):
            lacking = [entry.id for entry in self.acquisitions if (getattr(entry, key) or getattr(self, key)) is None]
            if lacking or (not self.acquisitions and getattr(self, key) is None):
                where = f" for {', '.join(lacking)}; add '{key}:' there, or" if lacking else f"; add '{key}:'"
                raise ValueError(f"no {key}{where} at the top for all")
        return self

    @model_validator(mode="after")
    def _archives_are_listed(self) -> Self:
        names = [entry.archive for entry in self.archives]
        if len(set(names)) < len(names):
            raise ValueError("archives: the same name twice; an archive is named once")
        for acquisition in self.acquisitions:
            for file, _ in acquisition.files:
                if file.archive is not None and file.archive not in names:
                    raise ValueError(f"{file.file}: archive {file.archive} is not listed under 'archives:'; add it")
        return self

    @model_validator(mode="after")
    def _is_kept_from_training(self) -> Self:
        others = [entry.id for entry in self.acquisitions if entry.split != "test"]
        if self.evaluation_only is not None and others:
            raise ValueError(f"evaluation_only: every split must be test, but not so for {', '.join(others)}")
        return self
