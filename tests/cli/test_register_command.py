"""``superres data register`` from manifest to manifest: shifts, refusals, the sheet, and their use in evaluation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import skimage.data
import tifffile
import yaml
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter
from typer.testing import CliRunner, Result

from superres.cli import app
from superres.datasets import load_manifest
from superres.datasets.pairs import open_pair
from superres.evaluation import evaluate
from superres.evaluation.settings import EvaluateConfig

SHIFT = (2.6, -3.3)


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def store(path: Path, image: NDArray[Any]) -> dict[str, str]:
    tifffile.imwrite(path, image.astype(np.float32))
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a manifest of a shifted pair and of one whose low image shows another field."""
    monkeypatch.delenv("SUPERRES_DATA", raising=False)
    camera, brick = (getattr(skimage.data, name)()[:256, :256].astype(float) for name in ("camera", "brick"))
    moved = np.fft.ifftn(fourier_shift(np.fft.fftn(camera), SHIFT)).real
    random = np.random.default_rng(0)
    pairs = {"good": (moved, camera), "crossed": (camera[::-1], brick)}
    entries = []
    for name, (seen, high) in pairs.items():
        low = gaussian_filter(seen, 1)[8:-8, 8:-8].reshape(120, 2, 120, 2).mean((1, 3)) * 0.4 + 30
        low += random.normal(0, 2, low.shape)
        files = store(tmp_path / f"{name}_low.tif", low), store(tmp_path / f"{name}.tif", high[8:-8, 8:-8])
        entries.append({"id": name, "split": "test", "factor": [1, 2, 2], "low": [files[0]], "high": [files[1]]})
    text = {"name": "m", "description": "d", "licence": "CC0", "credit": "c", "source": "s"}
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(text | {"acquisitions": entries}, sort_keys=False))
    return path


def test_register_states_shifts_and_refuses_what_does_not_fit(tmp_path: Path, manifest: Path) -> None:
    out = tmp_path / "out"
    result = run("data", "register", manifest, "--out", out)
    assert result.exit_code == 1, result.output
    assert "refused: crossed_low.tif: low and high do not register" in " ".join(result.stdout.split())
    assert "1 of 2 pairs are in" in result.stdout
    height, width, _ = iio.imread(out / "contact_sheet.png").shape
    assert width > 1000
    assert height > 600
    loaded = load_manifest(out / "m.yaml")
    assert [entry.id for entry in loaded.acquisitions] == ["good"]
    shift = loaded.acquisitions[0].shift_of(0)
    assert shift == pytest.approx((0, *SHIFT), abs=0.05)
    low, high = open_pair(loaded.acquisitions[0], 0, factor=(1, 2, 2))
    assert high.shape[3:] == (2 * low.shape[3], 2 * low.shape[4])
    assert min(low.shape[3:]) >= 116

    # As the files lie, evaluation warns; with the shift stated it does not, and figures rise.
    figures = {}
    for path in (manifest, out / "m.yaml"):
        config = EvaluateConfig(manifests=(path,), factor=(1, 2, 2), split="test", baselines=("bicubic",), crop=8)
        scored = {entry.id: entry for entry in evaluate(config, tmp_path / "report").acquisitions}
        figures[path] = scored["good"].scores["bicubic"].psnr, " ".join(scored["good"].warnings)
    before, after = figures[manifest], figures[out / "m.yaml"]
    assert "voxels off low" in before[1]
    assert "Y +2.6" in before[1]
    assert after[1] == ""
    assert after[0] > before[0] + 3


def test_json_tells_everything(tmp_path: Path, manifest: Path) -> None:
    result = run("data", "register", manifest, "--out", tmp_path / "out", "--json")
    content = json.loads(result.stdout)
    good, crossed = content["pairs"]
    assert (good["accepted"], crossed["accepted"], content["ok"]) == (True, False, False)
    assert good["certainty"] > 15 > crossed["certainty"]
    assert good["shift_um"] == [None, None, None]
    assert len(good["planes"]) == 1


def test_the_manifest_itself_is_never_overwritten(manifest: Path) -> None:
    before = manifest.read_bytes()
    result = run("data", "register", manifest, "--out", manifest.parent)
    assert result.exit_code == 2
    assert "would be overwritten" in result.stderr
    assert manifest.read_bytes() == before


def test_shift_belongs_to_low_files(manifest: Path) -> None:
    content = yaml.safe_load(manifest.read_text())
    content["acquisitions"][0]["high"][0]["shift"] = [0, 1, 2]
    manifest.write_text(yaml.safe_dump(content))
    result = run("data", "register", manifest, "--out", manifest.parent / "out")
    assert result.exit_code == 2
    assert "shift belongs to a file of low" in result.stderr
