"""Trust maps: what they say of truth and of faults, where they lie, and that a killed run ends the same."""

from __future__ import annotations

import json
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
from superres.errors import Cancelled, OutputExistsError
from superres.inference import Predictor, upscale
from superres.inference.trust import FLAGS, trust_path
from superres.inference.trust_summary import TrustSummary
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.nets.domain import Domain
from superres.progress import Progress
from superres.volumes import measure_intensity_of, open_volume, verify_store
from superres.volumes.hyperstack import save_hyperstack
from superres.volumes.pyramid import pooled

FACTOR = (1, 2, 2)
CHAIN: list[dict[str, Any]] = [
    {"blur": {"sigma": 1.0}},
    {"downsample": "binning"},
    {"poisson": {"photons": 200}},
    {"read_noise": {"sd": 0.02}},
]
STEPS = tuple(DegradeStep.model_validate(step) for step in CHAIN)


def header(*, degradation: bool = True, domain: bool = True) -> ModelHeader:
    architecture = Architecture.of_preset("XS", factor=FACTOR)
    radius, stride = architecture.receptive_radius, architecture.stride
    weights = np.ones((21, 12), np.float32)
    weights[12:] = np.nan
    return ModelHeader(
        name="made up",
        architecture=architecture.to_json(),
        factor=FACTOR,
        channels=1,
        receptive_radius=(0, radius, radius),
        stride=(1, stride, stride),
        intensity={"percentiles": [0.5, 99.9], "average": 4},
        degradation=CHAIN if degradation else [],
        domain=Domain(weights, (-0.5, 1.5)).to_json() if domain else {},
    )


def write_model(path: Path, **parts: bool) -> Path:
    torch.manual_seed(0)
    net = UNet(Architecture.of_preset("XS", factor=FACTOR))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    save_model_file(path, header(**parts), {k: v.numpy() for k, v in net.state_dict().items()})
    return path


class Truth(Predictor):
    """Stands in for a net that gives what the test says."""

    answer: NDArray[np.float32]

    def predict_tile(
        self, read: Any, plan: Any, rows: slice, columns: slice, *, interval: bool = False
    ) -> NDArray[np.float32]:
        fy, fx = plan.factor[1:]
        return self.answer[None, rows.start * fy : rows.stop * fy, columns.start * fx : columns.stop * fx]


def scene(shift: int = 0) -> NDArray[np.float64]:
    return np.roll(data.camera(), 37 * shift, axis=1)[:256, :256].astype(np.float64) * 100


def answered(
    folder: Path, truth: NDArray[np.float64], answer: NDArray[np.float64], seed: int = 3
) -> tuple[TrustSummary, NDArray[np.float32]]:
    """Upscale a recording of `truth` by a net that answers `answer`; return summary and maps (map, y, x)."""
    low = degrade_image(truth[None, None], STEPS, factor=FACTOR, grey_range=(0, 25_500), seed=seed)
    save_hyperstack(folder / "low.tif", low[None])
    predictor = Truth(UNet(Architecture.of_preset("XS", factor=FACTOR)), header(), "0", torch.device("cpu"))
    scale = measure_intensity_of(low, predictor.rule)[0]
    predictor.answer = np.asarray(scale.normalise(answer.astype(np.float32)))
    config = UpscaleConfig.model_validate({"model": "truth", "tile": 64, "device": "cpu"})
    trust = upscale(folder / "low.tif", folder / "out.ome.zarr", config, predictor=predictor).trust
    assert trust is not None
    return trust, np.asarray(open_volume(folder / "out.trust.ome.zarr").levels[0].compute())[0, :, 0]


def test_truth_has_variance_one_and_no_false_alarm(tmp_path: Path) -> None:
    variances, largest = [], []
    for number in range(20):  # clean images, none of which may raise an alarm
        (tmp_path / str(number)).mkdir()
        trust, maps = answered(tmp_path / str(number), scene(number), scene(number), seed=number)
        assert trust.chi2 == pytest.approx(1, abs=0.1)
        variances.append(maps[0, 8:-8, 8:-8].var())
        largest.append(trust.largest)
    assert np.mean(variances) == pytest.approx(1, abs=0.1)
    assert max(largest) < 10


