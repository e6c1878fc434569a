"""Predict a tile under guard: predict somewhat more than the tile, examine it, damp what is not to be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from superres.config import DegradeStep
from superres.degrade.noise_line import LEAST_VARIANCE, NoiseLine, measure_noise_line
from superres.degrade.transfer import Transfer, transfer_of
from superres.errors import ConfigError, ModelFileError
from superres.inference.guard import Evidence, Guard, Place, damped
from superres.inference.plan import SMALLEST_INPUT, TilePlan
from superres.nets import resample
from superres.nets.domain import Domain
from superres.nets.statistics import RADIUS
from superres.nets.trial import Trial, trial_slope, trial_step, trial_sums
from superres.volumes.edges import mirrored

if TYPE_CHECKING:
    from superres.inference.predictor import Predictor

# Rows and columns of one plane to their voxels, normalised, (images, y, x).
Read = Callable[[slice, slice], NDArray[np.float32]]

_CUBIC_RADIUS = 2
# Where noise is measured and the net is tried: in so many planes, spread evenly, in so many voxels along Y and X in
# their middle, or in the middle of each quarter of planes of at least `_LARGE` voxels.
_PLANES, _SIDE, _LARGE = 4, 256, 1024

VoxelSize = tuple[float | None, float | None, float | None]


class Guarded(NamedTuple):
    """The core of a tile, predicted and examined.

    Parameters
    ----------
    pred : ndarray
        float32, (rows * fy, columns * fx), normalised intensity.
    evidence : Evidence
        What was found.
    net : ndarray
        float32, (1 or 3, rows * fy, columns * fx): the net's own prediction, and its half-widths where asked for.
    """

    pred: NDArray[np.float32]
    evidence: Evidence
    net: NDArray[np.float32]


class Grown(NamedTuple):
    """What the net made of a tile and of what stands around it, to be examined.

    Parameters
    ----------
    core, grown : tuple of slice
        Rows and columns of the low grid: the tile, and with its surroundings.
    parts : ndarray
        float32, (1 or 3, rows * fy, columns * fx) of `grown`, normalised: the prediction, and its half-widths.
    own : callable
        Gives normalised voxels of the image that is predicted, (1, y, x).
    """

    core: Place
    grown: Place
    parts: NDArray[np.float32]
    own: Read


def predict_grown(
    predictor: Predictor,
    read: Read,
    plan: TilePlan,
    core: Place,
    guard: Guard,
    *,
    interval: bool = False,
) -> Grown:
    """Run the net for the core of one tile of one channel, and for as much around it as the guard needs.

    Parameters
    ----------
    predictor : Predictor
        A net that predicts one channel, plane by plane.
    read : callable
        Gives normalised voxels of the plane and of what stands beside it, (images, y, x).
    plan : TilePlan
        Where the tile is from.
    core : tuple of slice
        Rows and columns in low-resolution voxels.
    guard : Guard
        Of the channel.
    interval : bool
        Whether to predict the half-widths, too.
    """
    once = _ReadOnce(read)
    grown = grown_core(core, plan, guard.reach, predictor.header.stride[1:])
    parts = predictor.predict_tile(once, plan, *grown, interval=interval)
    return Grown(core, grown, parts, _Own(once, predictor.target))


def part_of(tile: Grown, core: Place, plan: TilePlan, guard: Guard, stride: tuple[int, int]) -> Grown:
    """Return a part of a tile, whose `core` begins on the stride, with what stands around it."""
    grown = grown_core(core, plan, guard.reach, stride)
    inner = tuple(
        slice((part.start - whole.start) * f, (part.stop - whole.start) * f)
        for part, whole, f in zip(grown, tile.grown, plan.factor[1:], strict=True)
    )
    return Grown(core, grown, tile.parts[:, *inner], tile.own)


def examined(tile: Grown, plan: TilePlan, guard: Guard, *, damp: bool = True) -> Guarded:
    """Examine what the net made of a tile; needs no net.

    Parameters
    ----------
    tile : Grown
        From `predict_grown`.
    plan, guard
        As there.
    damp : bool
        False examines and leaves the prediction as the net made it.
    """
    low = _around(tile.own, plan, tile.core, RADIUS + 1)
    weight, evidence = guard.examine(low, tile.parts[0], plan, tile.grown, tile.core)
    inner = tuple(
        slice((part.start - whole.start) * f, (part.stop - whole.start) * f)
        for part, whole, f in zip(tile.core, tile.grown, plan.factor[1:], strict=True)
    )
    net = tile.parts[:, *inner]
    pred = damped(net[0], lambda: _plain(tile.own, plan, tile.core), weight) if damp else net[0]
    return Guarded(pred, evidence, net)


def predict_guarded(
    predictor: Predictor,
    read: Read,
    plan: TilePlan,
    core: Place,
    guard: Guard,
    *,
    damp: bool = True,
    interval: bool = False,
) -> Guarded:
    """Predict the core of one tile of one channel and examine it; see `predict_grown` and `examined`."""
    return examined(predict_grown(predictor, read, plan, core, guard, interval=interval), plan, guard, damp=damp)


def grown_core(core: Place, plan: TilePlan, reach: int, stride: tuple[int, int]) -> Place:
    """Return a core with at least `reach` voxels around it, inside the image, on the stride of the net."""
    edges = [-(-reach // step) * step for step in stride]
    rows, columns = (
        slice(max(0, part.start - edge), min(length, part.stop + edge))
        for part, edge, length in zip(core, edges, plan.shape[1:], strict=True)
    )
    return rows, columns


def make_guard(
    predictor: Predictor, windows: Sequence[NDArray[np.float32]], voxel_size: VoxelSize
) -> tuple[Guard, tuple[str, ...]]:
    """Put together what a channel can be guarded by.

    Parameters
    ----------
    predictor : Predictor
        The model.
    windows : sequence of ndarray
        Parts of the channel, (y, x), normalised and finite, in which its noise is measured.
    voxel_size : tuple of float or None
        ZYX micrometre of the output.

    Returns
    -------
    tuple
        The guard, and a line for everything that it must do without.
    """
    notes = []
    domain = Domain.from_json(predictor.header.domain)
    if domain is None:
        notes.append("the model file does not say what its training data were like: what is unlike them is not found")
    transfer, why = _transfer(predictor, voxel_size)
    noise = measure_noise_line(windows, least=LEAST_VARIANCE) if transfer is not None else None
    if transfer is not None and noise is None:
        why = "the input is too small or too even to measure its noise"
    if noise is None:
        notes.append(f"the output is not compared with the input: {why}")
    trial = None
    tried = domain is not None and domain.trial is not None and not predictor.header.context
    if tried and domain is not None and transfer is not None and noise is not None:
        trial = Trial(_try(predictor, windows, transfer, noise), domain.trial)
    else:
        notes.append("the net is not tried on the input made coarser: " + _why_no_trial(predictor, domain))
    return Guard(transfer, noise, domain, trial), tuple(notes)


def _try(
    predictor: Predictor, windows: Sequence[NDArray[np.float32]], transfer: Transfer, noise: NoiseLine
) -> float | None:
    header = predictor.header
    factor = header.factor[1:]
    coarser = transfer.coarser(trial_step(factor))
    sums = np.zeros(2)
    for number, window in enumerate(windows):
        sums += trial_sums(
            lambda low: torch.from_numpy(predictor.predict(low[0].numpy()))[None],
            torch.from_numpy(np.ascontiguousarray(window))[None, None],
            coarser.record,
            noise.variance,
            share=coarser.white_noise,
            factor=factor,
            stride=max(header.stride[1:]),
            generator=torch.Generator().manual_seed(number),
        )
    return trial_slope(*sums)


def _why_no_trial(predictor: Predictor, domain: Domain | None) -> str:
    if max(predictor.header.factor) == 1:
        return "it restores without making finer"
    if predictor.header.context:
        return "it sees other images beside the one that it predicts"
    if domain is None or domain.trial is None:
        return "the model file does not say how such trials went on its training images"
    return "it is not compared with the input either"


def noise_windows(planes: int, size: tuple[int, int]) -> list[tuple[int, slice, slice]]:
    """Return the windows (plane, rows, columns) of a channel in which its noise is measured and the net is tried.

    They are of one size and depend on the shape alone, so that a resumed run measures what the first one did.
    """
    count = min(planes, _PLANES)
    parts = 2 if min(size) >= _LARGE else 1
    rows, columns = ([_middle(length, part, parts) for part in range(parts)] for length in size)
    return [((2 * i + 1) * planes // (2 * count), y, x) for i in range(count) for y in rows for x in columns]


def _middle(length: int, part: int, parts: int) -> slice:
    side = min(length, _SIDE)
    start = max(0, ((2 * part + 1) * length // parts - side) // 2)
    return slice(start, start + side)


def _transfer(predictor: Predictor, voxel_size: VoxelSize) -> tuple[Transfer | None, str]:
    header = predictor.header
    if not header.degradation:
        return None, "the model was trained on recorded pairs and does not say how recordings come about"
    try:
        steps = tuple(DegradeStep.model_validate(dict(step)) for step in header.degradation)
    except ValidationError as error:
        raise ModelFileError(
            f"{header.name}: the degradation in the model file is not understood ({error.error_count()} wrong "
            "settings); update superres"
        ) from None
    try:
        return transfer_of(steps, header.factor, voxel_size), ""
    except ConfigError:
        return None, "the model's blur is given in micrometre and the voxel size of the input is unknown"


class _ReadOnce:
    """Keeps what was read last: the largest surroundings are asked for first."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._held: tuple[slice, slice, NDArray[np.float32]] | None = None

    def __call__(self, y: slice, x: slice) -> NDArray[np.float32]:
        if self._held is not None:
            rows, columns, block = self._held
            if rows.start <= y.start and y.stop <= rows.stop and columns.start <= x.start and x.stop <= columns.stop:
                inner = (slice(a.start - b.start, a.stop - b.start) for a, b in ((y, rows), (x, columns)))
                found: NDArray[np.float32] = block[(slice(None), *inner)]
                return found
        block = self._read(y, x)
        self._held = (y, x, block)
        return block


