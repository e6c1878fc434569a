from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import UpscaleConfig
from superres.errors import Cancelled, InputError, MissingFileError, ModelFileError, OutputExistsError
from superres.inference import load_model, upscale
from superres.inference.predictor import Predictor
from superres.progress import Progress
from superres.volumes import OutputStore, open_volume
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]


def texture(c: int, z: int, y: int, x: int, seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=(1, c, z, y, x))
    smooth = gaussian_filter(noise, (0, 0, 0, 2, 2))
    scaled: NDArray[np.float64] = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return scaled


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """A 16-bit hyperstack whose values fill much more than 8 bits."""
    path = tmp_path / "stack.tif"
    image = (1000 + 50_000 * texture(2, 3, 70, 53)).astype(np.uint16)
    save_hyperstack(path, image, voxel_size=(0.5, 0.2, 0.2), channel_names=("actin", "DNA"))
    return path


def files_of(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 16, "shard": 2, "device": "cpu"} | changes)


class Repeater(Predictor):
    """Stands in for a model: repeats every voxel, so that the right answer is known exactly."""

    def predict_inner(
        self, low: NDArray[np.float32], inner: tuple[slice, ...], *, interval: bool = False
    ) -> NDArray[np.float32]:
        return low[:, *inner].repeat(self.header.factor[1], axis=1).repeat(self.header.factor[2], axis=2)


@pytest.mark.parametrize("tile", [16, 40, 512])
@pytest.mark.parametrize("factor", [(1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 2, 4)])
def test_repeating_model_gives_repeated_voxels(
    stack: Path, tmp_path: Path, make_model: MakeModel, factor: tuple[int, int, int], tile: int
) -> None:
    model = make_model(factor)
    repeater = load_model(model, "cpu")
    repeater.__class__ = Repeater
    upscale(stack, tmp_path / "out.zarr", settings(model, tile=tile, shard=None), predictor=repeater)
    expected = open_volume(stack).levels[0].compute().repeat(factor[1], -2).repeat(factor[2], -1)
    np.testing.assert_array_equal(open_volume(tmp_path / "out.zarr").levels[0].compute(), expected)


def test_store_says_what_it_is(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    summary = upscale(stack, tmp_path / "out.zarr", settings(make_model()))
    volume = open_volume(tmp_path / "out.zarr")
    assert volume.shape == summary.shape == (1, 2, 3, 140, 106)
    assert volume.dtype == np.uint16
    assert volume.voxel_size == pytest.approx((0.5, 0.1, 0.1))
    # The centre of input voxel 0 lies between the first two output voxels along Y and X.
    assert volume.translation == pytest.approx((0, -0.05, -0.05))
    assert volume.channel_names == ("actin", "DNA")
    attributes = (tmp_path / "out.zarr" / "zarr.json").read_text()
    for word in ("predicted", "random0", "identity", "stack.tif", "black"):
        assert word in attributes
    assert str(tmp_path) not in attributes


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_low_pass_follows_the_input_at_16_bits(dtype: type, tmp_path: Path, make_model: MakeModel) -> None:
    """Even a net with random weights keeps intensities: none is clipped to 8 bits, the local mean is the input's."""
    image = (500 + 60_000 * texture(1, 1, 96, 96)).astype(dtype)
    save_hyperstack(tmp_path / "in.tif", image)
    upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(make_model(std=0.01)))
    out = open_volume(tmp_path / "out.zarr").levels[0].compute().astype(float)
    assert out.max() > 30_000
    smooth_in = gaussian_filter(image[0, 0, 0].astype(float), 8)
    smooth_out = gaussian_filter(out[0, 0, 0].reshape(96, 2, 96, 2).mean(axis=(1, 3)), 8)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(smooth_out / smooth_in - 1)[inner].max() < 0.01


