"""Half-widths beside an output: on its grid, around what was written, and never mixed between calibrations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import data

from superres.config import UpscaleConfig
from superres.errors import Cancelled, OutputExistsError
from superres.inference import Predictor, load_model, upscale
from superres.inference.claim import Claim
from superres.inference.interval import half_widths, interval_path, width_dtype
from superres.inference.trust import FLAGS
from superres.modelfile import load_model_file, save_model_file
from superres.nets import UNet
from superres.nets.domain import Domain
from superres.nets.unet import IntervalHead
from superres.progress import Progress
from superres.volumes import open_volume, verify_store
from superres.volumes.hyperstack import save_hyperstack

MakePredictor = Callable[..., Predictor]
RECORD: dict[str, Any] = {
    "unit": "acquisition",
    "factor": 1.5,
    "calibrated": True,
    "level": 0.9,
    "n": 12,
    "acquisitions": [{"id": "a", "sha256": "b", "factor": 1.5}],
    "date": "2026-01-01",
    "claim": "90% of new acquisitions",
}


@given(
    st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    st.floats(-200, 300),
    st.floats(0, 400, width=32),
    st.floats(0, 400, width=32),
    st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_what_is_written_holds_the_interval_and_is_not_much_longer(
    dtype: str, pred: float, below: float, above: float, damped: float
) -> None:
    """Whatever becomes of a prediction, rounded, clipped, damped: from below to above lies the whole interval."""
    lowest, highest = np.float32([[pred - below]]), np.float32([[pred + above]])
    limits = np.iinfo(dtype) if dtype != "float32" else np.finfo(dtype)
    whole = dtype != "float32"
    value = pred + 50 * damped
    written = np.array([[np.clip(round(value) if whole else value, limits.min, limits.max)]]).astype(dtype)
    found = half_widths(written, lowest, highest)
    assert found.dtype == width_dtype(written.dtype)
    assert found.min() >= 0
    start, stop = written.astype(np.float64) - found[0], written.astype(np.float64) + found[1]
    full = dtype == "uint8"
    # No grey level lies beyond the full scale.
    # What is less than the last bit of the voxel itself cannot be told in a sum with it.
    last = np.spacing(np.abs(written.astype(np.float64)))
    assert (start <= lowest + last).item() or (full and start.item() <= 0)
    assert (stop >= highest - last).item() or (full and stop.item() >= 255)
    step = 1.0 if whole else 1e-4
    assert start >= min(lowest.item(), float(written.item())) - step
    assert stop <= max(highest.item(), float(written.item())) + step


def test_a_voxel_without_a_value_has_no_interval() -> None:
    written = np.float32([[np.nan, np.inf, 1.0]])
    found = half_widths(written, np.zeros((1, 3), np.float32), np.full((1, 3), 2, np.float32))
    np.testing.assert_array_equal(np.isnan(found), [[[True, True, False]]] * 2)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Structure, noise and a bright corner, two channels of unlike scale."""
    image = data.camera()[100:170, 150:203].astype(np.float64) * 100 + np.random.default_rng(0).normal(0, 600, (70, 53))
    image[-17:, -13:] = 60_000
    planes = np.stack([image, image[::-1] / 3]).clip(0, 65_535).astype(np.uint16)
    save_hyperstack(tmp_path / "in.tif", planes[None, :, None], voxel_size=(0.5, 0.2, 0.2), channel_names=("A", "B"))
    return tmp_path / "in.tif"


Write = Callable[..., Path]


@pytest.fixture
def write(make_predictor: MakePredictor, tmp_path: Path) -> Write:
    """Write a model, calibrated or not, whose guard damps here and there."""

    def model(record: dict[str, Any] | None = None, *, name: str = "model") -> Path:
        predictor = make_predictor("XS", (1, 2, 2), interval=True)
        weights = np.random.default_rng(0).uniform(0.2, 1, (21, 12)).astype(np.float32)
        chain = [{"blur": {"sigma": 0.9}}, {"downsample": "binning"}, {"poisson": {"photons": 200}}]
        header = replace(
            predictor.header,
            degradation=chain,
            domain=Domain(weights, (-0.5, 1.5)).to_json(),
            calibration=record or {},
        )
        net = {k: v.contiguous().numpy() for k, v in predictor._net.state_dict().items()}
        save_model_file(tmp_path / f"{name}.safetensors", header, net)
        return tmp_path / f"{name}.safetensors"

    return model


