from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.inference.plan import fitted, plan_tiles
from superres.volumes.edges import mirrored

sizes = st.integers(1, 90)


@given(
    shape=st.tuples(st.integers(1, 5), sizes, sizes),
    factor=st.tuples(st.just(1), st.integers(1, 5), st.integers(1, 5)),
    tile=st.integers(4, 70),
    shard=st.one_of(st.none(), st.integers(1, 4)),
    radius=st.integers(0, 60),
)
@settings(max_examples=150, deadline=None)
def test_every_output_voxel_is_written_exactly_once(
    shape: tuple[int, int, int], factor: tuple[int, int, int], tile: int, shard: int | None, radius: int
) -> None:
    plan = plan_tiles(shape, factor=factor, radius=(0, radius, radius), stride=(1, 4, 4), tile=tile, shard=shard)
    count = np.zeros(plan.output_shape, int)
    for corner in np.ndindex(*(-(-n // s) for n, s in zip(plan.output_shape, plan.shard, strict=True))):
        region = tuple(
            slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(corner, plan.shard, plan.output_shape, strict=True)
        )
        for z, rows, columns in plan.tiles(region):
            assert rows.start % 4 == 0
            assert columns.start % 4 == 0
            place = [slice(p.start * f, p.stop * f) for p, f in zip((rows, columns), factor[1:], strict=True)]
            for part, whole in zip(place, region[1:], strict=True):
                assert whole.start <= part.start
                assert part.stop <= whole.stop
            count[z, place[0], place[1]] += 1
        assert plan.count(region) == len(list(plan.blocks(region)))  # type: ignore[arg-type]
    assert (count == 1).all()
    assert all(h >= r for h, r in zip(plan.halo, (0, radius, radius), strict=True))
    assert all(h % s == 0 for h, s in zip(plan.halo, (1, 4, 4), strict=True))
    assert all(s % c == 0 for s, c in zip(plan.shard, plan.chunk, strict=True))


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3000), st.integers(1, 3000)),
    radius=st.sampled_from([0, 28, 56]),
    voxels=st.integers(40_000, 2_000_000),
)
@settings(max_examples=40, deadline=None)
def test_tiles_chosen_by_memory_keep_within_it(shape: tuple[int, int, int], radius: int, voxels: int) -> None:
    stride = (1, 4, 4)
    plan = plan_tiles(shape, factor=(1, 4, 4), radius=(0, radius, radius), stride=stride, voxels=voxels)
    given_to_net = math.prod(side + 2 * radius for side in plan.tile[1:])
    assert given_to_net <= voxels or max(plan.tile) <= 72
    assert all(side % 4 == 0 and side <= 1024 for side in plan.tile[1:])
    smaller = fitted(plan, voxels // 3, stride)
    assert smaller.shard == plan.shard, "files do not depend on free memory"
    assert math.prod(n + 2 * h for n, h in zip(smaller.tile, plan.halo, strict=True)) <= voxels // 3 or (
        max(smaller.tile) <= 64
    )


def test_a_plane_that_fits_is_one_tile() -> None:
    plan = plan_tiles((8, 600, 700), factor=(1, 2, 2), radius=(0, 56, 56), stride=(1, 4, 4), voxels=10**6)
    assert plan.tile == (1, 600, 700)


@given(length=st.integers(1, 30), before=st.integers(0, 80), after=st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_reflection_agrees_with_numpy(length: int, before: int, after: int) -> None:
    values = np.arange(length)
    expected = np.pad(values, (before, after), mode="reflect")
    np.testing.assert_array_equal(values[mirrored(-before, length + after, length)], expected)
