"""The guard: exact tiling, what it damps, and that it changes nothing where it need not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from superres.config import DegradeStep, UpscaleConfig
from superres.degrade import degrade_image
from superres.evaluation.upsampling import upsample
from superres.inference import Predictor, upscale
from superres.inference.guarded import noise_windows
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.nets import Architecture, UNet
from superres.nets.domain import Domain
from superres.volumes import open_volume
from superres.volumes.hyperstack import save_hyperstack

MakeModel = Callable[..., Path]


def chain_for(factor: int) -> list[dict[str, Any]]:
    sampled = [{"downsample": "binning"}] if factor > 1 else []
    return [{"blur": {"sigma": 0.9}}, *sampled, {"poisson": {"photons": 200}}, {"read_noise": {"sd": 0.03}}]


def made_up_domain() -> dict[str, Any]:
    """Weights that differ from cell to cell, with holes: what a tile must get right."""
    weights = np.random.default_rng(0).uniform(0.2, 1, (21, 12)).astype(np.float32)
    weights[np.random.default_rng(1).random(weights.shape) < 0.3] = np.nan
    return Domain(weights, (0.1, 0.7)).to_json()


def make_predictor(
    preset: str, factor: int, *, degradation: bool = True, domain: bool = True, std: float = 0.03
) -> Predictor:
    torch.manual_seed(0)
    architecture = Architecture.of_preset(preset, factor=(1, factor, factor))
    net = UNet(architecture).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    radius, stride = architecture.receptive_radius, architecture.stride
    header = ModelHeader(
        name="random",
        architecture=architecture.to_json(),
        factor=(1, factor, factor),
        channels=1,
        receptive_radius=(0, radius, radius),
        stride=(1, stride, stride),
        intensity={"percentiles": [0.5, 99.9], "average": 4},
        degradation=chain_for(factor) if degradation else [],
        domain=made_up_domain() if domain else {},
    )
    return Predictor(net, header, "0", torch.device("cpu"))


def recording(y: int, x: int) -> NDArray[np.uint16]:
    """Structure, noise, an empty and a saturated corner."""
    image = data.camera()[100 : 100 + y, 150 : 150 + x].astype(np.float64) * 100
    image += np.random.default_rng(0).normal(0, 600, image.shape)
    image[: y // 4, : x // 3], image[-y // 4 :, -x // 4 :] = 500, 60_000
    return image.clip(0, 65_535).astype(np.uint16)[None, None]


@pytest.mark.parametrize(
    ("preset", "factor", "size", "tile"),
    [
        ("XS", 1, (61, 83), 48),
        ("XS", 2, (77, 45), 40),
        ("XS", 4, (53, 49), 28),
        ("S", 1, (35, 70), 36),
        ("S", 2, (61, 33), 32),
        ("S", 4, (31, 45), 24),
    ],
)
def test_tiled_equals_untiled_bit_for_bit(preset: str, factor: int, size: tuple[int, int], tile: int) -> None:
    predictor = make_predictor(preset, factor)
    image = recording(*size)
    untiled = predictor.restore(image, tile=4096)
    np.testing.assert_array_equal(predictor.restore(image, tile=tile), untiled)
    bare = predictor.restore(image, tile=4096, guarded=False)
    assert (untiled != bare).mean() > 0.2, "nothing was damped"


@pytest.mark.parametrize("size", [(21, 21), (1, 50), (3, 2)])
def test_images_smaller_than_the_reach(size: tuple[int, int]) -> None:
    predictor = make_predictor("XS", 2)
    image = recording(*size)
    whole = predictor.restore(image)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(predictor.restore(image, tile=16), whole)


class Truth(Predictor):
    """Stands in for a net that knows the truth, and does to it what the test says."""

    answer: NDArray[np.float32]

    def predict_tile(
        self, read: Any, plan: Any, rows: slice, columns: slice, *, interval: bool = False
    ) -> NDArray[np.float32]:
        fy, fx = plan.factor[1:]
        return self.answer[None, rows.start * fy : rows.stop * fy, columns.start * fx : columns.stop * fx]


def restored(
    truth: NDArray[np.floating], answer: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return what becomes of an answer to the recording of `truth`, and bicubic interpolation."""
    predictor = make_predictor("XS", 4, domain=False)
    steps = tuple(DegradeStep.model_validate(step) for step in chain_for(4))
    low = degrade_image(truth[None, None], steps, factor=(1, 4, 4), grey_range=(0, 255), seed=3)
    predictor.__class__ = Truth
    from superres.volumes import measure_intensity_of

    scale = measure_intensity_of(low, predictor.rule)[0]
    predictor.answer = np.asarray(scale.normalise(answer.astype(np.float32)))  # type: ignore[attr-defined]
    return predictor.restore(low)[0, 0], upsample(low, (1, 4, 4), how="bicubic")[0, 0]


