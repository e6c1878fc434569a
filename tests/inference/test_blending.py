"""Nets whose output depends on the tile: what is stored depends on the tiles of the plan alone, and has no edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from superres.config import UpscaleConfig
from superres.inference import upscale
from superres.inference.blending import Part, blend_tiles
from superres.inference.plan import plan_tiles
from superres.modelfile import ModelHeader, save_model_file
from superres.nets import Architecture, UNet
from superres.volumes.hyperstack import save_hyperstack


@given(size=st.tuples(st.integers(4, 70), st.integers(4, 70)), tile=st.integers(4, 40), f=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_tiles_that_agree_are_left_as_they_are(size: tuple[int, int], tile: int, f: int) -> None:
    plan = plan_tiles((1, *size), factor=(1, f, f), radius=(0, 8, 8), stride=(1, 4, 4), tile=tile)
    image = np.random.default_rng(0).normal(size=(2, size[0] * f, size[1] * f)).astype(np.float32)

    def predict(part: Part) -> NDArray[np.float32]:
        return image[:, part[0].start * f : part[0].stop * f, part[1].start * f : part[1].stop * f]

    region = (slice(0, size[0]), slice(0, size[1]))
    whole = blend_tiles(predict, plan, region, (4, 4))
    np.testing.assert_allclose(whole, image, atol=1e-5)
    part = (slice(size[0] // 3, size[0]), slice(0, size[1] // 2 + 1))
    expected = whole[:, part[0].start * f :, : part[1].stop * f]
    np.testing.assert_array_equal(blend_tiles(predict, plan, part, (4, 4)), expected)


def test_a_step_between_tiles_becomes_a_ramp() -> None:
    plan = plan_tiles((1, 32, 64), factor=(1, 1, 1), radius=(0, 8, 8), stride=(1, 4, 4), tile=32)

    def predict(part: Part) -> NDArray[np.float32]:
        value = 1.0 if part[1].start > 0 else 0.0  # each tile is constant
        return np.full((1, part[0].stop - part[0].start, part[1].stop - part[1].start), value, np.float32)

    line = blend_tiles(predict, plan, (slice(0, 32), slice(0, 64)), (4, 4))[0, 10]
    assert line[0] == 0
    assert line[-1] == 1
    assert np.diff(line).min() >= 0
    assert np.diff(line).max() < 0.1


def test_the_user_is_told_of_seams(tmp_path: Path) -> None:
    torch.manual_seed(0)
    thin = {"widths": (8, 12, 16), "blocks": 1, "middle_blocks": 1, "channels": 1, "consistency_sigma": 0.0}
    architecture = Architecture(factor=(1, 2, 2), attention=True, **thin)
    net = UNet(architecture)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    header = ModelHeader(
        name="attends",
        architecture=architecture.to_json(),
        factor=(1, 2, 2),
        channels=1,
        receptive_radius=architecture.receptive_radii,
        stride=architecture.strides,
        intensity={"percentiles": [0.5, 99.9], "average": 1},
    )
    model = tmp_path / "model.safetensors"
    save_model_file(model, header, {k: v.numpy() for k, v in net.state_dict().items()})
    save_hyperstack(tmp_path / "in.tif", np.random.default_rng(0).uniform(0, 1, (1, 1, 1, 40, 44)).astype(np.float32))
    config = UpscaleConfig(model=model, device="cpu", tile=24, guard=False, trust=False)
    summary = upscale(tmp_path / "in.tif", tmp_path / "out.zarr", config)
    assert any("seams are possible" in line for line in summary.warnings)
