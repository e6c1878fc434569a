"""The store under several real processes, killed ones and full disks; and proof of it by path alone."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from superres.errors import InputError
from superres.progress import Progress
from superres.volumes import OutputStore, StoreLayout, open_volume, verify_store
from superres.volumes.records import Records, file_crc32c
from superres.volumes.shards import default_grid
from superres.volumes.whole_files import partial_name, remove_strays

LAYOUT = StoreLayout(
    shape=(1, 2, 9, 300, 270),
    dtype="uint16",
    shard=(4, 128, 128),
    chunk=(2, 64, 64),
    voxel_size=(0.1, 0.1, 0.1),
    channel_names=("DAPI", "GFP"),
    fingerprint="f00d",
)
# What every process writes: the same voxels, units in an order of its own. Run as text, because a process that is
# started afresh cannot import a test.
_WRITER = """
import random, resource, time
import numpy as np
from superres.errors import OutputWriteError
from superres.volumes import OutputStore
voxels = np.random.default_rng(0).integers(0, 4000, layout.shape).astype(np.uint16)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    store = OutputStore.open(path, layout)
    units = store.units()[part::parts]
    random.Random(seed).shuffle(units)
    pipe.send("begin")
    for unit in units:
        if not store.is_done(unit):
            store.write(unit, voxels[(unit.t, unit.c, *store.region(unit))])
            time.sleep(pause)
    if parts == 1:
        store.finish()
    pipe.send("end")
except OutputWriteError as error:
    pipe.send(str(error))
"""


class Writer:
    """A process of its own that writes a part of a store."""

    def __init__(self, path: Path, part: int = 0, parts: int = 1, *, limit: int = 0, pause: float = 0.0) -> None:
        # The server imports once and forks before anything of tensorstore runs.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["superres.volumes.store"])
        self._pipe, pipe = context.Pipe()
        names = {"path": path, "layout": LAYOUT, "part": part, "parts": parts, "seed": part, "limit": limit}
        self.process = context.Process(target=exec, args=(_WRITER, names | {"pause": pause, "pipe": pipe}))
        self.process.start()
        pipe.close()

    def told(self) -> str:
        """Wait for the next thing that it tells; empty once it is dead."""
        try:
            return str(self._pipe.recv())
        except EOFError:
            return ""

    def outcome(self) -> str:
        """Wait until it has ended, and return the last thing that it told."""
        told = list(iter(self.told, ""))
        self.process.join(60)
        return told[-1] if told else ""


def files_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def finish(path: Path) -> OutputStore:
    """Go on with a store in this process, until it is finished."""
    voxels = np.random.default_rng(0).integers(0, 4000, LAYOUT.shape).astype(np.uint16)
    store = OutputStore.open(path, LAYOUT)
    for unit in store.units():
        if not store.is_done(unit):
            store.write(unit, voxels[(unit.t, unit.c, *store.region(unit))])
    store.finish()
    return store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store written by one process without interruption."""
    return finish(tmp_path_factory.mktemp("whole") / "out.ome.zarr").path


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    path = tmp_path / whole.name
    shutil.copytree(whole, path)
    shutil.copytree(whole.with_name(whole.name + ".records"), path.with_name(path.name + ".records"))
    return path


# --- several processes -----------------------------------------------------------------------------------------------


def test_three_processes_write_side_by_side(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / whole.name
    writers = [Writer(path, part, 3) for part in range(3)]
    assert [writer.outcome() for writer in writers] == ["end"] * 3
    store = OutputStore.open(path, LAYOUT)
    assert all(store.is_done(unit) for unit in store.units())
    assert finish(path).verify() == []
    assert files_of(path) == files_of(whole)


def test_two_processes_racing_for_every_shard_leave_valid_ones(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / whole.name
    racers = [Writer(path) for _ in range(2)]
    seen = watched(path, racers, {p: content for p, content in files_of(whole).items() if "/c/" in p})
    assert [racer.outcome() for racer in racers] == ["end"] * 2
    assert seen, "no shard was looked at while they were written"
    assert verify_store(path) == []
    assert files_of(path) == files_of(whole)


def watched(path: Path, writers: list[Writer], contents: dict[str, bytes]) -> int:
    """Read shards while they are written, and see each whole; return how many were seen."""
    seen = 0
    while any(writer.process.is_alive() for writer in writers):
        for name, content in contents.items():
            try:
                found = (path / name).read_bytes()
            except FileNotFoundError:
                continue
            assert found == content, "a reader saw a half-written block"
            seen += 1
        time.sleep(0.002)
    return seen


def test_killed_at_random_moments_and_resumed(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / whole.name
    moments = random.Random(0)
    for _ in range(8):
        writer = Writer(path, pause=0.02)
        assert writer.told() == "begin"
        time.sleep(moments.uniform(0.0, 0.15))
        writer.process.kill()
        assert writer.outcome() == ""
        with pytest.raises(InputError):
            open_volume(path)
    assert finish(path).verify() == []
    assert files_of(path) == files_of(whole)


def test_full_disk_is_told_and_the_store_goes_on(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / whole.name
    # No file may pass this size: the small shards at the edges fit, the others fail half-way.
    told = Writer(path, limit=60_000).outcome()
    assert "writing failed" in told
    assert "run the same command again, finished shards are kept" in told
    assert not list(path.rglob("*.partial"))
    store = OutputStore.open(path, LAYOUT)
    assert not all(store.is_done(unit) for unit in store.units())
    assert finish(path).verify() == []
    assert files_of(path) == files_of(whole)


# --- unfinished files ------------------------------------------------------------------------------------------------


def test_only_dead_writers_lose_their_files(tmp_path: Path) -> None:
    own = partial_name(tmp_path / "0")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    of_dead = tmp_path / own.name.replace(f".{os.getpid()}.", f".{dead.pid}.")
    elsewhere, long_ago = tmp_path / "0.cluster7.1.2.partial", tmp_path / "1.cluster7.1.2.partial"
    lock, shard, kept = tmp_path / "0.__lock", tmp_path / "0", tmp_path / "notes.txt"
    everything = [own, of_dead, elsewhere, long_ago, lock, shard, kept]
    for path in everything:
        path.write_bytes(b"x")
    os.utime(long_ago, (0, 0))
    remove_strays(tmp_path.iterdir())
    assert {path for path in everything if path.exists()} == {own, elsewhere, shard, kept}


# --- proof by path ---------------------------------------------------------------------------------------------------


def shard_of(path: Path, *position: int, level: int = 0) -> Path:
    return path / str(level) / "c" / Path(*map(str, position))


def test_a_whole_store_is_proven(whole: Path, copied: Path) -> None:
    events: list[Progress] = []
    assert verify_store(whole, progress=events.append) == []
    assert events[-1].done == events[-1].total == 54 + 16
    shutil.rmtree(copied.with_name(copied.name + ".records"))
    assert verify_store(copied) == [], "a copy without records is proven by decoding"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Any, str]] = {
    "missing": (Path.unlink, "missing"),
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:999]), "999 bytes found|cannot be decoded"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes found|an empty file"),
    "flipped": (flip, "checksum|cannot be decoded"),
}


