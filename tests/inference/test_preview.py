"""A preview shows what an upscaling writes there, bit for bit; of nets of three dimensions but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from superres.config import UpscaleConfig
from superres.errors import Cancelled, InputError
from superres.inference import load_model, upscale
from superres.inference.preview import Preview
from superres.progress import Progress
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]
PLACES = [(0, 0, 40, 0, 53), (1, 13, 58, 7, 8), (2, 69, 70, 50, 53), (1, -9, 20, 30, 99)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "stack.tif"
    image = np.random.default_rng(0).normal(3000, 900, (2, 2, 3, 70, 53))
    image[..., :20, :30] += 20_000
    save_hyperstack(path, image.clip(0, 65_535).astype(np.uint16), voxel_size=(0.5, 0.2, 0.2))
    return path


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "device": "cpu", "tile": 24, "trust": False} | changes)


@pytest.mark.parametrize("kind", ["plane", pytest.param("volume", marks=pytest.mark.long), "frames", "channels"])
def test_preview_equals_the_output_there(
    recording: Path, tmp_path: Path, thin_models: dict[str, Path], kind: str
) -> None:
    config = settings(thin_models[kind])
    predictor = load_model(config.model, "cpu")
    upscale(recording, tmp_path / "out.zarr", config, predictor=predictor)
    whole = open_volume(tmp_path / "out.zarr").levels[0].compute()
    preview = Preview.open(recording, config, predictor)
    for number, (z, y0, y1, x0, x1) in enumerate(PLACES):
        t, channel = number % 2, number // 2
        shown = preview.predict(t=t, channel=channel, place=(slice(z, z + 1), slice(y0, y1), slice(x0, x1)))
        there = tuple(slice(f * part.start, f * part.stop) for f, part in zip((1, 2, 2), shown.place, strict=True))
        if kind == "volume":  # convolutions along Z round by the size of the tile
            np.testing.assert_allclose(shown.block, whole[t, channel][there], rtol=0, atol=1)
            assert np.mean(shown.block != whole[t, channel][there]) < 0.005
        else:
            np.testing.assert_array_equal(shown.block, whole[t, channel][there])
        assert shown.place[1:] == (slice(max(0, y0), min(70, y1)), slice(max(0, x0), min(53, x1)))


def test_nothing_is_read_again_when_the_view_moves(recording: Path, make_model: MakeModel) -> None:
    preview = Preview.open(recording, settings(make_model()))
    place = (slice(1, 2), slice(0, 20), slice(0, 20))
    preview.predict(t=0, channel=0, place=place)
    window = preview._window
    preview.predict(t=0, channel=0, place=(place[0], slice(30, 60), slice(20, 50)))
    assert preview._window is window


def test_preview_can_be_stopped_and_refuses_what_is_not_there(recording: Path, make_model: MakeModel) -> None:
    preview = Preview.open(recording, settings(make_model()))

    def stop(event: Progress) -> None:
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        preview.predict(t=0, channel=0, place=(slice(0, 1), slice(0, 9), slice(0, 9)), progress=stop)
    with pytest.raises(InputError, match="nothing of the image is in view"):
        preview.predict(t=0, channel=0, place=(slice(0, 1), slice(80, 90), slice(0, 9)))
    with pytest.raises(InputError, match="channel 5"):
        preview.predict(t=0, channel=5, place=(slice(0, 1), slice(0, 9), slice(0, 9)))


def test_preview_knows_that_the_input_changed(tmp_path: Path, recording: Path, make_model: MakeModel) -> None:
    copied = tmp_path / "copy.tif"
    copied.write_bytes(recording.read_bytes())
    preview = Preview.open(copied, settings(make_model()))
    assert preview.is_current
    copied.write_bytes(recording.read_bytes())
    assert not preview.is_current
    copied.unlink()
    assert not preview.is_current
