"""The output store: round trips, resuming to the same bytes, metadata that other software accepts."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from superres.errors import Cancelled, InputError, OutputExistsError, OutputWriteError
from superres.progress import Progress
from superres.volumes import OutputStore, StoreLayout, Unit, open_volume, upscaled_grid
from superres.volumes import store as store_module
from superres.volumes.ngff import array_metadata, pyramid_factors
from superres.volumes.pyramid import mean_pooled, reduce_region

RNG = np.random.default_rng(0)
# Uneven at every edge, so that edge shards are torn too, and large enough for one coarser level.
LAYOUT = StoreLayout(
    shape=(1, 2, 5, 300, 270),
    dtype="uint16",
    shard=(4, 128, 128),
    chunk=(2, 64, 64),
    voxel_size=(0.1, 0.1, 0.1),
    translation=(0.0, -0.05, 0.25),
    channel_names=("DAPI", "GFP"),
    time_step=None,
    fingerprint="f00d",
    provenance={"model": "m", "nested": {"a": [1, 2.5]}},
)
VOXELS = RNG.integers(0, 4000, LAYOUT.shape).astype(np.uint16)
VOXELS[:, 1, :4, :128, :128] = 0


def write_units(store: OutputStore, voxels: np.ndarray[Any, Any]) -> int:
    """Write what is not done, as an engine does; return how many units that was."""
    todo = [unit for unit in store.units() if not store.is_done(unit)]
    for unit in todo:
        store.write(unit, voxels[(unit.t, unit.c, *store.region(unit))])
    return len(todo)


def files_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "out.ome.zarr"
    store = OutputStore.open(path, LAYOUT)
    write_units(store, VOXELS)
    store.finish()
    return path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished store of one's own, to be damaged."""
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    shutil.copytree(finished.with_name(finished.name + ".records"), path.with_name(path.name + ".records"))
    return path


# --- round trips -----------------------------------------------------------------------------------------------------