@pytest.mark.parametrize("with_records", [True, False])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_every_damage_is_named(copied: Path, damage: Any, message: str, level: int, with_records: bool) -> None:
    shard = shard_of(copied, 0, 1, 1, 0, 0, level=level)
    damage(shard)
    if not with_records:
        shutil.rmtree(copied.with_name(copied.name + ".records"))
    (problem,) = verify_store(copied)
    assert problem.startswith(f"{shard}: ")
    assert any(part in problem for part in message.split("|"))


def test_an_unfinished_store_is_told(tmp_path: Path) -> None:
    store = OutputStore.open(tmp_path / "a.zarr", LAYOUT)
    voxels = np.zeros(LAYOUT.shape, np.uint16)
    for unit in store.units()[1:]:
        store.write(unit, voxels[(unit.t, unit.c, *store.region(unit))])
    problems = verify_store(store.path)
    assert "not finished" in problems[0]
    assert problems[1] == f"{shard_of(store.path, 0, 0, 0, 0, 0)}: missing"
    assert len(problems) == 2 + 16, "the pyramid is missing as well"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stores_of_other_software_are_decoded(tmp_path: Path, zarr_format: Any) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 30, 20), chunks=(2, 16, 16), dtype="uint16", zarr_format=zarr_format
    )
    array[:2] = np.arange(1200).reshape(2, 30, 20)
    assert verify_store(tmp_path / "a.zarr") == [], "what is all fill value need not be there"
    files = [p for p in (tmp_path / "a.zarr").rglob("*") if p.is_file() and not p.name.startswith((".", "zarr"))]
    assert len(files) == 4
    files[0].write_bytes(files[0].read_bytes()[:20])
    files[1].write_bytes(b"")
    assert sorted(p.partition(": ")[0] for p in verify_store(tmp_path / "a.zarr")) == sorted(map(str, files[:2]))


@pytest.mark.parametrize(
    "content", [{}, {"zarr.json": "{"}, {"zarr.json": '{"attributes": {"ome": {"multiscales": [{}]}}}'}]
)
def test_what_is_no_image_is_an_input_error(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=str(tmp_path)):
        verify_store(tmp_path)
    with pytest.raises(InputError):
        verify_store(tmp_path / "nothing")


# --- what the default layout is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(256, 2048, 2048), (4100, 512, 512), (1, 40000, 30000), (333, 777, 5001)])
def test_blocks_have_sensible_sizes(shape: tuple[int, int, int], dtype: str) -> None:
    shard, chunk = default_grid(shape, np.dtype(dtype))
    size = np.dtype(dtype).itemsize
    assert 2**19 <= np.prod(chunk) * size <= 2**20
    assert 2**26 <= np.prod(shard) * size <= 2**27
    StoreLayout(shape=(1, 1, *shape), dtype=dtype, shard=shard, chunk=chunk, fingerprint="ab")


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 2), (1, 1, 100000), (100000, 1, 1), (30, 137, 147)])
def test_small_volumes_are_not_blown_up(shape: tuple[int, int, int]) -> None:
    shard, chunk = default_grid(shape, np.dtype("uint16"))
    assert all(c <= n for c, n in zip(chunk, shape, strict=True))
    assert all(s < n + c for s, c, n in zip(shard, chunk, shape, strict=True))


def test_record_of_what_was_written(whole: Path) -> None:
    record = Records(whole.with_name(whole.name + ".records") / "f00d").load(0, (0, 0, 0, 0, 0))
    shard = shard_of(whole, 0, 0, 0, 0, 0)
    assert record is not None
    assert (record.size, record.crc32c) == (shard.stat().st_size, file_crc32c(shard))
