"""The pipeline writes what shards done one after another would be, and stops as it should whatever happens."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.errors import Cancelled, DiskFullError, InputError, OutputWriteError, SuperresError
from superres.inference import load_model, pipeline, predictor, upscale
from superres.inference.engine import finish
from superres.inference.predictor import Predictor
from superres.inference.upscaling import Draft, Upscaling
from superres.inference.window import read_window
from superres.progress import Progress, silent
from superres.volumes import OutputStore, open_volume
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]
Shape = tuple[int, int, int, int, int]


def write_stack(path: Path, shape: Shape = (1, 1, 2, 50, 40)) -> Path:
    image = np.random.default_rng(0).integers(300, 40_000, shape).astype(np.uint16)
    save_hyperstack(path, image, voxel_size=(0.5, 0.2, 0.2))
    return path


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return write_stack(tmp_path / "in.tif")


@pytest.fixture
def config(make_model: MakeModel) -> UpscaleConfig:
    return settings(make_model())


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "device": "cpu", "tile": 16, "shard": 1} | changes)


def files_of(store: Path) -> dict[str, bytes]:
    """Return the files of a store and of the maps beside it, but those that hold its name."""
    name = store.name.removesuffix(".zarr")
    found = {}
    for kind in ("", ".trust", ".interval"):
        folder = store.with_name(f"{name}{kind}.zarr")
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.parent != folder:
                found[f"{kind}/{file.relative_to(folder)}"] = file.read_bytes()
    assert found
    return found


def one_after_another(source: Path, out: Path, config: UpscaleConfig) -> dict[str, bytes]:
    upscaling = Upscaling.open(source, out, config)
    for unit in upscaling.units():
        upscaling.do(unit, itertools.repeat(None))
    finish(upscaling, silent, started=0, done_before=0)
    return files_of(out)


KINDS: list[tuple[str, Shape, dict[str, object]]] = [
    ("interval", (1, 2, 1, 40, 30), {"interval": True}),
    ("planes beside it", (1, 1, 3, 40, 30), {"axis": "z", "frames": 3, "target": 1}),
    ("time points beside it", (3, 1, 1, 40, 30), {"axis": "t", "frames": 3, "target": 1}),
    ("one of several channels", (1, 2, 1, 40, 30), {"axis": "c", "frames": 2, "target": 0}),
    ("channels at once", (1, 2, 2, 40, 30), {"channels": 2}),
    ("three dimensions", (1, 1, 6, 24, 16), {"dimensions": 3}),
    ("attention", (1, 1, 1, 24, 16), {"attention": True}),
]


@pytest.mark.parametrize(("shape", "kind"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS])
def test_side_by_side_is_one_after_another(
    tmp_path: Path, make_model: MakeModel, shape: Shape, kind: dict[str, object]
) -> None:
    """Models of every kind; also on two devices, which here are the CPU twice."""
    config = settings(make_model(**kind))
    source = write_stack(tmp_path / "in.tif", shape)
    expected = one_after_another(source, tmp_path / "one.zarr", config)
    upscale(source, tmp_path / "side.zarr", config)
    assert files_of(tmp_path / "side.zarr") == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "all_devices", lambda device: [device, device])
        upscale(source, tmp_path / "two.zarr", config)
    assert files_of(tmp_path / "two.zarr") == expected


@pytest.mark.parametrize("size", [1, 50])
def test_queues_of_any_length(stack: Path, tmp_path: Path, config: UpscaleConfig, size: int) -> None:
    expected = one_after_another(stack, tmp_path / "one.zarr", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_WINDOWS", size)
        patch.setattr(pipeline, "_TILES", size)
        upscale(stack, tmp_path / "side.zarr", config)
    assert files_of(tmp_path / "side.zarr") == expected


@pytest.mark.parametrize("stage", ["read", "predict", "fill", "write"])
def test_what_fails_anywhere_is_told_and_can_be_gone_on_with(
    stack: Path, tmp_path: Path, config: UpscaleConfig, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = one_after_another(stack, tmp_path / "one.zarr", config)
    calls: list[int] = []
    original = getattr(Upscaling, stage)

    def fails(self: Upscaling, *args: object) -> object:
        calls.append(1)
        if len(calls) == 10:
            raise OSError(f"{stage} failed")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Upscaling, stage, fails)
        with pytest.raises(OSError, match=f"{stage} failed"):
            upscale(stack, tmp_path / "out.zarr", config)
    assert not (tmp_path / "out.zarr" / "zarr.json").exists()
    resumed = upscale(stack, tmp_path / "out.zarr", config)
    assert 0 < resumed.units_done_before < resumed.units
    assert files_of(tmp_path / "out.zarr") == expected


def test_little_is_in_memory_at_a_time(tmp_path: Path, config: UpscaleConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly shards are written, no more than two are being filled and written."""
    source = write_stack(tmp_path / "in.tif", (1, 1, 1, 100, 60))
    begun, written, most = [], [], []
    begin, write = Upscaling.begin, Upscaling.write

    def counted(self: Upscaling, unit: object) -> Draft:
        begun.append(unit)
        most.append(len(begun) - len(written))
        return begin(self, unit)  # type: ignore[arg-type]

    def slow(self: Upscaling, draft: Draft) -> None:
        time.sleep(0.02)
        write(self, draft)
        written.append(draft.unit)

    monkeypatch.setattr(Upscaling, "begin", counted)
    monkeypatch.setattr(Upscaling, "write", slow)
    upscale(source, tmp_path / "out.zarr", config)
    assert len(written) > 20
    assert max(most) == 2