@st.composite
def layouts(draw: st.DrawFn) -> StoreLayout:
    chunk = tuple(draw(st.integers(1, 4)) for _ in range(3))
    shard = tuple(c * draw(st.integers(1, 3)) for c in chunk)
    space = tuple(draw(st.integers(1, 2 * s + 1)) for s in shard)
    dtype = draw(st.sampled_from(["uint8", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64"]))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *space)
    return StoreLayout(shape=shape, dtype=dtype, shard=shard, chunk=chunk, fingerprint="ab")  # type: ignore[arg-type]


@settings(max_examples=12, deadline=None)
@given(layout=layouts(), empty=st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, layout: StoreLayout, empty: bool) -> None:
    path = tmp_path_factory.mktemp("s") / "a.zarr"
    voxels = RNG.integers(0, 1 if empty else 100, layout.shape).astype(layout.dtype)
    store = OutputStore.open(path, layout)
    covered = np.zeros(layout.shape, int)
    for unit in store.units():
        covered[(unit.t, unit.c, *store.region(unit))] += 1
    assert (covered == 1).all()
    assert write_units(store, voxels) == len(store.units())
    store.finish()
    assert store.verify() == []
    # One file per shard, of all-zero shards too.
    assert sum(1 for p in (path / "0" / "c").rglob("*") if p.is_file()) == len(store.units())
    np.testing.assert_array_equal(zarr.open_array(path / "0", mode="r")[:], voxels)
    volume = open_volume(path)
    assert volume.dtype == voxels.dtype
    np.testing.assert_array_equal(np.asarray(volume.levels[0]), voxels)


def test_reading_back_keeps_what_the_layout_says(finished: Path) -> None:
    volume = open_volume(finished)
    assert volume.format == "OME-Zarr 0.5"
    assert volume.shape == LAYOUT.shape
    assert volume.dtype == np.uint16
    assert volume.voxel_size == LAYOUT.voxel_size
    assert volume.translation == LAYOUT.translation
    assert volume.channel_names == LAYOUT.channel_names
    assert volume.time_step is None
    assert [level.shape for level in volume.levels] == [(1, 2, 5, 300, 270), (1, 2, 3, 150, 135)]
    np.testing.assert_array_equal(
        volume.read(t=0, c=1, z=slice(1, 9), y=slice(100, 200), x=slice(250, 270)), VOXELS[0, 1, 1:9, 100:200, 250:270]
    )


def test_time_step_and_unknown_voxel_size_come_back(tmp_path: Path) -> None:
    layout = replace(LAYOUT, voxel_size=(None, 0.2, None), time_step=2.5, channel_names=(), translation=(0.0, 0.1, 0.0))
    store = OutputStore.open(tmp_path / "a.zarr", layout)
    write_units(store, VOXELS)
    store.finish()
    volume = open_volume(tmp_path / "a.zarr")
    assert (volume.voxel_size, volume.time_step, volume.channel_names) == ((None, 0.2, None), 2.5, ())
    assert volume.translation == (0.0, 0.1, 0.0)
    attributes = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["attributes"]
    assert [axis.get("unit") for axis in attributes["ome"]["multiscales"][0]["axes"]] == [
        "second", None, None, "micrometer", None,
    ]  # fmt: skip


def test_independent_validator_passes(finished: Path) -> None:
    yaozarrs.validate_zarr_store(str(finished))


def test_what_validators_do_not_check(finished: Path) -> None:
    attributes = json.loads((finished / "zarr.json").read_text())["attributes"]
    multiscale = attributes["ome"]["multiscales"][0]
    assert [axis["type"] for axis in multiscale["axes"]] == ["time", "channel", "space", "space", "space"]
    assert [channel["label"] for channel in attributes["ome"]["omero"]["channels"]] == ["DAPI", "GFP"]
    assert attributes["superres"] == {**LAYOUT.provenance, "fingerprint": "f00d"}
    group = zarr.open_group(finished, mode="r")
    for dataset in multiscale["datasets"]:
        array = group[dataset["path"]]
        assert isinstance(array, zarr.Array)
        assert (array.dtype, array.shards, array.chunks) == (np.uint16, (1, 1, 4, 128, 128), (1, 1, 2, 64, 64))


def test_nothing_in_the_store_depends_on_place_or_time(finished: Path, tmp_path: Path) -> None:
    store = OutputStore.open(tmp_path / "deep" / "down" / "out.ome.zarr", LAYOUT)
    for unit in reversed(store.units()):
        store.write(unit, VOXELS[(unit.t, unit.c, *store.region(unit))])
    store.finish()
    assert files_of(store.path) == files_of(finished)


def test_store_object_travels(finished: Path) -> None:
    again = pickle.loads(pickle.dumps(OutputStore.open(finished, LAYOUT)))
    assert again.verify() == []


def test_wrong_blocks_are_refused(tmp_path: Path) -> None:
    store = OutputStore.open(tmp_path / "a.zarr", LAYOUT)
    with pytest.raises(ValueError, match="takes"):
        store.write(Unit(0, 0, 0, 0, 0), np.zeros((4, 128, 127), np.uint16))
    with pytest.raises(ValueError, match="takes"):
        store.write(Unit(0, 0, 0, 0, 0), np.zeros((4, 128, 128), np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"chunk": (3, 64, 64)},
        {"shape": (1, 2, 0, 4, 4)},
        {"channel_names": ("one",)},
        {"fingerprint": "../up"},
        {"provenance": {"nan": float("nan")}},
    ],
)
def test_impossible_layouts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(LAYOUT, **change)


# --- geometry --------------------------------------------------------------------------------------------------------


def centroid(image: np.ndarray[Any, Any], scale: list[float], translation: list[float]) -> np.ndarray[Any, Any]:
    """Centre of mass in physical coordinates."""
    weights = image.astype(float)
    return np.array(
        [
            (weights * (np.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) * p + o)).sum() / weights.sum()
            for axis, (n, p, o) in enumerate(zip(image.shape, scale, translation, strict=True))
        ]
    )


@pytest.mark.parametrize(("factor", "voxel_size"), [((1, 4, 4), (0.5, 0.4, 0.4)), ((2, 3, 3), (0.2, 0.3, 0.3))])
def test_bead_stays_where_it_is_on_every_level(
    tmp_path: Path, factor: tuple[int, int, int], voxel_size: tuple[float, float, float]
) -> None:
    grid = np.ogrid[:20, :130, :135]
    # Smooth, because averaging a cell moves what is uneven inside it to the centre.
    low = np.exp(-sum(((g - m) / 3) ** 2 for g, m in zip(grid, (9.3, 66.6, 64.8), strict=True)) / 2)
    offset = (10.0, -3.0, 0.7)
    high = low
    for axis, count in enumerate(factor):
        high = np.repeat(high, count, axis=axis)
    size, translation = upscaled_grid(voxel_size, offset, factor)
    layout = StoreLayout(
        shape=(1, 1, *high.shape),  # type: ignore[arg-type]
        dtype="float32",
        shard=(16, 256, 256),
        chunk=(8, 128, 128),
        voxel_size=size,
        translation=translation,
        fingerprint="be4d",
    )
    store = OutputStore.open(tmp_path / "a.zarr", layout)
    write_units(store, high[None, None].astype(np.float32))
    store.finish()
    truth = centroid(low, list(voxel_size), list(offset))
    datasets = json.loads((store.path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]
    assert len(datasets) >= 2
    for dataset in datasets:
        scale, shift = dataset["coordinateTransformations"]
        image = zarr.open_array(store.path / dataset["path"], mode="r")[0, 0]
        np.testing.assert_allclose(
            centroid(np.asarray(image), scale["scale"][2:], shift["translation"][2:]), truth, atol=1e-3
        )


def test_unknown_voxel_size_stays_unknown_when_upscaled() -> None:
    assert upscaled_grid((None, 0.4, 0.4), (0.0, 1.0, 0.0), (2, 4, 2)) == (
        (None, 0.1, 0.2),
        (0.0, pytest.approx(0.85), -0.1),
    )


def test_z_is_halved_only_until_voxels_are_isotropic() -> None:
    assert pyramid_factors((64, 1024, 1024), (0.8, 0.2, 0.2)) == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    assert pyramid_factors((64, 2048, 2048), (0.4, 0.2, 0.2)) == [(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8)]
    assert pyramid_factors((64, 1024, 512), (0.2, 0.2, 0.2)) == [(1, 1, 1), (2, 2, 2), (4, 4, 4)]
    assert pyramid_factors((64, 1024, 512), (None, 0.2, 0.2)) == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    assert pyramid_factors((64, 200, 100), (0.2, 0.2, 0.2)) == [(1, 1, 1)]
    assert pyramid_factors((1, 1, 1000), (1.0, 1.0, 1.0)) == [(1, 1, 1), (1, 1, 2), (1, 1, 4)]


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    steps=st.tuples(*[st.integers(1, 2)] * 3),
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", "uint64"]),
    seed=st.integers(0, 1000),
)
def test_means_of_integers_are_exact_and_rounded_half_to_even(
    shape: tuple[int, int, int], steps: tuple[int, int, int], dtype: str, seed: int
) -> None:
    limits = np.iinfo(dtype)
    block = np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    pooled = mean_pooled(block, steps)
    assert pooled.dtype == block.dtype
    for position in np.ndindex(*pooled.shape):
        cell = block[tuple(slice(p * s, (p + 1) * s) for p, s in zip(position, steps, strict=True))]
        assert int(pooled[position]) == round(Fraction(sum(map(int, cell.ravel())), cell.size))


def test_streamed_level_equals_the_mean_of_the_whole(finished: Path) -> None:
    import tensorstore as ts

    below = ts.array(VOXELS[0, 0])
    region = (slice(1, 3), slice(10, 150), slice(7, 135))
    streamed = reduce_region(below, region, (2, 2, 2), (1, 32, 32))
    np.testing.assert_array_equal(streamed, mean_pooled(VOXELS[0, 0], (2, 2, 2))[region])
    level = np.asarray(open_volume(finished).levels[1])[0, 0]
    np.testing.assert_array_equal(level, mean_pooled(VOXELS[0, 0], (2, 2, 2)))


@st.composite
def whole_channels(draw: st.DrawFn) -> StoreLayout:
    """Layouts whose shards hold a channel each, and that have coarser levels."""
    chunk = tuple(draw(st.sampled_from(sizes)) for sizes in ((1, 2), (64, 100), (64, 300)))
    shard = tuple(c * n for c, n in zip(chunk, (draw(st.integers(1, 3)), 7, 9), strict=True))
    space = (draw(st.integers(1, shard[0])), draw(st.integers(257, shard[1])), draw(st.integers(1, shard[2])))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "float32"]))
    reductions = draw(st.sampled_from([(), ("largest", "lowest"), ("bits", "mean")])) if dtype[0] == "u" else ()
    size = draw(st.sampled_from([(None, None, None), (0.1, 0.1, 0.1)]))
    shape = (draw(st.integers(1, 2)), 2, *space)
    return StoreLayout(shape, dtype, shard, chunk, size, fingerprint="ab", reductions=reductions)  # type: ignore[arg-type]


