"""What the tests of sharing have in common: model files, a box of them, a web server on this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from superres.evaluation.controls import Control
from superres.evaluation.metrics import Scores
from superres.evaluation.results import (
    MODEL,
    AcquisitionResult,
    Evaluation,
    evaluation_to_json,
    gains_over,
    mean_over_acquisitions,
)
from superres.modelfile import ModelHeader, load_model_file, save_model_file
from superres.sharing import addresses, names

MakeModel = Callable[..., Path]
MakeReport = Callable[..., Path]
ORIGIN = {"id": "a", "sha256": "0" * 64, "licence": "CC BY 4.0 (repo LICENSE)", "credit": "A. Person"}


@pytest.fixture
def make_header() -> Callable[..., ModelHeader]:
    """Return the header of a model for planes that was trained on one acquisition."""

    def make(**changes: Any) -> ModelHeader:
        values: dict[str, Any] = {
            "name": "em-x4",
            "architecture": {"channels": 1},
            "factor": (1, 4, 4),
            "channels": 1,
            "receptive_radius": (0, 8, 8),
            "stride": (1, 4, 4),
            "intensity": {"percentiles": [0.5, 99.9], "average": 4},
            "voxel_size": (None, 0.04, 0.04),
            "degradation": [{"downsample": "binning"}, {"poisson": {"photons": [50.0, 400.0]}}],
            "training": {
                "manifests": [{"name": "em", "sha256": "1" * 64}],
                "acquisitions": [dict(ORIGIN)],
                "steps": 100,
                "seconds": 60.0,
            },
        }
        return ModelHeader(**(values | changes))

    return make


@pytest.fixture
def make_model(make_header: Callable[..., ModelHeader]) -> MakeModel:
    """Write a model file that no net is made of: what looks at headers does not need one."""

    def make(path: Path, *, seed: int = 0, **changes: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {"weight": np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)}
        save_model_file(path, make_header(**changes), weights)
        return path

    return make


@pytest.fixture
def make_report(tmp_path: Path) -> MakeReport:
    """Write what ``superres evaluate`` would write for a model: two acquisitions, three baselines, a picture."""

    def scores(psnr: float) -> Scores:
        return Scores(psnr, psnr + 1, psnr / 50, 0.1, 1.0, 0.0, 0.9, 1.0, resolution=100 / psnr)

    def make(
        model: Path,
        folder: str = "report",
        *,
        psnr: Mapping[str, float] | None = None,
        manifest: str = "em",
        warnings: tuple[str, ...] = (),
        told: Mapping[str, Any] = MappingProxyType({}),
    ) -> Path:
        file, out = load_model_file(model), tmp_path / folder
        own = psnr or {"a": 28.0, "b": 30.5}
        found = tuple(
            AcquisitionResult(
                manifest, name, "s", "l", "c", ("a.tif",), 1, (64, 64), (None, 0.01, 0.01), (255.0,), "max - min",
                scores={"bicubic": scores(25.0), "richardson-lucy": scores(26.0), "unet": scores(27.0),
                        MODEL: scores(value)},
                warnings=warnings,
            )
            for name, value in own.items()
        )  # fmt: skip
        methods = ("bicubic", "richardson-lucy", "unet", MODEL)
        conventions = {
            "created": "2026-11-27T10:00:00+00:00",
            "versions": {"superres": "0.1.0"},
            "settings": {"split": "val", "planes": 8, "crop": 8, "seed": 0, "model": str(model)},
            "model": {"name": file.header.name, "sha256": file.sha256, "identity": file.identity},
            "is_result": False,
            "manifests": [{"name": manifest, "path": "somewhere", "sha256": "2" * 64}],
            "tuned": {"richardson-lucy": {}},
            "rivals": {"unet": {}},
        }
        evaluation = Evaluation(
            out / "report.html", out / "report.json", methods, "bicubic", found, {},
            mean_over_acquisitions(found, methods), gains_over(found, methods[:-1]), conventions | dict(told),
            (Control("blank", 0.9, 1.01),),
        )  # fmt: skip
        out.mkdir(exist_ok=True)
        evaluation.data.write_text(evaluation_to_json(evaluation), encoding="utf-8")
        Image.new("RGB", (8, 8)).save(out / "worst.png")
        return out

    return make


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in the place of the models in the package."""
    folder = tmp_path / "box"
    folder.mkdir()
    monkeypatch.setattr(names, "BOX", folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in the place of this user's cache."""
    monkeypatch.setattr(addresses, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class Site:
    """A web server on this machine: what it has, by path, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.address = ""


@pytest.fixture
def site() -> Iterator[Site]:
    shown = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.asked.append(self.path)
            if self.path not in shown.files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(shown.files[self.path])))
            self.end_headers()
            self.wfile.write(shown.files[self.path])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield shown
    server.shutdown()
    server.server_close()
    thread.join()
