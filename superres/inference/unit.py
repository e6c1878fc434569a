"""One channel of a volume, predicted tile by tile: what the net does, and what is done with it then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.inference.claim import Claim
from superres.inference.guard import Evidence, Guard
from superres.inference.guarded import Grown, examined, make_guard, noise_windows, part_of, predict_grown
from superres.inference.interval import half_widths
from superres.inference.levels import Ends, converts, grey_levels
from superres.inference.plan import Region, TilePlan
from superres.inference.predictor import Predictor
from superres.inference.window import Source
from superres.volumes import Intensity, Volume, upscaled_grid
from superres.volumes.dtypes import CastTally, cast
from superres.volumes.edges import around

# Rows of a tile that are examined and converted at once, a multiple of every net's stride; see also `SMALLEST_INPUT`.
_STRIP = 144


@dataclass(slots=True)
class Tally:
    """Voxels that could not be written as they were."""

    clipped: int = 0
    not_finite: int = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what `to_json` gave of other voxels."""
        self.clipped += counts.get("clipped", 0)
        self.not_finite += counts.get("not_finite", 0)

    def to_json(self) -> dict[str, int]:
        """Return the counts that are not 0."""
        return {name: count for name, count in asdict(self).items() if count}


# Hears of each tile: plane, rows, columns of the low grid, what was found there, the voxels as they were recorded, and
# the half-widths below and above the voxels that were predicted, where the model gives any.
Found = Callable[[int, slice, slice, Evidence, NDArray[Any], NDArray[Any] | None], None]


