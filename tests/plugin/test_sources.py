from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from superres.errors import InputError
from superres.plugin.pace import Pace, duration
from superres.plugin.placing import middle
from superres.plugin.remembered import remember_model, remembered_models
from superres.plugin.sources import save_voxels
from superres.progress import Progress


@pytest.mark.parametrize("kind", ["plain", "columns first", "every second", "dask"])
def test_voxels_are_written_as_they_are(tmp_path: Path, kind: str) -> None:
    image = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    shown = {
        "plain": image,
        "columns first": np.asfortranarray(image),
        "every second": image[::2, ::-1],
        "dask": da.from_array(image, chunks=(1, 6, 5)),
    }[kind]
    save_voxels(shown, tmp_path / "voxels.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "voxels.npy"), np.asarray(shown))


def test_a_disk_that_cannot_hold_them_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written there"):
        save_voxels(np.zeros((3, 3)), tmp_path / "no folder" / "voxels.npy")


def test_the_middle_of_a_view_is_taken_where_it_is_large() -> None:
    assert middle({"y": (10, 1010), "x": (5, 100)}, 256) == {"y": (382, 638), "x": (5, 100)}


def test_models_are_remembered_the_latest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    models = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for model in models:
        model.touch()
        remember_model(model)
    remember_model(models[0])
    assert remembered_models() == [models[0], models[2], models[1]]
    models[2].unlink()
    assert remembered_models() == [models[0], models[1]]


def test_time_left_is_what_the_stage_took_so_far() -> None:
    pace = Pace()
    assert pace.text(Progress("start", 0, 0, note="loading the model"), 0.0) == "loading the model"
    # 40 of 100 had been done by an earlier run.
    assert pace.text(Progress("upscale", 40, 100, "tiles"), 10.0) == "upscale 40 of 100 tiles"
    assert pace.text(Progress("upscale", 50, 100, "tiles"), 20.0) == "upscale 50 of 100 tiles, 50 s left"
    assert pace.text(Progress("upscale", 100, 100, "tiles"), 70.0) == "upscale 100 of 100 tiles"
    assert [duration(seconds) for seconds in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3:20 min", "2:05:00 h"]
