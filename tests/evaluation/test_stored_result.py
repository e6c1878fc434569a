"""A result scored as it stands: the figures are those of the voxels that are stored."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from superres.config import load_config
from superres.errors import ConfigError, InputError
from superres.evaluation import MODEL, Evaluation, evaluate
from superres.evaluation.metrics import psnr
from superres.evaluation.settings import CalibrateConfig, EvaluateConfig
from superres.evaluation.upsampling import upsample
from superres.volumes.hyperstack import save_hyperstack

BASELINES = ("nearest", "bicubic")


def write(path: Path, image: NDArray[Any]) -> None:
    """Write CZYX."""
    save_hyperstack(path, image[None], voxel_size=(0.5, 0.1, 0.1))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write a recording and its truth, two channels and planes, with their manifest; return them, CZYX."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(2, 2, 80, 96)), (0, 0, 1.5, 1.5))
    high = (20_000 + 30_000 * noise).astype(np.float32)
    low = high.reshape(2, 2, 40, 2, 48, 2).mean((3, 5))
    files = {}
    for name, image in (("low", low), ("high", high)):
        write(tmp_path / f"{name}.tif", image)
        digest = hashlib.sha256((tmp_path / f"{name}.tif").read_bytes()).hexdigest()
        files[name] = [{"file": f"{name}.tif", "sha256": digest}]
    entry = {"id": "one", "split": "test"} | files
    content = {"name": "set", "description": "d", "licence": "CC0", "credit": "nobody", "source": "here"}
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content | {"acquisitions": [entry]}), encoding="utf-8")
    return low, high


def scored(folder: Path, **settings: Any) -> Evaluation:
    config = load_config(
        EvaluateConfig,
        None,
        manifests=(folder / "set.yaml",),
        split="test",
        factor=(1, 2, 2),
        baselines=BASELINES,
        crop=4,
        result=folder / "result.tif",
        **settings,
    )
    return evaluate(config, folder / "report")


def test_stored_interpolation_scores_as_the_baseline(tmp_path: Path, pair: tuple[Any, Any]) -> None:
    low, _ = pair
    result = np.stack([upsample(channel, (1, 2, 2), how="bicubic") for channel in low]).astype(np.float32)
    write(tmp_path / "result.tif", result)
    found = scored(tmp_path)
    (one,) = found.acquisitions
    stored, baseline = (dataclasses.asdict(one.scores[name]) for name in (MODEL, "bicubic"))
    for name, value in baseline.items():
        assert stored[name] == pytest.approx(value, rel=1e-5, abs=1e-4, nan_ok=True), name
    assert len(one.planes) == 2
    assert "result.tif" in found.report.read_text(encoding="utf-8")
    assert found.gains["bicubic"].psnr.interval.mean == pytest.approx(0, abs=1e-3)
    assert found.conventions["is_result"]


def test_one_channel_is_scored_as_metrics_score_it(tmp_path: Path, pair: tuple[Any, Any]) -> None:
    _, high = pair
    content = yaml.safe_load((tmp_path / "set.yaml").read_text(encoding="utf-8"))
    for name in ("low", "high"):
        content["acquisitions"][0][name][0]["channels"] = [1]
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    result = high + np.random.default_rng(1).normal(size=high.shape).astype(np.float32) * 500
    result[0] = 0
    write(tmp_path / "result.tif", result)
    (one,) = scored(tmp_path, result_channels=(1,)).acquisitions
    inside = (slice(8, -8), slice(8, -8))
    expected = [psnr(high[1, z][inside], result[1, z][inside], data_range=one.data_range[0]) for z in range(2)]
    # Truth is brought to the scale of the recording, here by a gain of nearly 1.
    assert one.scores[MODEL].psnr == pytest.approx(np.mean(expected), abs=0.1)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, pair: tuple[Any, Any]) -> None:
    _, high = pair
    write(tmp_path / "result.tif", high[:, :, :-2])
    with pytest.raises(InputError, match=r"78x96 voxels.*80x96"):
        scored(tmp_path)
    write(tmp_path / "result.tif", high)
    with pytest.raises(InputError, match="result_channels"):
        scored(tmp_path, result_channels=(0,))
    with pytest.raises(ConfigError, match="not both"):
        scored(tmp_path, model=tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="goes with result"):
        load_config(EvaluateConfig, None, manifests=(tmp_path / "set.yaml",), result_channels=(0,))
    with pytest.raises(ConfigError, match="leave it out"):
        load_config(CalibrateConfig, None, manifests=(tmp_path / "set.yaml",), result=tmp_path / "result.tif")