def test_a_planted_blob_and_an_erased_structure_are_found(tmp_path: Path) -> None:
    truth = scene()
    y, x = np.mgrid[:256, :256]
    bell = np.exp(-((y - 100) ** 2 + (x - 160) ** 2) / (2 * 8.0**2))
    noise = float(np.sqrt(truth[84:116, 144:176].mean() * 25_500 / 200 + (0.02 * 25_500) ** 2))
    for name, answer in (("planted", truth + 3 * noise * bell), ("erased", truth - 3 * noise * bell)):
        (tmp_path / name).mkdir()
        trust, maps = answered(tmp_path / name, truth, answer)
        assert trust.largest is not None and trust.largest > 10
        place = np.unravel_index(int(np.abs(maps[0, 8:-8, 8:-8]).argmax()), maps[0, 8:-8, 8:-8].shape)
        assert np.hypot(place[0] + 8 - 50, place[1] + 8 - 80) < 3
        assert maps[1, 50, 80] < 0.3
        assert int(maps[2, 50, 80]) & FLAGS["inconsistent"]
        assert "inconsistent" in trust.sentence()


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    image = degrade_image(scene()[None, None], STEPS, factor=FACTOR, grey_range=(0, 25_500))[0, 0, :70, :53] * 2
    image[:20, :20] = 65_535
    image = image.clip(0, 65_535).astype(np.uint16)
    planes = np.stack([image[None], image[None, ::-1] // 3])
    save_hyperstack(tmp_path / "stack.tif", planes[None], voxel_size=(0.5, 0.2, 0.2), channel_names=("actin", "DNA"))
    return tmp_path / "stack.tif"


def settings(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 36, "shard": 1, "device": "cpu"} | changes)


def maps_of(out: Path) -> NDArray[np.float32]:
    return np.asarray(open_volume(trust_path(out)).levels[0].compute())


def test_maps_lie_on_the_grid_of_the_input(stack: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.safetensors")
    summary = upscale(stack, tmp_path / "out.ome.zarr", settings(model))
    low, maps = open_volume(stack), open_volume(tmp_path / "out.trust.ome.zarr")
    assert maps.shape == (1, 6, 1, 70, 53)
    assert maps.voxel_size == pytest.approx(low.voxel_size)
    assert maps.translation == pytest.approx(low.translation)
    assert maps.channel_names[:3] == ("actin: consistency z", "actin: guard weight", "actin: flags")
    assert verify_store(tmp_path / "out.trust.ome.zarr") == []
    flags = maps_of(tmp_path / "out.ome.zarr")[0, 2, 0].astype(int)
    assert (flags[:20, :20] & FLAGS["saturated"]).all()
    assert not (flags[25:, 25:] & FLAGS["saturated"]).any()
    assert ((flags & FLAGS["edge"]) > 0).sum() == 70 * 53 - 54 * 37
    written = json.loads((tmp_path / "out.trust.json").read_text())
    assert summary.trust is not None
    assert written["flagged"] == summary.trust.flagged
    assert written["flags"]["saturated"] > 0.02


@pytest.mark.parametrize("tile", [28, 512])
def test_maps_do_not_depend_on_the_tiles(stack: Path, tmp_path: Path, tile: int) -> None:
    model = write_model(tmp_path / "model.safetensors")
    upscale(stack, tmp_path / "a.zarr", settings(model, channels=(0,)))
    upscale(stack, tmp_path / "b.zarr", settings(model, channels=(0,), tile=tile, shard=None))
    a, b = maps_of(tmp_path / "a.zarr"), maps_of(tmp_path / "b.zarr")
    np.testing.assert_array_equal(a, b)
    assert np.isfinite(a).all()
    assert np.ptp(a[0, 0]) > 1


def files_of(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("stop_at", [1, 3])
def test_stopped_and_resumed_equals_uninterrupted(stack: Path, tmp_path: Path, stop_at: int) -> None:
    model = write_model(tmp_path / "model.safetensors")
    whole = upscale(stack, tmp_path / "a" / "out.zarr", settings(model, channels=(0,)))

    def stop(event: Progress) -> None:
        if event.stage == "upscale" and event.done >= stop_at:
            raise Cancelled("stopped")

    out = tmp_path / "b" / "out.zarr"
    with pytest.raises(Cancelled):
        upscale(stack, out, settings(model, channels=(0,)), progress=stop)
    assert not (trust_path(out) / "zarr.json").exists()
    resumed = upscale(stack, out, settings(model, channels=(0,)))
    for name in ("out.zarr", "out.trust.zarr"):
        assert files_of(tmp_path / "a" / name) == files_of(tmp_path / "b" / name)
    assert (tmp_path / "a" / "out.trust.json").read_bytes() == (tmp_path / "b" / "out.trust.json").read_bytes()
    assert resumed.trust is not None and whole.trust is not None
    assert resumed.trust.chi2 == whole.trust.chi2


def test_lost_maps_are_made_again(stack: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.safetensors")
    out = tmp_path / "out.zarr"
    upscale(stack, out, settings(model, channels=(0,)))
    before = files_of(trust_path(out))
    next(file for file in (trust_path(out) / "0" / "c").rglob("*") if file.is_file()).unlink()
    again = upscale(stack, out, settings(model, channels=(0,)))
    assert again.units_done_before == again.units - 1
    assert files_of(trust_path(out)) == before


def test_switched_off_nothing_is_written_and_the_output_is_the_same(stack: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.safetensors")
    (tmp_path / "on").mkdir()
    upscale(stack, tmp_path / "on" / "out.zarr", settings(model, channels=(0,)))
    summary = upscale(stack, tmp_path / "off" / "out.zarr", settings(model, channels=(0,), trust=False))
    assert summary.trust is None
    assert {item.name for item in (tmp_path / "off").iterdir()} == {"out.zarr", "out.zarr.records"}
    assert files_of(tmp_path / "on" / "out.zarr") == files_of(tmp_path / "off" / "out.zarr")


def test_maps_of_other_settings_are_not_replaced(stack: Path, tmp_path: Path) -> None:
    upscale(stack, tmp_path / "out.zarr", settings(write_model(tmp_path / "model.safetensors"), channels=(0,)))
    other = write_model(tmp_path / "other.safetensors", domain=False)
    (tmp_path / "out.zarr").rename(tmp_path / "elsewhere.zarr")
    with pytest.raises(OutputExistsError, match=r"out\.trust\.zarr"):
        upscale(stack, tmp_path / "out.zarr", settings(other, channels=(0,)))


def test_a_model_of_recorded_pairs_has_no_comparison(stack: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.safetensors", degradation=False)
    trust = upscale(stack, tmp_path / "out.zarr", settings(model, channels=(0,))).trust
    assert trust is not None and trust.chi2 is None and trust.largest is None
    assert "not compared" in trust.sentence()
    assert np.isnan(maps_of(tmp_path / "out.zarr")[0, 0]).all()


def test_nan_in_the_input_has_no_value(tmp_path: Path) -> None:
    image = scene()[:70, :53].astype(np.float32)
    image[30, 40] = np.nan
    save_hyperstack(tmp_path / "nan.tif", image[None, None, None])
    model = write_model(tmp_path / "model.safetensors")
    trust = upscale(tmp_path / "nan.tif", tmp_path / "out.zarr", settings(model)).trust
    maps = maps_of(tmp_path / "out.zarr")[0, :, 0]
    assert np.isnan(maps[0]).sum() == 1 and np.isnan(maps[0, 30, 40])
    assert int(maps[2, 30, 40]) & FLAGS["no value"]
    assert trust is not None and trust.chi2 is not None and np.isfinite(trust.chi2)


class TestPyramid:
    block = np.array([[[1, 4, 2], [0, 3, 8], [5, 5, 16]]], np.float32)

    def test_bits_are_kept_and_never_averaged(self) -> None:
        np.testing.assert_array_equal(pooled(self.block, (1, 2, 2), "bits"), [[[7, 10], [5, 16]]])

    def test_the_largest_deviation_keeps_its_sign(self) -> None:
        signed = self.block * np.array([1, -1, 1], np.float32)
        signed[0, 0, 0] = np.nan
        np.testing.assert_array_equal(pooled(signed, (1, 2, 2), "largest"), [[[-4, 8], [5, 16]]])
        assert np.isnan(pooled(np.full((1, 2, 2), np.nan, np.float32), (1, 2, 2), "largest")).all()

    def test_the_smallest_weight_is_kept(self) -> None:
        np.testing.assert_array_equal(pooled(self.block, (1, 2, 2), "lowest"), [[[0, 2], [5, 16]]])


def test_the_sentence_says_why_and_where() -> None:
    flags = dict.fromkeys(FLAGS, 0.0) | {"inconsistent": 0.015, "saturated": 0.0061, "edge": 0.2}
    summary = TrustSummary(Path("out.trust.ome.zarr"), 1000, 1.0, 7.0, 0.021, flags, 0.01, ())
    flagged = "2.1 % of voxels flagged (inconsistent 1.5 %, saturated 0.6 %); do not measure there"
    assert summary.sentence() == f"{flagged}; see out.trust.ome.zarr"
    taken_back = "the guard took back 10.0 % of what the net adds to interpolation"
    assert replace(summary, guarded=0.1).sentence() == f"{flagged}; {taken_back}; see out.trust.ome.zarr"
    assert "hardly what the model was trained for; see" in replace(summary, guarded=0.93).sentence()