def scene() -> NDArray[np.float64]:
    return data.camera()[:512, :512].astype(np.float64)


def test_truth_is_left_alone() -> None:
    truth = scene()
    kept, plain = restored(truth, truth)
    assert np.mean((kept - truth) ** 2) < 0.01 * np.mean((plain - truth) ** 2)


def test_what_was_erased_comes_back_from_the_recording() -> None:
    truth = scene()
    answer = truth.copy()
    answer[100:200, 200:300] = answer[100:200, 200:300].mean()  # the photographer's head
    kept, plain = restored(truth, answer)
    inside, outside = np.s_[120:180, 220:280], np.s_[300:480, 20:120]
    error = [np.mean((image[inside] - truth[inside]) ** 2) for image in (answer, kept, plain)]
    assert error[1] < 0.3 * error[0]
    assert error[1] < 1.6 * error[2]
    assert np.mean((kept[outside] - truth[outside]) ** 2) < 0.01 * error[0]


def test_what_was_invented_is_taken_back() -> None:
    truth = scene()
    y, x = np.mgrid[:512, :512]
    blob = 120 * np.exp(-((y - 350) ** 2 + (x - 60) ** 2) / (2 * 10.0**2))
    kept, _ = restored(truth, truth + blob)
    assert np.abs(kept - truth)[340:360, 50:70].mean() < 0.3 * blob[340:360, 50:70].mean()


def test_a_place_of_a_kind_that_the_net_was_bad_at_is_interpolated() -> None:
    predictor = make_predictor("XS", 2, degradation=False)
    nothing = Domain(np.zeros((21, 12), np.float32), (-10.0, 10.0)).to_json()
    predictor.header = replace(predictor.header, domain=nothing)
    image = recording(60, 70)
    inner = np.s_[..., 4:-4, 4:-4]  # beyond the edge the one repeats, the other mirrors
    plain = upsample(image, (1, 2, 2), how="bicubic")
    np.testing.assert_allclose(predictor.restore(image)[inner], plain[inner], rtol=1e-4, atol=0.05)


def write(predictor: Predictor, path: Path) -> Path:
    net = predictor._net
    save_model_file(path, predictor.header, {k: v.contiguous().numpy() for k, v in net.state_dict().items()})
    return path


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 36, "shard": 1, "device": "cpu"} | changes)


def voxels(store: Path) -> NDArray[Any]:
    return np.asarray(open_volume(store).levels[0].compute())


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    save_hyperstack(tmp_path / "in.tif", recording(60, 70)[None])
    return tmp_path / "in.tif"


