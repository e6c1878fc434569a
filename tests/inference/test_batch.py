"""Many inputs: what is finished is skipped, what fails does not keep the others, what is stopped goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from superres.config import UpscaleConfig
from superres.errors import Cancelled, InputError, MissingFileError, OutputWriteError
from superres.inference import UpscaleSummary, estimate
from superres.inference import upscale as real_upscale
from superres.inference.batch import Batch, Row, Task, counted, refuse_own_folder
from superres.inference.watching import Clock, Watch
from superres.progress import Progress, silent
from superres.volumes import OutputStore, StoreLayout, open_volume
from superres.volumes.collection import find_acquisitions

MakeModel = Callable[..., Path]


class Engine:
    """Stands in for the engine: copies the input into a store that knows what it was made from."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.meanwhile: Callable[[Path], object] = lambda source: None
        self.afterwards: Callable[[Path], object] = lambda source: None

    def __call__(self, source: Path, out: Path, config: UpscaleConfig, *, progress: Any, predictor: Any) -> Any:
        assert predictor == "the model"
        self.calls.append(source.name)
        volume = open_volume(source)
        if "bug" in source.name:
            raise ZeroDivisionError("a bug")
        if volume.shape[3] < 3:
            raise InputError(f"{source}: too small")
        space = volume.shape[2:]
        facts = json.dumps([volume.identity(), config.model_dump(mode="json", exclude={"overwrite"})])
        fingerprint = hashlib.sha256(facts.encode()).hexdigest()
        layout = StoreLayout((1, 1, *space), "uint8", space, space, fingerprint=fingerprint)
        store = OutputStore.open(out, layout, overwrite=config.overwrite)
        progress(Progress("upscale", 0, 2, "tiles"))
        self.meanwhile(source)
        for unit in store.units():
            store.write(unit, volume.read(t=0, c=0, z=slice(None), y=slice(None), x=slice(None)))
        progress(Progress("upscale", 2, 2, "tiles"))
        store.finish()
        self.afterwards(source)
        return UpscaleSummary(out, layout.shape, (None,) * 3, 1, 0, 0.1, 0, ("a warning",))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(estimate.Room, "require", lambda *arguments: None)
    return Engine()


def image(path: Path, shape: tuple[int, ...] = (6, 5), value: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full(shape, value, np.uint8), photometric="minisblack")
    return path


class Job:
    """A folder of images and a batch of it."""

    def __init__(self, folder: Path, model: Path, engine: Engine, **settings: Any) -> None:
        self.folder, self.out, self.engine = folder / "in", folder / "out", engine
        self.folder.mkdir(exist_ok=True)
        self.config = UpscaleConfig.model_validate({"model": model} | settings)
        self.loads = 0
        self.events: list[Progress] = []

    def new(self) -> Batch:
        self.engine.calls.clear()
        return Batch(self.config, self.out, self.engine, self.load)

    def load(self) -> Any:
        self.loads += 1
        return "the model"

    def tasks(self) -> list[Task]:
        return [Task.of(one, self.out) for one in find_acquisitions([self.folder])]

    def run(self) -> dict[str, str]:
        self.loads, self.events = 0, []
        batch = self.new()
        batch.run(self.tasks(), self.events.append)
        return {row.file.name: row.state for row in batch.rows.values()}

    def report(self) -> dict[str, dict[str, Any]]:
        content = json.loads((self.out / "upscale.json").read_text())
        return {Path(row["file"]).name: row for row in content["files"]}


@pytest.fixture
def job(tmp_path: Path, make_model: MakeModel, engine: Engine) -> Job:
    return Job(tmp_path, make_model(), engine)