class Shared:
    """Cores of several channels that one run of the net predicts, kept until the last channel has taken them."""

    def __init__(self) -> None:
        self._unit: tuple[int, ...] = ()
        self._cores: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def __reduce__(self) -> tuple[type[Shared], tuple[()]]:
        return Shared, ()  # other processes predict for themselves

    def cores(
        self, unit: tuple[int, ...], tile: tuple[int, ...], predict: Callable[[], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Return the cores of a tile, (c, ...), predicted when the first channel of its shard asks."""
        if unit != self._unit:
            self._unit, self._cores = unit, {}
        if tile not in self._cores:
            self._cores[tile] = predict()
        return self._cores[tile]


class Planes:
    """The images that a net takes at one place, each read once as long as tiles lie behind each other.

    Parameters
    ----------
    count : int
        Images that are kept: as many as the net takes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._held: dict[tuple[int, ...], NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Planes], tuple[int]]:
        return Planes, (self.count,)  # other processes read for themselves

    def get(self, key: tuple[int, ...], read: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return an image that is held, or read it and let the oldest go."""
        with self._lock:
            if key not in self._held:
                self._held[key] = read()
                while len(self._held) > self.count:
                    del self._held[next(iter(self._held))]
            return self._held[key]


class Forward(NamedTuple):
    """What the net made of one tile.

    Parameters
    ----------
    place : tuple of slice
        Its core, ZYX voxels of the low grid.
    core : ndarray or None
        float32, (z * fz, y * fy, x * fx), normalised; None where there is a guard.
    grown : Grown or None
        What the guard is to examine.
    source : Source
        What it was read from.
    """

    place: Region
    core: NDArray[np.float32] | None
    grown: Grown | None
    source: Source


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One channel of an input and all that its prediction needs.

    Parameters
    ----------
    volume : Volume
        The input.
    index : int
        Which channel of it.
    intensities : mapping
        Black and white of the channels that the net is given, in their order.
    predictor : Predictor
        The model.
    plan : TilePlan
        Of the input.
    guard : Guard or None
        What it is examined by; None where neither guard nor trust maps are wanted, or cannot be had of the net.
    damp : bool
        Whether the guard acts on the output.
    without : tuple of str
        What the guard must do without.
    shared : Shared or None
        What a net that predicts several channels at once has predicted.
    held : Planes
        What was read last of the images beside it.
    claim : Claim or None
        What the half-widths promise; None where they are not wanted, or the model gives none.
    """

    volume: Volume
    index: int
    intensities: Mapping[int, Intensity]
    predictor: Predictor
    plan: TilePlan
    guard: Guard | None
    damp: bool
    without: tuple[str, ...]
    shared: Shared | None
    held: Planes
    claim: Claim | None = None

    @property
    def intensity(self) -> Intensity:
        """Its black and white."""
        return self.intensities[self.index]

    def recorded(self, t: int, z: int, y: slice, x: slice) -> NDArray[Any]:
        """Read part of a plane as it was recorded, (1, y, x)."""
        return self.volume.read(t=t, c=self.index, z=slice(z, z + 1), y=y, x=x)

    def normalised(self, t: int, z: int, y: slice, x: slice) -> NDArray[np.float32]:
        """Read part of a plane as the net sees it, (1, y, x)."""
        return self._seen(self.index, t, slice(z, z + 1), y, x, self.volume)

    def forward(self, t: int, place: Region, region: Region, source: Source) -> Forward:
        """Run the net for one tile.

        Parameters
        ----------
        t : int
            Time point.
        place, region : tuple of slice
            The tile's core in voxels of the low grid, and the shard that it belongs to in those of the output.
        source : Source
            Gives the voxels that were recorded.
        """
        if self.guard is None:
            return Forward(place, self._core(t, place, region, source), None, source)
        planes, rows, columns = place

        def read(y: slice, x: slice) -> NDArray[np.float32]:
            return self._beside(t, planes.start, y, x, source)

        with_interval = self.claim is not None
        grown = predict_grown(self.predictor, read, self.plan, (rows, columns), self.guard, interval=with_interval)
        return Forward(place, None, grown, source)

    def strips(self, forward: Forward) -> Iterator[Forward]:
        """Cut what the net made of a tile into strips, so that what is done with it takes little memory."""
        planes, rows, columns = forward.place
        fy = self.plan.factor[1]
        for start in range(rows.start, rows.stop, _STRIP):
            part = slice(start, min(start + _STRIP, rows.stop))
            core, grown = forward.core, forward.grown
            if core is not None:
                core = core[:, (part.start - rows.start) * fy : (part.stop - rows.start) * fy]
            if grown is not None and self.guard is not None:
                stride = self.predictor.header.stride[1:]
                grown = part_of(grown, (part, columns), self.plan, self.guard, stride)
            yield Forward((planes, part, columns), core, grown, forward.source)

    def complete(
        self, t: int, forward: Forward, kept: Region, dtype: np.dtype[Any], tally: Tally, found: Found | None
    ) -> NDArray[Any]:
        """Return a tile, or a strip, on the grey scale and in the dtype of the output, (z, y, x), and tell `found`.

        Of the tile's core only `kept` is returned and told of, ZYX voxels of the low grid.
        """
        planes, rows, columns = kept
        low = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(kept, forward.place, strict=True)]
        high = [slice(part.start * f, part.stop * f) for part, f in zip(low, self.plan.factor, strict=True)]
        core, evidence, ends = forward.core, None, None
        if forward.grown is not None and self.guard is not None:
            guarded = examined(forward.grown, self.plan, self.guard, damp=self.damp)
            core = guarded.pred[None]
            evidence = guarded.evidence.part(low[1], low[2])
            ends = None if self.claim is None else Ends(guarded.net[:, *high[1:]], self.claim.factor)
        assert core is not None
        core = core[*high]
        values = None
        if self._may_hold_nan or found is not None:
            values = forward.source.read(t=t, c=self.index, z=planes, y=rows, x=columns)
        written, widths = self._written(core, values, ends, dtype, tally)
        if found is not None and evidence is not None and values is not None:
            found(planes.start, rows, columns, evidence, values[0], widths)
        return written

    def _written(
        self,
        core: NDArray[np.float32],
        values: NDArray[Any] | None,
        ends: Ends | None,
        dtype: np.dtype[Any],
        tally: Tally,
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return grey levels, (z, y, x), and the half-widths of a plane, (2, y, x), where they are wanted."""
        if converts(dtype) and not self._may_hold_nan:
            flat = core.reshape(-1, core.shape[2]) if ends is None else core[0]
            levels, widths, clipped = grey_levels(flat, self.intensity, ends, dtype)
            tally.clipped += clipped
            return levels.reshape(core.shape), widths
        written = _cast(self._with_holes(np.asarray(self.intensity.denormalise(core)), values, tally), dtype, tally)
        if ends is None:
            return written, None
        pred, below, above = ends.net
        factor = np.float32(ends.factor)
        lowest, highest = (self.intensity.denormalise(end) for end in (pred - factor * below, pred + factor * above))
        return written, half_widths(written[0], lowest, highest)

    def places(self, region: Region) -> Iterable[Region]:
        """List the tiles of a region, those that see the same planes behind each other."""
        places = self.plan.blocks(region)
        if self.predictor.header.context.get("axis") == "z":
            return sorted(places, key=lambda place: (place[1].start, place[2].start, place[0].start))
        return places

    def _core(self, t: int, place: Region, region: Region, source: Source) -> NDArray[np.float32]:
        """Predict one core without a guard, normalised, (z * fz, y * fy, x * fx)."""
        planes, rows, columns = place

        def read(y: slice, x: slice) -> NDArray[np.float32]:
            return self._beside(t, planes.start, y, x, source)

        def read_block(z: slice, y: slice, x: slice) -> NDArray[np.float32]:
            return np.stack([self._seen(c, t, z, y, x, source) for c in self.intensities])

        def cores() -> NDArray[np.float32]:
            if self.predictor.is_deep:
                return self.predictor.predict_block(read_block, self.plan, place)
            return self.predictor.predict_tile(read, self.plan, rows, columns)[:, None]

        if self.shared is None:
            alone: NDArray[np.float32] = cores()[0]
            return alone
        unit = (t, *(part.start for part in region))
        together = self.shared.cores(unit, tuple(part.start for part in place), cores)
        own: NDArray[np.float32] = together[list(self.intensities).index(self.index)]
        return own

    def _seen(self, channel: int, t: int, z: slice, y: slice, x: slice, source: Source) -> NDArray[np.float32]:
        """Read part of a channel as the net sees it, (z, y, x)."""
        recorded = source.read(t=t, c=channel, z=z, y=y, x=x)
        values = np.asarray(self.intensities[channel].normalise(recorded), np.float32)
        return np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)

    def _beside(self, t: int, z: int, y: slice, x: slice, source: Source) -> NDArray[np.float32]:
        """Read part of a plane and of all that the net is given with it, (images, y, x); mirrored at the ends."""
        context = self.predictor.header.context
        if not context and len(self.intensities) == 1:
            return self._seen(self.index, t, slice(z, z + 1), y, x, source)
        frames, (times, _, depth, _, _) = context.get("frames", 1), self.volume.shape
        ts = around(t, frames, times) if context.get("axis") == "t" else [t]
        zs = around(z, frames, depth) if context.get("axis") == "z" else [z]
        where = (y.start, y.stop, x.start, x.stop)

        def image(channel: int, at: int, plane: int) -> NDArray[np.float32]:
            return self.held.get(
                (channel, at, plane, *where),
                lambda: self._seen(channel, at, slice(plane, plane + 1), y, x, source),
            )

        return np.concatenate([image(c, at, plane) for c in self.intensities for at in ts for plane in zs])

    @property
    def _may_hold_nan(self) -> bool:
        return self.volume.dtype.kind == "f"

    def _with_holes(self, core: NDArray[np.float32], values: NDArray[Any] | None, tally: Tally) -> NDArray[np.float32]:
        """Put NaN and infinity where the input has them, and count them."""
        if values is None or not self._may_hold_nan:
            return core
        unusable = ~np.isfinite(values)
        if not unusable.any():
            return core
        tally.not_finite += int(unusable.sum())
        holes, wide = values.astype(np.float32), unusable
        for axis, f in enumerate(self.plan.factor):
            holes, wide = holes.repeat(f, axis), wide.repeat(f, axis)
        return np.where(wide, holes, core)


def make_channels(
    volume: Volume,
    indices: Sequence[int],
    intensities: Sequence[Intensity],
    predictor: Predictor,
    plan: TilePlan,
    config: UpscaleConfig,
) -> list[Channel]:
    """Open the channels that are predicted from those at `indices`; noise is measured where it will be examined."""
    known = dict(zip(indices, intensities, strict=True))
    context, several = predictor.header.context, predictor.header.channels > 1
    predicted = [indices[predictor.target]] if context.get("axis") == "c" else list(indices)
    shared = Shared() if several else None
    at_once = several or context.get("axis") == "c"
    is_examined = predictor.is_examined(config)
    without = _unguarded(predictor) if (config.guard or config.trust) and not is_examined else ()
    found = []
    for index in predicted:
        given = known if at_once else {index: known[index]}
        held = Planes(context.get("frames", 1) + 1)
        plain = Channel(volume, index, given, predictor, plan, None, config.guard, without, shared, held)
        found.append(_guarded(plain, trust=config.trust) if is_examined else plain)
    return found


def _unguarded(predictor: Predictor) -> tuple[str, ...]:
    """Say why a net can have no guard."""
    what = "convolves along Z" if predictor.is_deep else f"predicts {predictor.header.channels} channels at once"
    why = "there is no guard and there are no trust maps, which examine single planes of one channel"
    return (f"the model {what}: {why}",)


def _guarded(plain: Channel, *, trust: bool) -> Channel:
    """Give a channel its guard, and with `trust` what its half-widths promise."""
    volume, predictor = plain.volume, plain.predictor
    nt, _, nz, height, width = volume.shape
    windows = [
        plain.normalised(plane // nz, plane % nz, rows, columns)[0]
        for plane, rows, columns in noise_windows(nt * nz, (height, width))
    ]
    voxel_size, _ = upscaled_grid(volume.voxel_size, volume.translation, plain.plan.factor)
    guard, without = make_guard(predictor, windows, voxel_size)
    claim = Claim.of(predictor.header.calibration) if trust and predictor.has_interval else None
    return replace(plain, guard=guard, without=without, claim=claim)


def _cast(values: NDArray[Any], dtype: np.dtype[Any], tally: Tally) -> NDArray[Any]:
    """Round to an integer dtype; what lies outside its range is set to its end and counted."""
    counted = CastTally()
    # NaN stands where the input has it, which is counted there.
    result = cast(values, dtype, counted, nan=0.0)
    tally.clipped += counted.clipped
    return result