class _Own:
    """Gives of what is read the image alone that is predicted, (1, y, x)."""

    def __init__(self, read: Read, target: int) -> None:
        self._read, self._target = read, target

    def __call__(self, y: slice, x: slice) -> NDArray[np.float32]:
        return self._read(y, x)[self._target : self._target + 1]


def _around(read: Read, plan: TilePlan, core: Place, edge: int) -> NDArray[np.float32]:
    """Read a core and `edge` voxels around it, mirrored at the edges of the image, (y, x)."""
    rows, columns = (
        mirrored(part.start - edge, part.stop + edge, length) for part, length in zip(core, plan.shape[1:], strict=True)
    )
    block = read(*(slice(int(index.min()), int(index.max()) + 1) for index in (rows, columns)))[0]
    found: NDArray[Any] = np.ascontiguousarray(block[rows - rows.min()][:, columns - columns.min()])
    return found


def _plain(read: Read, plan: TilePlan, core: Place) -> NDArray[np.float32]:
    """Interpolate a core cubically, (rows * fy, columns * fx)."""
    _, fy, fx = plan.factor
    # Small inputs would be rounded in another way, see the predictor; what lies beyond is cut off.
    wide = tuple(slice(part.start, max(part.stop, part.start + SMALLEST_INPUT - 2 * _CUBIC_RADIUS)) for part in core)
    low = _around(read, plan, (wide[0], wide[1]), _CUBIC_RADIUS)
    fine = resample.bicubic(torch.from_numpy(low)[None, None], (fy, fx))[0, 0].numpy()
    top, left = _CUBIC_RADIUS * fy, _CUBIC_RADIUS * fx
    height, width = ((part.stop - part.start) * f for part, f in zip(core, (fy, fx), strict=True))
    plain: NDArray[np.float32] = fine[top : top + height, left : left + width]
    return plain
