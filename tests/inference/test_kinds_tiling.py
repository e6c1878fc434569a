"""Nets of neighbouring images, of several channels and of three dimensions: tiled equals untiled, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.errors import InputError, ModelFileError
from superres.inference import load_model, upscale
from superres.inference.predictor import Predictor
from superres.volumes import Volume, open_volume
from superres.volumes.edges import around
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]


def image_of(*shape: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(300, 40_000, shape).astype(np.uint16)


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "device": "cpu", "dtype": "float32", "tile": 24} | changes)


def stored(path: Path) -> NDArray[np.float32]:
    found: NDArray[np.float32] = open_volume(path).levels[0].compute()
    return found


@pytest.mark.parametrize(("axis", "frames", "target"), [("z", 5, 2), ("t", 3, 1), ("c", 2, 0)])
def test_neighbouring_images_tiled_equals_untiled(
    tmp_path: Path, make_model: MakeModel, axis: str, frames: int, target: int
) -> None:
    """The store, tile by tile and guarded, holds what the net makes of the frames that are put before it by hand."""
    predictor = load_model(make_model(axis=axis, frames=frames, target=target), "cpu")
    shape = {"z": (1, 1, 3, 40, 30), "t": (3, 1, 1, 40, 30), "c": (1, 2, 2, 40, 30)}[axis]
    image = image_of(*shape)
    save_hyperstack(tmp_path / "in.tif", image)
    upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(tmp_path / "model0.safetensors", guard=False))
    out = stored(tmp_path / "out.zarr")
    # An image in memory has one axis beside its channels, along which the neighbours lie.
    untiled = predictor.restore(image[:, 0].swapaxes(0, 1) if axis == "t" else image[0], tile=4096, guarded=False)
    np.testing.assert_array_equal(out, (untiled.swapaxes(0, 1) if axis == "t" else untiled[0])[None].reshape(out.shape))
    assert out.std() > 0
    middle = image.copy()
    middle[tuple({"z": (0, 0, 0), "t": (0, 0, 0), "c": (0, 1, 0)}[axis])] += 5000
    changed = predictor.restore(middle[:, 0].swapaxes(0, 1) if axis == "t" else middle[0], guarded=False)
    assert (changed != untiled).any(axis=(-2, -1)).sum() >= 1, "neighbours are seen"


def test_guard_and_intervals_see_the_image_that_is_predicted(tmp_path: Path, make_model: MakeModel) -> None:
    predictor = load_model(make_model(axis="z", frames=3, target=1, interval=True), "cpu")
    image = image_of(1, 1, 3, 40, 30)
    save_hyperstack(tmp_path / "in.tif", image)
    upscale(tmp_path / "in.tif", tmp_path / "out.ome.zarr", settings(tmp_path / "model0.safetensors", guard=False))
    pred, below, above = predictor.restore_interval(image[0])
    np.testing.assert_array_equal(stored(tmp_path / "out.ome.zarr")[0], pred)
    widths = stored(tmp_path / "out.interval.ome.zarr")[0]
    np.testing.assert_allclose(widths, np.concatenate([below, above]), rtol=1e-3)
    own, weight = predictor.examine(image[0])
    np.testing.assert_array_equal(own, pred)
    assert weight.shape == image[0].shape
    assert weight.min() >= 0
    assert weight.max() <= 1


def test_ends_are_mirrored() -> None:
    assert around(0, 5, 4) == [2, 1, 0, 1, 2]
    assert around(3, 3, 4) == [2, 3, 2]
    assert around(0, 3, 1) == [0, 0, 0]


def test_each_plane_is_read_once_for_tiles_behind_each_other(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(axis="z", frames=3, target=1)
    save_hyperstack(tmp_path / "in.tif", image_of(1, 1, 4, 40, 30))
    read: list[int] = []
    original = Volume.read

    def counted(self: Volume, *, t: int, c: int, z: slice, y: slice, x: slice) -> NDArray[Any]:
        read.extend(range(z.start, z.stop))
        return original(self, t=t, c=c, z=z, y=y, x=x)

    predictor = load_model(model, "cpu")
    doubled = lambda _, low, inner, interval: low[1:2, *inner].repeat(2, axis=1).repeat(2, axis=2)  # noqa: E731
    monkeypatch.setattr(Predictor, "predict_inner", doubled)
    quiet = settings(model, guard=False, trust=False)
    monkeypatch.setattr(Volume, "read", counted)
    upscale(tmp_path / "in.tif", tmp_path / "out.zarr", quiet, predictor=predictor)
    # Once to measure black and white, once for all tiles: the halo of each covers this small image.
    assert sorted(read) == sorted([0, 1, 2, 3] * 2)
    np.testing.assert_allclose(
        stored(tmp_path / "out.zarr")[..., ::2, ::2], open_volume(tmp_path / "in.tif").levels[0], rtol=1e-6
    )


@pytest.mark.parametrize("factor", [(1, 2, 2), (3, 1, 1)])
def test_volumes_tiled_equals_untiled(tmp_path: Path, make_model: MakeModel, factor: tuple[int, int, int]) -> None:
    predictor = load_model(make_model(factor, dimensions=3), "cpu")
    image = image_of(1, 1, 21, 27, 25)
    save_hyperstack(tmp_path / "in.tif", image, voxel_size=(0.6, 0.2, 0.2))
    summary = upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(tmp_path / "model0.safetensors"))
    untiled = predictor.restore(image[0], tile=4096)
    assert untiled.std() > 0
    np.testing.assert_array_equal(stored(tmp_path / "out.zarr")[0], untiled)
    volume = open_volume(tmp_path / "out.zarr")
    assert volume.shape == (1, 1, *(n * f for n, f in zip((21, 27, 25), factor, strict=True)))
    assert volume.voxel_size == pytest.approx([p / f for p, f in zip((0.6, 0.2, 0.2), factor, strict=True)])
    assert volume.translation == pytest.approx(
        [-p * (1 - 1 / f) / 2 for p, f in zip((0.6, 0.2, 0.2), factor, strict=True)]
    )
    assert summary.trust is None
    assert any("convolves along Z" in line for line in summary.warnings)


def test_layers_on_the_high_grid_tiled_equals_untiled(tmp_path: Path, make_model: MakeModel) -> None:
    predictor = load_model(make_model(factor=(1, 2, 3), grid="high", interval=True), "cpu")
    image = image_of(1, 1, 1, 29, 15)
    save_hyperstack(tmp_path / "in.tif", image)
    upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(tmp_path / "model0.safetensors", tile=16, guard=False))
    untiled, below, above = predictor.restore_interval(image[0], tile=4096)
    assert untiled.std() > 0
    np.testing.assert_array_equal(stored(tmp_path / "out.zarr")[0], untiled)
    widths = stored(tmp_path / "out.interval.zarr")[0]
    np.testing.assert_allclose(widths, np.concatenate([below, above]), rtol=1e-3)
    assert predictor.plan((1, 2000, 2000)).tile[1] <= 384 / 3, "no more to hold than for other nets"


def test_too_little_memory_halves_a_volume_and_changes_nothing(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load_model(make_model(dimensions=3), "cpu")
    image = image_of(1, 6, 40, 8)
    expected = predictor.restore(image)
    predict, seen = predictor.predict_inner, []

    def limited(low: NDArray[np.float32], inner: tuple[slice, ...], *, interval: bool) -> NDArray[np.float32]:
        seen.append(low.shape[2])
        if len(seen) == 1:
            raise torch.OutOfMemoryError("out of memory")
        return predict(low, inner, interval=interval)

    monkeypatch.setattr(predictor, "predict_inner", limited)
    np.testing.assert_array_equal(predictor.restore(image), expected)
    assert seen[1] < seen[0]


def test_several_channels_are_predicted_at_once(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(channels=2)
    predictor = load_model(model, "cpu")
    image = image_of(1, 2, 2, 40, 30)
    save_hyperstack(tmp_path / "in.tif", image)
    expected = predictor.restore(image[0], tile=4096)
    runs: list[int] = []
    predict = predictor.predict_inner
    monkeypatch.setattr(predictor, "predict_inner", lambda *tile, **how: (runs.append(1), predict(*tile, **how))[1])
    upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(model), predictor=predictor)
    np.testing.assert_array_equal(stored(tmp_path / "out.zarr")[0], expected)
    assert len(runs) == 8, "two planes of four tiles, once for both channels"
    save_hyperstack(tmp_path / "three.tif", image_of(1, 3, 1, 40, 30))
    with pytest.raises(ModelFileError, match=r"has 3 channels, .* takes 2 at once"):
        upscale(tmp_path / "three.tif", tmp_path / "three.zarr", settings(model))


def test_an_empty_channel_does_not_hold_up_the_others(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    image = image_of(1, 2, 1, 40, 30)
    image[:, 1] = 9
    save_hyperstack(tmp_path / "in.tif", image)
    with pytest.raises(InputError, match=r"channel 1 .*is constant"):
        upscale(tmp_path / "in.tif", tmp_path / "both.zarr", settings(model))
    upscale(tmp_path / "in.tif", tmp_path / "one.zarr", settings(model, channels=(0,)))
    assert stored(tmp_path / "one.zarr").shape == (1, 1, 1, 80, 60)
