"""Pieces of a pair that were cut for one training: what they are, their files in the run folder, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from superres.datasets.acquisition import Whole
from superres.datasets.channels import open_channels
from superres.datasets.checksum import image_sha256
from superres.datasets.folder_manifest import unique_ids
from superres.datasets.marks import Box, Mark, Triple
from superres.errors import OutputWriteError
from superres.progress import Progress, ProgressCallback
from superres.volumes import Volume
from superres.volumes.axes import Region
from superres.volumes.convert import convert
from superres.volumes.volume import view_of

CROPS, MANIFEST = "crops", "manifest.yaml"
"""Folder of the pieces, and what lists them, in the run folder."""

WEIGHTS = {"wrong": 3.0, "right": 1.0}
"""How many patches are drawn of all that is marked as wrong, for one of what is marked as right."""

ELSEWHERE = "elsewhere"
_RECORD = "marks.json"
_HEAD = """\
# Places that were marked on a prediction, cut out of {low}
# and {high}.
#
# What is marked is learnt from: {wrong:g} patches of what is wrong for {right:g} of what is right, by their weights.
# Places elsewhere are only watched. Say under licence and credit who may use a model that is trained on them, and whom
# to name.
"""


@dataclass(frozen=True, slots=True)
class ImageChannel:
    """One channel of an image; `axes` where the file does not tell."""

    path: str
    channel: int = 0
    axes: str | None = None

    def open(self) -> Volume:
        """Open the channel as a volume of its own."""
        return open_channels(Path(self.path), self.axes, (self.channel,))


@dataclass(frozen=True, slots=True)
class Piece:
    """What was cut: the name of its files, what it is (``"wrong"``, ``"right"``, ``"elsewhere"``), and where."""

    name: str
    kind: str
    box: Box

    @property
    def files(self) -> tuple[str, str]:
        """Names of low and high, without their endings."""
        return f"{self.name}_low", f"{self.name}_high"


@dataclass(frozen=True, slots=True)
class MarkedPair:
    """All that is known of marks and pieces; kept beside the pieces.

    Parameters
    ----------
    low, high : ImageChannel
        The whole images.
    factor : tuple of int
        ZYX.
    shift : tuple of float
        ZYX in high voxels, by which `high` was moved to lie on `low`.
    whole : Whole
        What was measured on them.
    marks : tuple of Mark
        In voxels of `low`.
    pieces : tuple of Piece
        The same; a mark's piece stands at the mark's place, pieces elsewhere follow.
    """

    low: ImageChannel
    high: ImageChannel
    factor: Triple
    shift: tuple[float, float, float]
    whole: Whole
    marks: tuple[Mark, ...]
    pieces: tuple[Piece, ...]

    def count(self, kind: str) -> int:
        """Return how many pieces are of a kind."""
        return sum(piece.kind == kind for piece in self.pieces)


def read_marks(run: Path) -> MarkedPair | None:
    """Read what was marked for a training; None for a training that learns from other things."""
    path = run / CROPS / _RECORD
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    marks = [one | {"outline": tuple((y, x) for y, x in one["outline"])} for one in told["marks"]]
    pieces = [one | {"box": Box(*((a, b) for a, b in one["box"]))} for one in told["pieces"]]
    return MarkedPair(
        low=ImageChannel(**told["low"]),
        high=ImageChannel(**told["high"]),
        factor=tuple(told["factor"]),
        shift=tuple(told["shift"]),
        whole=Whole(**told["whole"]),
        marks=tuple(Mark(**one) for one in marks),
        pieces=tuple(Piece(**one) for one in pieces),
    )


def piece_file(run: Path, name: str) -> Path:
    """Return the file of a piece by its name without ending."""
    (path,) = (run / CROPS).glob(f"{name}.ome.*")
    return path


def write_pieces(
    found: MarkedPair, pair: tuple[Volume, Volume], first: Triple, run: Path, progress: ProgressCallback
) -> None:
    """Write the pieces, what is known of them, and the manifest that lists them.

    Parameters
    ----------
    found : MarkedPair
        What to write.
    pair : tuple of Volume
        Low and high as they lie on each other, of one channel.
    first : tuple of int
        The voxel of the whole low image, ZYX, at which they begin.
    run : Path
        Run folder.
    progress : callable
        Gets events of the stage ``"cut"``, in pieces.

    Raises
    ------
    OutputWriteError
        When something cannot be written.
    """
    folder = run / CROPS
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputWriteError(f"{folder}: cannot be made ({error.strerror}); give another run folder") from None
    for done, piece in enumerate(found.pieces):
        progress(Progress("cut", done, len(found.pieces), "pieces"))
        for volume, scale, name in zip(pair, ((1, 1, 1), found.factor), piece.files, strict=True):
            shown = piece_of(volume, piece.box.moved(first), scale)
            convert(shown, folder / f"{name}{_ending(shown)}")
    progress(Progress("cut", len(found.pieces), len(found.pieces), "pieces"))
    write_lists(found, run)


def write_lists(found: MarkedPair, run: Path) -> None:
    """Write what is known of the pieces, and the manifest, in the place of those that are there.

    Raises
    ------
    OutputWriteError
        When they cannot be written.
    """
    try:
        (run / CROPS / _RECORD).write_text(json.dumps(asdict(found), indent=1), encoding="utf-8")
        (run / MANIFEST).write_text(_manifest(found, run), encoding="utf-8")
    except OSError as error:
        raise OutputWriteError(f"{run}: cannot be written ({error.strerror}); give another run folder") from None


@dataclass(frozen=True, slots=True)
class _PieceArray:
    """A part of a volume, TCZYX, read when asked for."""

    volume: Volume
    origin: tuple[int, int, int, int]
    size: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size[0], self.volume.shape[1], *self.size[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.volume.dtype

    def __getitem__(self, region: Region, /) -> NDArray[Any]:
        times, channels, *window = region
        t0, *corner = self.origin
        z, y, x = (slice(part.start + n, part.stop + n) for part, n in zip(window, corner, strict=True))
        blocks = [
            np.stack([self.volume.read(t=t0 + t, c=c, z=z, y=y, x=x) for c in range(channels.start, channels.stop)])
            for t in range(times.start, times.stop)
        ]
        return np.stack(blocks)


def piece_of(volume: Volume, box: Box, factor: Triple) -> Volume:
    """Return a part of a volume at its place, lazily.

    Parameters
    ----------
    volume : Volume
        On the low grid (factor 1) or the high one.
    box : Box
        In low voxels.
    factor : tuple of int
        Of the volume's grid over the low one.
    """
    spans = [(a * f, b * f) for (a, b), f in zip(box, (1, *factor), strict=True)]
    t, z, y, x = (a for a, _ in spans)
    sizes = [b - a for a, b in spans]
    array = _PieceArray(volume, (t, z, y, x), (sizes[0], sizes[1], sizes[2], sizes[3]))
    place = tuple(
        at + (0.0 if step is None else step * n)
        for at, step, n in zip(volume.translation, volume.voxel_size, (z, y, x), strict=True)
    )
    return view_of(volume, array, translation=place)


def voxels_of(volume: Volume) -> NDArray[Any]:
    """Read the first channel of a volume whole, (t, z, y, x)."""
    whole = slice(None)
    return np.stack([volume.read(t=t, c=0, z=whole, y=whole, x=whole) for t in range(volume.shape[0])])


def _ending(volume: Volume) -> str:
    """OME-TIFF opens everywhere; it has not all types of voxels."""
    is_common = volume.dtype.kind in "iuf" and volume.dtype.itemsize <= 4 and volume.dtype.name != "float16"
    return ".ome.tif" if is_common or volume.dtype.name == "float64" else ".ome.zarr"


def _manifest(found: MarkedPair, run: Path) -> str:
    whole = found.whole
    measured = {"intensity": [whole.black, whole.white], "gain": whole.gain, "offset": whole.offset}
    entries: list[dict[str, Any]] = []
    for kind, weight in WEIGHTS.items():
        own = [piece for piece in found.pieces if piece.kind == kind]
        if own:
            entries.append({"id": kind, "split": "train", "weight": weight} | _files(own, run) | {"whole": measured})
    for piece in found.pieces:
        if piece.kind == ELSEWHERE:
            entries.append({"id": piece.name, "split": "val"} | _files([piece], run) | {"whole": measured})
    content = {
        "name": unique_ids([run.resolve().name])[0],
        "description": "Places that were marked as wrong or right on a prediction, and others to validate on.",
        "licence": "not stated",
        "credit": "not stated",
        "source": f"cut out of {Path(found.low.path).name} and {Path(found.high.path).name}",
        "root": ".",
        "acquisitions": entries,
    }
    head = _HEAD.format(low=found.low.path, high=found.high.path, **WEIGHTS)
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=118)


def _files(pieces: Sequence[Piece], run: Path) -> dict[str, Any]:
    listed: dict[str, Any] = {"low": [], "high": []}
    for piece in pieces:
        for role, name in zip(("low", "high"), piece.files, strict=True):
            path = piece_file(run, name)
            listed[role].append({"file": f"{CROPS}/{path.name}", "sha256": image_sha256(path)})
    return listed