def test_what_fails_is_remembered_and_the_others_are_done(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    image(job.folder / "a.tif")
    image(job.folder / "bug.tif")
    image(job.folder / "small.tif", (2, 2))
    (job.folder / "torn.tif").write_bytes((job.folder / "a.tif").read_bytes()[:60])
    image(job.folder / "sub" / "z.tif")
    states = job.run()
    assert states == {
        "a.tif": "done",
        "bug.tif": "failed",
        "small.tif": "failed",
        "torn.tif": "failed",
        "z.tif": "done",
    }
    assert job.loads == 1
    report = job.report()
    assert report["a.tif"]["output"] == str(job.out / "a.ome.zarr")
    assert report["z.tif"]["output"] == str(job.out / "sub" / "z.ome.zarr")
    assert report["a.tif"]["remarks"] == ["a warning"]
    assert report["small.tif"]["reason"].endswith("small.tif: too small")
    assert "a bug of superres" in report["bug.tif"]["reason"]
    assert "Traceback" in capsys.readouterr().err
    assert {row["state"] for row in report.values()} == set(states.values())


def test_what_is_finished_is_skipped_without_the_model(job: Job) -> None:
    image(job.folder / "a.tif")
    image(job.folder / "b.tif")
    job.run()
    assert job.run() == {"a.tif": "skipped", "b.tif": "skipped"}
    assert (job.loads, job.engine.calls) == (0, [])
    image(job.folder / "c.tif")
    assert job.run() == {"a.tif": "skipped", "b.tif": "skipped", "c.tif": "done"}
    assert job.engine.calls == ["c.tif"]


@pytest.mark.parametrize("change", ["input", "settings", "model", "shard"])
def test_what_was_changed_is_not_skipped(change: str, job: Job, make_model: MakeModel) -> None:
    image(job.folder / "a.tif")
    job.run()
    if change == "input":
        image(job.folder / "a.tif", (8, 5))
    elif change == "shard":
        (job.out / "a.ome.zarr" / "0" / "c" / "0" / "0" / "0" / "0" / "0").unlink()
    else:
        changes = {"settings": {"tile": 32}, "model": {"model": make_model(seed=1)}}[change]
        job.config = job.config.model_copy(update=changes)
    # Only what these very settings began is gone on with; the engine refuses the rest, as it does without a batch.
    assert job.run() == {"a.tif": "done" if change == "shard" else "failed"}
    if change != "shard":
        assert "overwrite=true" in job.report()["a.tif"]["reason"]


def test_another_device_or_overwriting_changes_no_output(job: Job) -> None:
    image(job.folder / "a.tif")
    job.run()
    job.config = job.config.model_copy(update={"device": "cpu", "overwrite": True})
    assert job.run() == {"a.tif": "skipped"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled])
def test_a_stopped_batch_says_what_is_left_and_goes_on(stop: type[BaseException], job: Job) -> None:
    for name in "abc":
        image(job.folder / f"{name}.tif")

    def interrupt(source: Path) -> None:
        if source.name == "b.tif":
            raise stop

    job.engine.meanwhile = interrupt
    with pytest.raises(stop):
        job.run()
    assert {name: row["state"] for name, row in job.report().items()} == {
        "a.tif": "done", "b.tif": "stopped", "c.tif": "stopped",
    }  # fmt: skip
    job.engine.meanwhile = lambda source: None
    assert job.run() == {"a.tif": "skipped", "b.tif": "done", "c.tif": "done"}


def test_progress_goes_by_the_size_of_the_inputs(job: Job) -> None:
    image(job.folder / "a.tif", (10, 30))
    image(job.folder / "b.tif", (10, 10))
    job.run()
    shown = [event.done for event in job.events if event.stage == "batch"]
    assert shown == pytest.approx([0, 0, 75, 75, 75, 100, 100])


def test_an_input_that_changes_meanwhile_is_not_taken_for_finished(job: Job) -> None:
    source = image(job.folder / "a.tif")
    job.engine.afterwards = lambda path: image(source, (9, 5))
    assert job.run() == {"a.tif": "done"}
    assert job.report()["a.tif"]["remarks"][-1] == "the input was written to meanwhile"
    job.engine.afterwards = lambda path: None
    assert job.run() == {"a.tif": "failed"}  # the engine refuses what was made from another input


