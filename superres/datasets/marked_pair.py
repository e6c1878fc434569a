"""Places marked on a prediction become pairs to learn from: cut out of a recording and its sharp image, and listed.

What a net sees as black and white, and the grey scale of the sharp image, are measured on the whole pair once and stand
in the manifest: on a small piece they would come out differently, and on an empty one not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from superres.config import IntensityRule
from superres.datasets.acquisition import Whole
from superres.datasets.duplicates import refuse_duplicates
from superres.datasets.manifest import load_manifest
from superres.datasets.marked_crops import (
    CROPS,
    ELSEWHERE,
    MANIFEST,
    ImageChannel,
    MarkedPair,
    Piece,
    piece_of,
    voxels_of,
    write_lists,
    write_pieces,
)
from superres.datasets.marks import Box, Mark, Shape, Triple, box_of, boxes_elsewhere
from superres.datasets.moved import move_pair, shared_span
from superres.datasets.pairs import factor_between, match_intensity
from superres.datasets.registration import register_pair
from superres.datasets.sources import read_plane
from superres.errors import DuplicateError, InputError, OutputExistsError
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import Volume, measure_intensity

# Windows that are not learnt from: more tell hardly more, and each is predicted twice.
_MOST_ELSEWHERE = 16
# Planes on which the grey scales are matched.
_MATCHED = 8


def cut_marks(
    low: ImageChannel,
    high: ImageChannel,
    marks: Sequence[Mark],
    run: Path,
    *,
    factor: Triple,
    least: Shape,
    rule: IntensityRule,
    progress: ProgressCallback = silent,
) -> MarkedPair:
    """Cut marked places out of a pair, with others to validate on, and write a manifest that lists them.

    Each mark becomes one pair, grown to `least`. The pair is registered first, and the sharp image moved by what is
    found.

    Parameters
    ----------
    low, high : ImageChannel
        A recording and the sharp image of the same field.
    marks : sequence of Mark
        In voxels of `low`; at least one wrong.
    run : Path
        Run folder: gets ``manifest.yaml`` and ``crops/``.
    factor : tuple of int
        ZYX.
    least : tuple of int
        TZYX low voxels that a piece has at least.
    rule : IntensityRule
        By which black and white are measured.
    progress : callable, optional
        Gets events of the stage ``"cut"``, in pieces.

    Raises
    ------
    InputError
        When nothing is marked as wrong, a mark lies beside the pair, or the two do not belong together.
    OutputExistsError
        When the run folder has pieces already.
    OutputWriteError
        When something cannot be written; nothing of it is left.
    """
    folder = run / CROPS
    if folder.exists():
        raise OutputExistsError(f"{folder}: is there already; give another run folder, or remove it")
    if not any(mark.kind == "wrong" for mark in marks):
        raise InputError("nothing is marked as wrong, so there is nothing to learn; draw around what is wrong")
    recorded, sharp = low.open(), high.open()
    _require_fit(recorded, sharp, factor)
    progress(Progress("cut", 0, 0, note="how the two images lie on each other"))
    shift = _shift(recorded, sharp, factor)
    pair = move_pair(recorded, sharp, factor=factor, shift=shift)
    first = _first(recorded, sharp, factor, shift)
    whole = _measured(recorded, pair, _moved(marks, first), factor, rule)
    pieces = [_at(piece, first) for piece in _pieces(_moved(marks, first), pair, factor, least)]
    found = MarkedPair(low, high, factor, shift, whole, tuple(marks), tuple(pieces))
    with ExitStack() as undo:  # half of it would be in the way of the next try
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        write_pieces(found, pair, first, run, progress)
        found = _told_apart(found, run)
        undo.pop_all()
    return found


def _told_apart(found: MarkedPair, run: Path) -> MarkedPair:
    """Leave out all that is elsewhere where some of it looks like what is learnt from, as in regular patterns."""
    try:
        refuse_duplicates(load_manifest(run / MANIFEST))
    except DuplicateError:
        found = replace(found, pieces=tuple(piece for piece in found.pieces if piece.kind != ELSEWHERE))
        write_lists(found, run)
    return found


# --- the two images --------------------------------------------------------------------------------------------------


def _require_fit(low: Volume, high: Volume, factor: Triple) -> None:
    expected = tuple(n * f for n, f in zip(low.shape[2:], factor, strict=True))
    if high.shape[2:] == expected and high.shape[0] == low.shape[0]:
        return
    found = factor_between(low.shape[2:], high.shape[2:])
    has, needs, own = ("x".join(map(str, size)) for size in (high.shape[2:], expected, low.shape[2:]))
    raise InputError(
        f"{high.source} has {has} voxels (ZYX) and {high.shape[0]} time points; with the {own} voxels and "
        f"{low.shape[0]} time points of {low.source} and a model of factor {list(factor)} it must have {needs}: "
        + (f"choose a model of factor {list(found)}, or " if found and max(found) > 1 else "")
        + "crop the sharp image to the field of the recording"
    )


def _shift(low: Volume, high: Volume, factor: Triple) -> tuple[float, float, float]:
    """Measure by how much the sharp image is moved to lie on the recording."""
    found = register_pair(low, high, factor=factor)
    if not found.is_accepted:
        raise InputError(
            f"{high.source} cannot be laid on {low.source}: {found.problem}. Choose the sharp image of this very "
            "field; 'superres data register' draws how two images lie on each other"
        )
    return found.stated


def _first(low: Volume, high: Volume, factor: Triple, shift: tuple[float, float, float]) -> Triple:
    """Return the low voxel, ZYX, from which on the moved pair exists."""
    sizes = zip(low.shape[2:], high.shape[2:], factor, shift, strict=True)
    z, y, x = (shared_span(*axis)[0] for axis in sizes)
    return z, y, x


def _measured(
    recorded: Volume, pair: tuple[Volume, Volume], marks: Sequence[Mark], factor: Triple, rule: IntensityRule
) -> Whole:
    """Measure the recording as inference does, and match the grey scales on the planes that were marked."""
    (intensity,) = measure_intensity(recorded, rule)
    low, high = pair
    fz = factor[0]
    known = [(t, z) for t, z in sorted({(m.t, m.z) for m in marks}) if t < low.shape[0] and 0 <= z < low.shape[2]]
    if not known:
        raise InputError("the marked planes lie beside the images; draw where both the recording and the sharp one are")
    planes = [known[i] for i in sorted({round(n) for n in np.linspace(0, len(known) - 1, min(_MATCHED, len(known)))})]
    coarse = np.stack([read_plane(low, t, 0, z) for t, z in planes])
    fine = np.concatenate(
        [high.read(t=t, c=0, z=slice(z * fz, (z + 1) * fz), y=slice(None), x=slice(None)) for t, z in planes]
    )
    return Whole(intensity.black, intensity.white, *match_intensity(coarse, fine, factor))


# --- the pieces ------------------------------------------------------------------------------------------------------


def _moved(marks: Sequence[Mark], first: Triple) -> list[Mark]:
    z, y, x = first
    return [Mark(m.kind, m.t, m.z - z, tuple((a - y, b - x) for a, b in m.outline)) for m in marks]


def _at(piece: Piece, first: Triple) -> Piece:
    z, y, x = first
    return Piece(piece.name, piece.kind, piece.box.moved((-z, -y, -x)))


def _pieces(marks: Sequence[Mark], pair: tuple[Volume, Volume], factor: Triple, least: Shape) -> list[Piece]:
    """Return the pieces of a pair, in voxels of its low image."""
    shape: Shape = (pair[0].shape[0], *pair[0].shape[2:])
    boxes = [box_of(mark, shape, least) for mark in marks]
    elsewhere = boxes_elsewhere(marks, boxes, shape, least, _MOST_ELSEWHERE)
    kept = [box for box in elsewhere if _has_structure(pair, box, factor)]
    kinds = [*(mark.kind for mark in marks), *(ELSEWHERE for _ in kept)]
    numbers = [kinds[: i + 1].count(kind) for i, kind in enumerate(kinds)]
    named = zip(kinds, numbers, [*boxes, *kept], strict=True)
    return [Piece(f"{kind}_{number}", kind, box) for kind, number, box in named]


def _has_structure(pair: tuple[Volume, Volume], box: Box, factor: Triple) -> bool:
    """Whether a place can be validated on: constant ones tell nothing, and look like what is learnt from."""
    arrays = (voxels_of(piece_of(volume, box, scale)) for volume, scale in zip(pair, ((1, 1, 1), factor), strict=True))
    return all(bool(np.isfinite(values).all()) and float(np.ptp(values)) > 0 for values in arrays)