def test_cancelled_in_the_middle_keeps_what_is_complete(stack: Path, tmp_path: Path, config: UpscaleConfig) -> None:
    seen: list[float] = []

    def stop(event: Progress) -> None:
        if event.stage == "upscale":
            seen.append(event.done)
            if event.done == 9:
                raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        upscale(stack, tmp_path / "out.zarr", config, progress=stop)
    assert seen == list(range(10)), "not a tile more"
    assert upscale(stack, tmp_path / "out.zarr", config).units_done_before == 4, "shards of two tiles"


def test_the_log_says_what_happened(stack: Path, tmp_path: Path, config: UpscaleConfig) -> None:
    def stop(event: Progress) -> None:
        if event.stage == "upscale" and event.done == 5:
            raise Cancelled("by hand")

    with pytest.raises(Cancelled):
        upscale(stack, tmp_path / "out.zarr", config, progress=stop)
    summary = upscale(stack, tmp_path / "out.zarr", config)
    (path,) = (tmp_path / "out.zarr.records").glob("*/log/*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines if line["event"] != "shard"] == ["begin", "end", "begin", "end"]
    ends = [line for line in lines if line["event"] == "end"]
    assert [(line["state"], line.get("reason")) for line in ends] == [("stopped", "by hand"), ("done", None)]
    shards = [line for line in lines if line["event"] == "shard"]
    assert len(shards) == summary.units
    assert len({tuple(line["unit"]) for line in shards}) == summary.units, "each was written once"
    assert sum(line["voxels"] for line in shards) == np.prod(summary.shape)
    assert summary.spent is not None
    assert 0 < summary.spent.predict < summary.seconds
    assert summary.rate == pytest.approx(summary.spent.voxels / 1e6 / summary.seconds)
    assert {"superres", "torch", "host", "device", "settings", "tile"} <= set(lines[0])
    assert str(tmp_path) not in path.read_text()


class TestInputThatDoesNotStay:
    def test_removed(self, stack: Path, tmp_path: Path, config: UpscaleConfig) -> None:
        def remove(event: Progress) -> None:
            if event.stage == "upscale" and event.done == 7:
                stack.unlink()

        with pytest.raises(InputError, match=r"in\.tif.*vanished"):
            upscale(stack, tmp_path / "out.zarr", config, progress=remove)
        assert not (tmp_path / "out.zarr" / "zarr.json").exists()

    def test_changed(self, stack: Path, tmp_path: Path, config: UpscaleConfig) -> None:
        """What was written is of the input as it was."""
        expected = one_after_another(stack, tmp_path / "one.zarr", config)

        def change(event: Progress) -> None:
            if event.stage == "upscale" and event.done == 7:
                stack.write_bytes(stack.read_bytes()[:-2] + b"!!")

        with pytest.raises(InputError, match=r"in\.tif.*changed"):
            upscale(stack, tmp_path / "out.zarr", config, progress=change)
        store = tmp_path / "out.zarr"
        written = {f"/{file.relative_to(store)}": file.read_bytes() for file in store.glob("0/c/*/*/*/*/*")}
        assert 0 < len(written) < len([name for name in expected if name.startswith("/0/c")])
        assert all(expected[name] == content for name, content in written.items())


class TestFullDisk:
    def test_is_waited_for(
        self, stack: Path, tmp_path: Path, config: UpscaleConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline, "_DISK_PAUSE", 0.01)
        expected = one_after_another(stack, tmp_path / "one.zarr", config)
        full, notes = iter([True] * 5 + [False] * 1000), set()
        write = OutputStore.write

        def sometimes(self: OutputStore, *args: object, **kwargs: object) -> None:
            if next(full):
                raise DiskFullError("the disk is full")
            write(self, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(OutputStore, "write", sometimes)
        upscale(stack, tmp_path / "out.zarr", config, progress=lambda event: notes.add(event.note))
        assert any("disk is full" in note for note in notes)
        assert files_of(tmp_path / "out.zarr") == expected

    def test_is_not_waited_for_without_end(
        self, stack: Path, tmp_path: Path, config: UpscaleConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pipeline, "_DISK_PAUSE", 0.01)
        monkeypatch.setattr(pipeline, "_DISK_PATIENCE", 0.1)

        def never(self: OutputStore, *_: object, **__: object) -> None:
            raise DiskFullError(f"{self.path}: the disk is full")

        monkeypatch.setattr(OutputStore, "write", never)
        with pytest.raises(OutputWriteError, match="full"):
            upscale(stack, tmp_path / "out.zarr", config)


def test_a_device_that_vanishes(
    stack: Path, tmp_path: Path, config: UpscaleConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = load_model(config.model, "cpu")
    lost.device = torch.device("cuda", 0)

    def gone(*_: object, **__: object) -> NDArray[np.float32]:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(lost, "predict_inner", gone)
    plan = lost.plan((1, 50, 40), tile=16)
    with pytest.raises(SuperresError, match=r"cuda:0 stopped working .*launch failure.*finished shards are kept"):
        lost.predict_tile(lambda y, x: np.zeros((1, 50, 40), np.float32)[:, y, x], plan, slice(0, 16), slice(0, 16))


def test_windows_hold_what_the_volume_holds(stack: Path) -> None:
    volume = open_volume(stack)
    place = (slice(0, 2), slice(10, 30), slice(5, 25))
    window = read_window(volume, place, [0], [0])
    inside = {"t": 0, "c": 0, "z": slice(1, 2), "y": slice(12, 30), "x": slice(5, 9)}
    np.testing.assert_array_equal(window.read(**inside), volume.read(**inside))  # type: ignore[arg-type]
    assert window.read(**inside).base is not None, "no copy"  # type: ignore[arg-type]
    beyond = inside | {"y": slice(8, 30)}
    np.testing.assert_array_equal(window.read(**beyond), volume.read(**beyond))  # type: ignore[arg-type]
    assert read_window(volume, place, [0], [0], window) is window


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_ctrl_c_stops_and_leaves_nothing_broken(tmp_path: Path, config: UpscaleConfig) -> None:
    stack = write_stack(tmp_path / "in.tif", (1, 1, 8, 60, 60))
    expected = one_after_another(stack, tmp_path / "one.zarr", config)
    command = ["upscale", str(stack), "--model", str(config.model), "--out", str(tmp_path / "out.zarr")]
    for setting in ("tile=16", "shard=1", "device=cpu"):
        command += ["--set", setting]
    # Slow enough to be caught in the middle; and what a shell starts in its background ignores Ctrl-C.
    code = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from superres.cli import main; from superres.inference.predictor import Predictor\n"
        "predict = Predictor.predict_inner\n"
        "Predictor.predict_inner = lambda *a, **k: (time.sleep(0.1), predict(*a, **k))[1]\n"
        "main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.PIPE, text=True)
    records = tmp_path / "out.zarr.records"
    deadline = time.monotonic() + 120
    while len(list(records.glob("*/0/*.json"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "run the same command again to resume" in told
    assert "Traceback" not in told
    assert not (tmp_path / "out.zarr" / "zarr.json").exists()
    resumed = upscale(stack, tmp_path / "out.zarr", config)
    assert 2 <= resumed.units_done_before < resumed.units
    assert files_of(tmp_path / "out.zarr") == expected


def test_fast_settings_tell_what_they_change(
    stack: Path, tmp_path: Path, make_model: MakeModel, config: UpscaleConfig
) -> None:
    model = make_model(blocks=2, middle_blocks=4)
    exact = upscale(stack, tmp_path / "exact.zarr", settings(model))
    assert not any("fast" in warning for warning in exact.warnings)
    fast = upscale(stack, tmp_path / "fast.zarr", settings(model, halo="fast", precision="fast"))
    (halo,) = (warning for warning in fast.warnings if warning.startswith("halo=fast"))
    assert "grey levels" in halo
    assert "% of the range" in halo
    assert any(warning.startswith("precision=fast") for warning in fast.warnings)
    with pytest.raises(SuperresError, match="another input, model or settings"):
        upscale(stack, tmp_path / "exact.zarr", settings(model, halo="fast"))


def test_less_memory_makes_smaller_tiles_and_the_same_bytes(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(make_model(), tile=None, shard=None)
    source = write_stack(tmp_path / "in.tif", (1, 1, 1, 300, 200))
    upscale(source, tmp_path / "much.zarr", config)
    seen: list[object] = []
    original = Predictor.predict_tile

    def noted(self: Predictor, *args: object, **kwargs: object) -> NDArray[np.float32]:
        seen.append(args)
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Predictor, "predict_tile", noted)
    monkeypatch.setattr(predictor, "free_memory", lambda _: 10 << 20)
    upscale(source, tmp_path / "little.zarr", config)
    assert len(seen) > 1
    assert files_of(tmp_path / "little.zarr") == files_of(tmp_path / "much.zarr")
