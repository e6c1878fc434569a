"""Convert to OME-Zarr: blocks are read and written side by side, and a stopped conversion goes on."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from superres.progress import Progress
from superres.volumes.conversion import Job, provenance_of
from superres.volumes.dtypes import CastTally
from superres.volumes.shards import default_grid
from superres.volumes.store import OutputStore, StoreLayout, Unit

# Blocks read and written at the same time; two keep two cores busy.
_WORKERS = 2


def convert_to_omezarr(job: Job) -> tuple[CastTally, int, int]:
    """Write a store, or go on with it; return what changed, the shards in all and those that were done before."""
    store = OutputStore.open(job.out, _store_layout(job), overwrite=job.overwrite)
    units = store.units()
    todo = [unit for unit in units if not store.is_done(unit)]
    tally, done = CastTally(), len(units) - len(todo)
    job.progress(Progress("convert", done, len(units), "blocks"))
    waiting: deque[tuple[int, Future[CastTally]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for batch in [*_batches(todo, _units_per_batch(job, store)), None]:
                if batch is not None:
                    waiting.append((len(batch), pool.submit(_copy, job, store, batch)))
                while waiting and (batch is None or len(waiting) > _WORKERS):
                    count, future = waiting.popleft()
                    tally.add(future.result())
                    done += count
                    job.progress(Progress("convert", done, len(units), "blocks"))
        finally:
            pool.shutdown(cancel_futures=True)
    store.finish(job.progress)
    return tally, len(units), len(units) - len(todo)


def _store_layout(job: Job) -> StoreLayout:
    volume = job.volume
    version: Literal["0.4", "0.5"] = "0.4" if job.format == "ome-zarr-0.4" else "0.5"
    shard, chunk = default_grid(volume.shape[2:], job.dtype)
    if version == "0.4":
        shard = chunk = default_grid(volume.shape[2:], job.dtype, chunk_bytes=2**21)[1]
    return StoreLayout(
        shape=volume.shape,
        dtype=job.dtype.name,
        shard=shard,
        chunk=chunk,
        voxel_size=volume.voxel_size,
        translation=volume.translation,
        channel_names=volume.channel_names,
        time_step=volume.time_step,
        fingerprint=job.fingerprint(shard, chunk),
        provenance=provenance_of(volume),
        channel_colours=volume.channel_colours,
        version=version,
    )


def _units_per_batch(job: Job, store: OutputStore) -> tuple[int, int, int]:
    """Return how many units along Z, Y, X are read at once: many, where each is but a chunk."""
    shard, _ = default_grid(job.volume.shape[2:], job.dtype, shard_bytes=2**26)
    z, y, x = (max(1, whole // one) for whole, one in zip(shard, store.layout.shard, strict=True))
    return z, y, x


def _batches(units: Sequence[Unit], per: tuple[int, int, int]) -> Iterator[list[Unit]]:
    def place(unit: Unit) -> tuple[int, ...]:
        return (unit.t, unit.c, *(i // n for i, n in zip(unit[2:], per, strict=True)))

    for _, batch in itertools.groupby(sorted(units, key=lambda unit: (place(unit), unit)), key=place):
        yield list(batch)


def _copy(job: Job, store: OutputStore, batch: list[Unit]) -> CastTally:
    """Read what a batch of units covers, and write them."""
    tally = CastTally()
    regions = [store.region(unit) for unit in batch]
    bounds = [
        slice(min(region[axis].start for region in regions), max(region[axis].stop for region in regions))
        for axis in range(3)
    ]
    block = job.read(tally, batch[0].t, batch[0].c, (bounds[0], bounds[1], bounds[2]))
    for unit, region in zip(batch, regions, strict=True):
        inside = tuple(slice(r.start - b.start, r.stop - b.start) for r, b in zip(region, bounds, strict=True))
        store.write(unit, block[inside])
    return tally