def config(model: Path, **changes: object) -> UpscaleConfig:
    return UpscaleConfig.model_validate({"model": model, "tile": 36, "shard": 1, "device": "cpu"} | changes)


def voxels(store: Path) -> NDArray[Any]:
    return np.asarray(open_volume(store).levels[0].compute())


def files_of(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()}


def test_grid_pyramid_and_values(stack: Path, tmp_path: Path, write: Write) -> None:
    model, out = write(RECORD), tmp_path / "out.ome.zarr"
    summary = upscale(stack, out, config(model, guard=False))
    image, widths = open_volume(out), open_volume(tmp_path / "out.interval.ome.zarr")
    assert [level.shape[2:] for level in widths.levels] == [level.shape[2:] for level in image.levels]
    assert (widths.voxel_size, widths.translation, widths.dtype) == (image.voxel_size, image.translation, image.dtype)
    assert widths.channel_names == tuple(f"{c}: half-width {side}" for c in "AB" for side in ("below", "above"))
    assert verify_store(tmp_path / "out.interval.ome.zarr") == []
    # What the net gives for the same image, times the factor, around the voxel as it was rounded.
    pred, below, above = load_model(model, "cpu").restore_interval(open_volume(stack).levels[0].compute()[0])
    written, found = voxels(out)[0].astype(float), voxels(interval_path(out))[0].astype(float)
    for side, expected in enumerate((written - (pred - 1.5 * below), pred + 1.5 * above - written)):
        np.testing.assert_allclose(found[side::2], expected.clip(0, 65_535), atol=1.01)
    trust = summary.trust
    assert trust is not None and trust.interval is not None
    half = (found[0::2] + found[1::2]) / 2
    for channel, one in enumerate(trust.interval.widths):
        assert one.median == pytest.approx(np.median(half[channel]), rel=0.011)
        assert one.largest == half[channel].max()
    content = json.loads((tmp_path / "out.trust.json").read_text())
    assert content["interval"]["claim"] | {"text": ""} == {
        "factor": 1.5, "calibrated": True, "level": 0.9, "unit": "acquisition", "n": 12, "within": [], "text": ""
    }  # fmt: skip
    assert content["interval"]["path"] == "out.interval.ome.zarr"
    assert content["model"] == load_model_file(model).identity
    assert content["flags"]["uncalibrated"] == 0


def test_where_the_guard_damps_the_interval_is_stretched_and_not_moved(
    stack: Path, tmp_path: Path, write: Write
) -> None:
    model = write(RECORD)
    ends = {}
    for name, guard in (("on", True), ("off", False)):
        upscale(stack, tmp_path / f"{name}.zarr", config(model, guard=guard, dtype="float32"))
        written, (below, above) = (
            voxels(tmp_path / f"{name}.zarr")[0, 0, 0],
            voxels(tmp_path / f"{name}.interval.zarr")[0, :2, 0],
        )
        ends[name] = (written - below, written + above, written)
    low, high, damped = ends["on"]
    before_low, before_high, net = ends["off"]
    assert (damped != net).mean() > 0.2, "nothing was damped"
    np.testing.assert_allclose(low, np.minimum(before_low, damped), atol=0.05)
    np.testing.assert_allclose(high, np.maximum(before_high, damped), atol=0.05)


def test_half_widths_do_not_depend_on_the_tiles(stack: Path, tmp_path: Path, write: Write) -> None:
    model = write()
    upscale(stack, tmp_path / "a.zarr", config(model, channels=(0,)))
    upscale(stack, tmp_path / "b.zarr", config(model, channels=(0,), tile=512, shard=None))
    a, b = voxels(tmp_path / "a.interval.zarr"), voxels(tmp_path / "b.interval.zarr")
    np.testing.assert_array_equal(a, b)
    assert a.std() > 0
    first, second = (json.loads((tmp_path / f"{name}.trust.json").read_text())["interval"]["widths"] for name in "ab")
    assert first == second