def test_without_a_model_nothing_begins(job: Job) -> None:
    job.config = job.config.model_copy(update={"model": job.folder / "none"})
    with pytest.raises(MissingFileError, match="no such model file"):
        job.new()


def test_outputs_never_go_where_inputs_are_searched(tmp_path: Path) -> None:
    refuse_own_folder([tmp_path / "a"], tmp_path / "b")
    with pytest.raises(InputError, match="also searched for inputs"):
        refuse_own_folder([tmp_path], tmp_path / "x" / "..")


def test_rows_are_counted_by_state() -> None:
    rows = [Row(Path(name), "done" if name < "c" else "failed", Path(name)) for name in "abcd"]
    assert counted(rows) == {"done": 2, "failed": 2}


def test_a_batch_that_does_not_fit_is_not_begun(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OutputWriteError("full")

    monkeypatch.setattr(estimate.Room, "require", refuse)
    image(job.folder / "a.tif")
    with pytest.raises(OutputWriteError):
        job.run()
    assert job.engine.calls == []
    job.config = job.config.model_copy(update={"check_disk": False})
    assert job.run() == {"a.tif": "done"}


def test_a_batch_of_the_real_engine(tmp_path: Path, make_model: MakeModel) -> None:
    """Second time nothing is done, and a note knows of the maps too."""
    from superres.inference import load_model

    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.random.default_rng(0).integers(0, 999, (40, 48)).astype(np.uint16))
    config = UpscaleConfig(model=make_model(), device="cpu")
    tasks = [Task.of(one, tmp_path / "out") for one in find_acquisitions([tmp_path / "in"])]
    for state in ("done", "skipped"):
        batch = Batch(config, tmp_path / "out", real_upscale, lambda: load_model(config.model, "cpu"))
        batch.run(tasks, silent)
        assert [row.state for row in batch.rows.values()] == [state]
    (tmp_path / "out" / "a.trust.json").unlink()
    assert not batch.skip(tasks[0])


# --- folders that are followed ---------------------------------------------------------------------------------------


class Time:
    """Time that passes while it is slept through; something happens at certain seconds."""

    def __init__(self, events: dict[int, Callable[[], object]]) -> None:
        self.seconds, self.events = 0, events

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.seconds += 1
            self.events.get(self.seconds, lambda: None)()
        assert self.seconds < 1000, "it does not end"


def follow(job: Job, events: dict[int, Callable[[], object]], **settings: Any) -> tuple[dict[str, str], list[str]]:
    """Watch with a look every second; return states by name, and what was told."""
    chosen = {"interval": 1, "settle": 3, "polls": 2, "overdue": 20, "idle": 60} | settings
    job.config = job.config.model_validate(job.config.model_dump() | {"watch": chosen, "model": job.config.model})
    told: list[str] = []
    time = Time(events)
    batch = job.new()
    Watch(batch, [job.folder], job.out, job.config, silent, told.append, Clock(time.now, time.sleep)).run()
    assert told.pop(0).startswith(f"Watching {job.folder}")
    return {row.file.name: row.state for row in batch.rows.values()}, told


def test_what_arrives_is_done_and_the_watch_ends_when_nothing_comes(job: Job) -> None:
    states, told = follow(job, {5: lambda: image(job.folder / "a.tif"), 30: lambda: image(job.folder / "s" / "b.tif")})
    assert states == {"a.tif": "done", "b.tif": "done"}
    assert [text.split(": ")[1].split(" in ")[0] for text in told] == ["done", "done"]
    assert set(job.report()) == {"a.tif", "b.tif"}