@settings(max_examples=10, deadline=None)
@given(layout=whole_channels(), seed=st.integers(0, 99))
def test_a_pyramid_made_from_memory_is_that_made_from_the_store(
    tmp_path_factory: pytest.TempPathFactory, layout: StoreLayout, seed: int
) -> None:
    path = tmp_path_factory.mktemp("s") / "a.zarr"
    voxels = np.random.default_rng(seed).integers(0, 200, layout.shape).astype(layout.dtype)
    store = OutputStore.open(path, layout)
    write_units(store, voxels)
    records = path.with_name("a.zarr.records")
    coarser = [number for number, _ in enumerate(layout.level_factors())][1:]
    assert coarser
    assert sorted(int(folder.name) for folder in (records / "ab").iterdir()) == [0, *coarser]
    store.finish()
    from_memory = files_of(path) | files_of(records)
    for level in coarser:
        shutil.rmtree(path / str(level) / "c")
        shutil.rmtree(records / "ab" / str(level))
    OutputStore.open(path, layout).finish()
    assert files_of(path) | files_of(records) == from_memory


@settings(max_examples=15, deadline=None)
@given(layout=layouts(), version=st.sampled_from(["0.5", "0.4"]))
def test_metadata_of_arrays_are_those_that_tensorstore_writes(
    tmp_path_factory: pytest.TempPathFactory, layout: StoreLayout, version: Any
) -> None:
    import tensorstore as ts

    folder = tmp_path_factory.mktemp("s")
    layout = replace(layout, version=version, shard=layout.chunk) if version == "0.4" else layout
    metadata = array_metadata(layout.shape, layout.dtype, shard=layout.shard, chunk=layout.chunk, version=version)
    driver, name = ("zarr3", "zarr.json") if version == "0.5" else ("zarr", ".zarray")
    kvstore = {"driver": "file", "path": str(folder / "theirs")}
    ts.open({"driver": driver, "metadata": metadata, "kvstore": kvstore}, create=True).result()
    OutputStore.open(folder / "own.zarr", layout)
    assert (folder / "own.zarr" / "0" / name).read_bytes() == (folder / "theirs" / name).read_bytes()


