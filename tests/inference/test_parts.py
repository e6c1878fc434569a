"""Parts of one output, each done by a job that knows nothing of the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superres.config import UpscaleConfig
from superres.errors import ConfigError, OutputInUseError
from superres.inference import UpscaleSummary, upscale
from superres.inference.parts import Part
from superres.inference.upscaling import Upscaling
from superres.progress import Progress
from superres.volumes import verify_store
from superres.volumes.output_lock import OutputLock

FilesOf = Callable[[Path, str], dict[str, bytes]]


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 24, "shard": 1, "device": "cpu"} | changes)


@given(items=st.lists(st.integers(), max_size=40), count=st.integers(1, 12), together=st.integers(1, 4))
def test_parts_share_everything_evenly(items: list[int], count: int, together: int) -> None:
    parts = [Part(number, count).of(items, together=together) for number in range(1, count + 1)]
    assert [item for part in parts for item in part] == items
    starts = np.cumsum([0, *map(len, parts)])
    assert all(start % together == 0 or start == len(items) for start in starts)
    groups = [-(-len(part) // together) for part in parts]
    assert max(groups) - min(groups) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/2/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"from 1/8 to 8/8"):
        Part.parse(text)
    assert Part.parse(" 3/8 ") == Part(3, 8)


@pytest.mark.parametrize("kind", ["plane", "volume", "frames", "channels"])
def test_parts_write_the_same_as_one_run(
    stack: Path, tmp_path: Path, thin_models: dict[str, Path], files_of: FilesOf, kind: str
) -> None:
    config = settings(thin_models[kind], tile=48 if kind == "volume" else 24)
    whole = upscale(stack, tmp_path / "whole.zarr", config)
    found = [upscale(stack, tmp_path / "parts.zarr", config, part=Part(number, 3)) for number in (2, 3, 1)]
    # The volume has two shards, so that the third part has none.
    assert [one.finished for one in found] == [False, kind == "volume", True]
    assert [one.missing > 0 for one in found] == [True, kind != "volume", False]
    assert found[-1].clipped == whole.clipped
    assert files_of(tmp_path, "parts") == files_of(tmp_path, "whole")
    assert verify_store(tmp_path / "parts.zarr") == []


def test_a_run_without_parts_finishes_what_they_left(stack: Path, tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config = settings(thin_models["plane"])
    part = upscale(stack, tmp_path / "out.zarr", config, part=Part(2, 3))
    whole = upscale(stack, tmp_path / "out.zarr", config)
    assert whole.finished
    assert whole.units_done_before == part.units - part.missing > 0
    again = upscale(stack, tmp_path / "out.zarr", config, part=Part(1, 3))
    assert again.finished
    assert again.units_done_before == again.units
    assert verify_store(tmp_path / "out.zarr") == []


def test_more_parts_than_shards(stack: Path, tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config = settings(thin_models["plane"], tile=64, trust=False, guard=False, channels=(0,))
    found = [upscale(stack, tmp_path / "out.zarr", config, part=Part(number, 4)) for number in range(1, 5)]
    assert found[0].units == 1
    assert [one.finished for one in found] == [False, False, False, True]


def test_a_part_reports_its_own_tiles(stack: Path, tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config = settings(thin_models["plane"])
    ends = []
    for number in (1, 2):
        events: list[Progress] = []
        upscale(stack, tmp_path / "out.zarr", config, part=Part(number, 2), progress=events.append)
        tiles = [event for event in events if event.stage == "upscale"]
        assert tiles[0].done == 0
        assert tiles[-1].done == tiles[-1].total
        ends.append(tiles[-1].total)
    upscaling = Upscaling.open(stack, tmp_path / "out.zarr", config)
    assert sum(ends) == upscaling.all_tiles() == sum(upscaling.tiles(unit) for unit in upscaling.units())


def test_channels_that_are_predicted_at_once_stay_together(
    stack: Path, tmp_path: Path, thin_models: dict[str, Path]
) -> None:
    upscaling = Upscaling.open(stack, tmp_path / "out.zarr", settings(thin_models["channels"]))
    units = upscaling.units()
    for number in (1, 2, 3):
        own = Part(number, 3).of(units, together=upscaling.together)
        assert {unit._replace(c=1 - unit.c) for unit in own} == set(own)


def test_another_run_is_refused_while_one_writes(stack: Path, tmp_path: Path, thin_models: dict[str, Path]) -> None:
    config, out = settings(thin_models["plane"]), tmp_path / "out.zarr"
    with OutputLock(out), pytest.raises(OutputInUseError, match=r"out\.zarr: is being written by another run"):
        upscale(stack, out, config)
    with OutputLock(out, (1, 2)):
        with pytest.raises(OutputInUseError, match="part 1/2"):
            upscale(stack, out, config, part=Part(1, 2))
        upscale(stack, out, config, part=Part(2, 2))
    with pytest.raises(ConfigError, match="overwrite=true"):
        upscale(stack, out, settings(thin_models["plane"], overwrite=True), part=Part(1, 2))
    with pytest.raises(OutputInUseError), OutputLock(out):
        upscale(stack, out, config)


_PART = """
from superres.inference import upscale
from superres.inference.parts import Part
pipe.send("ready")
pipe.recv()
summary = upscale(source, out, config, part=Part(number, 3))
pipe.send(summary.finished)
"""


def test_parts_that_start_together_finish_once(
    stack: Path, tmp_path: Path, thin_models: dict[str, Path], files_of: FilesOf
) -> None:
    config = settings(thin_models["plane"], guard=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["superres.inference.engine"])
    jobs = []
    for number in (1, 2, 3):
        pipe, end = context.Pipe()
        names = {"source": stack, "out": tmp_path / "parts.zarr", "config": config, "number": number, "pipe": end}
        process = context.Process(target=exec, args=(_PART, names))
        process.start()
        end.close()
        jobs.append((process, pipe))
    assert [pipe.recv() for _, pipe in jobs] == ["ready"] * 3
    for _, pipe in jobs:
        pipe.send("go")
    told = [pipe.recv() for _, pipe in jobs]
    for process, _ in jobs:
        process.join(60)
    assert any(told), "whoever ends last finishes"
    whole: UpscaleSummary = upscale(stack, tmp_path / "whole.zarr", config)
    assert whole.finished
    assert files_of(tmp_path, "parts") == files_of(tmp_path, "whole")
    assert verify_store(tmp_path / "parts.zarr") == []