def test_store_is_guarded_unless_switched_off(stack: Path, tmp_path: Path) -> None:
    predictor = make_predictor("XS", 2)
    model = write(predictor, tmp_path / "model.safetensors")
    upscale(stack, tmp_path / "on.zarr", settings(model))
    upscale(stack, tmp_path / "off.zarr", settings(model, guard=False))
    image = open_volume(stack).levels[0].compute()[0]
    for name, guarded in (("on", True), ("off", False)):
        expected = predictor.restore(image, guarded=guarded).round().clip(0, 65_535)
        np.testing.assert_array_equal(voxels(tmp_path / f"{name}.zarr")[0], expected)
        record = json.loads((tmp_path / f"{name}.zarr" / "zarr.json").read_text())["attributes"]["superres"]["guard"]
        assert record["on"] is guarded
    assert (voxels(tmp_path / "on.zarr") != voxels(tmp_path / "off.zarr")).any()


@pytest.mark.parametrize(("training", "weight"), [(None, None), (1e-3, 1.0), (1e6, 0.0)])
def test_a_net_that_falls_behind_on_the_recording_itself(
    stack: Path, tmp_path: Path, training: float | None, weight: float | None
) -> None:
    """A net whose residual is noise has a small slope: far behind what is claimed of its training, or far above it."""
    predictor = make_predictor("XS", 2)
    domain = {**made_up_domain(), "trial": training}
    predictor.header = replace(predictor.header, domain=domain)
    model = write(predictor, tmp_path / "model.safetensors")
    result = upscale(stack, tmp_path / "out.zarr", settings(model))
    record = json.loads((tmp_path / "out.zarr" / "zarr.json").read_text())["attributes"]["superres"]["guard"]
    assert [trial["weight"] for trial in record["trials"]] == ([] if weight is None else [weight])
    assert ("trial on the input made coarser" in record["by"]) is (weight is not None)
    if weight == 0:
        volume = open_volume(stack)
        low = volume.read(t=0, c=0, z=slice(0, 1), y=slice(None), x=slice(None))[None].astype(np.float64)
        plain = upsample(low, (1, 2, 2), how="bicubic")[0, 0]
        inner = np.s_[6:-6, 6:-6]  # the two go on differently beyond the edge
        np.testing.assert_allclose(voxels(tmp_path / "out.zarr")[0, 0, 0][inner], plain.clip(0, 65_535)[inner], atol=1)
        assert result.trust is not None and result.trust.guarded == pytest.approx(1)


def test_noise_windows_lie_inside_and_apart() -> None:
    assert noise_windows(1, (100, 300)) == [(0, slice(0, 100), slice(22, 278))]
    found = noise_windows(9, (2048, 1024))
    assert len(found) == 16 and len({plane for plane, _, _ in found}) == 4
    assert {(y.start, x.start) for _, y, x in found} == {(384, 128), (384, 640), (1408, 128), (1408, 640)}


def test_a_model_without_degradation_says_what_is_left_out(stack: Path, tmp_path: Path) -> None:
    model = write(make_predictor("XS", 2, degradation=False), tmp_path / "model.safetensors")
    upscale(stack, tmp_path / "out.zarr", settings(model))
    record = json.loads((tmp_path / "out.zarr" / "zarr.json").read_text())["attributes"]["superres"]["guard"]
    assert record["by"] == ["training data"]
    assert "recorded pairs" in record["without"][0]


def test_a_model_that_knows_nothing_of_this_is_used_as_before(
    stack: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    model = make_model()
    assert load_model_file(model).header.domain == {}
    upscale(stack, tmp_path / "on.zarr", settings(model))
    upscale(stack, tmp_path / "off.zarr", settings(model, guard=False))
    np.testing.assert_array_equal(voxels(tmp_path / "on.zarr"), voxels(tmp_path / "off.zarr"))


def test_nan_in_the_input_spoils_nothing_else(tmp_path: Path) -> None:
    model = write(make_predictor("XS", 2), tmp_path / "model.safetensors")
    image = recording(60, 70).astype(np.float32)
    image[0, 0, 30, 40] = np.nan
    save_hyperstack(tmp_path / "nan.tif", image[:, None])
    upscale(tmp_path / "nan.tif", tmp_path / "out.zarr", settings(model))
    assert np.isnan(voxels(tmp_path / "out.zarr")).sum() == 4