def test_a_watch_that_starts_again_skips_what_is_done(job: Job) -> None:
    follow(job, {1: lambda: image(job.folder / "a.tif")})
    states, told = follow(job, {3: lambda: image(job.folder / "b.tif")})
    assert states == {"a.tif": "skipped", "b.tif": "done"}
    assert job.engine.calls == ["b.tif"]
    assert "finished before" in told[0]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_grows_after_it_was_taken_is_made_anew(job: Job, restarted: bool) -> None:
    source = job.folder / "a.tif"
    if restarted:
        follow(job, {1: lambda: image(source)})
        states, _ = follow(job, {1: lambda: image(source, (9, 5))})
    else:
        states, told = follow(job, {1: lambda: image(source), 20: lambda: image(source, (9, 5))})
        assert any("made anew" in text for text in told)
    assert states == {"a.tif": "done"}
    assert open_volume(job.out / "a.ome.zarr").shape[3:] == (9, 5)


def test_what_grows_while_it_is_done_is_made_anew(job: Job) -> None:
    source = job.folder / "a.tif"

    def grow(path: Path) -> None:
        job.engine.meanwhile = lambda path: None
        image(source, (9, 5))

    job.engine.meanwhile = grow
    states, _ = follow(job, {1: lambda: image(source)})
    assert states == {"a.tif": "done"}
    assert open_volume(job.out / "a.ome.zarr").shape[3:] == (9, 5)


def test_a_watch_that_was_killed_makes_anew_what_has_grown(job: Job) -> None:
    """An unfinished store of the same settings, begun from less of the same file, is replaced; the report tells."""
    source = job.folder / "a.tif"

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    job.engine.meanwhile = killed
    with pytest.raises(KeyboardInterrupt):
        follow(job, {1: lambda: image(source)})
    assert job.report()["a.tif"]["state"] == "stopped"
    job.engine.meanwhile = lambda path: None
    states, _ = follow(job, {1: lambda: image(source, (9, 5))})
    assert states == {"a.tif": "done"}


def test_an_output_of_others_is_never_replaced(job: Job) -> None:
    source = image(job.folder / "a.tif")
    job.run()
    before = (job.out / "a.ome.zarr" / "zarr.json").read_bytes()
    job.config = job.config.model_copy(update={"tile": 32})
    states, _ = follow(job, {20: lambda: image(source, (9, 5)), 50: lambda: image(source, (10, 5))})
    assert states == {"a.tif": "failed"}
    assert (job.out / "a.ome.zarr" / "zarr.json").read_bytes() == before


def test_what_never_completes_is_named_once_and_at_the_end(job: Job) -> None:
    content = image(job.folder / "a.tif").read_bytes()
    (job.folder / "a.tif").write_bytes(content[:60])
    states, told = follow(job, {})
    assert states == {"a.tif": "waiting"}
    assert len(told) == 1
    assert "a.tif: not complete after" in told[0]
    assert "not complete: " in job.report()["a.tif"]["reason"]


def test_what_cannot_be_written_is_tried_again(job: Job) -> None:
    def full(path: Path) -> None:
        if len(job.engine.calls) < 3:
            raise OutputWriteError("the disk is full")

    job.engine.meanwhile = full
    states, told = follow(job, {1: lambda: image(job.folder / "a.tif")})
    assert states == {"a.tif": "done"}
    assert ["waits, and is tried again" in text for text in told] == [True, False]


def test_two_images_of_one_name_are_not_written_to_one_place(job: Job) -> None:
    image(job.folder / "a.tif")
    states, told = follow(job, {20: lambda: np.save(job.folder / "a.npy", np.ones((6, 5), np.uint8))})
    assert states == {"a.tif": "done", "a.npy": "failed"}
    assert "same store as" in told[1]


def test_a_folder_that_goes_for_a_while_is_looked_for_again(job: Job) -> None:
    away = job.folder.with_name("away")
    image(job.folder / "a.tif")
    events = {
        10: lambda: job.folder.rename(away),
        20: lambda: away.rename(job.folder),
        30: lambda: image(job.folder / "b.tif"),
    }
    states, told = follow(job, events)
    assert states == {"a.tif": "done", "b.tif": "done"}
    assert sum("cannot be read" in text for text in told) == 1