def test_stopped_and_resumed_equals_uninterrupted(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    upscale(stack, tmp_path / "whole.zarr", settings(model))

    def stop(event: Progress) -> None:
        if event.stage == "upscale" and event.done >= 30:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        upscale(stack, tmp_path / "stopped.zarr", settings(model), progress=stop)
    assert not (tmp_path / "stopped.zarr" / "zarr.json").exists(), "a half-done store does not open as an image"
    resumed = upscale(stack, tmp_path / "stopped.zarr", settings(model))
    assert 0 < resumed.units_done_before < resumed.units
    whole, stopped = files_of(tmp_path / "whole.zarr"), files_of(tmp_path / "stopped.zarr")
    # The display name is the store's own.
    assert whole.pop("zarr.json").replace(b"whole", b"stopped") == stopped.pop("zarr.json")
    assert whole == stopped


def test_finished_store_is_left_alone(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model()
    upscale(stack, tmp_path / "out.zarr", settings(model))
    again = upscale(stack, tmp_path / "out.zarr", settings(model))
    assert again.units_done_before == again.units


def test_other_settings_are_refused_unless_asked(stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
    upscale(stack, tmp_path / "out.zarr", settings(make_model()))
    other = make_model(seed=1)
    with pytest.raises(OutputExistsError, match="overwrite=true"):
        upscale(stack, tmp_path / "out.zarr", settings(other))
    upscale(stack, tmp_path / "out.zarr", settings(other, overwrite=True))
    assert "random1" in (tmp_path / "out.zarr" / "zarr.json").read_text()


def test_values_outside_the_dtype_are_counted(tmp_path: Path, make_model: MakeModel) -> None:
    image = np.where(texture(1, 1, 64, 64) > 0.5, 255, 0).astype(np.uint8)
    save_hyperstack(tmp_path / "in.tif", image)
    summary = upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(make_model(std=0)))
    assert summary.clipped > 0, "cubic interpolation overshoots edges"
    assert any("outside uint8" in warning for warning in summary.warnings)
    as_float = upscale(tmp_path / "in.tif", tmp_path / "float.zarr", settings(make_model(std=0), dtype="float32"))
    assert as_float.clipped == 0
    assert open_volume(tmp_path / "float.zarr").levels[0].max().compute() > 255


def test_nan_stays_nan_and_spoils_nothing_else(tmp_path: Path, make_model: MakeModel) -> None:
    image = texture(1, 1, 64, 64).astype(np.float32)
    image[0, 0, 0, 30, 40] = np.nan
    save_hyperstack(tmp_path / "in.tif", image)
    summary = upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(make_model()))
    out = open_volume(tmp_path / "out.zarr").levels[0].compute()[0, 0, 0]
    assert np.isnan(out[60:62, 80:82]).all()
    assert np.isnan(out).sum() == 4
    assert any("NaN" in warning for warning in summary.warnings)


@pytest.mark.parametrize("size", [(21, 21), (1, 40), (2, 2)])
def test_tiny_images(size: tuple[int, int], tmp_path: Path, make_model: MakeModel) -> None:
    save_hyperstack(tmp_path / "in.tif", (255 * texture(1, 1, *size)).astype(np.uint8))
    summary = upscale(tmp_path / "in.tif", tmp_path / "out.zarr", settings(make_model((1, 4, 4))))
    assert summary.shape[-2:] == (size[0] * 4, size[1] * 4)


class TestBadInputWritesNothing:
    def test_missing_file(self, tmp_path: Path, make_model: MakeModel) -> None:
        with pytest.raises(MissingFileError, match=r"gone\.tif"):
            upscale(tmp_path / "gone.tif", tmp_path / "out.zarr", settings(make_model()))
        assert not (tmp_path / "out.zarr").exists()

    def test_constant_image(self, tmp_path: Path, make_model: MakeModel) -> None:
        save_hyperstack(tmp_path / "flat.tif", np.full((1, 1, 1, 32, 32), 7, np.uint8))
        with pytest.raises(InputError, match="7"):
            upscale(tmp_path / "flat.tif", tmp_path / "out.zarr", settings(make_model()))
        assert not (tmp_path / "out.zarr").exists()

    def test_other_number_of_channels(self, stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
        with pytest.raises(ModelFileError, match=r"2 channels.*takes 3"):
            upscale(stack, tmp_path / "out.zarr", settings(make_model(channels=3)))
        assert not (tmp_path / "out.zarr").exists()

    def test_channel_that_is_not_there(self, stack: Path, tmp_path: Path, make_model: MakeModel) -> None:
        with pytest.raises(InputError, match="channels"):
            upscale(stack, tmp_path / "out.zarr", settings(make_model(), channels=(5,)))

    def test_file_that_is_no_model(self, stack: Path, tmp_path: Path) -> None:
        (tmp_path / "fake.safetensors").write_bytes(b"not a model at all")
        with pytest.raises(ModelFileError, match="not a readable"):
            upscale(stack, tmp_path / "out.zarr", settings(tmp_path / "fake.safetensors"))
        assert not (tmp_path / "out.zarr").exists()


def test_full_disk_keeps_what_is_finished(
    stack: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from superres.errors import OutputWriteError

    model = make_model()
    write, written = OutputStore.write, []

    def fill_up(self: OutputStore, unit: object, block: NDArray[np.uint16], **_: object) -> None:
        if self.path.name == "out.zarr" and len(written) == 4:
            raise OutputWriteError(f"{self.path}: writing failed, the disk is full")
        if self.path.name == "out.zarr":
            written.append(unit)
        write(self, unit, block)  # type: ignore[arg-type]

    monkeypatch.setattr(OutputStore, "write", fill_up)
    with pytest.raises(OutputWriteError, match="full"):
        upscale(stack, tmp_path / "out.zarr", settings(model))
    monkeypatch.undo()
    resumed = upscale(stack, tmp_path / "out.zarr", settings(model))
    assert resumed.units_done_before == 4


@pytest.mark.napari
@pytest.mark.filterwarnings("ignore")
def test_store_opens_in_napari_as_multiscale_with_the_right_scale(tmp_path: Path, make_model: MakeModel) -> None:
    from napari.components import ViewerModel
    from npe2 import PluginManager

    image = (1000 * texture(2, 2, 300, 260)).astype(np.uint16)
    save_hyperstack(tmp_path / "in.tif", image, voxel_size=(0.5, 0.2, 0.2), channel_names=("actin", "DNA"))
    upscale(tmp_path / "in.tif", tmp_path / "out.ome.zarr", settings(make_model(), tile=None, shard=None))
    PluginManager.instance().discover()
    viewer = ViewerModel()
    layers = viewer.open(str(tmp_path / "out.ome.zarr"), plugin="napari-ome-zarr")
    assert [layer.name.split(": ")[-1] for layer in layers] == ["actin", "DNA"]
    for layer in layers:
        assert layer.multiscale
        assert layer.data[0].shape[-2:] == (600, 520)
        np.testing.assert_allclose(layer.scale[-3:], (0.5, 0.1, 0.1))
        assert [str(unit) for unit in layer.units[-2:]] == ["micrometer", "micrometer"]