def test_one_pass_with_trust_and_no_head_without(
    stack: Path, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, passes, heads = write(), [], []
    features, head = UNet._features, IntervalHead.forward
    monkeypatch.setattr(
        UNet, "_features", lambda net, low, *part: passes.append(low.shape) or features(net, low, *part)
    )
    monkeypatch.setattr(IntervalHead, "forward", lambda net, x: heads.append(x.shape) or head(net, x))
    upscale(stack, tmp_path / "on.zarr", config(model, channels=(0,)))
    assert len(passes) == len(heads) > 0
    passes_with_trust = list(passes)
    passes.clear()
    heads.clear()
    upscale(stack, tmp_path / "off.zarr", config(model, channels=(0,), trust=False))
    assert (passes, heads) == (passes_with_trust, [])
    assert not interval_path(tmp_path / "off.zarr").exists()
    assert files_of(tmp_path / "on.zarr").keys() == files_of(tmp_path / "off.zarr").keys()
    np.testing.assert_array_equal(voxels(tmp_path / "on.zarr"), voxels(tmp_path / "off.zarr"))


def test_without_a_calibration_every_voxel_says_so_and_none_is_flagged_for_it(
    stack: Path, tmp_path: Path, write: Write
) -> None:
    trust = upscale(stack, tmp_path / "out.zarr", config(write())).trust
    assert trust is not None and trust.interval is not None
    assert (voxels(tmp_path / "out.trust.zarr")[0, 2, 0].astype(int) & FLAGS["uncalibrated"]).all()
    assert trust.flags["uncalibrated"] == 1 > trust.flagged
    assert "uncalibrated" in trust.sentence() and "uncalibrated 100" not in trust.sentence()
    assert trust.interval.claim == Claim()
    # One that was tried with too few acquisitions: scaled by the median one, and uncalibrated all the same.
    few = RECORD | {"calibrated": False, "n": 4, "claim": "uncalibrated: 4 acquisitions"}
    trust = upscale(stack, tmp_path / "few.zarr", config(write(few))).trust
    assert trust is not None and trust.interval is not None
    assert (trust.flags["uncalibrated"], trust.interval.claim.factor) == (1, 1.5)


def test_a_claim_on_images_is_never_worded_as_one_on_acquisitions(stack: Path, tmp_path: Path, write: Write) -> None:
    record = RECORD | {"unit": "image", "claim": "further images of a", "checked": {"n": 5, "covered": 5}}
    trust = upscale(stack, tmp_path / "out.zarr", config(write(record), channels=(0,))).trust
    assert trust is not None and trust.interval is not None
    assert trust.interval.claim.within == ("a",)
    assert "further images of a and no others" in trust.sentence()
    assert "acquisitions" not in trust.sentence()
    content = json.loads((tmp_path / "out.trust.json").read_text())["interval"]
    assert (content["claim"]["unit"], content["claim"]["within"]) == ("image", ["a"])
    assert content["checked"] == {"n": 5, "covered": 5}


def stopped(stack: Path, out: Path, settings: UpscaleConfig) -> None:
    def stop(event: Progress) -> None:
        if event.stage == "upscale" and event.done >= 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        upscale(stack, out, settings, progress=stop)


def test_stopped_and_resumed_equals_uninterrupted(stack: Path, tmp_path: Path, write: Write) -> None:
    settings = config(write(RECORD), channels=(0,))
    upscale(stack, tmp_path / "a" / "out.zarr", settings)
    stopped(stack, tmp_path / "b" / "out.zarr", settings)
    assert 0 < upscale(stack, tmp_path / "b" / "out.zarr", settings).units_done_before < 4
    for name in ("out.zarr", "out.trust.zarr", "out.interval.zarr"):
        assert files_of(tmp_path / "a" / name) == files_of(tmp_path / "b" / name)
    assert (tmp_path / "a" / "out.trust.json").read_bytes() == (tmp_path / "b" / "out.trust.json").read_bytes()


def test_a_calibration_in_between_leaves_the_image_and_is_not_mixed_into_the_maps(
    stack: Path, tmp_path: Path, write: Write
) -> None:
    out = tmp_path / "out.zarr"
    stopped(stack, out, config(write(), channels=(0,)))
    model = write(RECORD)
    # The image goes on: it does not depend on the calibration.
    assert 0 < upscale(stack, out, config(model, channels=(0,), trust=False)).units_done_before < 4
    finished = files_of(out)
    with pytest.raises(OutputExistsError, match=r"out\.trust\.zarr.*calibrated since.*"):
        upscale(stack, out, config(model, channels=(0,)))
    upscale(stack, out, config(model, channels=(0,), overwrite=True))
    assert files_of(out) == finished
    upscale(stack, tmp_path / "new" / "out.zarr", config(model, channels=(0,)))
    for name in ("out.trust.zarr", "out.interval.zarr"):
        assert files_of(tmp_path / name) == files_of(tmp_path / "new" / name)
    # The same calibration on another day is the same.
    write(RECORD | {"date": "2026-02-02", "checked": {"n": 3}})
    assert upscale(stack, out, config(model, channels=(0,))).units_done_before == 4