@pytest.mark.parametrize("left", [b"", b'{"chunk_grid"'])
def test_metadata_that_a_power_failure_left_torn_are_written_again(copied: Path, finished: Path, left: bytes) -> None:
    (copied / "1" / "zarr.json").write_bytes(left)
    assert OutputStore.open(copied, LAYOUT).verify() == []
    assert files_of(copied) == files_of(finished)


def test_metadata_of_another_array_are_refused_and_other_ways_to_write_them_are_not(copied: Path) -> None:
    path = copied / "0" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert OutputStore.open(copied, LAYOUT).verify() == []
    path.write_text(path.read_text().replace("uint16", "uint32"))
    with pytest.raises(OutputWriteError, match=r"uint16.*uint32|uint32.*uint16|data_type"):
        OutputStore.open(copied, LAYOUT)


# --- interruptions ---------------------------------------------------------------------------------------------------


def shard_of(path: Path, unit: tuple[int, ...], level: int = 0) -> Path:
    return path / str(level) / "c" / Path(*map(str, unit))


def record_of(path: Path, unit: tuple[int, ...], level: int = 0) -> Path:
    (folder,) = path.with_name(path.name + ".records").iterdir()
    return folder / str(level) / (".".join(map(str, unit)) + ".json")


EDGE = (0, 1, 1, 2, 2)


def tear(path: Path, unit: tuple[int, ...], level: int = 0) -> None:
    shard = shard_of(path, unit, level)
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def leave_strays(path: Path) -> None:
    record_of(path, EDGE).unlink()
    shard = shard_of(path, EDGE)
    shard.unlink()
    shard.with_name(f"{shard.name}.__lock").write_bytes(b"half")
    shard.with_name(f"{shard.name}.0a1b2c.partial").write_bytes(b"half")


