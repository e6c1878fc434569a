"""The ways of ``superres upscale``: one input, several, folders that are followed, and a plan without any writing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from superres.cli import output, upscale_output
from superres.cli.distribution import Sharing
from superres.errors import InputError, SuperresError
from superres.progress import ProgressCallback

if TYPE_CHECKING:
    from superres.config import UpscaleConfig
    from superres.inference import Predictor, UpscaleSummary
    from superres.inference.batch import Batch, Task
    from superres.volumes import Volume


def one(
    source: Path,
    store: Path,
    config: UpscaleConfig,
    progress: ProgressCallback,
    sharing: Sharing,
    *,
    dry_run: bool,
    as_json: bool,
) -> bool:
    """Upscale one input, or with `dry_run` say what that will come to; return whether an input of a batch failed."""
    from superres import inference
    from superres.inference.batch import Task
    from superres.inference.estimate import Room
    from superres.nets.device import one_heap

    one_heap()
    task = Task(source, store, source.name, _opened(source, config))
    if dry_run:
        return _plan([task], config, store, None, as_json=as_json)
    predictor = inference.load_model(config.model, config.device)
    if config.check_disk and task.volume is not None:
        Room(config).require(store, {store: task.volume}, predictor)
    with sharing.upscaling() as upscale:
        summary = upscale(source, store, config, progress=progress, predictor=predictor)
    output.show_upscaled(source, summary, as_json=as_json)
    return False


def several(
    tasks: list[Task],
    out: Path,
    config: UpscaleConfig,
    progress: ProgressCallback,
    sharing: Sharing,
    *,
    dry_run: bool,
    as_json: bool,
) -> bool:
    """Upscale several inputs, or with `dry_run` say what that will come to; return whether any failed."""
    from superres.nets.device import one_heap

    one_heap()
    report = sharing.name_of("upscale.json")
    tasks, sharing = sharing.deal(tasks)
    if dry_run:
        return _plan(tasks, config, out, _batch(config, out, report), as_json=as_json)
    with sharing.upscaling() as upscale:
        batch = _batch(config, out, report, upscale, side_by_side=sharing.is_alone)
        try:
            batch.run(tasks, progress)
        except KeyboardInterrupt:
            upscale_output.show_stopped(batch)
            raise
    upscale_output.show_batch(batch, as_json=as_json)
    return any(row.state == "failed" for row in batch.rows.values())


def watch(
    folders: list[Path],
    out: Path,
    config: UpscaleConfig,
    progress: ProgressCallback,
    sharing: Sharing,
    *,
    as_json: bool,
) -> bool:
    """Upscale what arrives in folders; return whether anything failed or never became complete."""
    from superres.inference.batch import refuse_own_folder
    from superres.inference.watching import Watch
    from superres.nets.device import one_heap
    from superres.volumes.collection import is_single

    one_heap()
    for folder in folders:
        if folder.is_file() or (folder.is_dir() and is_single(folder)):
            raise InputError(f"{folder}: an image found, a folder expected; --watch follows folders")
    refuse_own_folder(folders, out)
    with sharing.upscaling() as upscale:
        batch = _batch(config, out, sharing.name_of("upscale.json"), upscale)
        try:
            Watch(batch, folders, out, config, progress, output.show_note).run()
        except KeyboardInterrupt:
            upscale_output.show_stopped(batch)
            raise
    upscale_output.show_batch(batch, as_json=as_json)
    return any(row.state in ("failed", "waiting") for row in batch.rows.values())


def _batch(
    config: UpscaleConfig,
    out: Path,
    report: str,
    upscale: Callable[..., UpscaleSummary] | None = None,
    *,
    side_by_side: bool = False,
) -> Batch:
    from superres import inference
    from superres.inference.batch import Batch

    def load() -> Predictor:
        return inference.load_model(config.model, config.device)

    return Batch(config, out, upscale or inference.upscale, load, report, side_by_side=side_by_side)


def _plan(tasks: list[Task], config: UpscaleConfig, out: Path, batch: Batch | None, *, as_json: bool) -> bool:
    """Say what an upscaling will come to; return whether any input cannot be upscaled."""
    from superres import inference
    from superres.inference.estimate import space_free
    from superres.inference.forecast import Forecast, Pace, forecast
    from superres.volumes import open_volume

    todo = [task for task in tasks if batch is None or not batch.skip(task)]
    predictor = inference.load_model(config.model, config.device)
    pace = Pace(predictor)
    planned: list[Forecast] = []
    failures: dict[Path, str] = {}
    for task in todo:
        try:
            volume = task.volume or open_volume(task.source, axes=config.axes, voxel_size=config.voxel_size)
            planned.append(forecast(volume, task.source, task.out, config, pace))
        except SuperresError as error:
            if batch is None:
                raise
            failures[task.source] = str(error)
    finished = [] if batch is None else list(batch.rows)
    upscale_output.show_plan(planned, finished, failures, space_free(out), pace.device, as_json=as_json)
    return bool(failures)


def _opened(source: Path, config: UpscaleConfig) -> Volume | None:
    """Open an input to look at its size; what is wrong with it is said when it is read."""
    from superres.volumes import open_volume

    try:
        return open_volume(source, axes=config.axes, voxel_size=config.voxel_size)
    except SuperresError:
        return None
