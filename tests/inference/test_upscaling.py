from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from superres.config import UpscaleConfig
from superres.errors import ModelFileError
from superres.inference import upscale
from superres.inference.engine import finish
from superres.inference.upscaling import Upscaling
from superres.progress import silent
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Two channels of two planes, the second of which holds values that cannot be written as they are."""
    path = tmp_path / "stack.tif"
    image = np.random.default_rng(0).integers(0, 255, (1, 2, 2, 50, 40))
    save_hyperstack(path, image.astype(np.uint8), voxel_size=(0.5, 0.2, 0.2))
    return path


def settings(model: Path) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 16, "shard": 1, "device": "cpu"})


def events() -> Iterator[None]:
    return repeat(None)


def test_a_copy_in_another_process_writes_the_same(
    stack: Path, tmp_path: Path, make_model: MakeModel, files_of: Callable[[Path, str], dict[str, bytes]]
) -> None:
    config = settings(make_model())
    whole = upscale(stack, tmp_path / "whole.zarr", config)
    here = Upscaling.open(stack, tmp_path / "shared.zarr", config)
    there = pickle.loads(pickle.dumps(here))
    assert there.predictor is not here.predictor
    units = here.units()
    for unit in units[::2]:
        here.do(unit, events())
    for unit in units[1::2]:
        there.do(unit, events())
    assert all(here.is_done(unit) for unit in units)
    shared = finish(here, silent, started=0, done_before=0)
    assert files_of(tmp_path, "shared") == files_of(tmp_path, "whole")
    assert shared.clipped == whole.clipped > 0


def test_the_model_is_loaded_once(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    config = settings(make_model())
    sent = pickle.dumps(Upscaling.open(stack, tmp_path / "out.zarr", config))
    assert len(sent) < 100_000, "arrays or weights travel"
    assert pickle.loads(sent).predictor is pickle.loads(sent).predictor


def test_another_model_at_the_path_is_refused(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    sent = pickle.dumps(Upscaling.open(stack, tmp_path / "out.zarr", settings(model)))
    make_model(seed=1).replace(model)
    with pytest.raises(ModelFileError, match="another model than where the upscaling was started"):
        pickle.loads(sent)


def test_clipped_voxels_of_earlier_runs_are_told(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    config = settings(make_model())
    first = upscale(stack, tmp_path / "out.zarr", config)
    again = upscale(stack, tmp_path / "out.zarr", config)
    assert again.units_done_before == again.units
    assert again.clipped == first.clipped > 0