DAMAGE = {
    "torn edge shard": lambda path: tear(path, EDGE),
    "torn edge shard without record": lambda path: (tear(path, EDGE), record_of(path, EDGE).unlink()),
    "0-byte shard": lambda path: shard_of(path, (0, 0, 0, 0, 0)).write_bytes(b""),
    "missing shard": lambda path: shard_of(path, (0, 0, 0, 1, 1)).unlink(),
    "missing record": lambda path: record_of(path, (0, 0, 0, 1, 1)).unlink(),
    "half a record": lambda path: record_of(path, EDGE).write_text('{"unit": [0, 1'),
    "strays": leave_strays,
    "torn shard of the pyramid": lambda path: tear(path, (0, 0, 0, 1, 1), 1),
    "missing group": lambda path: (path / "zarr.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_resumed_store_has_the_same_bytes(finished: Path, copied: Path, damage: Any) -> None:
    damage(copied)
    store = OutputStore.open(copied, LAYOUT)
    assert store.verify()
    assert write_units(store, VOXELS) <= 1
    store.finish()
    assert store.verify() == []
    assert files_of(copied) == files_of(finished)


def test_flipped_byte_is_found(copied: Path) -> None:
    shard = shard_of(copied, EDGE)
    content = bytearray(shard.read_bytes())
    content[50] ^= 1
    shard.write_bytes(content)
    (problem,) = OutputStore.open(copied, LAYOUT).verify()
    assert "checksum" in problem
    assert str(shard) in problem
    volume = open_volume(copied)
    with pytest.raises(InputError, match="cannot be read"):
        volume.read(t=0, c=1, z=slice(4, 5), y=slice(256, 300), x=slice(256, 270))


def test_unfinished_store_does_not_open_and_says_why(tmp_path: Path) -> None:
    store = OutputStore.open(tmp_path / "a.zarr", LAYOUT)
    store.write(store.units()[0], VOXELS[0, 0, :4, :128, :128])
    with pytest.raises(InputError, match=r"not finished.*again"):
        open_volume(tmp_path / "a.zarr")
    with pytest.raises(OutputWriteError, match="35 of 36 shards"):
        store.finish()


def test_rewriting_a_shard_unfinishes_the_store(copied: Path) -> None:
    store = OutputStore.open(copied, LAYOUT)
    store.write(store.units()[0], VOXELS[0, 0, :4, :128, :128])
    with pytest.raises(InputError, match="not finished"):
        open_volume(copied)


def test_cancelled_pyramid_resumes(finished: Path, tmp_path: Path) -> None:
    store = OutputStore.open(tmp_path / finished.name, LAYOUT)
    write_units(store, VOXELS)

    def cancel(event: Progress) -> None:
        if event.done == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        store.finish(cancel)
    events: list[Progress] = []
    again = OutputStore.open(store.path, LAYOUT)
    assert write_units(again, VOXELS) == 0
    again.finish(events.append)
    assert events[-1].done == events[-1].total
    assert files_of(store.path) == files_of(finished)


def test_full_disk_keeps_what_is_done(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / finished.name
    store = OutputStore.open(path, LAYOUT)
    first, second, *_ = store.units()
    store.write(first, VOXELS[(first.t, first.c, *store.region(first))])
    block = VOXELS[(second.t, second.c, *store.region(second))]

    def no_space(*_: Any, **__: Any) -> Iterator[None]:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("superres.volumes.whole_files.os.fsync", "superres.volumes.records.write_whole"):
        message = r"out\.ome\.zarr.*disk is full.*run the same command again"
        with monkeypatch.context() as patch, pytest.raises(OutputWriteError, match=message):
            patch.setattr(place, no_space)
            store.write(second, block)
    assert not store.is_done(second)
    again = OutputStore.open(path, LAYOUT)
    assert again.is_done(first)
    assert write_units(again, VOXELS) == len(again.units()) - 1
    with monkeypatch.context() as patch, pytest.raises(OutputWriteError, match="disk is full"):
        patch.setattr(store_module, "write_whole", no_space)
        again.finish()
    again.finish()
    assert files_of(path) == files_of(finished)


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_other_fingerprint_is_refused_unless_asked(copied: Path) -> None:
    other = replace(LAYOUT, fingerprint="bead", dtype="uint8")
    before = files_of(copied)
    with pytest.raises(OutputExistsError, match=r"out\.ome\.zarr.*another input.*another output.*--set overwrite=true"):
        OutputStore.open(copied, other)
    assert files_of(copied) == before
    store = OutputStore.open(copied, other, overwrite=True)
    assert not any(store.is_done(unit) for unit in store.units())
    assert write_units(store, VOXELS.astype(np.uint8)) == 36
    store.finish()
    np.testing.assert_array_equal(np.asarray(open_volume(copied).levels[0]), VOXELS.astype(np.uint8))
    assert sorted(p.name for p in copied.parent.iterdir()) == ["out.ome.zarr", "out.ome.zarr.records"]
    with pytest.raises(OutputExistsError):
        OutputStore.open(copied, LAYOUT)


def test_foreign_things_are_never_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.txt").write_text("precious")
    (tmp_path / "file.zarr").write_text("precious")
    for path in (folder, tmp_path / "file.zarr"):
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError, match="no Zarr store"):
                OutputStore.open(path, LAYOUT, overwrite=overwrite)
    assert (folder / "chapter1.txt").read_text() == "precious"


def test_finished_store_without_records_is_not_recomputed(copied: Path) -> None:
    shutil.rmtree(copied.with_name(copied.name + ".records"))
    with pytest.raises(OutputExistsError, match=r"these very settings.*records"):
        OutputStore.open(copied, LAYOUT)


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    OutputStore.open(tmp_path / "a.zarr", LAYOUT)


def test_overwrite_resumes_what_it_began(copied: Path) -> None:
    tear(copied, EDGE)
    assert write_units(OutputStore.open(copied, LAYOUT, overwrite=True), VOXELS) == 1
