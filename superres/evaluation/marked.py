"""What a training on marked places changed: the error inside them and elsewhere, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superres.config import TrainConfig, UpscaleConfig, load_config
from superres.datasets.marked_crops import ELSEWHERE, MarkedPair, Piece, piece_file, read_marks, voxels_of
from superres.datasets.marks import inside
from superres.errors import InputError, MissingFileError
from superres.evaluation.metrics import psnr
from superres.inference.preview import Preview
from superres.progress import Progress, ProgressCallback, silent
from superres.volumes import open_volume

WORSE = 0.1
"""Decibel from which on it is said that something got worse."""

_NAMES = {
    "wrong": "Inside what you marked as wrong (learnt from)",
    "right": "Inside what you marked as right (learnt from)",
    ELSEWHERE: "Elsewhere (not learnt from)",
}


@dataclass(frozen=True, slots=True)
class Change:
    """PSNR of one kind of place before and after a training.

    Parameters
    ----------
    kind : str
        ``"wrong"``, ``"right"`` or ``"elsewhere"``.
    before, after : float
        Decibel, over all voxels of all such places together.
    voxels : int
        So many high voxels.
    """

    kind: str
    before: float
    after: float
    voxels: int

    @property
    def gain(self) -> float:
        """Decibel by which it got better."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class _Place:
    """The compared voxels of one piece, one after another: truth on the grey scale of low, and two predictions."""

    kind: str
    truth: NDArray[np.float64]
    before: NDArray[Any]
    after: NDArray[Any]


def score_marks(run: Path, model: Path, *, device: str = "auto", progress: ProgressCallback = silent) -> list[Change]:
    """Compare a model with the one that its training on marked places started from.

    Both predict the places from the whole recording, as `superres.upscale` does. Truth is on the grey scale of the
    recording by the gain and offset of the training, which are found as in `superres.evaluation.evaluate`. A place that
    is marked as right and as wrong counts as wrong. The data range is max - min of truth over all that is compared.

    Parameters
    ----------
    run : Path
        Run folder of the training, with its pieces (`superres.datasets.marked_pair`).
    model : Path
        The new model.
    device : str
        As for `superres.inference.load_model`.
    progress : callable, optional
        Gets events of the stage ``"compare"``, in pieces.

    Returns
    -------
    list of Change
        Wrong, right, elsewhere; those that there are.

    Raises
    ------
    MissingFileError
        When the recording, the model before or what was cut is not there any more.
    InputError
        When the marks are smaller than a voxel.
    """
    found = read_marks(run)
    start = load_config(TrainConfig, run / "config.yaml").start_from
    if found is None or start is None:
        raise MissingFileError(f"{run}: is not the training of a model on marked places; give the run folder of one")
    places = list(_places(found, run, (start, model), device, progress))
    if not places:
        raise InputError(f"{run}: no voxel lies inside the marks; draw around larger places")
    truth = np.concatenate([place.truth for place in places])
    data_range = float(truth.max() - truth.min())
    changes = []
    for kind in _NAMES:
        own = [place for place in places if place.kind == kind]
        if own:
            changes.append(_change(kind, own, data_range))
    return changes


def _change(kind: str, places: list[_Place], data_range: float) -> Change:
    g = np.concatenate([place.truth for place in places])
    before, after = (
        psnr(g, np.concatenate(values), data_range=data_range)
        for values in ([place.before for place in places], [place.after for place in places])
    )
    return Change(kind, before, after, g.size)


def changes_in_words(changes: list[Change]) -> list[str]:
    """Say what changed, a line for each kind of place, and plainly what got worse."""
    lines = [
        f"{_NAMES[one.kind]}: PSNR {one.before:.2f} dB before, {one.after:.2f} dB now ({one.gain:+.2f} dB)."
        for one in changes
    ]
    worse = {one.kind: one for one in changes if one.gain < -WORSE}
    if "right" in worse:
        lines.append(
            f"What you marked as right got worse by {-worse['right'].gain:.2f} dB. Mark more of it, or train for fewer "
            "steps; the model before is still there."
        )
    if ELSEWHERE in worse:
        lines.append(
            f"The rest of the image got worse by {-worse[ELSEWHERE].gain:.2f} dB: the new model is for places like "
            "those you marked, not for the whole image."
        )
    if "wrong" in worse:
        lines.append("What you marked as wrong did not get better. Train longer, or mark more of it.")
    if ELSEWHERE not in {one.kind for one in changes}:
        lines.append("Nothing was left to compare elsewhere, so nothing shows how the model does on the rest.")
    return lines


def _places(
    found: MarkedPair, run: Path, models: tuple[Path, Path], device: str, progress: ProgressCallback
) -> Iterator[_Place]:
    """Predict every piece with both models; those without a voxel to compare are left out."""
    before, after = (_opened(found, path, device) for path in models)
    marks = dict(zip(found.pieces, found.marks, strict=False))
    for done, piece in enumerate(found.pieces):
        progress(Progress("compare", done, len(found.pieces), "pieces"))
        high = voxels_of(open_volume(piece_file(run, piece.files[1]))).astype(np.float64)
        truth = high * found.whole.gain + found.whole.offset
        kept = np.isfinite(truth)
        if piece in marks:
            kept &= inside(marks[piece], piece.box, found.factor)
        if piece.kind == "right":
            for mark in found.marks:
                if mark.kind == "wrong":
                    kept &= ~inside(mark, piece.box, found.factor)
        if kept.any():
            one, other = (_predicted(preview, piece, found.low.channel)[kept] for preview in (before, after))
            yield _Place(piece.kind, truth[kept], one, other)
    progress(Progress("compare", len(found.pieces), len(found.pieces), "pieces"))


def _opened(found: MarkedPair, model: Path, device: str) -> Preview:
    low = found.low
    config = load_config(
        UpscaleConfig, None, model=model, axes=low.axes, channels=(low.channel,), dtype="float32", device=device
    )
    return Preview.open(Path(low.path), config)


def _predicted(preview: Preview, piece: Piece, channel: int) -> NDArray[Any]:
    """Predict a piece, (t, z, y, x)."""
    times, *spans = piece.box
    z, y, x = (slice(a, b) for a, b in spans)
    blocks = [preview.predict(t=t, channel=channel, place=(z, y, x)) for t in range(*times)]
    return np.stack([shown.block for shown in blocks])
