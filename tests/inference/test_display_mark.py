"""What a critic shaped says so: in the store, in the trust maps beside it, and to the person."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from superres.cli.output import show_model
from superres.config import UpscaleConfig
from superres.inference import upscale
from superres.modelfile import load_model_file, save_model_file


@pytest.mark.parametrize("display", [True, False])
def test_outputs_for_display_are_marked(
    make_model: Callable[..., Path], tmp_path: Path, display: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = load_model_file(make_model(std=0))
    model = tmp_path / "shaped.safetensors"
    save_model_file(model, dataclasses.replace(plain.header, display=display), plain.weights)
    image = np.random.default_rng(0).integers(0, 4000, (64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "low.tif", image)
    summary = upscale(tmp_path / "low.tif", tmp_path / "out.ome.zarr", UpscaleConfig(model=model, device="cpu"))
    show_model(load_model_file(model), as_json=False)
    told = [
        str(zarr.open_group(tmp_path / "out.ome.zarr", mode="r").attrs.asdict()),
        str(zarr.open_group(tmp_path / "out.trust.ome.zarr", mode="r").attrs.asdict()),
        " ".join(summary.warnings),
        " ".join(capsys.readouterr().out.split()),
    ]
    assert [("for display, not for measurement" in text) for text in told] == [display] * 4
