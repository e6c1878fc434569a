"""What is shown of a result while it is written is what it will be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superres.config import UpscaleConfig
from superres.errors import Cancelled
from superres.plugin.filling import Coarse, FineChannel, coarse_channel, picture_of
from superres.plugin.upscale_task import request, run
from superres.progress import Progress
from superres.volumes import open_volume
from superres.volumes.pyramid import mean_pooled

MakePath = Callable[..., Path]


def upscaled(asked: dict[str, Any], stop_after: int | None = None) -> list[dict[str, Any]]:
    """Do a job here, as far as some tiles; return what the viewer would be told."""
    told: list[dict[str, Any]] = []

    def progress(event: Progress) -> None:
        if stop_after is not None and event.stage == "upscale" and event.done >= stop_after:
            raise Cancelled("stop")

    try:
        run(asked, progress, told.append)
    except Cancelled:
        assert stop_after is not None
    return told


def filled(told: list[dict[str, Any]]) -> Coarse:
    begun = told[0]["begun"]
    coarse = Coarse(tuple(begun["shape"]), tuple(begun["steps"]), begun["dtype"])
    for one in told[1:]:
        picture = picture_of(one)
        assert picture is not None and not Path(one["picture"]).exists()
        coarse.take(tuple(one["shard"]), picture)
    return coarse


@pytest.mark.parametrize("stop_after", [pytest.param(None, marks=pytest.mark.long), 9])
def test_pictures_add_up_to_the_result_resumed_or_not(
    tmp_path: Path, make_model: MakePath, make_stack: MakePath, stop_after: int | None
) -> None:
    config = UpscaleConfig(model=make_model(), tile=32, shard=1, device="cpu", trust=False)
    out = tmp_path / "out.ome.zarr"
    asked = request(make_stack(c=2, z=2, y=150, x=140), out, config, pictures=tmp_path)
    if stop_after is not None:
        assert len(upscaled(asked, stop_after)) > 1
    told = upscaled(asked)
    begun = told[0]["begun"]
    assert begun["path"] == str(out) and begun["channels"] == [0, 1] and begun["start"] == [0, 0, 0, 0]
    coarse = filled(told)
    whole = open_volume(out).levels[0].compute()
    assert whole.shape == tuple(begun["shape"])
    expected = np.stack([mean_pooled(block, coarse.steps) for block in whole[0]])
    np.testing.assert_array_equal(coarse.voxels[0], expected)


def test_crops_say_where_they_begin(tmp_path: Path, make_model: MakePath, make_stack: MakePath) -> None:
    crop = {"z": (1, 2), "y": (8, 40), "x": (3, 50)}
    config = UpscaleConfig.model_validate({"model": make_model(), "device": "cpu", "trust": False, "crop": crop})
    told = upscaled(request(make_stack(z=2), tmp_path / "out.ome.zarr", config, pictures=tmp_path))
    assert told[0]["begun"]["start"] == [0, 1, 8, 3]
    assert told[0]["begun"]["shape"] == [1, 1, 1, 64, 94]


INDICES = [
    (0, slice(3, 20), slice(5, None)),
    (slice(0, 2), slice(None), 7),
    (slice(None), slice(0, 99, 3), slice(1, 60, 2)),
    (np.int64(1), slice(None), slice(None)),
    (1,),
    (-1, -1, -1),
]


def test_fine_voxels_are_read_as_an_array_would_be(tmp_path: Path, make_model: MakePath, make_stack: MakePath) -> None:
    config = UpscaleConfig(model=make_model(), tile=32, shard=1, device="cpu", trust=False)
    asked = request(make_stack(c=2, z=2), tmp_path / "out.ome.zarr", config, pictures=tmp_path)
    upscaled(asked, stop_after=9)
    coarse = filled(upscaled(asked))
    whole = open_volume(tmp_path / "out.ome.zarr").levels[0].compute()
    fine = FineChannel(tmp_path / "out.ome.zarr", 1, "ZYX", coarse)
    assert (fine.shape, fine.ndim, fine.dtype) == (whole.shape[2:], 3, whole.dtype)
    for index in INDICES:
        np.testing.assert_array_equal(fine[index], whole[0, 1][index])
    np.testing.assert_array_equal(coarse_channel(coarse, 1, "ZYX"), coarse.voxels[0, 1])
    assert coarse_channel(coarse, 1, "TZYX").shape == coarse.voxels[:, 1].shape


def test_too_much_at_once_is_answered_by_coarse_voxels(
    tmp_path: Path, make_model: MakePath, make_stack: MakePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = UpscaleConfig(model=make_model(), device="cpu", trust=False)
    asked = request(make_stack(y=300, x=280), tmp_path / "out.ome.zarr", config, pictures=tmp_path)
    coarse = filled(upscaled(asked))
    monkeypatch.setattr("superres.plugin.filling._MOST_VOXELS", 1000)
    fine = FineChannel(tmp_path / "out.ome.zarr", 0, "YX", coarse)
    _, fy, fx = coarse.steps
    assert (fy, fx) == (2, 2)
    expected = coarse.voxels[0, 0, 0].repeat(fy, 0).repeat(fx, 1)
    np.testing.assert_array_equal(fine[:, 10:], expected[: fine.shape[0], 10 : fine.shape[1]])


def test_a_picture_that_is_gone_is_left_out(tmp_path: Path) -> None:
    assert picture_of({"picture": str(tmp_path / "gone.npy")}) is None
